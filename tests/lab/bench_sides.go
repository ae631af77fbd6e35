package main

import (
	"fmt"
	"maps"
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

// sides are those to compare, in the order they are played. which says for which
// faults both sides are tuned too.
func sides(which string, trials []scenario.Trial) ([]side, error) {
	var tuned []scenario.Trial
	for _, t := range trials {
		if which == "all" || which == "some" && t.Tunable {
			tuned = append(tuned, t)
		}
	}
	if which != "none" && which != "some" && which != "all" {
		return nil, fmt.Errorf("--tuned is %q: want none, some or all", which)
	}
	out := []side{
		{name: bench.ReferenceName, agents: cluster.Reference, trials: trials},
		{name: bench.OursName, beside: bench.ReferenceName, agents: cluster.Ours, trials: trials, floor: true},
	}
	if len(tuned) == 0 {
		return out, nil
	}
	for _, s := range []side{
		{name: bench.ReferenceName, agents: cluster.Reference, tuned: tunedReference()},
		{name: bench.OursName, agents: cluster.Ours, tuned: tunedOurs()},
	} {
		s.beside, s.trials = s.name, tuned
		s.name += " tuned"
		out = append(out, s)
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
	floorTime       = 10 * time.Second
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
