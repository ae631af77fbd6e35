package sandbox

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

const (
	// fencer is Pacemaker's.
	fencer = "/usr/lib/pacemaker/pacemaker-fenced"
	// FencerLog is what Fencer logs.
	FencerLog = "/var/log/pacemaker/fenced.log"
)

// ForFencer adds to a configuration what Fencer needs.
func (c Config) ForFencer() Config {
	c.Needs = append(c.Needs, fencer, "stonith_admin", "cibadmin", "pcs", "crm", "xmllint", FenceSchema)
	c.Empty = append(c.Empty,
		Dir{"/run", 0o755, ""}, Dir{"/run/crm", 0o750, "hacluster"}, Dir{"/run/lock", 0o1777, ""}, Dir{"/dev/shm", 0o1777, ""},
		Dir{"/var/lib/pacemaker", 0o750, "hacluster"}, Dir{"/var/lib/pacemaker/cores", 0o750, "hacluster"},
		Dir{"/var/log/pacemaker", 0o770, "hacluster"})
	return c
}

// Fencer runs Pacemaker's fencer without a cluster until the test ends; the
// agents it calls get its environment, which is ours. stonith_admin talks to it.
func Fencer(t *testing.T) {
	t.Helper()
	cmd := exec.Command(fencer, "--stand-alone", "-V")
	cmd.Env = append(os.Environ(), "PCMK_logfile="+FencerLog, "PCMK_logfacility=none")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		kill.Stop()
	})
	Eventually(t, "pacemaker-fenced to answer", 20*time.Second, func() bool {
		return Call(t, "", "stonith_admin", "--timeout", "2", "--list-registered").Code == 0
	})
}
