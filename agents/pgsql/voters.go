package main

import (
	"context"
	"strconv"
	"time"

	"pgrex/lib/crm"
	"pgrex/lib/pg"
)

// voter is the epoch of the record by which a node votes; 0 for none, and for what
// is no number.
func (a *agent) voter(node string) uint64 {
	epoch, err := strconv.ParseUint(a.node(node).Transient[a.conf.attr(attrVoter)], 10, 64)
	if err != nil {
		return 0
	}
	return epoch
}

// noVote is the write that takes this node's vote back. Whoever was down, or is the
// primary, has none.
func (a *agent) noVote() crm.Write { return transient(a.self(), a.conf.attr(attrVoter), "") }

// standStill ends the connection to the last primary before a voter says how far it
// got. The cluster has that primary for gone; should its server run on unseen, what
// it acknowledges from now on is not to rest on this node, or its word would be out
// of date. The next primary is followed by pointUpstream.
func (a *agent) standStill(ctx context.Context, conn *pg.Conn, r *round) error {
	// One that is between two attempts would be there again after the word was given.
	if a.memory.newest.Quorum == 0 || r.status.Receiver == nil && r.status.Setting("primary_conninfo").Value == "" {
		return nil
	}
	if err := a.writeFile(a.conf.recoveryFile(), a.conf.recoveryConf(false)); err != nil {
		return err
	}
	if err := a.server.Reload(); err != nil {
		return err
	}
	if err := a.awaitConninfo(ctx, conn, ""); err != nil {
		return err
	}
	tick := time.NewTicker(waitPoll / 5)
	defer tick.Stop()
	for {
		if err := a.lookAtServer(ctx, conn, r); err != nil {
			return err
		}
		if r.status.Receiver == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
