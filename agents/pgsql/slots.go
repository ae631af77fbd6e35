package main

import (
	"context"

	"pgrex/lib/pg"
)

// owner is a session as the server's owner, for what the monitoring role may not
// do: slots, ending other sessions.
func (a *agent) owner(ctx context.Context) (*pg.Conn, error) {
	return a.asOwner().Connect(ctx)
}

// asOwner is the server as its owner reaches it.
func (a *agent) asOwner() *pg.Server { return a.server.AsOwner() }

// makeSlots creates a physical slot for every other node on a primary, so that
// none of them loses WAL it needs while it is away.
func (a *agent) makeSlots(ctx context.Context) {
	a.eachSlot(ctx, "created", (*pg.Conn).CreateSlot)
}

// dropSlots removes them on a standby: a slot that nobody uses keeps WAL until
// the disk is full.
func (a *agent) dropSlots(ctx context.Context) {
	a.eachSlot(ctx, "dropped", (*pg.Conn).DropSlot)
}

func (a *agent) eachSlot(ctx context.Context, done string, f func(*pg.Conn, context.Context, string) error) {
	if a.conf.slotPrefix == "" {
		return
	}
	conn, err := a.owner(ctx)
	if err != nil {
		a.log.Warn("replication slots not "+done, "error", err)
		return
	}
	defer conn.Close()
	for _, name := range a.otherSlots() {
		if err := f(conn, ctx, name); err != nil {
			a.log.Warn("replication slot not "+done, "error", err)
		}
	}
}

func (a *agent) otherSlots() []string {
	var slots []string
	for _, n := range a.conf.nodes {
		if n != a.conf.self {
			slots = append(slots, a.conf.slot(n))
		}
	}
	return slots
}

// keepSlots creates slots that are missing on a running primary: a node added to
// node_list later has none yet.
func (a *agent) keepSlots(ctx context.Context, r *round) {
	if a.conf.slotPrefix == "" {
		return
	}
	have := map[string]bool{}
	for _, s := range r.status.Slots {
		have[s.Name] = true
	}
	for _, s := range a.otherSlots() {
		if !have[s] {
			a.makeSlots(ctx)
			return
		}
	}
}
