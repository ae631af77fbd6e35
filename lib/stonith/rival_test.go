package stonith

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgrex/lib/crm"
	"pgrex/lib/proc/proctest"
)

// Who waits how often.
func TestTurn(t *testing.T) {
	unread := errors.New("no answer")
	for name, tt := range map[string]struct {
		r    rivals
		want int
	}{
		"promoted here":                   {rivals{self: "n1", target: "n2", alone: true, quorate: true, ours: true}, 0},
		"promoted there":                  {rivals{self: "n1", target: "n2", alone: true, quorate: true, theirs: true}, 1},
		"promoted nowhere, first":         {rivals{self: "n1", target: "n2", alone: true, quorate: true}, 2},
		"promoted nowhere, second":        {rivals{self: "n2", target: "n1", alone: true, quorate: true}, 3},
		"promoted on both, first":         {rivals{self: "n1", target: "n2", alone: true, ours: true, theirs: true}, 2},
		"promoted on both, second":        {rivals{self: "n2", target: "n1", alone: true, ours: true, theirs: true}, 3},
		"in contact":                      {rivals{self: "n1", target: "n2", member: true, theirs: true}, 0},
		"a real quorum":                   {rivals{self: "n1", target: "n2", quorate: true, theirs: true}, 0},
		"company without quorum":          {rivals{self: "n1", target: "n2", theirs: true}, 1},
		"cannot be read, first":           {rivals{self: "n1", target: "n2", unread: unread}, 4},
		"cannot be read, second":          {rivals{self: "n2", target: "n1", unread: unread}, 5},
		"cannot be read, whoever this is": {rivals{target: "n1", unread: unread}, 5},
	} {
		if got, why := tt.r.turn(); got != tt.want || why == "" {
			t.Errorf("%s: %d (%s), want %d", name, got, why, tt.want)
		}
	}
}

// While the primary is moved from one node to the other, each side knows its own role, and any role that
// the other has had on the way. Whatever the two believe, and if one of them cannot read anything, they do
// not have the same turn.
func TestTurnsDiffer(t *testing.T) {
	type at struct{ from, to bool } // which of the two is promoted
	way := []at{{true, false}, {false, false}, {false, true}}
	n := 0
	for _, names := range [][2]string{{"n1", "n2"}, {"n2", "n1"}} {
		for i, now := range way {
			for _, seenByFrom := range way[:i+1] {
				for _, seenByTo := range way[:i+1] {
					from := rivals{self: names[0], target: names[1], alone: true, quorate: true, ours: now.from, theirs: seenByFrom.to}
					to := rivals{self: names[1], target: names[0], alone: true, quorate: true, ours: now.to, theirs: seenByTo.from}
					blind := []rivals{from, to}
					for k := range blind {
						blind[k].unread = errors.New("no answer")
					}
					for _, pair := range [][2]rivals{{from, to}, {blind[0], to}, {from, blind[1]}, {blind[0], blind[1]}} {
						a, _ := pair[0].turn()
						b, _ := pair[1].turn()
						if n++; a == b {
							t.Errorf("both wait %d times: %+v and %+v", a, pair[0], pair[1])
						}
					}
				}
			}
		}
	}
	if n != 2*(1+4+9)*4 {
		t.Errorf("%d pairs of views were compared", n)
	}
}

// What a copy of the CIB says, as Pacemaker wrote it.
func TestSee(t *testing.T) {
	for _, tt := range []struct {
		cib, self, target string
		want              rivals
	}{
		{"lost", "node1", "node2", rivals{alone: true, quorate: false, ours: true}},
		{"lost_other_side", "node2", "NODE1", rivals{alone: true, quorate: false, theirs: true}},
		{"pair", "node2", "node1", rivals{member: true, alone: true, theirs: true}},
		{"pair", "node1", "node2", rivals{member: true, alone: true, ours: true}},
		{"pair", "node1", "nobody", rivals{ours: true}},
	} {
		text, err := os.ReadFile("../crm/testdata/" + tt.cib + ".xml")
		if err != nil {
			t.Fatal(err)
		}
		s, err := crm.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		got := rivals{self: tt.self, target: tt.target}
		got.see(s)
		tt.want.self, tt.want.target = tt.self, strings.ToLower(tt.target)
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", tt.want) {
			t.Errorf("%s on %s:\ngot  %+v\nwant %+v", tt.cib, tt.self, got, tt.want)
		}
	}
}

