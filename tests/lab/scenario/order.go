package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/lib/life"
	fake "pgrex/tests/fakes/azure"
	"pgrex/tests/lab/azure"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/network"
	"pgrex/tests/lab/writer"
)

// Order says when a take-over begins with what is slow in a cloud.
type Order string

// The orders that are compared. Nothing of them begins before the old primary is
// demoted or fenced.
const (
	// AfterPromotion is that of docs/examples/pgrex-azure.pcs: promote, then start
	// the addresses.
	AfterPromotion Order = "after"
	// BesidePromotion starts the addresses while the server is being promoted.
	BesidePromotion Order = "beside"
	// InHalves lets the cloud deliver the addresses while the server is being
	// promoted, and puts them on the system after it: until then nobody answers.
	InHalves Order = "halves"
)

// ParseOrders reads orders by their names, separated by commas.
func ParseOrders(names string) ([]Order, error) {
	return parseNames(names, AfterPromotion, BesidePromotion, InHalves)
}

// parseNames reads names, separated by commas, of which each has to be known.
func parseNames[T ~string](names string, known ...T) ([]T, error) {
	var all []T
	for _, n := range strings.Split(names, ",") {
		if !slices.Contains(known, T(n)) {
			return nil, fmt.Errorf("no %q: use %v", n, known)
		}
		all = append(all, T(n))
	}
	return all, nil
}

// parked is a network namespace for the addresses whose cloud half is meant: in it is
// a device with the hardware address of the real one, and nobody gets there.
const parked = `set -e
ip netns add parked
for l in %s; do
	ip -n parked link add $l address $(cat /sys/class/net/$l/address) type veth peer name $l-peer
	ip -n parked link set $l-peer up
	ip -n parked link set $l up
done`

// Arrange puts an order in force in a lab with the documented configuration.
func (o Order) Arrange(ctx context.Context, lab *cluster.Cluster) error {
	if o == AfterPromotion {
		return nil
	}
	lans := map[string]network.LAN{cluster.IPPrimary: network.Service, cluster.IPReplication: network.Replication}
	addresses := map[string]string{cluster.IPPrimary: network.VIPPrimary, cluster.IPReplication: azure.VIPReplication}
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, "pcs -f /tmp/order.xml "+format+"\n", args...) }
	b.WriteString("set -e\npcs cluster cib /tmp/order.xml\n")
	for _, ip := range []string{cluster.IPPrimary, cluster.IPReplication} {
		early := ip
		p("constraint order remove %s", ip)
		if o == InHalves {
			early = "cloud-" + ip
			p("resource create %s ocf:pgrex:cloudip provider=azure ip=%s network_namespace=parked meta migration-threshold=0 op start timeout=180s op monitor interval=10s timeout=60s op stop timeout=60s --force", // two resources, one address
				early, addresses[ip])
			p("resource update %s provider=none nic=%s cidr_netmask=32", ip, lans[ip].Interface())
			p("constraint colocation add %s with Promoted %s INFINITY", early, cluster.ClonePgsql)
			p("constraint order promote %s then start %s symmetrical=false", cluster.ClonePgsql, ip)
			p("constraint order demote %s then stop %s kind=Optional symmetrical=false", cluster.ClonePgsql, ip)
		}
		p("constraint order demote %s then start %s kind=Optional symmetrical=false", cluster.ClonePgsql, early)
		p("constraint order demote %s then stop %s kind=Optional symmetrical=false", cluster.ClonePgsql, early)
	}
	b.WriteString("pcs cluster cib-push /tmp/order.xml --config\n")
	if o == InHalves {
		for _, n := range lab.NodeNames() {
			if _, err := lab.Must(ctx, n, "sh", "-c", fmt.Sprintf(parked, network.Service.Interface()+" "+network.Replication.Interface())); err != nil {
				return err
			}
		}
	}
	if _, err := lab.Must(ctx, lab.NodeNames()[0], "sh", "-c", b.String()); err != nil {
		return err
	}
	return lab.WaitHealthy(ctx, time.Minute)
}

// Promotion is what becomes of the promotion in a measured take-over.
type Promotion string

// The promotions that are looked at.
const (
	Prompt  Promotion = "prompt"
	Slow    Promotion = "slow"    // replay is stopped for slowFor
	Refused Promotion = "refused" // the agent is killed in the middle of it
)

const slowFor = 10 * time.Second

// ParsePromotions reads promotions by their names, separated by commas.
func ParsePromotions(names string) ([]Promotion, error) {
	return parseNames(names, Prompt, Slow, Refused)
}

// TakeOver is what was seen of one.
type TakeOver struct {
	Result
	// Promoted and Delivered are when the promotion was over and when the cloud delivered
	// VIP-primary to the new node, each from the fault. 0 is never.
	Promoted, Delivered time.Duration
	// Standby is for how long, from first to last, clients at VIP-primary were answered
	// by a server in recovery, and how often.
	Standby time.Duration
	Answers int
	// ReadOnly counts what writers were told about it.
	ReadOnly int
	// Moves counts how often the cloud's network changed the holder of VIP-primary.
	Moves int
}

