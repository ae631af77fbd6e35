package replication_test

import (
	"slices"
	"testing"

	r "pgrex/lib/replication"
)

// A promotion that stays on its timeline needs to know how far everybody else has come on it.
func TestAhead(t *testing.T) {
	at := func(epoch uint64, timeline uint32, lsn r.LSN) *r.Published {
		return &r.Published{Epoch: epoch, Position: r.Position{System: 7, Timeline: timeline, LSN: lsn}}
	}
	for name, tt := range map[string]struct {
		peer r.Peer
		want bool
	}{
		"holds less":                 {r.Peer{Presence: r.Online, Position: at(5, 1, 90)}, false},
		"holds the same":             {r.Peer{Presence: r.Online, Position: at(5, 1, 100)}, false},
		"a demoted primary is ahead": {r.Peer{Presence: r.Online, Position: at(5, 1, 101)}, true},
		"has not said":               {r.Peer{Presence: r.Online}, true},
		"said it before":             {r.Peer{Presence: r.Online, Position: at(4, 1, 90)}, true},
		"is down":                    {r.Peer{Presence: r.Down}, true},
		"is lost":                    {r.Peer{Presence: r.Lost, Position: at(5, 1, 90)}, true},
	} {
		o := r.Observation{
			Self: "n1", Nodes: []string{"n1", "n2"}, Record: r.Record{Epoch: 5, Primary: "n2"},
			Position: r.Position{System: 7, Timeline: 1, LSN: 100}, Peers: map[string]r.Peer{"n2": tt.peer},
		}
		if got := slices.Contains(r.Ahead(o), "n2"); got != tt.want {
			t.Errorf("%s: ahead is %v", name, got)
		}
	}
}
