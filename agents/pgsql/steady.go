package main

import (
	"fmt"
	"slices"
	"strings"

	"pgrex/lib/crm"
	"pgrex/lib/pg"
)

func (a *agent) newCache() *crm.Cache {
	return &crm.Cache{Name: "pgrex-" + a.call.Instance, Dir: a.call.Getenv("HA_RSCTMP"), Client: a.cluster}
}

// steady reports whether the server shows exactly what it showed when the cluster
// was last brought up to date, so that nothing needs to be read or written. The
// cache forgets by itself after a minute and with every new attribute daemon.
func (a *agent) steady(st pg.Status) bool {
	if a.call.Probe {
		return false
	}
	seen, ok := a.cache.Load()
	print := a.fingerprint(st)
	return ok && print != "" && seen == print
}

func (a *agent) storeSteady(st pg.Status) {
	if a.unwritten {
		return
	}
	if err := a.cache.Store(a.fingerprint(st)); err != nil {
		a.log.Warn("cannot remember what was written; every monitor will read the cluster's memory", "error", err)
	}
}

// fingerprint is all of the server's state that a decision could hang on. The
// record in our file is part of it: another action may have learnt a newer one.
func (a *agent) fingerprint(st pg.Status) string {
	record, err := a.readRecordFile()
	if err != nil {
		return ""
	}
	var rows []string
	for _, w := range st.Walsenders {
		rows = append(rows, strings.ToLower(w.Name)+"="+w.State+"/"+w.SyncState)
	}
	slices.Sort(rows)
	receiver := ""
	if st.Receiver != nil {
		receiver = st.Receiver.Status
	}
	names := st.Setting("synchronous_standby_names")
	// Loaded: a reload may have changed what commits wait for by default.
	return fmt.Sprintf("standby=%v timeline=%d loaded=%s receiver=%s rows=%s names=%s from=%s record=%s full=%s", st.InRecovery, st.Timeline, st.Loaded, receiver,
		strings.Join(rows, ","), names.Value, names.File, record, a.noRoom())
}
