package azure

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"pgrex/lib/azure"
	"pgrex/lib/cloud"
	fake "pgrex/tests/fakes/azure"
)

// A remembered holder that may no longer be read is no reason to give up: ARM names the one of today. One that
// ARM has named and that may not be read is.
func TestRememberedHolderMayNotBeRead(t *testing.T) {
	t.Parallel()
	for holder, want := range map[string]bool{"n1": true, "n3": false} {
		t.Run("held by "+holder, func(t *testing.T) {
			t.Parallel()
			cfg, i := usual(t)
			cfg.FreeEarly = true
			i.hold(&cfg, holder, "10.0.1.50", nil)
			s := begin(t, cfg, i)
			s.Script(fake.Fault{Method: "GET", Path: "/networkInterfaces/n3", Status: http.StatusForbidden, Code: "AuthorizationFailed", Times: -1})
			p := s.on(t, "n2", func(o *Options) { o.Method = Put })
			if err := p.state.edit(vip, func(r *record) { r.Peer = s.nic("n3") }); err != nil {
				t.Fatal(err)
			}
			_, err := s.acquire(t, p, 10*time.Second)
			var e *cloud.Error
			if got := err == nil; got != want || !got && (!errors.As(err, &e) || e.Class != cloud.Permission) {
				t.Fatalf("%v", err)
			}
			if want {
				s.checkHolder(t, "n2")
			}
		})
	}
}

// A change of our own network interface that is under way at the beginning is not ours for sure. If the address
// is gone at its end it is taken back: who started last is who shall have it.
func TestGoneWithAnEarlierChange(t *testing.T) {
	t.Parallel()
	cfg, i := usual(t)
	cfg.FreeEarly, cfg.Busy = true, fake.BusySupersede
	cfg.Latency.Update = ms(300)
	i.hold(&cfg, "n1", "10.0.1.50", nil)
	s := begin(t, cfg, i)
	method := func(o *Options) { o.Method = Put }
	// Something changes n1's network interface.
	p := s.on(t, "n1", method)
	if _, err := p.self(t.Context(), vip); err != nil {
		t.Fatal(err)
	}
	n, err := p.readNIC(t.Context(), s.nic("n1"))
	if err != nil {
		t.Fatal(err)
	}
	n.body["tags"] = obj{"owner": "somebody"}
	if _, err := p.putNIC(t.Context(), n, "changing a tag"); err != nil {
		t.Fatal(err)
	}
	told := 0
	err = s.on(t, "n1", method).Acquire(t.Context(), vip, func(ctx context.Context) error {
		told++
		_, err := s.acquire(t, s.on(t, "n2", method), 10*time.Second)
		return err
	})
	if err != nil || told != 1 {
		t.Fatalf("told %d times: %v", told, err)
	}
	s.checkHolder(t, "n1")
}

// What is wrong on one machine only must not stop the address on all of them.
func TestClassOfOneMachine(t *testing.T) {
	for _, c := range []azure.Class{azure.Usage, azure.NoSecret, azure.NotFound, azure.Forbidden} {
		if got := classOf(&azure.Error{Class: c}); got != cloud.Permission {
			t.Errorf("%v: %v", c, got)
		}
	}
}
