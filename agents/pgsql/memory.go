package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"pgrex/lib/crm"
	"pgrex/lib/pg"
	"pgrex/lib/replication"
)

// memory is what this action knows of the cluster's memory: our own copy as it
// was read last, kept up to date with what the action itself wrote since.
type memory struct {
	snap crm.Snapshot
	// file is the record in our own file, cib the newest of all entries in our
	// copy of cluster memory, and newest the newer of the two.
	file, cib, newest replication.Record
	// copies are the newest records in other nodes' own copies, as far as they
	// were read in this action.
	copies map[string]replication.Record
}

// remember reads our own copy of cluster memory and our file. A record that
// cannot be understood is an error that names it: believing the second newest
// would be a guess.
func (a *agent) remember(ctx context.Context) error {
	snap, err := a.cluster.Local(ctx)
	if err != nil {
		return fmt.Errorf("read this node's copy of the cluster's configuration: %w", err)
	}
	return a.takeOver(ctx, snap)
}

// rememberAhead is remember with the copy that readAhead began to read.
func (a *agent) rememberAhead(ctx context.Context) error {
	snap, err := a.copyAtBegin(ctx)
	if err != nil {
		return a.remember(ctx)
	}
	return a.takeOver(ctx, snap)
}

func (a *agent) takeOver(ctx context.Context, snap crm.Snapshot) error {
	var err error
	if n, ok := snap.Node(a.conf.self); ok && a.call.Interval > 0 && n.Transient[crm.ScoreAttr(a.conf.resource)] == "" {
		// Whoever is monitored has a score. After the controller alone was killed
		// the attribute daemon has it still and the configuration does not, and
		// writing the same value again changes nothing.
		if err := a.refresh(ctx); err != nil {
			return err
		}
		if snap, err = a.cluster.Local(ctx); err != nil {
			return err
		}
	}
	file, err := a.readRecordFile()
	if err != nil {
		return err
	}
	newest, err := a.newestIn(snap)
	if err != nil {
		return err
	}
	a.memory.snap, a.memory.file, a.memory.cib = snap, file, newest
	a.memory.newest = replication.Newest(file, newest)
	if a.memory.copies == nil {
		a.memory.copies = map[string]replication.Record{}
	}
	return a.learn()
}

// learn keeps what others wrote: whoever learns a newer record makes it durable
// here, because our copy of cluster memory may be replaced by an older one.
func (a *agent) learn() error {
	if a.memory.newest.Equal(a.memory.file) {
		return nil
	}
	if err := a.writeRecordFile(a.memory.newest); err != nil {
		return err
	}
	a.memory.file = a.memory.newest
	return nil
}

// newestIn finds the newest record among all nodes' entries of one copy.
func (a *agent) newestIn(snap crm.Snapshot) (replication.Record, error) {
	var newest replication.Record
	for name, node := range snap.Nodes {
		r, err := replication.ParseRecord(node.Forever[a.conf.attr(attrRecord)])
		if err != nil {
			return replication.Record{}, fmt.Errorf("node attribute %s of %s cannot be understood (%w): if nobody can tell what it was, delete it with "+
				"crm_attribute --node %s --name %s --lifetime forever --delete", a.conf.attr(attrRecord), name, err, name, a.conf.attr(attrRecord))
		}
		newest = replication.Newest(newest, r)
	}
	return newest, nil
}

func (a *agent) readRecordFile() (replication.Record, error) {
	b, err := os.ReadFile(a.conf.recordFile())
	if errors.Is(err, fs.ErrNotExist) {
		return replication.Record{}, nil
	}
	if err != nil {
		return replication.Record{}, fmt.Errorf("read the record: %w", err)
	}
	r, err := replication.ParseRecord(string(b))
	if err != nil {
		return replication.Record{}, fmt.Errorf("%s cannot be understood (%w): compare it with 'crm_attribute --node NODE --name %s --query' for each node and remove it if one of them is right",
			a.conf.recordFile(), err, a.conf.attr(attrRecord))
	}
	return r, nil
}

func (a *agent) writeRecordFile(r replication.Record) error {
	// Readable by root alone: it names nodes and positions, and only we read it.
	err := pg.WriteFile(a.conf.recordFile(), []byte(r.String()+"\n"), pg.FileOptions{Mode: 0o600, Replace: true})
	if err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	return nil
}

// saveRecord makes r durable in our file, then in cluster memory as our entry.
func (a *agent) saveRecord(ctx context.Context, r replication.Record) error {
	if err := a.writeRecordFile(r); err != nil {
		return err
	}
	a.memory.file, a.memory.newest = r, r
	again, err := a.insist(ctx, forever(a.nodeName(a.conf.self), a.conf.attr(attrRecord), r.String()))
	if err != nil {
		return fmt.Errorf("write the record to the cluster's configuration: %w", err)
	}
	a.memory.cib = r
	a.log.Info("record", "record", r.String())
	if again {
		// What the rule went by is as old as the wait for this write.
		return a.remember(ctx)
	}
	return nil
}

