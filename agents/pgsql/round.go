package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"pgrex/lib/crm"
	"pgrex/lib/pg"
	"pgrex/lib/replication"
)

const (
	// waitPoll is how often a rule that waits is asked again.
	waitPoll = 100 * time.Millisecond
	// proveLimit bounds one attempt to prove that commits wait for a standby. A
	// standby that needs longer is granted its right by a later monitor.
	proveLimit = 4 * time.Second
	// settleLimit bounds the wait until a reloaded setting is in force.
	settleLimit = 3 * time.Second
)

// round is one pursuit of a rule: what the server showed last and what was
// gained on the way.
type round struct {
	status pg.Status
	names  []string // synchronous_standby_names in force
	count  int      // how many of them a commit waits for
	// unprotected says why commits do not wait for our standbys whatever the names
	// are, "" when they do.
	unprotected string
	proofs      []replication.Proof
	unproven    []string
	claimed     uint64
	opened      bool
	// restart: the server is opened by a restart, on the timeline it has.
	restart bool
}

// pursue asks a rule, carries out the steps, observes again and asks again,
// until the rule has nothing more to say or time is up. A rule that still waits
// then is not an error: the Decision says what for.
func (a *agent) pursue(ctx context.Context, conn *pg.Conn, r *round, rule func(replication.Observation) replication.Decision) (replication.Decision, error) {
	tick := time.NewTicker(waitPoll)
	defer tick.Stop()
	fresh := true // nothing was waited for since the last look
	for {
		d := rule(a.observe(r))
		a.log.Debug("decided", "decision", d.String())
		if err := a.carryOut(ctx, conn, r, d.Steps); err != nil {
			return d, err
		}
		switch d.Verdict {
		case replication.Done, replication.No:
			return d, nil
		case replication.Wait:
			if fresh && len(d.Steps) > 0 {
				// The steps may have brought what is waited for.
				fresh = false
				continue
			}
			fresh = true
			select {
			case <-ctx.Done():
				return d, nil
			case <-tick.C:
			}
			// Only a fresh look can end a wait: who is down, who came back.
			if err := a.look(ctx, conn, r); err != nil {
				if outOfTime(err) {
					return d, nil
				}
				return d, err
			}
		}
		if ctx.Err() != nil && d.Verdict == replication.Wait {
			return d, nil
		}
		if ctx.Err() != nil {
			d.Reason = "out of time; the last thing done was: " + d.String()
			return d, nil
		}
	}
}

// look reads the cluster's memory and the server afresh.
func (a *agent) look(ctx context.Context, conn *pg.Conn, r *round) error {
	if err := a.remember(ctx); err != nil {
		return err
	}
	return a.lookAtServer(ctx, conn, r)
}

// lookAtServer reads the server afresh.
func (a *agent) lookAtServer(ctx context.Context, conn *pg.Conn, r *round) error {
	if conn == nil {
		return nil
	}
	st, err := conn.Status(ctx)
	if err != nil {
		return err
	}
	a.readServer(r, st)
	return nil
}

// readServer takes over what the server shows.
func (a *agent) readServer(r *round, st pg.Status) {
	var err error
	r.status, r.unprotected = st, ""
	if r.names, r.count, err = a.namesInForce(st); err != nil {
		// Not ours to change, and whom commits wait for is not known: no right of a
		// standby may rest on it.
		r.unprotected = err.Error()
	}
}

// namesInForce are the names that commits wait for, and for how many. A value that we did not
// write is an error: changing ours would have no effect, and commits would be
// released or held against the rules.
func (a *agent) namesInForce(st pg.Status) ([]string, int, error) {
	set := st.Setting("synchronous_standby_names")
	names, count, ok := parseStandbyNames(set.Value)
	// A role that may not see sources cannot be held against the setting.
	foreign := set.Value != "" && set.File != "" && filepath.Clean(set.File) != a.conf.repModeFile()
	if !ok || foreign {
		return nil, 0, fmt.Errorf("synchronous_standby_names = %q is set by %s: remove it there, the agent sets it in %s",
			set.Value, set.From(), a.conf.repModeFile())
	}
	return lower(names), count, nil
}

