package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"pgrex/lib/life"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/network"
	"pgrex/tests/lab/writer"
)

// insideKinds break what is inside of a node that runs: its server's connections, what
// the cluster remembers of it.
func insideKinds() []Kind {
	return []Kind{
		{Name: "connections", Group: "load", Roles: onPrimary(),
			Args: func(rng *rand.Rand) string { return fmt.Sprintf("%dms", 1000+rng.IntN(8000)) }, Inject: exhaust},
		{Name: "attribute-deleted", Group: "memory", Roles: everybody(),
			Args:   oneOf("pgsql-status", "pgsql-data-status", "master-pgsql", "pgsql-record", "pgsql-master-baseline"),
			Inject: attributeDeleted},
		{Name: "attribute-edited", Group: "memory", Roles: everybody(), Longest: 8 * time.Second,
			Args: oneOf("master-pgsql 1000", "master-pgsql 100", "master-pgsql -INFINITY", "pgsql-status HS:sync", "pgsql-status rubbish",
				"pgsql-data-status LATEST", "pgsql-data-status DISCONNECT", "pgsql-record rubbish"),
			Inject: attributeEdited, Heal: attributeMended},
	}
}

// exhaust takes all connections that an ordinary user may have.
func exhaust(ctx context.Context, t Target) (fault.Evidence, error) {
	hold, err := time.ParseDuration(t.Args)
	if err != nil {
		return fault.Evidence{}, err
	}
	to := appTarget(t.Cluster, network.Address(network.Service, 1+slices.Index(t.NodeNames(), t.Node)))
	var all []*pgx.Conn
	defer func() {
		for _, c := range all {
			_ = c.Close(context.WithoutCancel(ctx))
		}
	}()
	end := time.Now().Add(hold)
	refused := 0
	for time.Now().Before(end) {
		c, err := to.Connect(ctx, nil)
		if err == nil {
			all = append(all, c)
			continue
		}
		if strings.Contains(err.Error(), "53300") || strings.Contains(err.Error(), "too many") {
			refused++
		}
		if err := life.Pause(ctx, 50*time.Millisecond); err != nil {
			return fault.Evidence{}, err
		}
	}
	if refused == 0 {
		err = fmt.Errorf("%d connections and none refused", len(all))
	}
	return t.evidence(fmt.Sprintf("%d connections held, %d refused", len(all), refused)), err
}

// appTarget is the database as clients on the service LAN reach it.
func appTarget(c *cluster.Cluster, address string) writer.Target {
	return writer.Target{Netns: c.ClientNetns, Host: address,
		User: cluster.AppUser, Password: cluster.AppPassword, Database: cluster.AppDB}
}

// lifetime is how long the cluster keeps an attribute: over its own restart, or not.
func lifetime(name string) string {
	switch name {
	case "pgsql-data-status", "pgsql-record":
		return "forever"
	}
	return "reboot"
}

func attributeDeleted(ctx context.Context, t Target) (fault.Evidence, error) {
	return t.evidence("the cluster has forgotten it"),
		t.anywhere(ctx, "crm_attribute", "--node", t.Node, "--name", t.Args, "--lifetime", lifetime(t.Args), "--delete")
}

func attributeEdited(ctx context.Context, t Target) (fault.Evidence, error) {
	name, value, _ := strings.Cut(t.Args, " ")
	return t.evidence("the cluster believes it"),
		t.anywhere(ctx, "crm_attribute", "--node", t.Node, "--name", name, "--lifetime", lifetime(name), "--update="+value)
}

// attributeMended does what the agent's reason asks for when it cannot understand a
// record. Everything else the agents mend themselves.
func attributeMended(ctx context.Context, t Target) error {
	if t.Args != "pgsql-record rubbish" {
		return nil
	}
	out, err := t.anywhereSays(ctx, "crm_attribute", "--node", t.Node, "--name", "pgsql-record", "--lifetime", "forever", "--query", "--quiet")
	if err != nil || strings.TrimSpace(out) != "rubbish" {
		return err
	}
	return t.anywhere(ctx, "crm_attribute", "--node", t.Node, "--name", "pgsql-record", "--lifetime", "forever", "--delete")
}
