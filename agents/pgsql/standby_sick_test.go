package main

import (
	"testing"
	"time"

	"pgrex/lib/ocf"
)

// A standby that serves is not taken down because the cluster's daemons are slow or silent.
func TestStandbyWithSickCluster(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	s := newSite(t, f, "n1", nil)
	s.done("start")
	for name, odd := range map[string]func(string) *trouble{
		"cannot read":            func(string) *trouble { return &trouble{exit: 102} },
		"hangs":                  func(string) *trouble { return &trouble{hang: true} },
		"cannot write":           func(line string) *trouble { return onlyFor(line, "crm_attribute", 102) },
		"cannot write the score": func(line string) *trouble { return onlyFor(line, "master-pgsql", 124) },
		"writes hang": func(line string) *trouble {
			if onlyFor(line, "crm_attribute", 1) != nil {
				return &trouble{hang: true}
			}
			return nil
		},
	} {
		f.trouble = nil
		f.set("n1", "master-pgsql", "1000", false) // which it is not entitled to
		f.set("n1", "pgsql-status", "", false)
		f.trouble = odd
		began := time.Now()
		code, text := s.do("monitor", interval, "9000", "OCF_RESKEY_CRM_meta_timeout", "6000")
		if code != ocf.OK {
			t.Errorf("%s: %d %s", name, code, text)
		}
		// What hangs is given up with the action's time, 6 s; the rest is for a busy machine.
		if took := time.Since(began); took > 8*time.Second {
			t.Errorf("%s: it took %v", name, took)
		}
	}
}
