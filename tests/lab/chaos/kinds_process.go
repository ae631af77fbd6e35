package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/tests/lab/fault"
)

// victims are the processes that are killed and stopped.
func victims() []struct {
	name  string
	roles []Role
	match fault.Pattern
} {
	return []struct {
		name  string
		roles []Role
		match fault.Pattern
	}{
		{"postmaster", everybody(), fault.Postmaster},
		{"postgres", everybody(), fault.Postgres},
		{"checkpointer", everybody(), fault.Child("checkpointer")},
		{"walwriter", onPrimary(), fault.Child("walwriter")},
		{"walsender", onPrimary(), fault.Child("walsender")},
		{"walreceiver", onStandby(), fault.Child("walreceiver")},
		{"startup", onStandby(), fault.Child("startup")},
		{"corosync", everybody(), fault.Daemon("corosync")},
		{"pacemakerd", everybody(), fault.Daemon("pacemakerd")},
		{"based", everybody(), fault.Daemon("pacemaker-based")},
		{"attrd", everybody(), fault.Daemon("pacemaker-attrd")},
		{"execd", everybody(), fault.Daemon("pacemaker-execd")},
		{"controld", everybody(), fault.Daemon("pacemaker-controld")},
		{"fenced", everybody(), fault.Daemon("pacemaker-fenced")},
		{"schedulerd", everybody(), fault.Daemon("pacemaker-schedulerd")},
		{"watcher", everybody(), fault.Action("watch")},
	}
}

// processKinds kill and stop processes that are always there.
func processKinds() []Kind {
	var all []Kind
	for _, v := range victims() {
		all = append(all, Kind{
			Name: "kill-" + v.name, Group: "kill", Roles: v.roles,
			Inject: func(ctx context.Context, t Target) (fault.Evidence, error) {
				return fault.Signal(ctx, t.Site, t.Node, v.name, v.match, unix.SIGKILL)
			},
			Heal: restarted(v.name),
		})
		if v.name == "schedulerd" || v.name == "walwriter" {
			continue
		}
		all = append(all, Kind{
			Name: "stop-" + v.name, Group: "stop", Roles: v.roles, Longest: 12 * time.Second,
			Inject: func(ctx context.Context, t Target) (fault.Evidence, error) {
				return fault.Signal(ctx, t.Site, t.Node, v.name, v.match, unix.SIGSTOP)
			},
			Heal: func(ctx context.Context, t Target) error {
				_, err := fault.Signal(ctx, t.Site, t.Node, v.name, v.match, unix.SIGCONT)
				return ignoreGone(err)
			},
		})
	}
	return all
}

// ignoreGone passes over processes and nodes that are not there any more: what
// was stopped may have been killed since.
func ignoreGone(err error) error {
	if errors.Is(err, fault.ErrNoProcess) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// restarted does what systemd does for Pacemaker's first process.
func restarted(name string) func(context.Context, Target) error {
	if name != "pacemakerd" {
		return nil
	}
	return func(ctx context.Context, t Target) error {
		n, err := t.Site.Node(ctx, t.Node)
		if err != nil || !n.On() || n.Frozen {
			return err
		}
		for _, d := range []string{"corosync", "pacemakerd"} {
			ps, err := fault.Find(t.Site, t.Node, fault.Daemon(d))
			if err != nil || (len(ps) > 0) == (d == "pacemakerd") {
				return err // nothing to restart it over, or it is there
			}
		}
		t.Log("pacemakerd is started again on %s", t.Node)
		_, err = t.sh(ctx, "sed 's/^corosync .*//' /etc/lab/start >/run/restart && sh /run/restart")
		return err
	}
}

// anywhere gives an order on the first node that takes it.
func (t Target) anywhere(ctx context.Context, args ...string) error {
	_, err := t.anywhereSays(ctx, args...)
	return err
}

// anywhereSays is anywhere for an order that is answered.
func (t Target) anywhereSays(ctx context.Context, args ...string) (string, error) {
	var errs []error
	for _, n := range append([]string{t.Node}, t.Peers...) {
		short, cancel := context.WithTimeout(ctx, 8*time.Second)
		res, err := t.Exec(short, n, args...)
		cancel()
		if err == nil && res.ExitCode != 0 {
			err = fmt.Errorf("on %s: %s: %s", n, args[0], res.Message())
		}
		if err == nil {
			return string(res.Stdout), nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}
