package stonith

import (
	"errors"
	"fmt"
	"strings"
)

// Validate reports what is wrong with the declaration itself: a spelling or a letter of two
// parameters, a missing text. Tests of the agents call it; a running agent has no use for it.
func (a Agent) Validate() error {
	var errs []error
	complain := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if a.Name == "" || a.Short == "" || a.Long == "" || a.Open == nil {
		complain("agent %q lacks a name, a text or its device", a.Name)
	}
	spellings, letters := map[string]string{}, map[string]string{}
	for _, p := range a.parameters() {
		if p.Short == "" || p.Long == "" || strings.HasSuffix(p.Short, ".") {
			complain("parameter %s needs a long text, and a short one without a full stop", p.Name)
		}
		names := map[string]bool{spelling(p.Name): true, spelling(p.flag()): true}
		for _, old := range p.Old {
			names[spelling(old)] = true
		}
		for name := range names {
			if other, taken := spellings[name]; taken {
				complain("%s is a spelling of %s and of %s", name, other, p.Name)
			}
			spellings[name] = p.Name
		}
		if other, taken := letters[p.Letter]; taken && p.Letter != "" {
			complain("-%s stands for %s and for %s", p.Letter, other, p.Name)
		}
		letters[p.Letter] = p.Name
	}
	return errors.Join(errs...)
}
