package scenario

import (
	"context"
	"fmt"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/network"
)

// addressPage is where an operator reads how the addresses go over to our agent.
const addressPage = "cloudip.md"

func addresses() []Scenario {
	return []Scenario{{
		Name:      "drop-in-ip",
		Text:      "running addresses of IPaddr2 become cloudip by the documented commands, back, and again: no address ever leaves its interface; then the primary's postmaster is killed and they move",
		Variables: map[string]string{"IP_AGENT": cluster.IPReference},
		Play:      dropInIP,
	}}
}

// addressNotes is where a node writes down every change of its addresses.
const addressNotes = "/run/address-changes"

// changeAddresses follows the page one way and shows that no node has lost an address meanwhile.
func (r *Run) changeAddresses(ctx context.Context, tag, to string) error {
	was, err := r.picture(ctx)
	if err != nil {
		return err
	}
	v, err := r.View(ctx)
	if err != nil {
		return err
	}
	for _, n := range r.NodeNames() {
		if err := r.Background(ctx, n, "exec timeout 300 ip -o monitor address >"+addressNotes); err != nil {
			return err
		}
	}
	r.Begin(tag)
	if err := r.follow(ctx, v.From, addressPage, tag, ""); err != nil {
		return err
	}
	err = r.Stays(ctx, "addresses of "+to, 12*time.Second, func(now cluster.View) bool {
		for _, id := range []string{"ipaddr-primary", "ipaddr-replication", "ipaddr-standby"} {
			if started(now, id) != to {
				return false
			}
		}
		return now.Primary() == v.Primary() && !now.Maintenance && len(now.Failures) == 0
	})
	if err != nil {
		return err
	}
	now, err := r.picture(ctx)
	if err == nil {
		err = was.differs(now)
	}
	if err != nil {
		return fmt.Errorf("moving to %s: %w", to, err)
	}
	for _, n := range r.NodeNames() {
		// The evidence of the evidence: an address that comes and goes is seen.
		lost, err := r.Sh(ctx, n, `ip address add 127.9.9.9/32 dev lo; ip address del 127.9.9.9/32 dev lo
for i in $(seq 50); do grep -q 'Deleted.*127\.9\.9\.9' `+addressNotes+` && break; sleep 0.1; done
pkill -f 'ip -o [m]onitor address'
grep -q 'Deleted.*127\.9\.9\.9' `+addressNotes+` || echo "no changes were noted"
grep -E 'Deleted.*(`+network.VIPPrimary+`|`+network.VIPReplication+`|`+network.VIPStandby+`)/' `+addressNotes+` || true`)
		if err != nil {
			return err
		}
		if lost != "" {
			return fmt.Errorf("moving to %s, %s: %s", to, n, lost)
		}
	}
	r.Log("all addresses belong to %s; none was ever gone, and nothing else changed", to)
	return nil
}

func dropInIP(ctx context.Context, r *Run) error {
	for _, way := range [][2]string{
		{"drop-in-ip", cluster.IPOurs}, {"drop-in-ip-back", cluster.IPReference}, {"drop-in-ip", cluster.IPOurs},
	} {
		if err := r.changeAddresses(ctx, way[0], way[1]); err != nil {
			return err
		}
	}
	return postmasterKilled(ctx, r)
}