// Three nodes of which one was lost: the two others have a real quorum, and either may be the one that fences.
func TestSeeThree(t *testing.T) {
	s := crm.Snapshot{HaveQuorum: true, NoQuorumPolicy: "stop", Nodes: map[string]crm.Node{
		"n1": {Name: "n1", Online: true, InMembership: true},
		"n2": {Name: "n2", Online: true, InMembership: true, Promoted: true},
		"n3": {Name: "n3"},
		"r1": {Name: "r1", Online: true, Remote: true, Promoted: true},
	}}
	r := rivals{self: "n1", target: "n3"}
	r.see(s)
	if n, why := r.turn(); n != 0 || !r.ours || !r.quorate || r.alone {
		t.Errorf("%d (%s): %+v", n, why, r)
	}
	// Without a quorum that counts, what is promoted in the partition is what matters.
	s.NoQuorumPolicy = "ignore"
	r = rivals{self: "n1", target: "n3"}
	r.see(s)
	if n, why := r.turn(); n != 0 || r.quorate || !strings.Contains(why, "promoted") {
		t.Errorf("%d (%s): %+v", n, why, r)
	}
	lone := rivals{self: "n3", target: "n2"}
	s.Nodes = map[string]crm.Node{"n1": {Name: "n1"}, "n2": {Name: "n2", Promoted: true}, "n3": {Name: "n3", Online: true}, "r1": {Name: "r1", Online: true, Remote: true}}
	lone.see(s)
	if n, _ := lone.turn(); n != 1 || !lone.alone {
		t.Errorf("%d: %+v", n, lone)
	}
}

