package azure

import (
	"testing"

	"pgrex/tests/contract/runner"
	"pgrex/tests/contract/sandbox"
	"pgrex/tests/fakes/azure"
)

// The scenario runner of fence-agents passes in each way of calling an agent: with its own scenarios,
// and with one for the actions that they leave out.
func TestRunner(t *testing.T) {
	s := begin(t)
	s.SetLatency(azure.Latency{Answer: ms(5), PowerOff: ms(100), Start: ms(200), Tail: ms(200)})
	device := runner.Device{Agent: agent, Options: []runner.Option{
		{Name: "port", Value: "vm2", Long: "--plug", Short: "-n"},
		{Name: "login", Value: "app-id", Long: "--username", Short: "-l"},
		{Name: "passwd", Value: "s3cr3t", Long: "--password", Short: "-p"},
		{Name: "tenantId", Value: s.Tenant(), Long: "--tenantId"},
		{Name: "resourceGroup", Value: group, Long: "--resourceGroup"},
	}}
	scenarios := runner.Scenarios(t)
	scenarios["monitor and reboot"] = runner.Write(t,
		runner.Step{Action: "monitor", Codes: "^0$"}, runner.Step{Action: "off", Codes: "^0$"}, runner.Step{Action: "off", Codes: "^0$"},
		runner.Step{Action: "status", Codes: "^2$"}, runner.Step{Action: "on", Codes: "^0$"}, runner.Step{Action: "reboot", Codes: "^0$"})
	orders := map[string][]string{"power-on-off": {"vm2 off"}, "monitor and reboot": {"vm2 off", "vm2 on", "vm2 off", "vm2 on"}}
	for name, path := range scenarios {
		for _, method := range runner.Methods {
			t.Run(name+", "+method, func(t *testing.T) {
				if r := sandbox.Call(t, "action=on\nplug=vm2\n", agent); r.Code != 0 {
					t.Fatalf("%+v", r)
				}
				for len(s.power) > 0 {
					<-s.power
				}
				out, passed, err := runner.Run(t, device, path, method, "SSL_CERT_FILE="+caFile)
				if err != nil || !passed {
					t.Errorf("%v: %s", err, out)
				}
				s.sequence(t, orders[name]...)
				if len(s.power) > 0 {
					t.Errorf("the power was switched %q besides", <-s.power)
				}
			})
		}
	}
}
