package pg

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pgrex/lib/pg/pgtest"
	"pgrex/lib/proc"
)

// A primary that crashed with commits of its own: what they were is read from its log, and it is
// rewound to the one that was promoted, or copied from it.
func TestRewindAndCopy(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	old := newServer(t)
	startServer(t, old)
	sql(t, old, "CREATE TABLE public.t (n int)")
	next := newStandby(t, old, "next")
	startServer(t, next)
	eventually(t, "the standby streams", func() bool {
		return sql(t, old, "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()") == "1"
	})
	// Not told to anybody: the standby is down before.
	if _, err := next.Stop(ctx, StopOptions{Mode: Fast}); err != nil {
		t.Fatal(err)
	}
	sql(t, old, "INSERT INTO public.t VALUES (1)")
	lost := sql(t, old, "WITH x AS (INSERT INTO public.t VALUES (2) RETURNING 1) SELECT pg_current_xact_id()::text FROM x")
	sql(t, old, "CHECKPOINT; SELECT pg_switch_wal()")
	sql(t, old, "INSERT INTO public.t VALUES (3)")
	for _, pid := range processes(t, old).All() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	eventually(t, "the primary is dead", func() bool { return !processes(t, old).Running() })
	startServer(t, next)
	if err := next.Promote(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is promoted", func() bool { return sql(t, next, "SELECT pg_is_in_recovery()") == "f" })
	sql(t, next, "INSERT INTO public.t VALUES (10)")

	end, err := old.EndOfWAL(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	source := Source{Conninfo: fmt.Sprintf("host=127.0.0.1 port=%d user=postgres application_name=old password='wr\\'ong'", next.Port)}
	up, err := old.DialUpstream(ctx, source.Conninfo)
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	id, err := up.Identify(ctx)
	if err != nil {
		t.Fatal(err)
	}
	h, err := up.History(ctx, id.Timeline)
	if err != nil {
		t.Fatal(err)
	}
	fork, ok := h.Left(1)
	if !ok || end.Timeline != 1 || end.LSN <= fork {
		t.Fatalf("end %v, history %v", end, h)
	}

	files, err := old.WALSince(Position{1, fork}, end.Position)
	if err != nil || len(files) < 2 {
		t.Fatalf("%v, %v", files, err)
	}
	kept := filepath.Join(filepath.Dir(old.Data), "kept")
	if err := os.Mkdir(kept, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := pgtest.GiveTo(old.User, kept); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := CopyDurably(ctx, filepath.Join(old.WALDir(), f.Name), filepath.Join(kept, f.Name), FileOptions{UID: int(old.User.UID), GID: int(old.User.GID)}); err != nil {
			t.Fatal(err)
		}
	}
	var got []Transaction
	err = old.Transactions(ctx, kept, Span{1, fork, end.LSN}, func(x Transaction) error { got = append(got, x); return nil })
	if err != nil || len(got) != 3 || got[1].XID != lost || !got[0].Committed() || !strings.HasSuffix(got[0].Time, " UTC") || got[0].LSN < fork || got[2].LSN >= end.LSN {
		t.Fatalf("%+v, %v", got, err)
	}
	// A place within a page's header is no beginning of a record.
	page, n := fork-fork%8192, 0
	err = old.Transactions(ctx, kept, Span{1, page, end.LSN}, func(Transaction) error { n++; return nil })
	if err != nil || n < 3 {
		t.Errorf("from %s: %d, %v", page, n, err)
	}
	if err := old.Transactions(ctx, filepath.Dir(old.Data), Span{1, fork, end.LSN}, func(Transaction) error { return nil }); err == nil {
		t.Error("transactions found where there is no log")
	}

	if err := old.AwaitCheckpoint(ctx, source, "postgres", id.Timeline, Position{id.Timeline, fork}); err != nil {
		t.Fatal(err)
	}
	if err := old.AwaitCheckpoint(ctx, source, "postgres", id.Timeline, Position{id.Timeline + 1, fork}); !errors.Is(err, ErrWALMissing) {
		t.Errorf("a segment that is not there: %v", err)
	}
	opts := RewindOptions{Source: source, Database: "postgres", DryRun: true}
	if err := old.Rewind(ctx, opts); !errors.Is(err, ErrNotRewound) {
		t.Errorf("a server that crashed is rewound: %v", err)
	}
	if err := old.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	if err := old.Rewind(ctx, opts); err != nil {
		t.Fatal(err)
	}
	said := ""
	opts.DryRun, opts.Progress = false, func(line string) { said += line + "\n" }
	conf, err := os.ReadFile(old.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Rewind(ctx, opts); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said, "rewinding from last common checkpoint") || strings.Contains(said, "wr'ong") {
		t.Errorf("it said %q", said)
	}
	if err := os.WriteFile(old.ConfigFile(), conf, 0o600); err != nil {
		t.Fatal(err)
	}
	if rewound, err := old.EndOfWAL(ctx, nil); err != nil || rewound.Timeline != id.Timeline {
		t.Errorf("its log ends on %v, %v", rewound, err)
	}
	configure(t, old, "primary_conninfo = '"+fmt.Sprintf("host=127.0.0.1 port=%d user=postgres", next.Port)+"'")
	if err := old.touch(filepath.Join(old.Data, "standby.signal")); err != nil {
		t.Fatal(err)
	}
	startServer(t, old)
	eventually(t, "the rewound server has the new primary's rows and no others", func() bool {
		return sql(t, old, "SELECT string_agg(n::text, ' ' ORDER BY n) FROM public.t") == "10"
	})

	to := emptyServer(t, old.User)
	wal := filepath.Join(filepath.Dir(to.Data), "wal")
	var done, total int64
	err = old.Copy(ctx, CopyOptions{Source: source, To: to.Data, WAL: wal, Progress: func(a, b int64) error { done, total = a, b; return nil }})
	if err != nil || done == 0 || done < total {
		t.Fatalf("%d of %d, %v", done, total, err)
	}
	if link, err := os.Readlink(to.WALDir()); err != nil || link != wal {
		t.Errorf("pg_wal is %s, %v", link, err)
	}
	if v, err := to.Version(); err != nil || v != testVersion(t) {
		t.Errorf("version %d, %v", v, err)
	}
	enough := errors.New("enough")
	if err := old.Copy(ctx, CopyOptions{Source: source, To: to.Data + "2", Rate: 32, Progress: func(int64, int64) error { return enough }}); !errors.Is(err, enough) {
		t.Errorf("stopped by its progress: %v", err)
	}
	if err := old.Copy(ctx, CopyOptions{Source: source, To: to.Data}); !errors.Is(err, ErrNotCopied) || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("over something: %v", err)
	}
}

func TestParseTransaction(t *testing.T) {
	const head = "rmgr: Transaction len (rec/tot):     34/    34, tx:        735, lsn: 0/01500128, prev 0/015000F0, desc: "
	for _, tt := range []struct{ desc, kind, xid, when string }{
		{"COMMIT 2026-11-21 10:00:00.123456 UTC", "COMMIT", "735", "2026-11-21 10:00:00.123456 UTC"},
		{"COMMIT 2026-11-21 10:00:00.123456 UTC; inval msgs: catcache 7", "COMMIT", "735", "2026-11-21 10:00:00.123456 UTC"},
		{"COMMIT_PREPARED 740: 2026-11-21 10:00:00.123456 UTC; gid x", "COMMIT_PREPARED", "740", "2026-11-21 10:00:00.123456 UTC"},
		{"PREPARE gid gx 741: 2026-11-21 10:00:00.123456 UTC", "PREPARE", "741", "2026-11-21 10:00:00.123456 UTC"},
		{"INVALIDATION ; inval msgs: catcache 7", "", "", ""},
	} {
		lsn, x, err := parseTransaction(head + tt.desc + "\n")
		if err != nil || lsn != 0x1500128 || x.Kind != tt.kind || x.XID != tt.xid || x.Time != tt.when {
			t.Errorf("%s: %v %+v %v", tt.desc, lsn, x, err)
		}
	}
	for _, bad := range []string{"", "first record is after 0/1", strings.Replace(head, "0/01500128", "x", 1) + "COMMIT"} {
		if _, _, err := parseTransaction(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestByLine(t *testing.T) {
	var got []string
	f := byLine(func(s string) { got = append(got, s) })
	for _, s := range []string{"a", "b\n 1/2 kB", " (50%), 0/1 tablespace\r", "\n", "rest"} {
		f([]byte(s))
	}
	if strings.Join(got, "|") != "ab|1/2 kB (50%), 0/1 tablespace" {
		t.Errorf("%q", got)
	}
	if done, total, ok := parseProgress(got[1]); done != 1 || total != 2 || !ok {
		t.Error(done, total, ok)
	}
}

// A password goes into the environment, and only for the user it is of.
func TestSourceArguments(t *testing.T) {
	for _, tt := range []struct{ in, user, want, password string }{
		{"host=h user=rep application_name=n1 password='a b'", "", "application_name='pgrex-rejoin' host='h' user='rep'", "a b"},
		{"host=h user=rep password=x", "rep", "application_name='pgrex-rejoin' host='h' user='rep'", "x"},
		{"host=h user=rep password=x sslmode=require", "other", "application_name='pgrex-rejoin' host='h' sslmode='require' user='other'", ""},
	} {
		got, password, err := Source{Conninfo: tt.in, User: tt.user}.arguments()
		if err != nil || got != tt.want || password != tt.password {
			t.Errorf("%s: %s %q %v", tt.in, got, password, err)
		}
	}
	if _, _, err := (Source{Conninfo: "host"}).arguments(); !errors.Is(err, ErrConninfo) {
		t.Error(err)
	}
}

func TestMountPoint(t *testing.T) {
	for dir, want := range map[string]bool{"/": true, "/proc": true, t.TempDir(): false} {
		if got, err := IsMountPoint(dir); err != nil || got != want {
			if dir != "/" { // its own parent
				t.Errorf("%s: %v, %v", dir, got, err)
			}
		}
	}
}

func TestProgramMessage(t *testing.T) {
	got := programMessage(proc.Result{ExitCode: 1, Stderr: []byte("pg_rewind: connected\npg_rewind: error: no rights\npg_rewind: detail: none\n")})
	if got != "no rights (exit 1)" {
		t.Error(got)
	}
}
