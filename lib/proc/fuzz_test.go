package proc

import (
	"os"
	"path/filepath"
	"testing"
)

// Lines of /etc/passwd (or of getent), /etc/group and limits.conf.
func FuzzLines(f *testing.F) {
	for _, s := range []string{
		"postgres:x:26:26:PostgreSQL:/var/lib/pgsql:/bin/bash", "p:x:4294967296:0:::", "p:x:-1:0:::", ":::::::", "",
		"postgres soft nofile 65536", "@dba hard nproc unlimited", "* - core -1", "26: soft cpu 18446744073709551615", ":26 - as 1", "%x - maxlogins 1", "postgres - stack 99999999999999999999 # c",
	} {
		f.Add(s)
	}
	dir := f.TempDir()
	u := User{Name: "postgres", UID: 26, Groups: []uint32{26}}
	f.Fuzz(func(t *testing.T, s string) {
		_, _ = parsePasswd(s)
		if err := os.WriteFile(filepath.Join(dir, "limits.conf"), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		limits, _ := LimitsIn(u, dir)
		for _, l := range limits {
			if l.Soft == nil && l.Hard == nil {
				t.Errorf("a limit that limits nothing: %+v from %q", l, s)
			}
		}
	})
}
