package cloudip

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pgrex/tests/contract/sandbox"
)

// 29 parameters of IPaddr2, by the newest version and Debian's, and those of ours.
func TestMetadata(t *testing.T) { cloudip.CheckMetadata(t, 32, 7) }

func TestOCFTester(t *testing.T) {
	for name, p := range map[string]params{
		"IPv4":     v4(nil),
		"named":    v4(params{"nic": "eth0", "cidr_netmask": "24", "iflabel": "vip", "broadcast": "+"}),
		"IPv6":     v6(nil),
		"detected": v6(params{"nodad": "false"}),
		"loopback": {"ip": "127.0.0.3"},
	} {
		t.Run(name, func(t *testing.T) {
			begin(t)
			out, err := cloudip.RunTester(t, p)
			if err != nil {
				t.Error(err)
			}
			if !strings.Contains(out, cloudip.Path+" passed all tests") {
				t.Error("ocf-tester does not say that all tests are passed")
			}
			// A line with a star is a complaint, or tells of an action that an address does not have.
			for _, line := range regexp.MustCompile(`(?m)^\* .*$`).FindAllString(out, -1) {
				if !strings.Contains(line, "(optional)") {
					t.Errorf("ocf-tester: %s", line)
				}
			}
			if t.Failed() {
				t.Logf("%s", out)
			}
			wantGone(t, p["ip"])
		})
	}
}

const (
	ocftConfigs = "/usr/share/resource-agents/ocft/configs"
	ocftCases   = "/var/lib/resource-agents/ocft/cases"
)

// The cases that resource-agents has for IPaddr2, as the package installs them, with ours in its place.
// They are made for a machine with eth0 and eth1 that has no addresses there.
func TestOCFT(t *testing.T) {
	for name, count := range map[string]int{"IPaddr2": 20, "IPaddr2v4": 22, "IPaddr2v6": 20} {
		t.Run(name, func(t *testing.T) {
			begin(t)
			for _, nic := range []string{"eth0", "eth1"} {
				ip(t, "address", "flush", "dev", nic, "scope", "global")
				// These cases are about codes; without this each IPv6 start waits 1.5 s for a neighbour.
				detection(t, nic, "0")
			}
			t.Cleanup(func() {
				for _, nic := range []string{"eth0", "eth1"} {
					detection(t, nic, "1")
				}
			})
			cases := regexp.MustCompile(`(?m)^CASE "`).FindAllString(sandbox.ReadFile(t, ocftConfigs+"/"+name), -1)
			if len(cases) != count {
				t.Errorf("ocft has %d cases in %s, these tests know %d: look at what changed", len(cases), name, count)
			}
			if err := unix.Mount(cloudip.Path, reference, "", unix.MS_BIND, ""); err != nil {
				t.Fatalf("cannot lay the agent over %s: %v", reference, err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(reference, unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			sandbox.Command(t, "ocft", "make", name)
			made, err := filepath.Glob(ocftCases + "/[0-9]*_" + name + ".sh")
			if err != nil || len(made) != len(cases) {
				t.Fatalf("ocft made %d of %d cases (%v)", len(made), len(cases), err)
			}
			cmd := exec.Command("ocft", "test", "-v", name)
			cmd.Dir = sandbox.TempDir(t)
			cmd.Env = append(os.Environ(), "HA_LOGFACILITY=none", "PATH="+shortSleep(t)+":"+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			text := regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(string(out), "")
			if err != nil {
				t.Errorf("ocft test: %v", err)
			}
			if strings.Contains(text, "FAILED") || strings.Contains(text, "ERROR:") {
				t.Error("not all passed")
			}
			// A verdict for each check of a code, so that a case that never came to its check is not passed.
			checks := regexp.MustCompile(`(?m)^\s+AgentRun \S+ OCF_`).FindAllString(sandbox.ReadFile(t, ocftConfigs+"/"+name), -1)
			if passed := strings.Count(text, "OK. The return value"); passed < len(checks) {
				t.Errorf("%d of %d checks came out", passed, len(checks))
			}
			if t.Failed() {
				t.Logf("%s", text)
			}
		})
	}
}

// detection sets how often the kernel asks whether an IPv6 address is in use.
func detection(t *testing.T, nic, times string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+nic+"/dad_transmits", []byte(times), 0o644); err != nil {
		t.Error(err)
	}
}

// shortSleep is a directory with a sleep that takes a fifth of a second: ocft looks once a second
// whether an action has ended, 20 times at most.
func shortSleep(t *testing.T) string {
	t.Helper()
	dir := sandbox.TempDir(t)
	sandbox.WriteFile(t, dir+"/sleep", "#!/bin/sh\nexec /bin/sleep 0.2\n", 0o755)
	return dir
}
