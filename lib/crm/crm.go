// Package crm is what the cluster remembers: node attributes, promotion scores,
// members and their state, as Pacemaker keeps them. XML comes in, structs go
// out.
//
// It owns the calls of Pacemaker's command line tools, the reading of the CIB,
// and the cache of what was last written. It takes no decision about roles: what
// may follow from a snapshot is for lib/replication and the agents.
//
// # What a copy is worth
//
// Every node has a copy of the CIB of its own. The following was tried with
// Pacemaker 2.1.5 on two nodes (token 1 s), and the rules of the suite rest on it.
//
// Reading:
//   - Local and every write are answered by this node's own daemons, At by the
//     peer's own: with the peer's daemon frozen the former go on and the latter
//     waits. At takes 13 to 16 ms. For a peer that is gone, stopped, frozen or
//     unknown the tool waits for 30 s unless bounded.
//   - Reading an attribute of a lost node from the local attribute manager gives
//     an empty value with success, which looks like one that was withdrawn.
//
// Writing:
//   - A write takes 10 to 20 ms, nearly all of it the tool's own start. It
//     succeeds in a partition of one, and while the peer's daemon is frozen:
//     success says nothing about the peer. With the peer alive, all of 200
//     forever and 80 transient writes were seen in its copy by a query begun
//     after the write had returned; At is still the only proof.
//   - A forever write begun after a cut, before the membership has changed, waits
//     for that change (2.1 s); a transient one returns at once. A write that was
//     killed meanwhile is carried out all the same: one that timed out may still
//     happen.
//   - Writing or deleting a transient attribute of a lost node succeeds and does
//     nothing: when the cut heals, the values of that node's own copy come back.
//   - Of forever attributes written on both sides of a cut, one side's whole
//     configuration wins when it heals. The other side's writes are gone.
//
// A node's state in a survivor's copy:
//   - Lost and not fenced: crmd=offline, join=down, expected=member, history as
//     it was, no transient attributes, while its own copy has them all.
//   - Fenced, or confirmed by an operator: crmd=offline, join=down,
//     expected=down, history empty.
//   - Cleanly stopped: crmd=offline, join=down, expected=down, history ending
//     with a stop, or without one for a resource that was not managed and runs
//     on. With the cluster layer left running in_ccm stays true.
//   - Not seen since this node's own start: no node_state at all.
//   - Coming up: in_ccm=true first, then crmd=online with join=down and
//     expected=down, then join=member and expected=member.
//
// The end of transient attributes:
//   - They are erased, in the node's own copy and in the peers', when its cluster
//     stack restarts: cleanly, by SIGKILL of everything, by a reset, connected or
//     cut off: the attribute manager erases its node's when it starts. The
//     attributes of the peers come back from the peers.
//   - Likewise when only pacemaker-attrd or pacemaker-based of the node is killed
//     and respawned. So they are by the peers when only pacemaker-controld is;
//     while the node is cut off that one takes nothing with it.
//   - After pacemaker-controld alone was killed, the attribute manager still has
//     the values that the CIB has lost. Writing the same value again succeeds and
//     does nothing; Refresh makes it write all it has.
package crm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pgrex/lib/proc"
)

const (
	// DefaultPeerTimeout bounds At: the tool's own bound of 30 s is longer
	// than a commit should wait.
	DefaultPeerTimeout = 2 * time.Second
	// maxCIB is how much of a CIB is read; a larger one is an error.
	maxCIB = 64 << 20
)

// Client talks to this node's Pacemaker through its tools. It may be used by
// several goroutines.
type Client struct {
	// Run runs the tools.
	Run proc.Runner
	// PeerTimeout bounds At; 0 means DefaultPeerTimeout.
	PeerTimeout time.Duration
	// Proc is where processes are looked up; empty means /proc.
	Proc string
}

