package main

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"time"

	"pgrex/lib/crm"
	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/replication"
)

// fullLimit is how long the volume of a primary's data may have no room before a
// standby that has some takes over: a query's temporary files may fill it for a moment.
const fullLimit = 20 * time.Second

// noRoom is what the volume of the data directory has run out of, "" for nothing.
// Where pg_wal has a volume of its own, the server goes on without: it refuses
// whoever needs a new page, and answers all questions.
func (a *agent) noRoom() string {
	what, err := a.exhausted(a.conf.data)
	if err != nil {
		a.log.Debug("it is not known whether there is room", "error", err)
	}
	return what
}

// roomWrite is the write by which a node says that it has no room, or again has some.
func (a *agent) roomWrite() crm.Write { return transient(a.self(), a.conf.attr(attrFull), a.noRoom()) }

// publishRoom writes it when it changes, and says so then. It comes at once, for a
// primary whose volume has been full for long must know of it.
func (a *agent) publishRoom(ctx context.Context) {
	w := a.changed([]crm.Write{a.roomWrite()})
	if len(w) == 0 || !a.try(ctx, w...) {
		return
	}
	if what := w[0].Value; what != "" {
		a.log.Warn("the volume of the data directory is full: make room on it", "pgdata", a.conf.data, "no", what)
	} else {
		a.log.Info("there is room again on the volume of the data directory", "pgdata", a.conf.data)
	}
}

// spell is how long the volume has been full without a break, as the monitors of a
// primary saw it. Times are since boot, like the directory of the file.
type spell struct {
	Since, Last time.Duration
	// Said is the last warning about it; each is given once.
	Said string
	// Yielded: the role was given up for it. That is done once until this node has
	// followed another primary, whether there was room meanwhile or not: where the
	// cluster does not let the standby take over, the role would be taken from here
	// and given back again and again.
	Yielded bool

	what string
}

// lasts says whether it is time for a standby to take over.
func (s spell) lasts() bool { return s.what != "" && s.Last-s.Since >= fullLimit }

// fullSpell notes what this monitor of a primary sees. Without monitors for a while,
// such as in maintenance mode, nobody knows what was between, and it begins afresh.
func (a *agent) fullSpell() (s spell) {
	what, err := a.exhausted(a.conf.data)
	now, clock := uptime()
	if a.call.Interval == 0 || err != nil || clock != nil {
		return spell{} // who looks by the way decides nothing, and nor does who sees nothing
	}
	text, err := os.ReadFile(a.runFile(runFull))
	if err != nil || json.Unmarshal(text, &s) != nil {
		s = spell{}
	}
	switch {
	case what == "" && !s.Yielded:
		a.forgetSpell()
		return spell{}
	case what == "":
		s = spell{Yielded: true}
	case s.Since == 0, s.Since > s.Last, s.Last > now, now-s.Last > a.call.Interval+fullLimit/2:
		s.Since = now
	}
	s.Last, s.what = now, what
	if !a.keepSpell(s) {
		return spell{}
	}
	return s
}

func (a *agent) keepSpell(s spell) bool {
	text, err := json.Marshal(s)
	if err == nil {
		err = pg.WriteFile(a.runFile(runFull), text, pg.FileOptions{Mode: 0o600, Replace: true})
	}
	if err != nil {
		a.log.Warn("cannot remember since when the volume of the data directory is full; no standby takes over for it", "error", err)
	}
	return err == nil
}

func (a *agent) forgetSpell() { _ = os.Remove(a.runFile(runFull)) }

// giveWay fails a primary whose volume has been full for long if a standby with room
// takes over. If none can it stays, one that reads and updates being better than none.
func (a *agent) giveWay(ctx context.Context, st pg.Status, s spell) error {
	stay := ocf.Status(ocf.RunningPromoted)
	if !s.lasts() {
		return stay
	}
	if err := a.remember(ctx); err != nil {
		a.log.Warn("it is not known whether a standby can take over from a primary without room", "error", err)
		return stay
	}
	if a.memory.newest.Primary != a.conf.self {
		return stay // the next round says what that means
	}
	to, bar := a.successor(st)
	if s.Yielded && bar == "" {
		bar = "no other node became the primary when this one gave the role up"
	}
	if bar == "" {
		// Nobody would act on it, or not on the standby; that the cluster bans one it does not say.
		_, bar = a.notOurs(ctx)
	}
	switch {
	case bar == s.Said && bar != "":
		return stay
	case bar != "":
		a.log.Warn("the volume of the data directory is full, and no standby takes over: make room on it", "pgdata", a.conf.data, "no", s.what, "because", bar)
		s.Said = bar
		a.keepSpell(s)
		return stay
	}
	if s.Yielded = true; !a.keepSpell(s) {
		return stay
	}
	return ocf.Errorf(ocf.FailedPromoted, "the volume of %s has been full for %v (no %s): make room on it; %s takes over",
		a.conf.data, (s.Last - s.Since).Round(time.Second), s.what, to)
}

// successor is who may take over and has room for it, or why nobody does. The
// cluster's memory must have been read. Of voters all must have room: which of them
// is promoted shows only when they have voted.
func (a *agent) successor(st pg.Status) (to, bar string) {
	var able, bars []string
	for _, n := range a.conf.nodes {
		if n == a.conf.self {
			continue
		}
		row, _ := st.Sender(n)
		switch quorum := a.memory.newest.Quorum > 0; {
		case a.presence(n) != replication.Online:
			bars = append(bars, n+" is not there")
		case a.node(n).Maintenance, a.node(n).Standby:
			bars = append(bars, n+" is in maintenance mode or standby mode")
		case row.State != "streaming":
			// What the cluster knows of it may be older than that.
			bars = append(bars, n+" does not stream")
		case !a.memory.newest.Entitles(n), quorum && a.voter(n) != a.memory.newest.Epoch, !quorum && a.score(n) != replication.Standby:
			bars = append(bars, n+" has no right to be promoted")
		case a.node(n).Transient[a.conf.attr(attrFull)] != "":
			bars = append(bars, n+" has no room either")
		default:
			able = append(able, n)
		}
	}
	switch {
	case a.conf.mode != modeSync:
		// The stop of a server without room is a crash, of which the last WAL may be there alone.
		return "", "without rep_mode=sync the newest commits might be lost by it"
	case len(a.conf.nodes) < 2:
		bars = []string{"there is none"}
	case len(able) > 0 && (len(bars) == 0 || a.memory.newest.Quorum == 0):
		return strings.Join(able, " or "), ""
	}
	slices.Sort(bars)
	return "", strings.Join(bars, ", ")
}
