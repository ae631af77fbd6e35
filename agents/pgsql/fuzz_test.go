package main

import (
	"os"
	"path/filepath"
	"testing"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
)

// What other processes of the agent have left in files: the watcher, the worker of a
// rejoin, who told of a death, the report of what was kept.
func FuzzFiles(f *testing.F) {
	for _, s := range []string{
		"4711@1 4712@2 abcdef\n", "1@1 1@1\n", "4711@1 monitor 123456789 0\n", "4711@1 watcher -1 -1\n", "4711@1 x 99999999999999999999 0", "0@0 a 1 1",
		"4711@123 copying 5 of 7 MB\n", "4711@123", "Commits: 3, the last at x\n" + acknowledgedNone + "\n", "Commits:", "",
	} {
		f.Add(s)
	}
	dir := f.TempDir()
	a := &agent{call: &ocf.Call{Resource: "pgsql", Getenv: func(string) string { return dir }}}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := parseDeath(s); err == nil && d.postmaster == (pg.ProcessID{}) {
			t.Errorf("death %+v", d)
		}
		for _, path := range []string{a.runFile(runWatcher), a.runFile(runRejoin), filepath.Join(dir, reportName)} {
			if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if w, ok := a.readWatch(); ok && (w.watcher.PID <= 0 || w.postmaster.PID <= 0) {
			t.Errorf("watcher %+v", w)
		}
		if w, ok := a.readWorker(); ok && w.id.PID <= 0 {
			t.Errorf("worker %+v", w)
		}
		if _, err := readSummary(dir); err != nil {
			t.Error(err)
		}
	})
}
