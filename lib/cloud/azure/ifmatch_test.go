package azure

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	arm "pgrex/lib/azure"
	"pgrex/tests/fakes/azure"
)

// A change that has lost the race against another writer is refused (412); the interface is read again, and what
// the other one has written is there afterwards, beside our change. So for each kind of change: taking the address
// off its holder, giving it to us, giving it up, and putting right what it is tied to.
func TestIfMatch(t *testing.T) {
	t.Parallel()
	acquire := func(m Method, keep Preserve) func(*testing.T, *site) error {
		return func(t *testing.T, s *site) error {
			return s.on(t, "n2", func(o *Options) { o.Method, o.Preserve = m, keep }).Acquire(t.Context(), vip, accept)
		}
	}
	tests := []struct {
		name string
		// raced is whose interface the other one changes, skip how many changes of it by us come before.
		raced   string
		skip    int
		act     func(*testing.T, *site) error
		holders []string
	}{
		{"taking it off its holder", "n1", 0, acquire(Put, Preserve{ASG: true}), []string{"n2"}},
		// The first change of our own interface is refused: the address has a holder.
		{"giving it to us", "n2", 1, acquire(Put, Preserve{ASG: true}), []string{"n2"}},
		{"what it is tied to", "n2", 1, acquire(Move, Preserve{}), []string{"n2"}},
		{"giving it up", "n1", 0, func(t *testing.T, s *site) error { return s.on(t, "n1").Release(t.Context(), vip) }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg, i := usual(t)
			cfg.FreeEarly, cfg.Move = true, azure.MoveOn
			i.hold(&cfg, "n1", "10.0.1.50", obj{"applicationSecurityGroups": []any{obj{"id": i.asg("web")}}})
			s := begin(t, cfg, i)
			id := s.nic(tt.raced)
			s.Script(azure.Fault{Method: "PUT", Path: "/networkInterfaces/" + tt.raced, Skip: tt.skip, Delay: ms(300)})
			other := make(chan error, 1)
			go func() {
				// Our change is on its way, made to what the other one is changing now.
				err := s.Await(t.Context(), func(r azure.Request) bool { return tt.skip == 0 || r.Is("GET", "/networkInterfaces/n1") })
				if err == nil {
					err = s.Await(t.Context(), func(r azure.Request) bool { return r.Is("PUT", "/networkInterfaces/"+tt.raced) && r.Status == 0 })
				}
				if err == nil {
					body := s.Network(id)
					body["tags"] = obj{"owner": "dba", "new": "tag"}
					propsOf(body)["writtenByAnother"] = obj{"n": 12345678901234567}
					err = s.PutNetwork(id, body)
				}
				other <- err
			}()
			if err := tt.act(t, s); err != nil {
				t.Fatal(err)
			}
			if err := <-other; err != nil {
				t.Fatal(err)
			}
			if got := s.holders(vip); !slices.Equal(got, tt.holders) {
				t.Errorf("%s is held by %v, want %v", vip, got, tt.holders)
			}
			after := s.Network(id)
			if n := arm.Object(propsOf(after)["writtenByAnother"])["n"]; fmt.Sprint(n) != "12345678901234567" {
				t.Errorf("a property that another one has written is lost: %v", propsOf(after))
			}
			if tags := arm.Object(after["tags"]); tags["new"] != "tag" {
				t.Errorf("a tag that another one has written is lost: %v", tags)
			}
			calls := s.calls()
			lost := slices.Index(calls, "PUT "+tt.raced+" 412")
			if lost < 0 || strings.Count(strings.Join(calls, " "), " 412") != 1 {
				t.Fatalf("not refused once: %v", calls)
			}
			read, changed := slices.Index(calls[lost:], "GET "+tt.raced), slices.Index(calls[lost:], "PUT "+tt.raced)
			if read < 0 || changed >= 0 && changed < read {
				t.Errorf("not read again before the next change: %v", calls[lost:])
			}
		})
	}
}

// So it is as often as it is told so.
func TestIfMatchAgain(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"n1", "n2"} {
		cfg, i := usual(t)
		i.hold(&cfg, "n1", "10.0.1.50", nil)
		s := begin(t, cfg, i)
		s.Script(azure.Fault{Method: "PUT", Path: "/networkInterfaces/" + who, Status: 412, Code: "PreconditionFailed", Details: []string{"PreconditionFailedEtagMismatch"}, Times: 2})
		s.must(t, s.on(t, "n2", func(o *Options) { o.Method = Put }))
		s.checkHolder(t, "n2")
	}
}