// readCopy reads the newest record in another node's own copy.
func (a *agent) readCopy(ctx context.Context, node string) error {
	snap, err := a.cluster.At(ctx, a.nodeName(node))
	if err != nil {
		return fmt.Errorf("read the copy of %s: %w", node, err)
	}
	r, err := a.newestIn(snap)
	if err != nil {
		return err
	}
	a.memory.copies[node] = r
	if r.Newer(a.memory.newest) {
		// The node knows of a change that has not reached us: it counts.
		a.memory.newest = r
		return a.learn()
	}
	return nil
}

// nodeName is the cluster's own spelling of a name in node_list.
func (a *agent) nodeName(node string) string {
	if n, ok := a.memory.snap.Node(node); ok {
		return n.Name
	}
	if strings.EqualFold(a.call.Node, node) {
		return a.call.Node
	}
	return node
}

// node is what our copy says of a node in node_list.
func (a *agent) node(name string) crm.Node {
	n, _ := a.memory.snap.Node(name)
	return n
}

// peers are the other nodes that count: those of node_list, and those that left it
// while the record still concerns them. Only what the cluster shows of such a node
// can prove that its older right is gone.
func (a *agent) peers() []string {
	all := slices.Clone(a.conf.nodes)
	for _, n := range a.memory.newest.Concerned() {
		if !a.conf.listed(n) {
			all = append(all, n)
		}
	}
	return slices.DeleteFunc(all, func(n string) bool { return n == a.conf.self })
}

// promoted is the other node that the cluster has as promoted, "" for none. What
// this node is, its own server tells.
func (a *agent) promoted() string {
	found := ""
	for _, n := range a.peers() {
		if a.node(n).Roles[a.conf.resource] != crm.Promoted {
			continue
		}
		// Without fencing nothing ever empties the history of a node that is gone.
		if a.presence(n) == replication.Lost && !a.memory.snap.StonithEnabled {
			continue
		}
		if found == "" || n == a.memory.newest.Primary {
			found = n
		}
	}
	return found
}

// presence maps the cluster's knowledge of a node to the rules' three cases.
func (a *agent) presence(node string) replication.Presence {
	n := a.node(node)
	switch {
	case n.Online:
		return replication.Online
	// A server that the cluster did not manage may have outlived a clean stop of
	// the cluster on its node.
	case n.ProvenDown() && !n.MayRun(a.conf.resource):
		return replication.Down
	}
	return replication.Lost
}

// score is a node's promotion score in our copy.
func (a *agent) score(node string) replication.Score {
	v, set := a.node(node).Score(a.conf.resource)
	switch {
	case !set:
		return replication.Unset
	case v < 0:
		return replication.Never
	case v == int(replication.Standby):
		return replication.Standby
	case v >= int(replication.Primary):
		return replication.Primary
	}
	// Somebody else's number gives no right here. It equals none of ours, so the
	// next write replaces it.
	return replication.Score(v)
}

// accepted reads the operator's explicit act on this node.
func (a *agent) accepted() (epoch uint64, ok bool) {
	v, set := a.node(a.conf.self).Transient[a.conf.attr(attrAccept)]
	if !set || v == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(v), 10, 64)
	if err != nil {
		a.log.Warn("the node attribute to accept loss is not an epoch and is ignored", "name", a.conf.attr(attrAccept), "value", v)
		return 0, false
	}
	return n, true
}

// observation is everything the rules are asked about, except what only the
// server can tell.
func (a *agent) observation() replication.Observation {
	o := replication.Observation{
		Self: a.conf.self, Nodes: a.conf.nodes, Mode: replication.Mode(a.conf.mode),
		Record: a.memory.newest,
		Peers:  map[string]replication.Peer{}, Promoted: a.promoted(), Score: a.score(a.conf.self),
		NoFencing: !a.memory.snap.StonithEnabled, Rejoin: a.conf.rejoin, AcceptName: a.conf.attr(attrAccept),
		SyncStandbys: a.conf.syncStandbys, Quorum: a.conf.quorum, Voter: a.voter(a.conf.self), External: len(a.conf.external) > 0,
	}
	if o.Promoted == "" && a.node(a.conf.self).Roles[a.conf.resource] == crm.Promoted {
		o.Promoted = a.conf.self
	}
	o.Accept, o.Accepted = a.accepted()
	for _, n := range a.peers() {
		p := replication.Peer{Presence: a.presence(n), Score: a.score(n)}
		p.Copy, p.CopyKnown = a.memory.copies[n]
		if !a.conf.listed(n) {
			// It neither votes nor is elected: what it says of itself does not count.
			o.Peers[n] = p
			continue
		}
		p.Voter = a.voter(n)
		if v := a.node(n).Transient[a.conf.attr(attrPosition)]; v != "" {
			pos, err := replication.ParsePublished(v)
			if err != nil {
				a.log.Warn("a node's position cannot be understood and counts as not published", "node", n, "error", err)
			} else {
				p.Position = &pos
			}
		}
		o.Peers[n] = p
	}
	return o
}
