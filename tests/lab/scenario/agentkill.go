package scenario

import (
	"context"
	"fmt"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
)

// quickForget keeps scenarios short in which both nodes have failed and nothing
// but time brings them back.
func quickForget() map[string]string { return map[string]string{"FAILURE_TIMEOUT": "15s"} }

func agentKills() []Scenario {
	return []Scenario{
		{
			Name:      "agent-killed-in-promote",
			Text:      "the primary is killed and the agent in the middle of promote: somebody serves in the end, nothing is lost",
			Variables: quickForget(),
			Play:      killedInPromote,
		},
		{
			Name:      "agent-killed-in-demote",
			Text:      "the agent is killed in the middle of demote during a switchover: the node is fenced, the other one serves",
			Variables: quickForget(),
			Play:      killedInDemote,
		},
	}
}

type killed struct {
	e   fault.Evidence
	err error
}

// killInAction waits in the background for the agent and kills it.
func (r *Run) killInAction(ctx context.Context, node, action string) <-chan killed {
	c := make(chan killed, 1)
	go func() {
		e, err := fault.KillInAction(ctx, r.Site, node, action, 5*time.Millisecond)
		c <- killed{e, err}
	}()
	return c
}

func killedInPromote(ctx context.Context, r *Run) error {
	p, s, err := r.Pair(ctx)
	if err != nil {
		return err
	}
	c := r.killInAction(ctx, s, "promote")
	if err := r.Kill(ctx, p, "postmaster", fault.Postmaster); err != nil {
		return err
	}
	k := <-c
	if err := r.Must(k.e, k.err); err != nil {
		return err
	}
	err = r.Wait(ctx, "a primary", 90*time.Second, func(v cluster.View) bool { return v.Primary() != "" })
	if err != nil {
		return err
	}
	return r.WaitCommits(ctx, 30*time.Second)
}

func killedInDemote(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	p, s := was.primary, was.standby
	r.Begin("node standby " + p)
	c := r.killInAction(ctx, p, "demote")
	if err := r.Pcs(ctx, s, "node", "standby", p); err != nil {
		return err
	}
	k := <-c
	if err := r.Must(k.e, k.err); err != nil {
		return err
	}
	if err := r.fenced(ctx, was, p); err != nil {
		return fmt.Errorf("a failed demote must be fenced: %w", err)
	}
	if err := r.failover(ctx, s, was.timeline, time.Minute); err != nil {
		return err
	}
	return r.Pcs(ctx, s, "node", "unstandby", p)
}
