package crm

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"pgrex/lib/proc"
)

// Lifetime is how long an attribute is kept.
type Lifetime int

// The lifetimes.
const (
	// Transient attributes end with the node's cluster stack. The attribute
	// manager answers a write before the CIB has it.
	Transient Lifetime = iota
	// Forever attributes are part of the configuration. A write has reached
	// this node's copy when it returns, and no other node's for sure.
	Forever
)

// String is the lifetime's name.
func (l Lifetime) String() string {
	if l == Forever {
		return "forever"
	}
	return "reboot"
}

// Write is one change of a node attribute.
type Write struct {
	// Node and Name say which attribute.
	Node, Name string
	// Value is the new value; not used with Delete.
	Value string
	// Lifetime is the kind of attribute.
	Lifetime Lifetime
	// Delete removes the attribute; removing one that is not there succeeds.
	Delete bool
}

// WriteError is a write that failed.
type WriteError struct {
	// Write is what was to be written.
	Write Write
	// Err is why it was not.
	Err error
}

// Error says which attribute of which node was not written.
func (e *WriteError) Error() string {
	what := "set"
	if e.Write.Delete {
		what = "delete"
	}
	return fmt.Sprintf("%s %s attribute %s of node %s: %v", what, e.Write.Lifetime, e.Write.Name, e.Write.Node, e.Err)
}

// Unwrap gives the cause.
func (e *WriteError) Unwrap() error { return e.Err }

// Set makes the write of an attribute.
func Set(l Lifetime, node, name, value string) Write {
	return Write{Node: node, Name: name, Value: value, Lifetime: l}
}

// Delete makes the removal of an attribute.
func Delete(l Lifetime, node, name string) Write {
	return Write{Node: node, Name: name, Lifetime: l, Delete: true}
}

// SetScore makes the write of a resource's promotion score.
func SetScore(node, resource string, score int) Write {
	return Set(Transient, node, ScoreAttr(resource), FormatScore(score))
}

// FormatScore writes a score as Pacemaker does.
func FormatScore(score int) string {
	switch {
	case score >= Infinity:
		return "INFINITY"
	case score <= -Infinity:
		return "-INFINITY"
	}
	return strconv.Itoa(score)
}

// parallel bounds how many writes run side by side: one is 15 ms of which most
// is the tool's own start.
const parallel = 4

// Apply carries out writes side by side, in no order: for an order call it twice.
// All are tried; the error joins a *WriteError for each that failed. Success
// says what this node's daemons have taken, see Lifetime; it does not say that a
// peer has it, nor that it was kept if the node named is lost. A write that
// failed with ErrTimeout may still be carried out later.
func (c *Client) Apply(ctx context.Context, writes []Write) error {
	results := make(chan error, len(writes))
	slots := make(chan struct{}, parallel)
	for _, w := range writes {
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			results <- c.write(ctx, w)
		}()
	}
	var errs []error
	for range writes {
		if err := <-results; err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c *Client) write(ctx context.Context, w Write) error {
	if w.Node == "" || w.Name == "" {
		return &WriteError{Write: w, Err: errors.New("a write needs a node and a name")}
	}
	if strings.ContainsFunc(w.Value, unicode.IsControl) || !utf8.ValidString(w.Value) {
		// XML gives a line break back as a blank, so it would never be
		// confirmed; a NUL cannot be an argument.
		return &WriteError{Write: w, Err: fmt.Errorf("the value %q has control characters or is not UTF-8", w.Value)}
	}
	args := []string{"--lifetime=" + w.Lifetime.String(), "--node=" + w.Node, "--name=" + w.Name}
	if w.Delete {
		args = append(args, "--delete")
	} else {
		// With an equals sign: a value such as -INFINITY is taken for options
		// by some versions otherwise.
		args = append(args, "--update="+w.Value)
	}
	_, err := c.tool(ctx, proc.Cmd{Path: "crm_attribute", Args: args})
	// The exit code for "no such attribute" is also that for "no such node";
	// 2.1.5 gives it for the latter only, deletions of nothing succeed.
	if err != nil {
		return &WriteError{Write: w, Err: err}
	}
	return nil
}

// SetTransient sets a transient attribute. See Apply.
func (c *Client) SetTransient(ctx context.Context, node, name, value string) error {
	return c.write(ctx, Set(Transient, node, name, value))
}

// DeleteTransient removes a transient attribute. See Apply.
func (c *Client) DeleteTransient(ctx context.Context, node, name string) error {
	return c.write(ctx, Delete(Transient, node, name))
}

// SetForever sets a forever attribute. See Apply.
func (c *Client) SetForever(ctx context.Context, node, name, value string) error {
	return c.write(ctx, Set(Forever, node, name, value))
}

// DeleteForever removes a forever attribute. See Apply.
func (c *Client) DeleteForever(ctx context.Context, node, name string) error {
	return c.write(ctx, Delete(Forever, node, name))
}

// SetScore sets a resource's promotion score on a node. See Apply.
func (c *Client) SetScore(ctx context.Context, node, resource string, score int) error {
	return c.write(ctx, SetScore(node, resource, score))
}

// Refresh makes this node's attribute manager write everything it has to the
// CIB again. That brings back what a restarted controller erased there, which
// writing the same values again does not.
func (c *Client) Refresh(ctx context.Context) error {
	if _, err := c.tool(ctx, proc.Cmd{Path: "attrd_updater", Args: []string{"--refresh"}}); err != nil {
		return fmt.Errorf("refresh the attributes in the CIB: %w", err)
	}
	return nil
}

// confirmEvery is the pause between two looks of Confirm.
const confirmEvery = 20 * time.Millisecond

// Confirm waits until a node's own copy shows all the writes, reading it from
// that node; ctx bounds the wait. It is the proof that a right was withdrawn
// where it would be used. The error wraps ErrUnreachable if the node does not
// answer, and ctx's if it answers something else until the end. The snapshot is
// the last one read.
func (c *Client) Confirm(ctx context.Context, node string, writes ...Write) (Snapshot, error) {
	tick := time.NewTicker(confirmEvery)
	defer tick.Stop()
	var snap Snapshot
	var missing *Write
	unseen := func() error {
		return &WriteError{Write: *missing, Err: fmt.Errorf("not seen in the copy of node %s: %w", node, ctx.Err())}
	}
	for {
		next, err := c.At(ctx, node)
		if err != nil {
			// The end of our own time says nothing about a node that has
			// answered before.
			if missing != nil && ctx.Err() != nil {
				return snap, unseen()
			}
			return snap, err
		}
		snap, missing = next, nil
		for i := range writes {
			if !snap.Has(writes[i]) {
				missing = &writes[i]
				break
			}
		}
		if missing == nil {
			return snap, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return snap, unseen()
		}
	}
}
