package scenario

import "testing"

func TestOneDeath(t *testing.T) {
	const (
		at    = "Nov 21 09:13:46.007 n1 pacemaker-attrd     [114] (update_attr_on_host) \tnotice: Setting fail-count-pgsql#"
		by    = " | from n2 with no write delay\n"
		told  = at + "asyncmon_0[n1]: (unset) -> 1" + by
		twice = at + "asyncmon_0[n1]: 1 -> 2" + by
		right = at + "asyncmon_0[n1]: 2 -> 1" + by
		seen  = at + "monitor_7000[n1]: (unset) -> 1" + by
		start = at + "start_0[n1]: (unset) -> INFINITY" + by
		gone  = at + "asyncmon_0[n1]: 1 -> (unset)" + by
		told3 = at + "asyncmon_0[n1] in instance_attributes: (unset) -> 1" + by // Pacemaker 3
		seen3 = at + "monitor_7000[n1] in instance_attributes: (unset) -> 1" + by
	)
	for _, tt := range []struct {
		name  string
		lines []string
		ok    bool
	}{
		{"the watcher's", []string{told, gone, start}, true},
		{"the monitor's", []string{seen}, true},
		{"counted twice and put right", []string{told, twice, right}, true},
		{"of nobody", []string{start}, true},
		{"counted twice", []string{told, twice, gone}, false},
		{"of both", []string{told, seen}, false},
		{"of both, in the words of Pacemaker 3", []string{told3, seen3}, false},
		{"of both, one after the other", []string{told, gone, start, seen}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := oneDeath(tt.lines); (err == nil) != tt.ok {
				t.Error(err)
			}
		})
	}
}
