package cloudip

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"pgrex/tests/contract/sandbox"
)

// In use: refused with the owner's hardware address if so wanted (1163, 986), taken over and complained
// of otherwise (868).
func TestConflict(t *testing.T) {
	begin(t)
	ip(t, "-n", peer, "address", "add", vip4+"/24", "dev", "eth0")
	mac := strings.Fields(ip(t, "-n", peer, "-o", "link", "show", "dev", "eth0")[strings.Index(ip(t, "-n", peer, "-o", "link", "show", "dev", "eth0"), "link/ether"):])[1]
	careful := v4(params{"run_arping": "true"})
	o := action("start", careful).Want(t, generic)
	if !strings.Contains(o.Reason(), mac) || o.Took > time.Second {
		t.Errorf("after %v: %q does not name %s", o.Took, o.Reason(), mac)
	}
	wantGone(t, vip4)

	o = action("start", v4(nil)).Want(t, ok)
	if !strings.Contains(o.Stderr, mac) {
		t.Errorf("start says nothing of %s:\n%v", mac, o)
	}
	// A monitor waits for no answer; what comes too late for it is seen by the next one.
	sandbox.Eventually(t, "monitor shows the conflict", 10*time.Second, func() bool {
		o := monitor(v4(nil)).Want(t, degraded, ok)
		if o.Code == degraded && (!strings.Contains(o.Reason(), mac) || len(o.Reason()) > 127) {
			t.Errorf("monitor: %q", o.Reason())
		}
		return o.Code == degraded
	})
	// By hand it is a line, not a code that a person would have to look up.
	sandbox.Eventually(t, "monitor by hand shows the conflict", 10*time.Second, func() bool {
		return strings.Contains(action("monitor", v4(nil)).Want(t, ok).Stderr, mac)
	})
	probe(v4(nil)).Want(t, ok)
	ip(t, "-n", peer, "address", "del", vip4+"/24", "dev", "eth0")
	monitor(v4(nil)).Want(t, ok, degraded) // the answer to the last one's question
	monitor(v4(nil)).Want(t, ok)
	action("stop", v4(nil)).Must(t, ok)
	if entries := ip(t, "neighbour", "show", "to", vip4); entries != "" {
		t.Errorf("left: %s", entries)
	}
	if o := action("start", careful).Want(t, ok); o.Took < 500*time.Millisecond {
		t.Errorf("a thorough look took only %v", o.Took)
	}
}

// While the address is being announced everybody who claims it is heard, and named in the log.
func TestConflictHeard(t *testing.T) {
	begin(t)
	log := sandbox.TempDir(t) + "/log"
	c := action("start", v4(params{"arp_count": "200", "arp_interval": "50"}))
	c.Env = []string{"PCMK_logfile=" + log}
	c.Must(t, ok)
	const mac = "02:00:00:00:00:77"
	sandbox.Eventually(t, "the log names "+mac, 10*time.Second, func() bool {
		claim(t, vip4, mac)
		b, err := os.ReadFile(log)
		return err == nil && strings.Contains(string(b), mac) && strings.Contains(string(b), vip4)
	})
	action("stop", v4(nil)).Want(t, ok)
}

// A machine with two interfaces in one LAN answers itself, which is no conflict.
func TestTwoInterfacesInOneLAN(t *testing.T) {
	begin(t)
	for _, args := range []string{"link add name lan0 type bridge", "link set lan0 up", "link set eth0 master lan0", "link set eth1 master lan0"} {
		ip(t, append([]string{"-n", peer}, strings.Fields(args)...)...)
	}
	t.Cleanup(func() {
		_ = exec.Command("ip", "-n", peer, "link", "set", "eth0", "nomaster").Run()
		_ = exec.Command("ip", "-n", peer, "link", "set", "eth1", "nomaster").Run()
		_ = exec.Command("ip", "-n", peer, "link", "del", "lan0").Run()
	})
	sandbox.Eventually(t, "the bridge forwards", 20*time.Second, func() bool {
		return strings.Count(sandbox.Command(t, "bridge", "-n", peer, "link"), "state forwarding") == 2
	})
	ip(t, "address", "add", "192.168.144.78/24", "dev", "eth1")
	p := v4(params{"run_arping": "true", "nic": "eth0"})
	action("start", p).Want(t, ok)
	monitor(p).Want(t, ok)
}

// wrong is where a neighbour believes an address to be that has moved.
const wrong = "02:00:00:00:00:99"

// The neighbour learns of the move, and learns again at each monitor if so wanted (868, 977, 1076, 1752).
func TestNeighbourLearns(t *testing.T) {
	for _, tt := range []struct {
		name    string
		params  params
		start   bool // learns at start
		monitor bool
	}{
		{"IPv4", v4(nil), true, false},
		{"replies only", v4(params{"send_arp_opts": "-A"}), true, false},
		{"requests only", v4(params{"send_arp_opts": "-U", "arp_sender": "iputils_arping"}), true, false},
		{"none", v4(params{"arp_count": "0"}), false, false},
		{"IPv4 refreshed", v4(params{"arp_count": "0", "arp_count_refresh": "1"}), false, true},
		{"IPv6", v6(nil), true, false},
		{"IPv6 refreshed", v6(params{"arp_count": "0", "arp_count_refresh": "1"}), false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			begin(t)
			forget := func() {
				ip(t, "-n", peer, "neighbour", "replace", tt.params["ip"], "lladdr", wrong, "dev", "eth0", "nud", "stale")
			}
			learns := func() bool {
				for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
					if !strings.Contains(ip(t, "-n", peer, "neighbour", "show", tt.params["ip"]), wrong) {
						return true
					}
				}
				return false
			}
			forget()
			action("start", tt.params).Must(t, ok)
			if got := learns(); got != tt.start {
				t.Errorf("learns at start: %v", got)
			}
			sandbox.Eventually(t, "the announcements of start are over", 5*time.Second, func() bool { return len(announcers(t)) == 0 })
			forget()
			monitor(tt.params).Want(t, ok)
			if got := learns(); got != tt.monitor {
				t.Errorf("learns at monitor: %v", got)
			}
		})
	}
}

// The announcements in the background are as many as configured, in both forms, at their pace (977, 958).
func TestAnnouncementsOnTheWire(t *testing.T) {
	begin(t)
	w := listen(t)
	action("start", v4(params{"arp_count": "4", "arp_interval": "50"})).Must(t, ok)
	sandbox.Eventually(t, "the announcements are over", 5*time.Second, func() bool { return len(announcers(t)) == 0 })
	var requests, replies, probes []time.Time
	for _, f := range w.stop(t) {
		switch {
		case f.sender == "0.0.0.0" && f.target == vip4:
			probes = append(probes, f.at)
		case f.sender == vip4 && f.reply:
			replies = append(replies, f.at)
		case f.sender == vip4 && f.target == vip4:
			requests = append(requests, f.at)
		}
	}
	if len(probes) != 1 || len(requests) != 4 || len(replies) != 4 {
		t.Fatalf("%d probes, %d requests, %d replies", len(probes), len(requests), len(replies))
	}
	if whole := requests[3].Sub(requests[0]); whole < 140*time.Millisecond || probes[0].After(requests[0]) {
		t.Errorf("four announcements within %v, the probe at %v", whole, probes[0])
	}
}
