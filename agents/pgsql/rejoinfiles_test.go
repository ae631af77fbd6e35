package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgrex/lib/pg"
	"pgrex/lib/pg/pgtest"
	"pgrex/lib/proc"
)

// beside is an agent whose data directory has a log directory elsewhere, without a server.
func beside(t *testing.T) (*agent, places) {
	t.Helper()
	dir := pgtest.Dir(t)
	a := &agent{log: slog.New(slog.DiscardHandler), conf: config{data: dir + "/link", self: "n1", rejoinKeep: 2, resource: "pgsql"}}
	a.server = &pg.Server{Data: a.conf.data, User: proc.User{Name: "me", UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}}
	for _, d := range []string{"real", "real/base", "real/global", "real/log", "real/conf.d", "wal"} {
		mkdir(t, filepath.Join(dir, d))
	}
	for _, link := range [][2]string{{dir + "/real", dir + "/link"}, {dir + "/wal", dir + "/real/pg_wal"}} {
		if err := os.Symlink(link[0], link[1]); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"PG_VERSION": "old", "base/1": "old", "postgresql.conf": "mine", "postgresql.auto.conf": "mine", "server.key": "mine",
		"conf.d/x.conf": "mine", "log/today": "mine", "pg_hba.conf": "mine", "standby.signal": "old"} {
		put(t, dir+"/real/"+name, text)
	}
	put(t, dir+"/wal/segment", "old")
	p, err := a.places()
	if err != nil {
		t.Fatal(err)
	}
	return a, p
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// copyOf makes what pg_basebackup would.
func copyOf(t *testing.T, p places) {
	t.Helper()
	for _, d := range []string{p.clone + "/base", p.clone + "/log", p.cloneWAL} {
		mkdir(t, d)
	}
	if err := os.Symlink(p.cloneWAL, p.clone+"/pg_wal"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"PG_VERSION", "base/1", "postgresql.conf", "pg_hba.conf", "log/theirs", "backup_label"} {
		put(t, p.clone+"/"+name, "new")
	}
	put(t, p.cloneWAL+"/segment", "new")
}

// isMine checks that the data is the primary's and everything else this node's.
func isMine(t *testing.T, a *agent) {
	t.Helper()
	for name, want := range map[string]string{"PG_VERSION": "new", "base/1": "new", "pg_wal/segment": "new", "postgresql.conf": "mine", "postgresql.auto.conf": "mine",
		"server.key": "mine", "conf.d/x.conf": "mine", "log/today": "mine", "pg_hba.conf": "mine"} {
		b, err := os.ReadFile(filepath.Join(a.conf.data, name))
		if err != nil || string(b) != want {
			t.Errorf("%s is %q, want %q (%v)", name, b, want, err)
		}
	}
	if exists(a.conf.data + "/standby.signal") {
		t.Error("it has a file of the old server")
	}
	m, err := a.readMark()
	if err != nil || m.phase != phaseDone || m.unusable() != "" {
		t.Errorf("mark %+v, %v", m, err)
	}
}

// Whoever is killed while directories change places is followed by one who ends it. The steps are
// done here one by one, and after each of them another start comes.
func TestSwapInterrupted(t *testing.T) {
	t.Parallel()
	rename := func(from, to string) func(*testing.T, places) {
		return func(t *testing.T, p places) {
			r := strings.NewReplacer("DATA", p.data, "WAL", p.wal)
			if err := os.Rename(r.Replace(from), r.Replace(to)); err != nil {
				t.Fatal(err)
			}
		}
	}
	steps := []func(*testing.T, places){
		func(t *testing.T, p places) { // half of the configuration carried over
			put(t, p.clone+"/postgresql.conf", "mi")
			mkdir(t, p.clone+"/conf.d")
		},
		rename("DATA", "DATA.pgrex-old"),
		rename("WAL", "WAL.pgrex-old"),
		rename("WAL.pgrex-clone", "WAL"),
		func(t *testing.T, p places) {
			if err := os.Remove(p.clone + "/pg_wal"); err != nil {
				t.Fatal(err)
			}
		},
		func(t *testing.T, p places) {
			if err := os.Symlink(p.wal, p.clone+"/pg_wal"); err != nil {
				t.Fatal(err)
			}
		},
		rename("DATA.pgrex-clone", "DATA"),
		func(t *testing.T, p places) { // the logs' old place is taken away
			if err := os.RemoveAll(p.data + "/log"); err != nil {
				t.Fatal(err)
			}
		},
		rename("DATA.pgrex-old/log", "DATA/log"),
	}
	for done := range len(steps) + 1 {
		t.Run(fmt.Sprintf("after %d steps", done), func(t *testing.T) {
			a, p := beside(t)
			copyOf(t, p)
			if err := a.writeMark(mark{phase: phaseSwapping, method: methodClone, broken: "a rewind that was interrupted"}); err != nil {
				t.Fatal(err)
			}
			if done > 0 {
				if err := carryOwn(t.Context(), p.data, p.clone); err != nil {
					t.Fatal(err)
				}
			}
			for i, step := range steps[:done] {
				if i == 0 && done > 1 {
					continue // that step ends well if the next is reached
				}
				step(t, p)
			}
			m, err := a.readMark()
			if err != nil || m.unusable() == "" {
				t.Fatalf("%+v, %v: the directory may be used", m, err)
			}
			if err := a.swap(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			isMine(t, a)
			if err := a.swap(t.Context(), m); err != nil { // killed before anybody heard of it
				t.Fatal(err)
			}
			isMine(t, a)
		})
	}
}

// From the beginning, with what an earlier exchange has left.
func TestSwap(t *testing.T) {
	t.Parallel()
	a, p := beside(t)
	copyOf(t, p)
	mkdir(t, p.old+"/base")
	mkdir(t, p.oldWAL)
	if err := os.Chmod(p.data, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := a.swap(t.Context(), mark{phase: phaseCopied, method: methodClone}); err != nil {
		t.Fatal(err)
	}
	isMine(t, a)
	if st, err := os.Stat(p.data); err != nil || st.Mode().Perm() != 0o750 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

// After a rewind that was killed, this node's files are those set aside: what lies in the data
// directory is partly the primary's.
func TestSwapAfterBrokenRewind(t *testing.T) {
	t.Parallel()
	a, p := beside(t)
	if err := a.setAside(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	put(t, p.data+"/postgresql.conf", "theirs")
	put(t, p.data+"/pg_hba.conf", "theirs")
	copyOf(t, p)
	if err := a.swap(t.Context(), mark{phase: phaseCopied, method: methodClone, broken: "x"}); err != nil {
		t.Fatal(err)
	}
	isMine(t, a)
	if exists(p.aside) {
		t.Error("what was set aside is still there")
	}
}

// pg_rewind makes everything as it is on the primary; afterwards this node's files are back,
// however often whoever puts them back is killed.
func TestAside(t *testing.T) {
	t.Parallel()
	a, p := beside(t)
	put(t, p.aside+".partial", "of one who was killed")
	for range 2 {
		if err := a.setAside(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if exists(p.data + "/log") {
		t.Error("the logs are where pg_rewind removes them")
	}
	rewind := func() {
		for _, name := range []string{"postgresql.conf", "postgresql.auto.conf", "pg_hba.conf"} {
			put(t, p.data+"/"+name, "theirs")
		}
		for _, name := range []string{"PG_VERSION", "base/1", "pg_wal/segment"} {
			put(t, p.data+"/"+name, "new")
		}
		for _, name := range []string{"server.key", "conf.d", "standby.signal"} {
			if err := os.RemoveAll(p.data + "/" + name); err != nil {
				t.Fatal(err)
			}
		}
		mkdir(t, p.data+"/log")
		put(t, p.data+"/log/theirs", "theirs")
	}
	rewind()
	if err := carryOwn(t.Context(), p.aside, p.data); err != nil { // the first half
		t.Fatal(err)
	}
	rewound := mark{phase: phaseRewound, method: methodRewind, broken: "a rewind that was interrupted"}
	if rewound.unusable() == "" {
		t.Error("it may be used although its files are not back")
	}
	for range 2 {
		if err := a.finishRewind(t.Context(), rewound); err != nil {
			t.Fatal(err)
		}
	}
	isMine(t, a)
}

// What an earlier rewind has set aside is not this one's.
func TestAsideOfAnother(t *testing.T) {
	t.Parallel()
	a, p := beside(t)
	mkdir(t, p.aside+"/log")
	put(t, p.aside+"/postgresql.conf", "old")
	if err := os.Rename(p.data+"/log/today", p.aside+"/log/today"); err != nil {
		t.Fatal(err)
	}
	copyOf(t, p)
	if err := a.setAside(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"postgresql.conf", "log/today"} {
		if got := get(t, p.aside+"/"+name); got != "mine" {
			t.Errorf("%s is %q", name, got)
		}
	}
	// Nor is it a clone's, unless pg_rewind has been at the data.
	put(t, p.aside+"/postgresql.conf", "old")
	if err := a.swap(t.Context(), mark{phase: phaseCopied, method: methodClone}); err != nil {
		t.Fatal(err)
	}
	isMine(t, a)
	if exists(p.aside) {
		t.Error("it is still there")
	}
}

func TestMark(t *testing.T) {
	t.Parallel()
	m := mark{phase: phaseFailed, method: methodRewind, node: "n2", reason: "it said: \"no\"\nand ended", broken: "", timeline: 7,
		fork: pg.Position{Timeline: 2, LSN: 0x5000060}, end: pg.Position{Timeline: 3, LSN: 0x1_05000060}, acknowledged: "no: because", kept: "/a b/c", summary: "2 commits: 1"}
	got, err := parseMark(m.String())
	m.reason = `it said: "no" and ended`
	if err != nil || got != m {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "phase: sleeping\n", "phase: begun\nfork: x@1\n", "phase: begun\nend: 1@x\n", "phase: begun\ntimeline: x\n"} {
		if m, err := parseMark(bad); err == nil {
			t.Errorf("%q is %+v", bad, m)
		}
	}
	for _, tt := range []struct {
		m      mark
		usable bool
	}{
		{mark{}, true}, {mark{phase: phaseBegun}, true}, {mark{phase: phaseCopied}, true}, {mark{phase: phaseFailed}, true}, {mark{phase: phaseDone, broken: "x"}, true},
		{mark{phase: phaseOverwriting, broken: "x"}, false}, {mark{phase: phaseFailed, broken: "x"}, false}, {mark{phase: phaseBegun, broken: "x"}, false},
		{mark{phase: phaseCopied, broken: "x"}, false}, {mark{phase: phaseRewound}, false}, {mark{phase: phaseSwapping}, false},
	} {
		if (tt.m.unusable() == "") != tt.usable {
			t.Errorf("%+v: %q", tt.m, tt.m.unusable())
		}
	}
}

func FuzzMark(f *testing.F) {
	f.Add("phase: begun\nfork: 2@0/1\n")
	f.Add("# x\nphase: failed\nreason: a: b\nend: 1@FFFFFFFF/FFFFFFFF\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseMark(text)
		if err != nil {
			return
		}
		again, err := parseMark(m.String())
		if err != nil || again.phase != m.phase || again.fork != m.fork || again.unusable() != m.unusable() && strings.Join(strings.Fields(m.broken), " ") == m.broken {
			t.Errorf("%q: %+v, then %+v, %v", text, m, again, err)
		}
	})
}

// What clients were told of is never removed to make room.
func TestKeepMakesRoom(t *testing.T) {
	t.Parallel()
	a, p := beside(t)
	root := p.data + ".kept"
	add := func(name, answer string) {
		mkdir(t, filepath.Join(root, name))
		put(t, filepath.Join(root, name, reportName), "x\n"+answer+"\ny\n")
	}
	add("1-1", acknowledgedMaybe)
	mkdir(t, root+"/a.partial")
	mkdir(t, root+"/somebody's")
	if err := a.makeRoom(root, nil); err != nil || exists(root+"/a.partial") || !exists(root+"/somebody's") {
		t.Fatal(err)
	}
	add("1-2", acknowledgedNone)
	add("1-3", acknowledgedNone)
	if err := a.makeRoom(root, nil); err != nil || exists(root+"/1-2") || exists(root+"/1-3") || !exists(root+"/1-1") {
		t.Errorf("%v: two may be there before the next one comes, and only what nobody was told of goes", err)
	}
	add("1-4", acknowledgedMaybe)
	err := a.makeRoom(root, nil)
	if err == nil || !exists(root+"/1-1") || !exists(root+"/1-4") {
		t.Fatalf("%v", err)
	}
	says(t, err.Error(), "rejoin_keep=2", "clients may have been told of", root)
	a.conf.rejoinKeep = 9
	err = a.makeRoom(root, []pg.WALFile{{Name: "x", Size: 1 << 60}})
	if err == nil {
		t.Fatal("there is room for everything")
	}
	says(t, err.Error(), "no room in "+root, "rejoin_directory")
}

// A directory that is a mount point cannot change places.
func TestCloneBar(t *testing.T) {
	t.Parallel()
	a, p := beside(t)
	if got := a.cloneBar(); got != "" {
		t.Error(got)
	}
	mkdir(t, p.data+"/pg_tblspc/1234")
	says(t, a.cloneBar(), "1 tablespaces")
	a.conf.data = "/proc"
	says(t, a.cloneBar(), "/proc is a mount point")
}
