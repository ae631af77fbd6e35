package ocf

import (
	"log/slog"

	"pgrex/lib/journal"
)

// newJournal is where the lines of one action go: stderr (Pacemaker collects it), the system log, and
// the cluster's own log file where the environment names one.
func newJournal(p Process, tag string, secrets []string) *journal.Journal {
	level := slog.LevelInfo
	if debugging(p.LookupEnv) {
		level = slog.LevelDebug
	}
	j := journal.New(journal.Config{
		Stderr: p.Stderr, StderrLevel: level, Layout: journal.ClusterLayout,
		Tag: tag, PID: p.PID, Syslog: p.Syslog, Level: level, LookupEnv: p.LookupEnv, Now: p.Now,
	})
	j.Hide(secrets...)
	return j
}

// debugging reports whether the cluster was asked for debug lines.
func debugging(lookup func(string) (string, bool)) bool {
	d, _ := lookup("HA_debug")
	if d == "" {
		d, _ = lookup("PCMK_debug")
	}
	return d != "" && d != "0" && d != "no" && d != "off"
}
