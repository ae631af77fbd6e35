package main

import (
	"fmt"
	"testing"

	"pgrex/tests/fakes/azure"
)

func TestMonitor(t *testing.T) {
	t.Parallel()
	cfg := usual()
	cfg.PageSize = 2
	for i := range 5 {
		cfg.VMs = append(cfg.VMs, azure.VM{Name: fmt.Sprint("other", i), Group: group})
	}
	cfg.VMs[1].Power = azure.Stopped
	s := begin(t, cfg)

	s.call(t, "monitor").check(t, 0, "")
	if n := s.count("GET", "/virtualMachines"); n != 1 {
		t.Errorf("%d pages of the list were read; one is proof enough", n)
	}
	s.call(t, "monitor", "plug=n2").check(t, 0, "") // off is fine
	s.call(t, "monitor", "plug=nobody").check(t, 1, "", `no virtual machine "nobody"`)
	s.call(t, "monitor", "resourceGroup=other").check(t, 1, "", `no resource group "other"`)
	for _, q := range s.Requests() {
		if q.Method != "GET" {
			t.Errorf("monitor changed something: %v", q)
		}
	}
	s.ExpireTokens() // nobody keeps tokens from one action to the next
	s.call(t, "monitor").check(t, 1, "", "does not accept")
	if err := s.SetGrants("system", nil); err != nil {
		t.Fatal(err)
	}
}

func TestMonitorWithoutRights(t *testing.T) {
	t.Parallel()
	cfg := usual()
	cfg.Principals[0].Grants = nil
	s := begin(t, cfg)
	s.call(t, "monitor").check(t, 1, "", "lacks the right Microsoft.Compute/virtualMachines/read", "correct privileges")
}

func TestList(t *testing.T) {
	t.Parallel()
	cfg := usual()
	cfg.PageSize = 1
	cfg.VMs = append(cfg.VMs, azure.VM{Name: "n3", Group: "elsewhere"})
	cfg.VMs[1].Power = azure.Stopped
	s := begin(t, cfg)
	tests := []struct{ action, param, want string }{
		{"list", "separator=,", "n1,\nn2,\n"},
		{"list", "separator=;", "n1;\nn2;\n"},
		{"list-status", "separator=,", "n1,,ON\nn2,,OFF\n"},
		{"list", "resourceGroup=elsewhere", "n3,\n"},
	}
	for _, tt := range tests {
		if r := s.call(t, tt.action, tt.param); r.code != 0 || r.stdout != tt.want {
			t.Errorf("%s: %v", tt.action, r)
		}
	}
	// A list that would lead elsewhere is not followed: our token would go there too.
	next := `{"value":[{"name":"n1"}],"nextLink":"https://elsewhere.example/more"}`
	s.Script(azure.Fault{Path: "/virtualMachines", Body: &next})
	s.call(t, "list").check(t, 1, "", "not the Resource Manager's")
}

func TestValidate(t *testing.T) {
	t.Parallel()
	may := "Microsoft.Authorization/permissions/read"
	tests := []struct {
		name   string
		grants []azure.Grant
		code   int
		parts  []string
	}{
		{"the documented role", documented, 0, []string{"cannot tell whether the managed identity of this machine may switch \"n2\" off and on"}},
		{"and the right to ask", []azure.Grant{{Scope: "/", Actions: []string{may}}, documented[0]}, 0, nil},
		{"no start", []azure.Grant{{Scope: "/", Actions: []string{may, "Microsoft.Compute/*/read", "Microsoft.Compute/virtualMachines/powerOff/action"}}}, 1,
			[]string{"lacks rights on", "virtualMachines/n2: Microsoft.Compute/virtualMachines/start/action;", "correct privileges"}},
		{"everything", []azure.Grant{{Scope: "/", Actions: []string{"*"}}}, 0, nil},
		{"everything but", []azure.Grant{{Scope: "/", Actions: []string{"*"}, NotActions: []string{"Microsoft.Compute/virtualMachines/*/action"}}}, 1,
			[]string{"powerOff/action, Microsoft.Compute/virtualMachines/start/action"}},
		{"nothing", nil, 1, []string{"lacks the right Microsoft.Compute/virtualMachines/read"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := usual()
			cfg.Principals[0].Grants = tt.grants
			s := begin(t, cfg)
			r := s.call(t, "validate-all", "plug=n2")
			r.check(t, tt.code, "", tt.parts...)
			if tt.code == 0 && tt.parts == nil && r.stderr != "" {
				t.Errorf("it complains: %v", r)
			}
			s.call(t, "validate-all", "plug=nobody").check(t, 1, "")
			for _, q := range s.Requests() {
				if q.Method != "GET" {
					t.Errorf("validate-all changed something: %v", q)
				}
			}
		})
	}
}
