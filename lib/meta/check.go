package meta

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Check reports what is wrong with the declaration itself: a doubled name, a default that its own
// rules refuse, a missing text. Tests of the agents call it; a running agent has no use for it.
func (a Agent) Check() error {
	var errs []error
	complain := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if a.Name == "" || a.Version == "" || a.Short == "" || a.Long == "" {
		complain("agent %q lacks a name, a version or a text", a.Name)
	}
	seen := map[string]bool{}
	for _, p := range a.Parameters {
		if seen[p.Name] {
			complain("parameter %s is declared twice", p.Name)
		}
		seen[p.Name] = true
		if !name(p.Name) {
			complain("parameter %q has a name that no environment can carry", p.Name)
		}
		if p.Short == "" || p.Long == "" || strings.HasSuffix(p.Short, ".") {
			complain("parameter %s needs a long text, and a short one without a full stop", p.Name)
		}
		if !slices.Contains([]Kind{String, Integer, Boolean, Select, Seconds}, p.Type) {
			complain("parameter %s has the unknown type %q", p.Name, p.Type)
		}
		if p.Required && p.Default != "" {
			complain("parameter %s is required and has a default", p.Name)
		}
		if p.Default == "" {
			continue
		}
		norm, err := p.normal(p.Default)
		if err == nil && p.Check != nil {
			err = p.Check(norm)
		}
		if err != nil {
			complain("parameter %s: its default %w", p.Name, err)
		}
	}
	type key struct {
		name, role string
		depth      int
	}
	actions := map[key]bool{}
	for _, act := range a.Actions {
		k := key{act.Name, act.Role, act.Depth}
		if actions[k] {
			complain("action %s is declared twice for role %q and depth %d", act.Name, act.Role, act.Depth)
		}
		actions[k] = true
		if act.Timeout <= 0 {
			complain("action %s has no timeout", act.Name)
		}
		if act.Role != "" && act.Role != RolePromoted && act.Role != RoleUnpromoted {
			complain("action %s has the unknown role %q", act.Name, act.Role)
		}
	}
	return errors.Join(errs...)
}

// name reports whether s can stand in OCF_RESKEY_s.
func name(s string) bool {
	for i, r := range s {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}
