package fence

import (
	"fmt"
	"strings"
	"testing"
)

// The scenarios by which the fence-agents project tests agents on hardware, in the three ways of
// calling one: a list of actions and the exit codes that are right.
func TestScenarios(t *testing.T) {
	scenarios := map[string][]struct {
		action string
		codes  string
	}{
		"power on and off": {{"on", "0"}, {"status", "0"}, {"off", "0"}, {"status", "2"}, {"on", "0"}, {"status", "0"}, {"reboot", "0"}, {"status", "0"}},
		"status":           {{"status", "0 2"}},
		"list":             {{"list", "0"}},
		"monitor":          {{"monitor", "0"}, {"off", "0"}, {"monitor", "0"}, {"off", "0"}},
	}
	ways := map[string]func(s *simulator, action string) (string, []string){
		"stdin": func(s *simulator, action string) (string, []string) { return s.lines("action=" + action), nil },
		"short": func(s *simulator, action string) (string, []string) {
			return "", strings.Fields(fmt.Sprintf("-a 127.0.0.1 -u %d -l %s -p %s -P -C 3 -o %s", s.port, login, password, action))
		},
		"long": func(s *simulator, action string) (string, []string) {
			return "", strings.Fields(fmt.Sprintf("--ip 127.0.0.1 --ipport %d --username %s --password %s --lanplus --cipher 3 --action %s", s.port, login, password, action))
		},
	}
	for name, steps := range scenarios {
		for way, build := range ways {
			t.Run(name+", "+way, func(t *testing.T) {
				t.Parallel()
				s := startSimulator(t)
				for _, step := range steps {
					in, args := build(s, step.action)
					if r := call(t, agent, in, args...); !strings.Contains(" "+step.codes+" ", fmt.Sprintf(" %d ", r.code)) {
						t.Errorf("%s: code %d, want %s: %s", step.action, r.code, step.codes, r.stderr)
					}
				}
			})
		}
	}
}

// delay comes before anything is asked of the device, and unknown keys only warn.
func TestDelay(t *testing.T) {
	t.Parallel()
	r := call(t, agent, "delay=3\nlogin=test\npasswd=test\nipaddr=192.0.2.1\nport=1\nmanaged=1\ndevices=test\nsession_url=http://test\nipmitool_timeout=0.1\n")
	if r.code != 1 || r.took.Seconds() < 3 || !strings.Contains(r.stderr, "Ignoring unknown option 'session_url'") || strings.Contains(r.stderr, "http://test") {
		t.Errorf("%+v", r)
	}
}
