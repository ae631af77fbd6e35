package chaos

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
)

const (
	// agentPatience is how long an action is waited for that is to be broken.
	agentPatience = 20 * time.Second
	// agentWork is how long an agent may work before it is hit, so that it is in the middle.
	// One that is done by then, as a notification at times, counts as missed.
	agentWork = 3 * time.Millisecond
)

// agent is a program that the cluster runs for an action, and how it is made to.
type agent struct {
	name string
	// actions are those to choose from, none if the command line does not tell.
	actions []string
	process func(Target) fault.Pattern
	// where are the nodes of which one will run it.
	where   func(Target) []string
	provoke func(context.Context, Target) error
	heal    func(context.Context, Target) error
}

func agents() []agent {
	return []agent{
		{
			name: "agent", actions: []string{"promote", "demote", "stop", "start", "notify", "monitor"},
			process: func(t Target) fault.Pattern { return fault.Action(t.Args) },
			where:   there("promote", "notify"),
			provoke: serverActs,
			heal:    unstandby,
		},
		{
			name: "vip-agent", actions: []string{"start", "stop", "monitor"},
			process: func(t Target) fault.Pattern { return fault.Agent("cloudip", t.Args) },
			where:   there("start"),
			provoke: addressMoves,
		},
		{
			name: "fence-agent",
			process: func(t Target) fault.Pattern {
				if t.Azure {
					return fault.Daemon("fence_azure")
				}
				return fault.Daemon("fence_ipmi")
			},
			where:   func(t Target) []string { return t.Peers },
			provoke: func(ctx context.Context, t Target) error { _, err := powerOff(ctx, t); return err },
			heal:    powerOn,
		},
	}
}

// there is the node that takes over for some actions, and the one that is hit for all others.
func there(actions ...string) func(Target) []string {
	return func(t Target) []string {
		if slices.Contains(actions, t.Args) {
			return t.Peers[:1]
		}
		return []string{t.Node}
	}
}

// agentKinds kill agents in the middle of what they do, and stop them there for a
// while: one that goes on then acts on what was true before.
func agentKinds() []Kind {
	var all []Kind
	for _, a := range agents() {
		k := Kind{Name: "kill-" + a.name, Group: "agent", Roles: onPrimary(), Inject: atWork(a, unix.SIGKILL), Heal: a.heal}
		if len(a.actions) > 0 {
			k.Args = oneOf(a.actions...)
		}
		all = append(all, k)
		k.Name, k.Longest, k.Inject = "stop-"+a.name, 12*time.Second, atWork(a, unix.SIGSTOP)
		k.Heal = func(ctx context.Context, t Target) error {
			err := fault.GoOn(t.Site, a.where(t), a.process(t))
			if a.heal != nil {
				err = errors.Join(err, a.heal(ctx, t))
			}
			return err
		}
		all = append(all, k)
	}
	return all
}

// atWork begins what makes an agent work and hits it there. It is looked for only then: a
// monitor that happens to be under way is no answer to what was begun.
func atWork(a agent, sig unix.Signal) func(context.Context, Target) (fault.Evidence, error) {
	return func(ctx context.Context, t Target) (fault.Evidence, error) {
		ctx, cancel := context.WithTimeout(ctx, agentPatience)
		defer cancel()
		if err := a.provoke(ctx, t); err != nil {
			return fault.Evidence{}, err
		}
		what := a.name
		if t.Args != "" {
			what += " in " + t.Args
		}
		return fault.SignalAtWork(ctx, t.Site, a.where(t), what, a.process(t), agentWork, sig)
	}
}

// serverActs makes the agent of PostgreSQL carry out an action.
func serverActs(ctx context.Context, t Target) error {
	switch t.Args {
	case "monitor":
		return nil
	case "promote", "notify":
		return killPostmaster(ctx, t)
	}
	_, err := t.Must(ctx, t.peer(), "crm_attribute", "--node", t.Node, "--name", "standby", "--update", "on")
	if err == nil && t.Args == "start" {
		err = t.comesAndGoes(ctx)
	}
	return err
}

// addressMoves makes the primary's address leave its node.
func addressMoves(ctx context.Context, t Target) error {
	if t.Args == "monitor" {
		return nil
	}
	return killPostmaster(ctx, t)
}

func killPostmaster(ctx context.Context, t Target) error {
	_, err := fault.Signal(ctx, t.Site, t.Node, "postmaster", fault.Postmaster, unix.SIGKILL)
	return err
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
	return slices.Contains(v.On(cluster.ResourcePgsql, ""), node)
}

// unstandby takes a node back, from any node that answers.
func unstandby(ctx context.Context, t Target) error {
	return t.anywhere(ctx, "crm_attribute", "--node", t.Node, "--name", "standby", "--delete")
}
