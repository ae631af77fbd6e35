package crm

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

// Refresh makes this node's attribute manager write everything it has to the
// CIB again. That brings back what a restarted controller erased there, which
// writing the same values again does not.
func (c *Client) Refresh(ctx context.Context) error {
	if _, err := c.tool(ctx, proc.Cmd{Path: "attrd_updater", Args: []string{"--refresh"}}); err != nil {
		return fmt.Errorf("refresh the attributes in the CIB: %w", err)
	}
	return nil
}
