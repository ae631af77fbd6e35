package crm

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// crm_mon's and cibadmin's answers: who is not named runs nothing, and what cannot be
// read is an error.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(monitored))
	f.Add([]byte(`<pacemaker-result><resources><group><clone><bundle><replica><resource id="pgsql:0"><node name="n1"/></resource></replica></bundle></clone></group></resources></pacemaker-result>`))
	f.Add([]byte(`<cib><configuration><primitive id="pgsql" template="t"><operations id-ref="x"><op name="monitor" on-fail="fence"/></operations></primitive><template id="t"/></configuration></cib>`))
	f.Add([]byte(`<pacemaker-result><resources><resource id="pgsql" active="maybe"/></resources></pacemaker-result>`))
	f.Add([]byte(`<!DOCTYPE x [<!ENTITY a "b">]><pacemaker-result>&a;</pacemaker-result>`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if in, err := parseInstance(text, "pgsql", ""); err == nil && in.Active && len(text) < 40 {
			t.Errorf("%+v", in)
		}
		_, _ = parseTarget(text, "pgsql")
		_, _ = monitorsRestart(text, "pgsql")
		if n, ok := ParseScore(string(text)); ok && (n > Infinity || n < -Infinity) {
			t.Errorf("score %d", n)
		}
	})
}

// The file of the cache lies where other programs of root write: what is in it is
// believed only when it names daemons that run.
func FuzzCache(f *testing.F) {
	for _, s := range []string{`{"attrd":"1@1,2@2,3@3","at":1,"data":"x"}`, `{"attrd":"1@","at":-1}`, `{"attrd":",,"}`, `{"at":1e400}`, `[]`, ``, `{"attrd":"../../1@1,1@1,1@1","at":0,"data":"y"}`} {
		f.Add([]byte(s), "1 (pacemaker-attrd) S 1")
	}
	f.Add([]byte(`{"attrd":"1@0,1@0,1@0","at":0,"data":"z"}`), "1 (a) b) ) S 1 2 3 0 -1 4194560 10 0 0 0 1 2 0 0 20 0 1 0 77 100 200")
	dir := f.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "1"), 0o700); err != nil {
		f.Fatal(err)
	}
	c := &Cache{Name: "x", Dir: dir, Client: &Client{Proc: dir}, Uptime: func() (time.Duration, error) { return time.Second, nil }}
	f.Fuzz(func(t *testing.T, text []byte, stat string) {
		for path, b := range map[string][]byte{filepath.Join(dir, "x.cache"): text, filepath.Join(dir, "1", "stat"): []byte(stat)} {
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		// One process cannot be three daemons.
		if data, ok := c.Load(); ok {
			t.Errorf("%q is believed: %q", text, data)
		}
	})
}
