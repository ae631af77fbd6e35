// Package site is the machine room of one lab: a daemon outside all nodes that
// owns the switch, the nodes' power and the BMCs, and a client that gives it
// orders over a unix socket.
//
// The daemon lives in a mount namespace of its own and everything it starts is
// killed by the kernel when it dies. A lab that crashed therefore leaves an
// empty directory and nothing else.
package site

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Base holds a directory for each lab.
const Base = "/run/pgrex-lab"

// ErrNoLab says that there is no lab of that name.
var ErrNoLab = errors.New("no such lab")

// Plan says what to build.
type Plan struct {
	// Name tells labs apart.
	Name string
	// Nodes is how many machines there are, named n1, n2, ...
	Nodes int
	// OnDisk puts the durable directories on a file system that loses
	// un-synced data with the power.
	OnDisk bool
	// OwnWAL gives pg_wal a file system of its own; only with OnDisk.
	OwnWAL bool
	// Azure puts the nodes into a cloud: no BMCs, and a virtual network that
	// delivers an address to whom the Resource Manager names. See tests/lab/azure.
	Azure bool
	// SecondBMC gives each node another management controller.
	SecondBMC bool
	// Lower is the root file system of the nodes.
	Lower string
	// Boot is the boot script's path inside a node.
	Boot string
	// Owner is a process whose end ends the lab, 0 for none.
	Owner int
	// Builder is the process that makes the lab; its end ends the lab until
	// Keep. Build fills it in.
	Builder process
}

// State is what a lab's directory says about it.
type State struct {
	Plan
	// Daemon is the daemon's process and Start its start time in the
	// kernel's ticks, since numbers are used again.
	Daemon int
	Start  string
	// ClientNetns is where clients of the service LAN sit.
	ClientNetns string
}

var goodName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,30}$`)

// Check says what is wrong with a plan.
func (p Plan) Check() error {
	if !goodName.MatchString(p.Name) {
		return fmt.Errorf("bad lab name %q: use up to 31 small letters, digits and dashes", p.Name)
	}
	if p.Nodes < 1 || p.Nodes > 5 {
		return fmt.Errorf("cannot build %d nodes: a lab has 1 to 5", p.Nodes)
	}
	return nil
}

// NodeNames lists the nodes.
func (p Plan) NodeNames() []string {
	var names []string
	for i := range p.Nodes {
		names = append(names, fmt.Sprintf("n%d", i+1))
	}
	return names
}

// Dir is the lab's directory.
func (p Plan) Dir() string { return filepath.Join(Base, p.Name) }

// The daemon mounts a tmpfs on files; it is there only in its own view.
func (p Plan) files() string                { return filepath.Join(p.Dir(), "fs") }
func (p Plan) nodeDir(node string) string   { return filepath.Join(p.files(), node) }
func (p Plan) socket() string               { return filepath.Join(p.Dir(), "site.sock") }
func (p Plan) stateFile() string            { return filepath.Join(p.Dir(), "lab.json") }
func (p Plan) group() string                { return "pgrex-lab/" + p.Name }
func (p Plan) nodeGroup(node string) string { return p.group() + "/" + node }

// Load reads a lab's state. The lab may be dead, see Alive.
func Load(name string) (State, error) {
	var s State
	b, err := os.ReadFile(Plan{Name: name}.stateFile())
	if errors.Is(err, os.ErrNotExist) {
		return s, fmt.Errorf("%w: %q (have: %s; make one with \"lab up\")", ErrNoLab, name, strings.Join(Names(), " "))
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("lab %s: damaged state: %w", name, err)
	}
	return s, nil
}

// Names lists the labs that have a directory.
func Names() []string {
	es, _ := os.ReadDir(Base)
	var names []string
	for _, e := range es {
		if e.IsDir() && goodName.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

func (s State) save() error {
	b, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return err
	}
	tmp := s.stateFile() + ".new"
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, s.stateFile())
}

// Alive says whether the lab's daemon runs.
func (s State) Alive() bool { return process{s.Daemon, s.Start}.alive() }