// Local reads this node's own copy. It says what this node believes; nothing in
// it proves what a peer would do.
func (c *Client) Local(ctx context.Context) (Snapshot, error) {
	// Without --local, which newer versions deprecate: a plain query is
	// answered by the local daemon too.
	return c.query(ctx, proc.Cmd{Path: "cibadmin", Args: []string{"--query"}})
}

// At reads another node's own copy, from that node. The error wraps
// ErrUnreachable if the node did not answer in PeerTimeout, and ctx's error as
// well if it was ctx that ended.
func (c *Client) At(ctx context.Context, node string) (Snapshot, error) {
	if node == "" {
		return Snapshot{}, errors.New("read a peer's copy of the CIB: no node named")
	}
	bound := c.PeerTimeout
	if bound == 0 {
		bound = DefaultPeerTimeout
	}
	limited, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	snap, err := c.query(limited, proc.Cmd{Path: "cibadmin", Args: []string{"--query", "--node=" + node}})
	switch {
	case err == nil:
		return snap, nil
	case ctx.Err() != nil:
		return Snapshot{}, fmt.Errorf("node %s: %w: %w", node, ErrUnreachable, ctx.Err())
	case limited.Err() != nil:
		return Snapshot{}, fmt.Errorf("node %s: %w within %v", node, ErrUnreachable, bound)
	case errors.Is(err, ErrTimeout):
		return Snapshot{}, fmt.Errorf("node %s: %w: %w", node, ErrUnreachable, err)
	default:
		return Snapshot{}, fmt.Errorf("node %s: %w", node, err)
	}
}

// query runs a cibadmin query and reads what it prints.
func (c *Client) query(ctx context.Context, cmd proc.Cmd) (Snapshot, error) {
	text, err := c.text(ctx, cmd)
	if err != nil {
		return Snapshot{}, err
	}
	snap, err := Parse(text)
	if err != nil {
		return Snapshot{}, fmt.Errorf("%s: %w", cmd, err)
	}
	return snap, nil
}

// text runs a cibadmin query and returns what it prints.
func (c *Client) text(ctx context.Context, cmd proc.Cmd) ([]byte, error) {
	cmd.MaxOutput = maxCIB
	res, err := c.tool(ctx, cmd)
	if err != nil {
		return nil, err
	}
	if res.Truncated {
		return nil, fmt.Errorf("%s: the CIB is larger than %d bytes", cmd, maxCIB)
	}
	return res.Stdout, nil
}

// Name is this node's name in the cluster, for where the environment of the
// action does not tell it.
func (c *Client) Name(ctx context.Context) (string, error) {
	res, err := c.tool(ctx, proc.Cmd{Path: "crm_node", Args: []string{"--name"}})
	if err != nil {
		return "", fmt.Errorf("ask for this node's name: %w", err)
	}
	name := strings.TrimSpace(string(res.Stdout))
	if name == "" || strings.ContainsAny(name, " \t\n") {
		return "", fmt.Errorf("ask for this node's name: crm_node printed %q", res.Stdout)
	}
	return name, nil
}

// tool runs one of Pacemaker's tools and turns its exit code into an error.
func (c *Client) tool(ctx context.Context, cmd proc.Cmd) (proc.Result, error) {
	// The tools hold nothing that needs a clean end.
	cmd.Grace = 50 * time.Millisecond
	// crm_attribute takes no locale over and refuses a value that is not
	// ASCII, unless this names the character set to its library.
	cmd.Env = append(proc.InheritedEnv(), "LC_ALL=C", "CHARSET=UTF-8")
	res, err := c.Run.Run(ctx, cmd)
	if err != nil {
		if ctx.Err() != nil {
			return res, fmt.Errorf("%w: %w", ErrTimeout, err)
		}
		if errors.Is(err, proc.ErrNotFound) {
			return res, fmt.Errorf("%w (is pacemaker-cli-utils, or pacemaker-cli, installed?)", err)
		}
		return res, err
	}
	if res.ExitCode != 0 {
		return res, &ToolError{Cmd: cmd.String(), ExitCode: res.ExitCode, Message: res.Message()}
	}
	return res, nil
}
