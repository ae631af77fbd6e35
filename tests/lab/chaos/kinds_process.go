package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/tests/lab/cluster"
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

// processKinds kill and stop processes, and the agent in the middle of an action.
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
	return append(all, Kind{
		Name: "kill-agent", Group: "agent", Roles: onPrimary(),
		Args:   oneOf("promote", "demote", "stop", "start", "notify", "monitor"),
		Inject: killAgent,
		Heal:   unstandby,
	})
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

// agentPatience is how long an action is waited for that is to be broken.
const agentPatience = 20 * time.Second

// killAgent begins what makes the agent work on an action and kills it there.
func killAgent(ctx context.Context, t Target) (fault.Evidence, error) {
	ctx, cancel := context.WithTimeout(ctx, agentPatience)
	defer cancel()
	node := t.Node
	if t.Args == "promote" || t.Args == "notify" {
		node = t.peer()
	}
	type answer struct {
		e   fault.Evidence
		err error
	}
	c := make(chan answer, 1)
	go func() {
		e, err := fault.KillInAction(ctx, t.Site, node, t.Args, 3*time.Millisecond)
		c <- answer{e, err}
	}()
	var err error
	switch t.Args {
	case "monitor":
	case "promote", "notify":
		_, err = fault.Signal(ctx, t.Site, t.Node, "postmaster", fault.Postmaster, unix.SIGKILL)
	default:
		_, err = t.Must(ctx, t.peer(), "crm_attribute", "--node", t.Node, "--name", "standby", "--update", "on")
		if err == nil && t.Args == "start" {
			err = t.comesAndGoes(ctx)
		}
	}
	if err != nil {
		return fault.Evidence{}, err
	}
	a := <-c
	return a.e, a.err
}

// comesAndGoes waits until a node on standby has no server, and takes it back.
func (t Target) comesAndGoes(ctx context.Context) error {
	err := t.Wait(ctx, "no server on "+t.Node, agentPatience, func(v cluster.View) bool {
		return len(v.On(cluster.ResourcePgsql, "Promoted")) == 1 && v.Primary() != t.Node && !running(v, t.Node)
	})
	if err != nil {
		return err
	}
	return unstandby(ctx, t)
}

func running(v cluster.View, node string) bool {
	for _, n := range v.On(cluster.ResourcePgsql, "") {
		if n == node {
			return true
		}
	}
	return false
}

// unstandby takes a node back, from any node that answers.
func unstandby(ctx context.Context, t Target) error {
	return t.anywhere(ctx, "crm_attribute", "--node", t.Node, "--name", "standby", "--delete")
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