// observe is the observation with what the server and this round add to it.
func (a *agent) observe(r *round) replication.Observation {
	o := a.observation()
	o.Position = a.position(r.status)
	o.SyncNames, o.SyncCount, o.Unprotected = r.names, r.count, r.unprotected
	o.Proofs, o.Unproven, o.Claimed = r.proofs, r.unproven, r.claimed
	for _, row := range r.status.Walsenders {
		name := strings.ToLower(row.Name)
		rr := replication.Row{State: row.State, SyncState: row.SyncState}
		if p, ok := o.Peers[name]; ok && a.conf.listed(name) {
			switch {
			case p.Row != nil && p.Row.Streaming() && rr.Streaming():
				// Which of the two is the node, and which of them acknowledges, cannot
				// be told: see endDoubles.
				p.Row = &replication.Row{State: "doubled"}
			case p.Row == nil || !p.Row.Streaming() && p.Row.State != "doubled":
				// A dying connection must not hide the living one.
				p.Row = &rr
			}
			o.Peers[name] = p
		} else if slices.Contains(lower(a.conf.external), name) && rr.Streaming() {
			o.ExternalRows = append(o.ExternalRows, name)
		}
	}
	slices.Sort(o.ExternalRows)
	o.ExternalRows = slices.Compact(o.ExternalRows)
	return o
}

// position is how far the server's WAL reaches, in the rules' terms.
func (a *agent) position(st pg.Status) replication.Position {
	p := a.server.Position(st)
	pos := replication.Position{System: st.SystemID, Timeline: uint32(p.Timeline), LSN: replication.LSN(p.LSN)}
	h, err := pg.ReadHistory(a.server.WALDir(), p.Timeline)
	if err != nil {
		a.log.Warn("the history of the timeline cannot be read; positions of older timelines cannot be compared", "timeline", p.Timeline, "error", err)
		return pos
	}
	pos.History = switches(h)
	return pos
}

func switches(h pg.History) []replication.Switch {
	out := make([]replication.Switch, 0, len(h.Ancestors))
	for _, e := range h.Ancestors {
		out = append(out, replication.Switch{Timeline: uint32(e.Timeline), End: replication.LSN(e.End)})
	}
	return out
}

