package crm

import (
	"slices"
	"strconv"
	"strings"
)

// Exit codes of resource agents that tell a role.
const (
	rcOK               = 0
	rcNotRunning       = 7
	rcPromoted         = 8
	rcFailedPromoted   = 9
	rcDegraded         = 190
	rcDegradedPromoted = 191
)

// opDone and opError are the states of an operation that has ended with a
// result of the agent's own: others are pending (-1), cancelled (1) or timed out.
const (
	opDone  = 0
	opError = 4
	// opPending is an operation that was begun (record-pending).
	opPending = "-1"
)

// roles gives each resource the role that its history ends in.
func roles(resources []historyXML) map[string]Role {
	m := make(map[string]Role, len(resources))
	for _, r := range resources {
		id, _, _ := strings.Cut(r.ID, ":")
		// Several instances of a clone on a node: the highest role counts.
		m[id] = max(m[id], role(r.Ops))
	}
	return m
}

// probed are the resources of which more is known than that a probe is under way:
// whatever else was begun, was begun because the cluster knows what is there.
func probed(resources []historyXML) map[string]bool {
	m := make(map[string]bool, len(resources))
	for _, r := range resources {
		id, _, _ := strings.Cut(r.ID, ":")
		m[id] = m[id] || slices.ContainsFunc(r.Ops, func(op opXML) bool { return op.Status != opPending || op.Operation != "monitor" })
	}
	return m
}

// role replays a resource's history in the order of the calls and takes the last
// operation that succeeded: an operation that failed leaves the role as it was,
// which is also what a reader must assume.
func role(ops []opXML) Role {
	type result struct {
		call int
		role Role
	}
	var results []result
	for _, op := range ops {
		// A pending operation has taken the place of the one before it in the
		// history, and what is left may be older: a start shows that the resource
		// was stopped, whatever an old monitor says.
		if op.Status == opPending && op.Operation == "start" {
			return Stopped
		}
		call, err := strconv.Atoi(op.CallID)
		if err != nil || call < 0 {
			continue
		}
		status, err := strconv.Atoi(op.Status)
		if err != nil || status != opDone && status != opError {
			continue
		}
		rc, err := strconv.Atoi(op.RC)
		if err != nil {
			continue
		}
		if r := outcome(op.Operation, rc); r != Unknown {
			results = append(results, result{call, r})
		}
	}
	if len(results) == 0 {
		return Unknown
	}
	slices.SortStableFunc(results, func(a, b result) int { return a.call - b.call })
	return results[len(results)-1].role
}

// promoted reports whether a resource is promoted, or about to be, or not demoted
// yet. The operation that was begun has taken the place of the one before it, and
// the recurring monitors of the role it leaves are gone by then: what is left of
// the history says nothing.
func promoted(ops []opXML) bool {
	for _, op := range ops {
		if op.Status == opPending && (op.Operation == "promote" || op.Operation == "demote") {
			return true
		}
	}
	return role(ops) == Promoted
}

// outcome is the role a resource has after one operation, Unknown if the
// operation does not tell.
func outcome(operation string, rc int) Role {
	switch operation {
	case "monitor":
		switch rc {
		case rcOK, rcDegraded:
			return Unpromoted
		case rcPromoted, rcDegradedPromoted, rcFailedPromoted:
			return Promoted
		case rcNotRunning:
			return Stopped
		}
	case "start", "demote", "migrate_from":
		if rc == rcOK {
			return Unpromoted
		}
	case "promote":
		if rc == rcOK {
			return Promoted
		}
	case "stop", "migrate_to":
		if rc == rcOK {
			return Stopped
		}
	}
	return Unknown
}
