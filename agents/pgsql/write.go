package main

import (
	"context"
	"fmt"

	"pgrex/lib/crm"
	"pgrex/lib/replication"
)

// forever and transient are writes of node attributes of the two lifetimes; an
// empty value deletes the attribute.
func forever(node, name, value string) crm.Write {
	return crm.Write{Node: node, Name: name, Value: value, Lifetime: crm.Forever, Delete: value == ""}
}

func transient(node, name, value string) crm.Write {
	return crm.Write{Node: node, Name: name, Value: value, Lifetime: crm.Transient, Delete: value == ""}
}

// scoreWrite is the write of a node's promotion score.
func (a *agent) scoreWrite(node string, s replication.Score) crm.Write {
	return crm.Write{Node: a.nodeName(node), Name: crm.ScoreAttr(a.conf.resource), Value: s.String(), Lifetime: crm.Transient, Delete: s == replication.Unset}
}

// apply carries out writes side by side and brings our picture of the cluster's
// memory up to date. Without a cluster there is nothing to write to; that was
// said once when the action began.
func (a *agent) apply(ctx context.Context, writes ...crm.Write) error {
	return a.begin(ctx, writes...)()
}

// begin is apply beside what the action does next: wait ends it, once. What the
// action knows of the cluster's memory is touched by nobody before.
func (a *agent) begin(ctx context.Context, writes ...crm.Write) (wait func() error) {
	if len(writes) == 0 || a.cluster == nil {
		return func() error { return nil }
	}
	// What the cache says was written is no longer what is written.
	a.cache.Drop()
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, a.conf.attrTimeout)
		defer cancel()
		done <- a.cluster.Apply(ctx, writes)
	}()
	return func() error {
		if err := <-done; err != nil {
			return fmt.Errorf("write node attributes: %w", err)
		}
		a.note(writes)
		return nil
	}
}

// note takes writes that were carried out over into our picture of the memory.
func (a *agent) note(writes []crm.Write) {
	for _, w := range writes {
		n, ok := a.memory.snap.Node(w.Node)
		if !ok {
			continue
		}
		m := n.Transient
		if w.Lifetime == crm.Forever {
			m = n.Forever
		}
		if w.Delete {
			delete(m, w.Name)
		} else {
			m[w.Name] = w.Value
		}
	}
}

// try is apply for what people read and no rule: a failure is logged.
func (a *agent) try(ctx context.Context, writes ...crm.Write) bool {
	return a.tried(a.begin(ctx, writes...))
}

// tried ends what begin began, for what people read and no rule.
func (a *agent) tried(wait func() error) bool {
	err := wait()
	if err != nil {
		a.unwritten = true
		a.log.Warn("node attributes not written; the next monitor tries again", "error", err)
	}
	return err == nil
}

// self is our node's name as the cluster spells it.
func (a *agent) self() string { return a.nodeName(a.conf.self) }

// changed leaves out the writes that would change nothing.
func (a *agent) changed(writes []crm.Write) []crm.Write {
	var out []crm.Write
	for _, w := range writes {
		if !a.memory.snap.Has(w) {
			out = append(out, w)
		}
	}
	return out
}
