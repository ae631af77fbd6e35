package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
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
	c.Needs = append(c.Needs, fencer, "pacemakerd", "corosync", "stonith_admin", "cibadmin", "pcs", "crm", "xmllint", FenceSchema)
	c.Empty = append(c.Empty,
		Dir{"/run", 0o755, ""}, Dir{"/run/crm", 0o750, "hacluster"}, Dir{"/run/lock", 0o1777, ""}, Dir{"/dev/shm", 0o1777, ""},
		Dir{"/var/lib/pacemaker", 0o750, "hacluster"}, Dir{"/var/lib/pacemaker/cores", 0o750, "hacluster"},
		Dir{"/var/lib/pacemaker/cib", 0o750, "hacluster"}, Dir{"/var/log/pacemaker", 0o770, "hacluster"},
		Dir{"/etc/corosync", 0o755, ""}, Dir{"/var/lib/corosync", 0o755, ""})
	return c
}

// Fencer runs Pacemaker's fencer until the test ends; the agents it calls get its
// environment, which is ours. stonith_admin talks to it. Pacemaker 2 runs it
// without a cluster; Pacemaker 3 keeps that for its own tests, so there it is the
// fencer of a cluster of one node.
func Fencer(t *testing.T) {
	t.Helper()
	if Pacemaker(t) < 3 {
		daemon(t, fencer, "--stand-alone", "-V")
		fencerAnswers(t)
	} else {
		Cluster(t)
	}
}

func fencerAnswers(t *testing.T) {
	t.Helper()
	Eventually(t, "pacemaker-fenced to answer", 20*time.Second, func() bool {
		return Call(t, "", "stonith_admin", "--timeout", "2", "--list-registered").Code == 0
	})
}

// Pacemaker is the major version of the sandbox's.
func Pacemaker(t *testing.T) int {
	t.Helper()
	var major, minor int
	said := Command(t, "pacemakerd", "--version")
	if _, err := fmt.Sscanf(said, "Pacemaker %d.%d", &major, &minor); err != nil {
		t.Fatalf("pacemakerd --version: %q: %v", said, err)
	}
	return major
}

// daemon runs a program of the cluster until the test ends.
func daemon(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PCMK_logfile="+FencerLog, "PCMK_logfacility=none")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		kill.Stop()
	})
}

// corosyncConf is that of a cluster of one node.
const corosyncConf = `totem {
  version: 2
  cluster_name: one
  transport: knet
  crypto_cipher: none
  crypto_hash: none
}
nodelist {
  node {
    nodeid: 1
    name: n1
    ring0_addr: 127.0.0.1
  }
}
quorum {
  provider: corosync_votequorum
  expected_votes: 1
}
logging {
  to_syslog: no
  to_logfile: yes
  logfile: /var/log/pacemaker/corosync.log
}
`

// Cluster runs corosync and Pacemaker, a cluster of one node, until the test ends,
// with the fencer as Fencer has it. Levels of devices mean something to a cluster
// only: a fencer alone tries one device after the other. The configuration is that
// of `cibadmin --empty`, but for the time in which other nodes are looked for.
func Cluster(t *testing.T) {
	t.Helper()
	WriteFile(t, "/etc/corosync/corosync.conf", corosyncConf, 0o644)
	cib := strings.Replace(Command(t, "cibadmin", "--empty"), "<crm_config/>",
		`<crm_config><cluster_property_set id="options"><nvpair id="options-dc" name="dc-deadtime" value="1s"/></cluster_property_set></crm_config>`, 1)
	const path = "/var/lib/pacemaker/cib/cib.xml"
	WriteFile(t, path, cib, 0o600)
	if err := GiveTo("hacluster", path); err != nil {
		t.Fatal(err)
	}
	daemon(t, "corosync", "-f")
	Eventually(t, "corosync to have quorum", 20*time.Second, func() bool {
		return strings.Contains(Call(t, "", "corosync-quorumtool", "-s").Stdout, "Quorate:          Yes")
	})
	daemon(t, "pacemakerd")
	Eventually(t, "the cluster to have a controller", time.Minute, func() bool {
		// crmadmin of 2.1 never returns if it is asked too early.
		return strings.Contains(Call(t, "", "cibadmin", "--query").Stdout, ` dc-uuid="1"`)
	})
	fencerAnswers(t)
}
