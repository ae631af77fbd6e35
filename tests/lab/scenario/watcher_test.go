package scenario

import "testing"

func TestOnlyFailure(t *testing.T) {
	const (
		at    = "Nov 21 09:13:46.007 n1 pacemaker-attrd     [114] (update_attr_on_host) \tnotice: Setting fail-count-pgsql#"
		by    = " | from n2 with no write delay\n"
		told  = at + "asyncmon_0[n1]: (unset) -> 1" + by
		twice = at + "asyncmon_0[n1]: 1 -> 2" + by
		right = at + "asyncmon_0[n1]: 2 -> 1" + by
		seen  = at + "monitor_7000[n1]: (unset) -> 1" + by
	)
	for _, tt := range []struct {
		name  string
		lines []string
		op    string
	}{
		{"the watcher's", []string{told}, "asyncmon_0"},
		{"the monitor's", []string{seen}, "monitor_7000"},
		{"counted twice and put right", []string{told, twice, right}, "asyncmon_0"},
		{"counted twice", []string{told, twice}, ""},
		{"of both", []string{told, seen}, ""},
		{"of nobody", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if op, err := onlyFailure(tt.lines); op != tt.op || (err == nil) != (tt.op != "") {
				t.Errorf("%q, %v", op, err)
			}
		})
	}
}
