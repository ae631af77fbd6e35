package replication_test

import (
	"fmt"
	"slices"

	r "pgrex/lib/replication"
)

// entry is one record of the WAL. Its id is what two servers really share; the
// rules under test see only timeline and LSN.
type entry struct {
	id       int
	timeline uint32
	commit   int // number of the client's commit, 0 for the server's own records
}

// The WAL begins just below the place where LSNs grow by a digit, so that
// comparing them as text goes wrong early.
const (
	firstLSN = r.LSN(0x0FFFFF40)
	lsnStep  = r.LSN(0x20)
	system   = 7001
)

type serverState int

const (
	stopped serverState = iota
	standby
	primary
)

// server is one PostgreSQL as far as the rules can tell one from another.
type server struct {
	state serverState
	wal   []entry
	// flushed entries survive a crash.
	flushed int
	// clean and wasPrimary are what the control file says of a stopped server.
	clean, wasPrimary bool

	// names is synchronous_standby_names as SHOW tells it; inForce what the
	// backends wait for: the checkpointer reads the reload when it gets to it.
	names, inForce []string
	// count and inForceCount: how many of them.
	count, inForceCount int
	// unacked are the indexes of commits whose clients still wait.
	unacked []int
	// senders are the lines of pg_stat_replication. A line outlives its standby
	// until the sender times out.
	senders map[string]*sender
}

type sender struct {
	alive  bool // the connection really exists
	caught bool // it has caught up once: streaming
}

func (s *server) end() int { return len(s.wal) }

// position is computed from the WAL itself.
func (s *server) position() r.Position { return positionOf(s.wal) }

func positionOf(wal []entry) r.Position {
	if len(wal) == 0 {
		return r.Position{}
	}
	p := r.Position{System: system, Timeline: wal[len(wal)-1].timeline, LSN: lsnAt(len(wal))}
	for i := 1; i < len(wal); i++ {
		if wal[i].timeline != wal[i-1].timeline {
			p.History = append(p.History, r.Switch{Timeline: wal[i-1].timeline, End: lsnAt(i)})
		}
	}
	return p
}

func lsnAt(n int) r.LSN { return firstLSN + r.LSN(n)*lsnStep }

// serves reports whether a standby with this WAL is accepted by a walsender: the
// timeline of its end is in the server's history and was not left before.
func (s *server) serves(wal []entry) bool {
	n := len(wal)
	return n <= s.end() && (n == 0 || s.wal[n-1].timeline == wal[n-1].timeline)
}

// isPrefix reports whether all of a is the beginning of b, by what was written.
func isPrefix(a, b []entry) bool {
	return len(a) <= len(b) && slices.EqualFunc(a, b[:len(a)], func(x, y entry) bool { return x.id == y.id })
}

// node is one machine: its power, its cluster stack, its disk and its server.
type node struct {
	name   string
	power  bool
	stack  bool
	server server

	// On disk.
	file r.Record // the record file
	disk memory   // cib.xml, which may lag behind

	// The running stack; gone with it.
	mem memory
	// waiting are updates from other members that have not arrived here yet.
	waiting []*message
	// quorumSeen: wait_for_all is satisfied, this stack has been quorate.
	quorumSeen bool

	// What the cluster knows of the resource on this node.
	probed   bool
	running  bool
	promoted bool
	failed   bool
	banned   bool // start failed; until failure-timeout
	leaving  bool // an orderly stop of the node was asked for
	reason   string
	waits    string

	action *action
}

// crash ends the server without warning. keep tells how many of the entries not
// yet flushed happen to have reached the disk.
func (n *node) crash(keep int) {
	s := &n.server
	if s.state == stopped {
		return
	}
	s.wal = slices.Clone(s.wal[:min(s.end(), s.flushed+keep)])
	s.flushed = s.end()
	s.wasPrimary = s.state == primary
	s.clean = !s.wasPrimary
	s.state = stopped
	s.unacked, s.senders = nil, nil
}

// startStandby starts the server over the WAL it has; start always takes
// synchronous_standby_names back.
func (n *node) startStandby() {
	s := &n.server
	s.state, s.names, s.inForce, s.count, s.inForceCount = standby, nil, nil, 0, 0
	s.wasPrimary, s.clean = false, false
	s.senders = map[string]*sender{}
}

func (n *node) String() string {
	power := "off"
	switch {
	case n.power && n.stack:
		power = "up"
	case n.power:
		power = "no stack"
	}
	return fmt.Sprintf("%s[%s %s wal=%d/%d %s]", n.name, power,
		[...]string{"stopped", "standby", "primary"}[n.server.state], n.server.flushed, n.server.end(), n.server.position())
}