// TestYield runs whole actions in a cluster that says what it says.
func TestYield(t *testing.T) {
	const lines = "ip=x\nnodename=node1\nunpromoted_delay=10\n"
	text, err := os.ReadFile("../crm/testdata/lost_other_side.xml")
	if err != nil {
		t.Fatal(err)
	}
	side := func(cib, name proctest.Reply) *proctest.Runner {
		run := &proctest.Runner{}
		run.On("cibadmin --query", cib)
		run.On("crm_node --name", name)
		return run
	}
	// node1 was promoted, and this is node2.
	unpromoted := func() *proctest.Runner {
		return side(proctest.Reply{Stdout: string(text)}, proctest.Reply{Stdout: "node2\n"})
	}
	daemonsGone := proctest.Reply{Exit: 102}
	for name, tt := range map[string]struct {
		in     string
		run    *proctest.Runner
		env    map[string]string
		script func(*bmc)
		state  State
		code   int
		took   time.Duration
		says   string
		log    string
	}{
		"unpromoted side waits":  {in: lines + "action=off", run: unpromoted(), took: 10 * time.Second, log: "off@0s"},
		"and before a reboot":    {in: lines + "action=reboot", run: unpromoted(), took: 10 * time.Second, log: "off@0s on@0s"},
		"a fraction of a second": {in: lines + "action=off\nunpromoted_delay=1500ms", run: unpromoted(), took: 1500 * time.Millisecond, log: "off@0s"},
		"after delay":            {in: lines + "action=off\ndelay=3", run: unpromoted(), took: 13 * time.Second, log: "off@0s"},
		"not before on":          {in: lines + "action=on", run: unpromoted(), state: Off, log: "on@0s"},
		"nor before status":      {in: lines + "action=status", run: unpromoted()},
		"nor before monitor":     {in: lines + "action=monitor", run: unpromoted()},
		"nor without the option": {in: "ip=x\nnodename=node1\naction=off", run: &proctest.Runner{}, log: "off@0s"},
		"promoted side does not": {in: "ip=x\nnodename=node2\nunpromoted_delay=10\naction=off", log: "off@0s",
			run: side(proctest.Reply{Stdout: string(text)}, proctest.Reply{Stdout: "node1\n"})},
		"off already": {in: lines + "action=off", run: unpromoted(), state: Off},
		"off in the middle": {in: lines + "action=off", run: unpromoted(), took: 4 * time.Second,
			script: func(b *bmc) { b.target[""], b.pending[""] = Off, time.Now().Add(3500*time.Millisecond) }},
		"silence does not shorten it": {in: lines + "action=off", run: unpromoted(), took: 10 * time.Second, log: "off@0s",
			script: func(b *bmc) {
				begin := time.Now()
				b.statusErr = func(int) error {
					if time.Since(begin) < 10*time.Second {
						return Errorf(TimedOut, "the device does not answer")
					}
					return nil
				}
			}},
		"nor does a state that is changing": {in: lines + "action=off", run: unpromoted(), took: 10 * time.Second, log: "off@0s",
			script: func(b *bmc) { b.target[""], b.pending[""], b.between = On, time.Now().Add(9*time.Second), Transitional }},
		"a refusal ends the action": {in: lines + "action=off", run: unpromoted(), code: 1,
			script: func(b *bmc) { b.statusErr = func(int) error { return Errorf(Privileges, "not for you") } }},
		"the cluster does not answer": {in: lines + "action=off", run: side(proctest.Reply{Hang: true}, proctest.Reply{Stdout: "node2\n"}),
			took: 50 * time.Second, log: "off@0s", says: "WARNING: delay before fencing node node1: 50s, for the cluster's state cannot be read"},
		"nor says who we are": {in: "ip=x\nnodename=node3\nunpromoted_delay=10\naction=off",
			run: side(proctest.Reply{Stdout: string(text)}, proctest.Reply{Exit: 124}), took: 50 * time.Second, log: "off@0s", says: "cannot be read"},
		"this one is first": {in: "ip=x\nnodename=node3\nunpromoted_delay=10\naction=off",
			run: side(proctest.Reply{Stdout: "<nothing/>"}, proctest.Reply{Stdout: "node2\n"}), took: 40 * time.Second, log: "off@0s", says: "cannot be read"},
		"called by a person": {in: "ip=x\nunpromoted_delay=10\naction=off", run: &proctest.Runner{}, log: "off@0s"},
		"no cluster here":    {in: lines + "action=off", run: side(daemonsGone, daemonsGone), log: "off@0s"},
		"the fencer without the others": {in: lines + "action=off", run: side(daemonsGone, daemonsGone), env: map[string]string{fencerEnv: fencer},
			took: 50 * time.Second, log: "off@0s", says: "cannot be read"},
		"nonsense": {in: "ip=x\nunpromoted_delay=soon\naction=off", code: 1, says: "unpromoted_delay"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				state := tt.state
				if state == Unknown {
					state = On
				}
				dev := newBMC(state)
				if tt.script != nil {
					tt.script(dev)
				}
				r := runWith(t.Context(), testAgent(dev), dev, tt.env, tt.run, strings.NewReader(tt.in))
				if r.code != tt.code || !strings.Contains(r.stderr, tt.says) || tt.says == "" && tt.code == 0 && r.stderr != "" {
					t.Errorf("code %d, says %s", r.code, r.stderr)
				}
				if got := strings.Join(dev.log, " "); got != tt.log {
					t.Errorf("orders %q, want %q", got, tt.log)
				}
				if d := r.took - tt.took; d < 0 || d > 700*time.Millisecond {
					t.Errorf("took %v, want %v", r.took, tt.took)
				}
			})
		})
	}
}
