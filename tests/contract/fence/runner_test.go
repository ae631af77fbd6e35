package fence

import (
	"strconv"
	"testing"

	"pgrex/tests/contract/runner"
)

// The scenario runner of fence-agents passes in each way of calling an agent: with its own scenarios,
// and with one for the actions that they leave out.
func TestRunner(t *testing.T) {
	scenarios := runner.Scenarios(t)
	scenarios["monitor and reboot"] = runner.Write(t,
		runner.Step{Action: "monitor", Codes: "^0$"}, runner.Step{Action: "reboot", Codes: "^0$"}, runner.Step{Action: "status", Codes: "^0$"},
		runner.Step{Action: "off", Codes: "^0$"}, runner.Step{Action: "off", Codes: "^0$"}, runner.Step{Action: "monitor", Codes: "^0$"},
		runner.Step{Action: "reboot", Codes: "^0$"}, runner.Step{Action: "status", Codes: "^0$"})
	orders := map[string]string{"power-on-off": "power 0", "monitor and reboot": "power 0, power 1, power 0, power 1"}
	for name, path := range scenarios {
		for _, method := range runner.Methods {
			t.Run(name+", "+method, func(t *testing.T) {
				t.Parallel()
				s := startSimulator(t)
				out, passed, err := runner.Run(t, s.device(agent), path, method)
				if err != nil || !passed {
					t.Errorf("%v: %s", err, out)
				}
				if got := s.orders(); got != orders[name] {
					t.Errorf("orders [%s], want [%s]", got, orders[name])
				}
			})
		}
	}
}

// The runner can tell: what always succeeds does not pass.
func TestRunnerFails(t *testing.T) {
	t.Parallel()
	s := startSimulator(t)
	out, passed, err := runner.Run(t, s.device("/bin/true"), runner.Scenarios(t)["power-on-off"], "stdin")
	if err != nil || passed {
		t.Errorf("passed %v, %v: %s", passed, err, out)
	}
}

// device is the simulator as the runner is told of it: old names on standard input, as in its examples.
// The values of lanplus are words that an option without a value leaves over.
func (s *simulator) device(program string) runner.Device {
	return runner.Device{Agent: program, Options: []runner.Option{
		{Name: "ipaddr", Value: "127.0.0.1", Long: "--ip", Short: "-a"},
		{Name: "ipport", Value: strconv.Itoa(s.port), Long: "--ipport", Short: "-u"},
		{Name: "login", Value: login, Long: "--username", Short: "-l"},
		{Name: "passwd", Value: password, Long: "--password", Short: "-p"},
		{Name: "lanplus", Value: "1", Long: "--lanplus", Short: "-P"},
		{Name: "cipher", Value: "3", Long: "--cipher", Short: "-C"},
	}}
}
