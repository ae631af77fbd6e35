package pg

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgrex/lib/proc"
)

// Lines of programs and of /proc: whatever comes, an answer or an error, and nothing that
// a decision could not live with.
func FuzzLines(f *testing.F) {
	for _, s := range []string{
		"START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nSTART TIMELINE: 3\n", "START WAL LOCATION: 0/1\nBACKUP METHOD: pg_rewind\n",
		"rmgr: Transaction len (rec/tot):     46/    46, tx:        735, lsn: 0/0301E348, prev 0/0301E308, desc: COMMIT 2026-01-02 03:04:05.6 UTC; inval msgs: x",
		"rmgr: Transaction len (rec/tot):     46/    46, tx:          0, lsn: 0/0301E348, prev 0/0301E308, desc: COMMIT_PREPARED gid x 735: 2026-01-02",
		", tx:, lsn: 0/1,, desc: PREPARE : ", "  1234/56789 kB (2%), 0/1 tablespace", "-1/0 kB ", "4711@123456", "0@0", "1@18446744073709551615",
		"State:\tS (sleeping)\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000001\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t18446744073709551615\n",
		"4711 (a) b) ) S 1 2 3 0 -1 4194560 10 0 0 0 1 2 0 0 20 0 1 0 77 100 200", ")", "", "0000000100000000000000FF", "FFFFFFFFFFFFFFFFFFFFFFFF", "00000000000000000000000A",
		"FFFFFFFF/FFFFFFFF", "/home/it's", `\040\011\012\134`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if lsn, tli, err := parseBackupLabel(s); err == nil && (lsn == 0 || tli == 0 && !strings.Contains(s, "pg_rewind")) {
			t.Errorf("backup_label: %s %d", lsn, tli)
		}
		if lsn, x, err := parseTransaction(s); err == nil && x.Kind != "" && x.LSN != lsn {
			t.Errorf("pg_waldump: %+v at %s", x, lsn)
		}
		_, _, _ = parseProgress(s)
		if id, err := ParseProcessID(s); err == nil && (id.PID <= 0 || id.String() != s) {
			t.Errorf("process: %+v", id)
		}
		if l := parseSleep(s); !l.pending && !strings.Contains(s, "SigPnd") {
			t.Errorf("nothing pending, by %q", s)
		}
		_ = switches(s)
		if st, err := parseStat([]byte(s)); err == nil && st.state == 0 {
			t.Errorf("/proc: %+v", st)
		}
		for _, size := range []uint32{0, 1, 1 << 20, 16 << 20, 1 << 30, math.MaxUint32} {
			tli, start, ok := ParseSegmentName(s, size)
			if ok && size&(size-1) == 0 && SegmentName(tli, start, size) != strings.ToUpper(s) {
				t.Errorf("segment of %d: %d %s", size, tli, start)
			}
		}
		if l, err := ParseLSN(s); err == nil {
			if again, err := ParseLSN(l.String()); err != nil || again != l {
				t.Errorf("%q is read as %s, and that as %s, %v", s, l, again, err)
			}
		}
		_ = unescapeMount(s)
		_ = programMessage(proc.Result{Stderr: []byte(s)})
		byLine(func(line string) {
			if strings.ContainsAny(line, "\r\n") {
				t.Errorf("more than a line: %q", line)
			}
		})([]byte(s))
	})
}

// The server's answer about itself. A number that does not fit is an error, not another number.
func FuzzParseStatus(f *testing.F) {
	for _, s := range []string{
		`{"system_id":"7001","version":150014,"in_recovery":false,"timeline":2,"insert_lsn":"0/3000148","walsenders":[{"pid":1,"application_name":"n2","state":"streaming","sync_state":"sync","flush_lsn":"0/1"}],"slots":null,"settings":{"fsync":{"setting":"on"}}}`,
		`{"timeline":-1}`, `{"timeline":4294967296}`, `{"system_id":7}`, `{"insert_lsn":null}`, `{"receiver":{}}`, `{"walsenders":{}}`, `[]`, `null`, ``, `{"settings":{"":null}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		st, err := parseStatus(text)
		if err != nil {
			return
		}
		_, _ = st.Sender("n2")
		_ = st.Setting("synchronous_standby_names").From()
	})
}

// .pgpass belongs to a user, who may write into it what he likes.
func FuzzPassFile(f *testing.F) {
	f.Add("h:5432:db:u:pass\n")
	f.Add("#c\n*:*:*:*:a\\:b\\\\c\n:::\n")
	f.Add("\\\n*:*:*:*:\\")
	s := &Server{User: proc.User{Home: f.TempDir()}}
	file := filepath.Join(s.User.Home, ".pgpass")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if p := s.passFile("", []string{"h", "localhost"}, 5432, "db", "u"); p != "" && !strings.Contains(text, ":") {
			t.Errorf("a password from %q", text)
		}
	})
}
