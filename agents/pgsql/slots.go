package main

import (
	"context"

	"pgrex/lib/pg"
)

// makeSlots creates a physical slot for every other node on a new primary, so
// that none of them loses WAL it needs while it is away.
func (a *agent) makeSlots(ctx context.Context, conn *pg.Conn) {
	if a.conf.slotPrefix == "" {
		return
	}
	for _, name := range a.otherSlots() {
		if err := conn.CreateSlot(ctx, name); err != nil {
			a.log.Warn("replication slot not created; the next monitor tries again", "error", err)
		}
	}
}

// dropSlots removes them on a standby: a slot that nobody uses keeps WAL until
// the disk is full.
func (a *agent) dropSlots(ctx context.Context, conn *pg.Conn) {
	if a.conf.slotPrefix == "" {
		return
	}
	for _, name := range a.otherSlots() {
		if err := conn.DropSlot(ctx, name); err != nil {
			a.log.Warn("left-over replication slot not dropped", "error", err)
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
func (a *agent) keepSlots(ctx context.Context, conn *pg.Conn, r *round) {
	have := map[string]bool{}
	for _, s := range r.status.Slots {
		have[s.Name] = true
	}
	if a.conf.slotPrefix == "" {
		return
	}
	for _, s := range a.otherSlots() {
		if !have[s] {
			a.makeSlots(ctx, conn)
			return
		}
	}
}
