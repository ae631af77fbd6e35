package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/node"
)

// hangSeen is how long a volume may hang until somebody is seen to wait for it.
const hangSeen = 15 * time.Second

// diskKinds break the volumes of a node: that of its data, and pg_wal's own.
func diskKinds() []Kind {
	var all []Kind
	for _, v := range []struct {
		name, path string
		// dies is what dies with the volume.
		dies  []string
		needs func(Shape) bool
	}{
		{"disk", node.DataVolume, []string{"/disk", node.DataVolume}, func(s Shape) bool { return s.OnDisk }},
		{"wal", node.WALVolume, []string{node.WALVolume}, func(s Shape) bool { return s.OwnWAL }},
	} {
		all = append(all,
			Kind{Name: v.name + "-full", Group: "disk", Roles: everybody(), Longest: 15 * time.Second, Needs: v.needs,
				Inject: func(ctx context.Context, t Target) (fault.Evidence, error) {
					return fault.Fill(ctx, t.Site, t.Node, v.path)
				}, Heal: inNode(fault.Emptying(v.path))},
			Kind{Name: v.name + "-dead", Group: "disk", Roles: everybody(), Longest: 15 * time.Second, Needs: v.needs,
				Inject: diskDead(v.dies), Heal: diskReplaced(v.path)},
			Kind{Name: v.name + "-read-only", Group: "disk", Roles: everybody(), Longest: 15 * time.Second, Needs: v.needs,
				Inject: func(ctx context.Context, t Target) (fault.Evidence, error) {
					return fault.ReadOnly(ctx, t.Site, t.Node, v.path)
				},
				Heal: diskReplaced(v.path)},
			// Shorter than what the agents wait for: the other side of that is a scenario's.
			Kind{Name: v.name + "-hangs", Group: "disk", Roles: everybody(), Longest: 30 * time.Second, Needs: v.needs,
				Inject: diskHangs(v.path), Heal: func(ctx context.Context, t Target) error { return t.Release(ctx, t.Node) }})
	}
	return all
}

// diskDead shuts file systems down, as a device does that is gone: reads of what is
// not in memory and all writes fail. Nothing revives them but a new mount.
func diskDead(volumes []string) func(context.Context, Target) (fault.Evidence, error) {
	return func(ctx context.Context, t Target) (fault.Evidence, error) {
		const noLogFlush = 2
		// The number of the request says that it answers: perl wants a variable for that.
		out, err := t.sh(ctx, fmt.Sprintf(`for d in %s; do
perl -e 'open(F,"<",$ARGV[0]) or die $!; my $how = pack("L", %d); ioctl(F, 0x8004587d, $how) or die $!' $d 2>&1
done
touch $d/chaos-probe 2>&1 && echo written; true`, strings.Join(volumes, " "), noLogFlush))
		if err == nil && !strings.Contains(out, "error") {
			err = fmt.Errorf("its disk still takes writes: %q", out)
		}
		return t.evidence(strings.TrimSpace(out)), err
	}
}

// diskReplaced does what an operator does with a node whose volume is dead, if nobody
// has fenced it yet: the power goes off and on.
func diskReplaced(volume string) func(context.Context, Target) error {
	return func(ctx context.Context, t Target) error {
		n, err := t.Site.Node(ctx, t.Node)
		if err != nil || !n.On() || n.Frozen {
			return err
		}
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if _, err := t.Must(short, t.Node, "touch", volume+"/chaos-probe"); err == nil {
			return nil
		}
		t.Log("the power of %s goes off and on, for its disk", t.Node)
		return errors.Join(t.Power(ctx, t.Node, false), t.Power(ctx, t.Node, true))
	}
}

func diskHangs(volume string) func(context.Context, Target) (fault.Evidence, error) {
	return func(ctx context.Context, t Target) (fault.Evidence, error) {
		ctx, cancel := context.WithTimeout(ctx, hangSeen)
		defer cancel()
		return fault.Hang(volume)(ctx, t.Site, t.Node)
	}
}