// carryOut does the steps in their order. Neighbouring scores are written together.
func (a *agent) carryOut(ctx context.Context, conn *pg.Conn, r *round, steps []replication.Step) error {
	var writes []crm.Write
	flush := func() error {
		err := a.apply(ctx, writes...)
		writes = nil
		return err
	}
	for _, s := range steps {
		if s.Kind == replication.SetScore {
			a.log.Info("promotion score", "node", s.Node, "score", s.Score.String())
			writes = append(writes, a.scoreWrite(s.Node, s.Score))
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		if err := a.carryOutOne(ctx, conn, r, s); err != nil {
			return err
		}
	}
	if a.promoting() {
		// The record has ended the others' rights, and the scores prove nothing: the
		// first monitor of the new primary mends them.
		a.try(ctx, writes...)
		return nil
	}
	return flush()
}

func (a *agent) carryOutOne(ctx context.Context, conn *pg.Conn, r *round, s replication.Step) error {
	switch s.Kind {
	case replication.SaveRecord:
		if err := a.saveRecord(ctx, s.Record); err != nil {
			return err
		}
		if s.Record.Primary == a.conf.self {
			r.claimed = s.Record.Epoch
		}
	case replication.SetSync:
		if err := a.setSync(ctx, conn, s.Nodes, s.Count); err != nil {
			return err
		}
		// What was proven before held for other names.
		r.proofs, r.unproven = nil, nil
		return a.lookAtServer(ctx, conn, r)
	case replication.Prove:
		if err := a.prove(ctx, conn, r, s.Node); err != nil {
			a.log.Warn("not proven that commits wait for the standby", "node", s.Node, "error", err)
			r.unproven = append(r.unproven, s.Node)
			return nil
		}
		r.proofs = append(r.proofs, replication.Proof{Node: s.Node})
	case replication.SetVoter:
		return a.apply(ctx, transient(a.nodeName(s.Node), a.conf.attr(attrVoter), strconv.FormatUint(s.Epoch, 10)))
	case replication.ReadCopy:
		// A peer that cannot be read is one that is not proven; the rule waits.
		if err := a.readCopy(ctx, s.Node); err != nil {
			a.log.Info("cannot read a node's own copy of the cluster's memory yet", "node", s.Node, "error", err)
		}
	case replication.Open:
		r.opened = true
	}
	return nil
}

// setSync puts names in force as synchronous_standby_names, by which a commit waits
// for count of them: written durably, reloaded, read back with its source.
func (a *agent) setSync(ctx context.Context, conn *pg.Conn, names []string, count int) error {
	want := standbyNames(names, count)
	if err := a.writeRepMode(want); err != nil {
		return err
	}
	if err := a.server.Reload(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	setting, err := conn.WaitSetting(ctx, "synchronous_standby_names", want)
	if err != nil {
		if problem := conn.SettingProblem(ctx, "synchronous_standby_names"); problem != "" {
			return fmt.Errorf("synchronous_standby_names is %q instead of %q after a reload: %s", setting.Value, want, problem)
		}
		return fmt.Errorf("synchronous_standby_names is %q (from %s) instead of %q after a reload: remove the other setting, the agent sets it in %s",
			setting.Value, setting.From(), want, a.conf.repModeFile())
	}
	a.log.Info("commits wait for", "synchronous_standby_names", want)
	if len(names) == 0 {
		// Commits that wait already go on when the checkpointer has noticed.
		if err := a.asOwner().AwaitReload(ctx); err != nil {
			a.log.Warn("the checkpointer has not noticed yet that commits need not wait", "error", err)
		}
	}
	return nil
}

// commitDefault finds a synchronous_commit by which no commit waits.
func (a *agent) commitDefault(ctx context.Context) (problem string, err error) {
	v, err := a.asOwner().CommitDefault(ctx)
	if err == nil && (v == "off" || v == "local") {
		problem = "no standby is entitled to succeed: synchronous_commit is " + v + " by default, so commits do not wait; set it to on"
	}
	return problem, err
}

// endDoubles ends all but the newest of several connections that stream under one
// node's name. The older one is that of a former life of the node, or a stranger
// holds its name; either could acknowledge what the node does not have.
func (a *agent) endDoubles(ctx context.Context, conn *pg.Conn, r *round) error {
	from := map[string][]string{}
	for _, w := range r.status.Walsenders {
		if w.State == "streaming" {
			from[strings.ToLower(w.Name)] = append(from[strings.ToLower(w.Name)], w.Addr)
		}
	}
	ended := false
	for _, n := range lower(a.conf.nodes) {
		if len(from[n]) < 2 {
			continue
		}
		a.log.Warn("several connections stream under the name of one node, the older ones are ended; no right is granted while there are two: "+
			"if it goes on, look for another standby or pg_receivewal with this application_name", "node", n, "from", from[n])
		if err := conn.EndOlderSenders(ctx, n); err != nil {
			return err
		}
		ended = true
	}
	if !ended {
		return nil
	}
	return a.lookAtServer(ctx, conn, r)
}

// endOthers ends the walsenders of standbys that commits do not wait for, once
// after each change of the names. One that has not read the names in force may
// still take its standby for the synchronous one, and would release commits that
// wait for another. They connect again, and a new one begins with the names that
// the postmaster has: those of the session that is asked here, or later ones. A node
// that has left node_list may have been waited for before.
func (a *agent) endOthers(ctx context.Context, r *round) error {
	var others []string
	known := lower(slices.Concat(a.conf.nodes, a.conf.external, slices.Collect(maps.Keys(a.memory.snap.Nodes))))
	slices.Sort(known)
	for _, n := range slices.Compact(known) {
		if _, connected := r.status.Sender(n); connected && !slices.Contains(r.names, n) {
			others = append(others, n)
		}
	}
	if len(others) == 0 {
		return nil
	}
	conn, err := a.owner(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	force, err := conn.InForce(ctx)
	if err != nil {
		return err
	}
	if done, err := os.ReadFile(a.conf.endedFile()); err == nil && string(done) == force {
		return nil
	}
	for _, n := range others {
		if err := conn.EndSender(ctx, n); err != nil {
			return err
		}
		a.log.Info("ended the replication connection of a standby that commits do not wait for; it connects again", "node", n)
	}
	return pg.WriteFile(a.conf.endedFile(), []byte(force), pg.FileOptions{Mode: 0o600, Replace: true})
}

// prove shows that commits wait for node and that it holds all that was
// acknowledged before they did.
func (a *agent) prove(ctx context.Context, conn *pg.Conn, r *round, node string) error {
	ctx, cancel := context.WithTimeout(ctx, proveLimit)
	defer cancel()
	switch problem, err := a.commitDefault(ctx); {
	case err != nil:
		return err
	case problem != "":
		return errors.New(problem)
	}
	if err := a.endOthers(ctx, r); err != nil {
		return err
	}
	how, err := a.asOwner().ConfirmCommitsWait(ctx)
	if err != nil {
		return err
	}
	// Read after the proof: every commit acknowledged without waiting lies before.
	lsn, err := conn.InsertLSN(ctx)
	if err != nil {
		return err
	}
	// Of the others too: a walsender that still goes by the names before would
	// release, on its own standby's word alone, commits that wait for node. One that
	// has sent WAL written since, and taken the answer, has read the names in between.
	for _, n := range r.names {
		if err := conn.WaitFlushed(ctx, n, lsn); err != nil {
			return err
		}
	}
	a.log.Info("commits are proven to wait", "node", node, "by", string(how), "flushed", lsn.String())
	return nil
}

func lower(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToLower(n)
	}
	return out
}
