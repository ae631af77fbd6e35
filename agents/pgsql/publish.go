package main

import (
	"context"
	"strings"

	"pgrex/lib/crm"
	"pgrex/lib/pg"
	"pgrex/lib/replication"
)

// primaryWrites are the attributes that a primary keeps for all nodes. They are
// for people, for other resources' rules and for the reference agent after a
// move back; no rule of ours reads them.
func (a *agent) primaryWrites(r *round) []crm.Write {
	w := []crm.Write{
		transient(a.self(), a.conf.attr(attrStatus), statusPrimary),
		forever(a.self(), a.conf.attr(attrData), dataLatest),
		transient(a.self(), a.conf.attr(attrLocation), ""),
		transient(a.self(), a.conf.attr(attrPosition), ""),
		a.noVote(),
	}
	w = append(w, a.receiverWrites(r.status)...)
	for _, n := range a.conf.nodes {
		if n != a.conf.self {
			w = append(w, a.standbyWrites(n, r)...)
		}
	}
	return a.changed(w)
}

// standbyWrites are what the primary says about one standby.
func (a *agent) standbyWrites(node string, r *round) []crm.Write {
	if _, known := a.memory.snap.Node(node); !known {
		return nil // named in node_list, but the cluster has never seen it
	}
	name := a.nodeName(node)
	status, data := statusAlone, dataDisconnect
	if row, ok := r.status.Sender(node); ok && a.presence(node) != replication.Down {
		status, data = a.standbyState(node, row)
	}
	w := []crm.Write{forever(name, a.conf.attr(attrData), data)}
	// STOP and UNKNOWN are the node's own word about its server, and a node that
	// is not there has no status.
	switch a.node(node).Transient[a.conf.attr(attrStatus)] {
	case "", statusStop, statusUnknown:
	default:
		w = append(w, transient(name, a.conf.attr(attrStatus), status))
	}
	return w
}

// standbyState is the status and the data status of a connected standby.
// "Synchronous" is said only of one that has the right to succeed: that is what
// everybody who reads it concludes.
func (a *agent) standbyState(node string, row pg.Sender) (status, data string) {
	state, sync := strings.ToUpper(row.State), strings.ToUpper(row.SyncState)
	if state != "STREAMING" {
		return statusConnected, state + "|" + sync
	}
	switch {
	case sync == "SYNC" && a.memory.newest.Entitles(node):
		return statusSync, "STREAMING|SYNC"
	case sync == "QUORUM" && a.voter(node) == a.memory.newest.Epoch:
		return statusQuorum, "STREAMING|QUORUM"
	case sync == "POTENTIAL":
		return statusPotential, "STREAMING|POTENTIAL"
	}
	return statusAsync, "STREAMING|ASYNC"
}

func (a *agent) publishPrimary(ctx context.Context, r *round) {
	a.publishRoom(ctx)
	a.try(ctx, a.primaryWrites(r)...)
}

// receiverWrites is check_wal_receiver: whether this server receives WAL.
func (a *agent) receiverWrites(st pg.Status) []crm.Write {
	if !a.conf.checkReceiver {
		return nil
	}
	value := receiverError
	switch {
	case !st.InRecovery:
		value = receiverPromoted
	case st.Receiver != nil:
		value = receiverNormal
	}
	return []crm.Write{transient(a.self(), a.conf.attr(attrReceiver), value)}
}

func (a *agent) publishReceiver(ctx context.Context, st pg.Status) {
	a.try(ctx, a.changed(a.receiverWrites(st))...)
}

// publishPosition tells the others how far this node's WAL reaches, stamped with
// the epoch of the newest record we know.
func (a *agent) publishPosition(ctx context.Context, st pg.Status) {
	pos := a.position(st)
	p := replication.Published{Epoch: a.memory.newest.Epoch, Position: pos}
	a.try(ctx, a.changed([]crm.Write{
		transient(a.self(), a.conf.attr(attrPosition), p.String()),
		transient(a.self(), a.conf.attr(attrLocation), pg.LSN(pos.LSN).Hex()),
		transient(a.self(), a.conf.attr(attrStatus), statusAlone),
	})...)
}

// publishRunning corrects, at a probe, the status of a standby that somebody else
// started: a person, in maintenance mode. The primary refines it.
func (a *agent) publishRunning(ctx context.Context) {
	switch a.node(a.conf.self).Transient[a.conf.attr(attrStatus)] {
	case "", statusStop, statusUnknown:
		a.try(ctx, transient(a.self(), a.conf.attr(attrStatus), statusAlone))
	}
}

// baseline is the position at which a node stood when the last primary went. The
// reference agent's nodes compare it before a promotion; ours read the record.
func (a *agent) baseline(st pg.Status) crm.Write {
	return transient(a.self(), a.conf.attr(attrBaseline), a.server.Position(st).LSN.Hex())
}

// noPosition are the writes that take our published position back.
func (a *agent) noPosition() []crm.Write {
	return []crm.Write{
		transient(a.self(), a.conf.attr(attrPosition), ""),
		transient(a.self(), a.conf.attr(attrLocation), ""),
	}
}

// forgetPosition takes our published position back once a primary lives: it
// would be out of date by the next commit.
func (a *agent) forgetPosition(ctx context.Context) {
	a.try(ctx, a.changed(append(a.noPosition(), transient(a.self(), a.conf.attr(attrBaseline), "")))...)
}

// keepRecord writes our entry in the cluster's memory if our file knows better:
// after a cut the other side's copy may have replaced ours, and a write may have
// failed after the file was written. Nobody can confirm a record it cannot see.
func (a *agent) keepRecord(ctx context.Context) {
	if !a.memory.newest.Newer(a.memory.cib) {
		return
	}
	if a.try(ctx, forever(a.self(), a.conf.attr(attrRecord), a.memory.newest.String())) {
		a.memory.cib = a.memory.newest
	}
}
