package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pgrex/tests/lab/bench"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/scenario"
)

// side is one of those that bench compares.
type side struct {
	name   string
	beside string // the side whose configuration it is compared with
	agents cluster.Agents
	tuned  map[string]string // variables of the configuration
	trials []scenario.Trial
	floor  bool // the floor is measured in its labs
}

// sides are those to compare, in the order they are played. tuned says for which
// faults the tuned ones are played too: none, some or all. only names some of them,
// separated by commas, "" is all.
func sides(tuned, only string, trials []scenario.Trial) ([]side, error) {
	var matter []scenario.Trial
	for _, t := range trials {
		if tuned == "all" || tuned == "some" && t.Tunable {
			matter = append(matter, t)
		}
	}
	if !slices.Contains([]string{"none", "some", "all"}, tuned) {
		return nil, fmt.Errorf("--tuned is %q: want none, some or all", tuned)
	}
	all := []side{
		{name: bench.ReferenceName, agents: cluster.Reference, trials: trials},
		{name: bench.OursName, beside: bench.ReferenceName, agents: cluster.Ours, trials: trials, floor: true},
		{name: bench.ReferenceName + " tuned", beside: bench.ReferenceName, agents: cluster.Reference, tuned: tunedReference(), trials: matter},
		{name: bench.OursName + " tuned", beside: bench.OursName, agents: cluster.Ours, tuned: tunedOurs(), trials: matter},
	}
	var out []side
	for _, s := range all {
		if len(s.trials) > 0 && (only == "" || slices.Contains(strings.Split(only, ","), s.name)) {
			out = append(out, s)
		}
	}
	for _, name := range strings.Split(only, ",") {
		if only != "" && !slices.ContainsFunc(out, func(s side) bool { return s.name == name }) {
			return nil, fmt.Errorf("--sides: there is no side %q to play these faults with: reference, ours, reference tuned, ours tuned", name)
		}
	}
	return out, nil
}

// tunedReference are the shortest times that are right for the reference: its two
// monitors must differ and count in seconds for people; one takes a third of a
// second of processor time here. The BMC's answer is not waited for longer than it
// takes, and the loss of the gateway is felt at once.
func tunedReference() map[string]string {
	return map[string]string{
		"MONITOR": "2s", "MONITOR_PROMOTED": "1s", "PING_INTERVAL": "2s", "PING_DAMPEN": "0s",
		"BMC_OPTIONS": "lanplus=1 cipher=3 power_wait=0", "FENCING_DELAY": "1s",
	}
}

// tunedOurs is the same for ours.
func tunedOurs() map[string]string {
	return map[string]string{
		"MONITOR": "1s", "MONITOR_PROMOTED": "500ms", "PING_INTERVAL": "2s", "PING_DAMPEN": "0s",
		"FENCING_DELAY": "1s",
	}
}

// variables are those of a side's configuration: what a person sets holds for all.
func (s side) variables(set map[string]string) map[string]string {
	v := maps.Clone(s.tuned)
	if v == nil {
		v = map[string]string{}
	}
	maps.Copy(v, set)
	return v
}

// upTime and floorTime are about what a lab takes until it is healthy, and what
// the floor takes.
const (
	upTimeReference = 27 * time.Second
	upTimeOurs      = 10 * time.Second
	floorTime       = 7 * time.Second
)

// duration is about what one round takes.
func (s side) duration(floor bool) time.Duration {
	d := upTimeOurs
	if s.agents == cluster.Reference {
		d = upTimeReference
	}
	for _, t := range s.trials {
		seconds := t.Ours
		if s.agents == cluster.Reference {
			seconds = t.Reference
		}
		d += time.Duration(seconds) * time.Second
	}
	if floor && s.floor {
		d += floorTime
	}
	return d
}
