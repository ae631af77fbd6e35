package crm

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// daemons are the processes whose restart loses what was written: each of them
// takes the node's transient attributes with it. The kernel cuts names off after
// 15 characters.
var daemons = [...]string{"pacemaker-attrd", "pacemaker-contr", "pacemaker-based"}

// AttrdID names the running start of this node's attribute manager, and of the
// two other daemons whose restart erases attributes too: process ids with their
// start times. It changes when one of them is started again. The error wraps
// ErrNoAttrd if one does not run.
func (c *Client) AttrdID() (string, error) {
	proc := c.procDir()
	self, err := os.Readlink(filepath.Join(proc, "self/ns/pid"))
	if err != nil {
		return "", fmt.Errorf("look for pacemaker-attrd: %w", err)
	}
	dir, err := os.Open(proc)
	if err != nil {
		return "", fmt.Errorf("look for pacemaker-attrd: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return "", fmt.Errorf("look for pacemaker-attrd: %w", err)
	}
	var found [len(daemons)]string
	var oldest [len(daemons)]uint64
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		comm, start, err := processStart(proc, name)
		if err != nil {
			continue // it has ended
		}
		for i, d := range daemons {
			if comm != d {
				continue
			}
			// A host sees the processes of its containers, which may run a
			// cluster of their own.
			ns, err := os.Readlink(filepath.Join(proc, name, "ns/pid"))
			if err != nil || ns != self {
				continue
			}
			// What a daemon has forked to run a program bears its name for a moment.
			began, err := strconv.ParseUint(start, 10, 64)
			if err == nil && (found[i] == "" || began < oldest[i]) {
				found[i], oldest[i] = name+"@"+start, began
			}
		}
	}
	for i, id := range found {
		if id == "" {
			return "", fmt.Errorf("%w (no process %s)", ErrNoAttrd, daemons[i])
		}
	}
	return strings.Join(found[:], ","), nil
}

// SameAttrd tells whether the daemons named by an id of AttrdID still run. It
// looks at their processes only, which is cheaper than AttrdID.
func (c *Client) SameAttrd(id string) bool {
	parts := strings.Split(id, ",")
	if len(parts) != len(daemons) {
		return false
	}
	for i, part := range parts {
		pid, start, ok := strings.Cut(part, "@")
		if _, err := strconv.ParseUint(pid, 10, 32); err != nil || !ok {
			return false
		}
		comm, now, err := processStart(c.procDir(), pid)
		if err != nil || comm != daemons[i] || now != start {
			return false
		}
	}
	return true
}

func (c *Client) procDir() string {
	if c.Proc == "" {
		return "/proc"
	}
	return c.Proc
}

// processStart reads a process's name and its start time in clock ticks since
// boot: field 22 of its stat. A zombie does not run any more.
func processStart(proc, pid string) (comm, start string, err error) {
	stat, err := os.ReadFile(filepath.Join(proc, pid, "stat"))
	if err != nil {
		return "", "", err
	}
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return "", "", errors.New("malformed stat of process " + pid)
	}
	f := strings.Fields(string(stat[end+1:]))
	const startTime = 22 - 3 // the fields after the name begin with the third
	if len(f) <= startTime {
		return "", "", errors.New("malformed stat of process " + pid)
	}
	if f[0] == "Z" || f[0] == "X" {
		return "", "", fs.ErrNotExist
	}
	return string(stat[open+1 : end]), f[startTime], nil
}
