package main

import (
	"context"
	"errors"
	"fmt"
	"time"

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

// insist is apply of one write that a promotion must not lack: one that timed out
// is tried again for as long as ctx lives, and again says so. After a cut the
// configuration takes none until the membership has changed, which may be long
// after crm_attr_timeout, and a promotion that failed may leave nobody to be
// promoted. Whoever looks after a primary gives up: the next monitor comes anyway,
// and this one's time is not to be used up.
//
// An attempt that timed out may be carried out late, but not after a later write of
// this node has been confirmed, so it cannot put an older value in place of a newer
// one: its tool is dead before the next begins, and the configuration's daemon
// hands on what it was given in that order, each confirmed once it is carried out.
func (a *agent) insist(ctx context.Context, w crm.Write) (again bool, err error) {
	for {
		err = a.apply(ctx, w)
		if !a.promoting() || !errors.Is(err, crm.ErrTimeout) {
			return again, err
		}
		a.log.Warn("a node attribute was not written in time; trying again", "attribute", w.Name, "error", err)
		again = true
		select {
		case <-ctx.Done():
			return again, err
		case <-time.After(waitPoll):
		}
	}
}

// promoting reports whether this action is the promotion of this node.
func (a *agent) promoting() bool { return a.call.Action == "promote" }

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
