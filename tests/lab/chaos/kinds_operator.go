package chaos

import (
	"context"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
)

// operatorKinds are what a person does to a cluster that is at work.
func operatorKinds() []Kind {
	did := func(args ...string) func(context.Context, Target) (fault.Evidence, error) {
		return func(ctx context.Context, t Target) (fault.Evidence, error) {
			return t.evidence("the cluster took the order"), t.anywhere(ctx, args...)
		}
	}
	maintenance := func(on string) []string {
		return []string{"crm_attribute", "--type", "crm_config", "--name", "maintenance-mode", "--update", on}
	}
	return []Kind{
		{Name: "switchover", Group: "operator", Roles: onPrimary(),
			Inject: func(ctx context.Context, t Target) (fault.Evidence, error) {
				ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
				defer cancel()
				_, err := t.Must(ctx, t.peer(), "pcs", "resource", "move", cluster.ClonePgsql, t.peer(), "--promoted")
				return t.evidence("pcs has moved the role to " + t.peer()), err
			},
			Heal: func(ctx context.Context, t Target) error {
				return t.anywhere(ctx, "crm_resource", "--resource", cluster.ClonePgsql, "--clear")
			}},
		{Name: "node-standby", Group: "operator", Roles: everybody(), Longest: 12 * time.Second,
			Inject: func(ctx context.Context, t Target) (fault.Evidence, error) {
				return t.evidence("the cluster took the order"),
					t.anywhere(ctx, "crm_attribute", "--node", t.Node, "--name", "standby", "--update", "on")
			},
			Heal: unstandby},
		{Name: "maintenance", Group: "operator", Roles: onPrimary(), Longest: 12 * time.Second,
			Inject: did(maintenance("true")...),
			Heal:   func(ctx context.Context, t Target) error { return t.anywhere(ctx, maintenance("false")...) }},
		{Name: "cleanup", Group: "operator", Roles: onPrimary(), Inject: did("crm_resource", "--cleanup")},
		{Name: "refresh", Group: "operator", Roles: onPrimary(), Inject: did("crm_resource", "--refresh")},
		{Name: "fail-told", Group: "operator", Roles: everybody(),
			Inject: func(ctx context.Context, t Target) (fault.Evidence, error) {
				return t.evidence("the cluster was told that it failed"),
					t.anywhere(ctx, "crm_resource", "--resource", cluster.ResourcePgsql, "--fail", "--node", t.Node)
			}},
		{Name: "cluster-stop", Group: "operator", Roles: everybody(), Longest: 10 * time.Second,
			Inject: func(ctx context.Context, t Target) (fault.Evidence, error) {
				ctx, cancel := context.WithTimeout(ctx, time.Minute)
				defer cancel()
				return t.evidence("its daemons have ended in order"), t.StopNode(ctx, t.Node)
			},
			Heal: clusterStart},
		{Name: "server-restarted", Group: "operator", Roles: everybody(),
			Inject: func(ctx context.Context, t Target) (fault.Evidence, error) {
				ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
				defer cancel()
				_, err := t.sh(ctx, "runuser -u postgres -- "+t.BinDir()+"/pg_ctl -D "+cluster.DataDir+
					" restart -w -m fast -l /var/log/postgresql/byhand.log >/dev/null 2>&1")
				return t.evidence("pg_ctl restart behind the cluster's back"), err
			}},
	}
}

// clusterStart starts the cluster's daemons on a node that is on and has none.
func clusterStart(ctx context.Context, t Target) error {
	n, err := t.Site.Node(ctx, t.Node)
	if err != nil || !n.On() || n.Frozen {
		return err
	}
	for _, d := range []string{"corosync", "pacemakerd"} {
		ps, err := fault.Find(t.Site, t.Node, fault.Daemon(d))
		if err != nil || len(ps) > 0 {
			return err
		}
	}
	return t.StartNode(ctx, t.Node)
}