// TakeOver measures one, with a given cloud.
func (r *Runner) TakeOver(ctx context.Context, p Promotion, set func(context.Context, *Run) error) TakeOver {
	var t TakeOver
	t.Result = r.one(ctx, Scenario{Name: "take-over-" + string(p), Azure: true, Variables: quickForget(), Text: "measured", Play: func(ctx context.Context, run *Run) error {
		if err := set(ctx, run); err != nil {
			return err
		}
		return t.play(ctx, run, p)
	}})
	return t
}

func (t *TakeOver) play(ctx context.Context, r *Run, p Promotion) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	look, stop := context.WithCancel(ctx)
	defer stop()
	seen := r.look(look)
	var broken <-chan killed
	switch p {
	case Slow:
		if err := r.Must(fault.Signal(ctx, r.Site, was.standby, "startup process", fault.Child("startup"), unix.SIGSTOP)); err != nil {
			return err
		}
	case Refused:
		broken = r.killInAction(ctx, was.standby, "promote")
	}
	begin := time.Now()
	if err := r.Kill(ctx, was.primary, "postmaster", fault.Postmaster); err != nil {
		return err
	}
	switch p {
	case Slow:
		if err := life.Pause(ctx, slowFor); err != nil {
			return err
		}
		if err := r.Must(fault.Signal(ctx, r.Site, was.standby, "startup process", fault.Child("startup"), unix.SIGCONT)); err != nil {
			return err
		}
	case Refused:
		k := <-broken
		if err := r.Must(k.e, k.err); err != nil {
			return err
		}
	}
	if err := r.WaitCommits(ctx, 2*time.Minute); err != nil {
		return err
	}
	stop()
	return t.sum(ctx, r, begin, <-seen)
}

// answer is what a client at VIP-primary was told.
type answer struct {
	at      time.Time
	standby bool
}

// look asks at VIP-primary all the time, each time over a new connection, who answers.
func (r *Run) look(ctx context.Context) <-chan []answer {
	c := make(chan []answer, 1)
	go func() {
		var all []answer
		defer func() { c <- all }()
		for life.Pause(ctx, 20*time.Millisecond) == nil {
			if standby, err := asks(ctx, r.Target(network.VIPPrimary)); err == nil {
				all = append(all, answer{time.Now(), standby})
			}
		}
	}()
	return c
}

// asks asks a server whether it is in recovery.
func asks(ctx context.Context, t writer.Target) (standby bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := t.Connect(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	err = c.QueryRow(ctx, "select pg_is_in_recovery()").Scan(&standby)
	return standby, err
}

// sum makes figures of what was seen.
func (t *TakeOver) sum(ctx context.Context, r *Run, begin time.Time, seen []answer) error {
	var first, last time.Time
	for _, a := range seen {
		if a.at.Before(begin) || !a.standby {
			continue
		}
		if t.Answers++; first.IsZero() {
			first = a.at
		}
		last = a.at
	}
	t.Standby = last.Sub(first)
	for text, n := range r.W.Errors() {
		if strings.Contains(text, "read-only transaction") {
			t.ReadOnly += n
		}
	}
	bindings, err := r.Cloud().Bindings(ctx)
	if err != nil {
		return err
	}
	for _, b := range bindings {
		if b.When.After(begin) && b.Address.String() == network.VIPPrimary && b.NIC != "" {
			t.Moves++
			t.Delivered = b.When.Sub(begin)
		}
	}
	events, err := r.Events(begin)
	if err == nil {
		events, err = r.WithCloudEvents(ctx, events, begin)
	}
	if err != nil {
		return err
	}
	for _, e := range events {
		r.Log("%8d ms  %s", e.At.Sub(begin).Milliseconds(), e.Text)
		if strings.HasPrefix(e.Text, "promote of pgsql") && strings.HasSuffix(e.Text, ": ok") {
			t.Promoted = e.At.Sub(begin)
		}
	}
	return nil
}

// SetMove says whether the cloud can move addresses in one call, and lets the nodes
// forget that it could not.
func (r *Run) SetMove(ctx context.Context, m fake.Move) error {
	for _, n := range r.NodeNames() {
		if _, err := r.Sh(ctx, n, "find /run /var/lib/pgrex -name azure-no-move.json -delete; true"); err != nil {
			return err
		}
	}
	return r.Cloud().SetMove(ctx, m)
}

// RealCloud is a cloud that takes its time, as users report of the real one: a
// change is accepted after half a second and done after 5 to 10 s.
func RealCloud(run int) fake.Latency {
	ms := func(n int) fake.Duration { return fake.Duration(time.Duration(n) * time.Millisecond) }
	done := []int{5000, 7500, 10000}[run%3]
	return fake.Latency{Answer: ms(150), PowerOff: ms(5000), Start: ms(500), Update: ms(done), Program: ms(done - 1000), Tail: ms(300), Metadata: ms(10000)}
}
