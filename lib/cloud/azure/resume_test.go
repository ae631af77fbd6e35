package azure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgrex/lib/cloud"
	"pgrex/tests/fakes/azure"
)

// dies makes a driver end, as by SIGKILL, at its n-th request of ARM: before it is sent, or, with effect, when
// its answer would have come. It reports whether it came so far.
func (s *site) dies(t *testing.T, name string, n int, effect bool, edit ...func(*Options)) (died bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	from := len(s.Requests())
	if effect {
		s.Script(azure.Fault{Service: azure.ARM, Path: "/subscriptions", Skip: n, Hang: true, Effect: true})
	} else {
		s.Script(azure.Fault{Service: azure.ARM, Path: "/subscriptions", Skip: n, Hang: true})
	}
	done := make(chan error, 1)
	go func() {
		done <- s.on(t, name, edit...).Acquire(ctx, vip, func(context.Context) error { return nil })
	}()
	hit := func() bool {
		for _, r := range s.Requests()[from:] {
			if r.Fault {
				return true
			}
		}
		return false
	}
	for {
		select {
		case err := <-done:
			if err != nil && !hit() {
				t.Errorf("without being hit: %v", err)
			}
			s.ClearFaults()
			return hit()
		case <-time.After(2 * time.Millisecond):
			if hit() {
				if effect {
					time.Sleep(10 * time.Millisecond) // the work is done while the client waits
				}
				cancel()
			}
		}
	}
}

// A driver is killed at each of its requests; then another, on the same machine, the former holder's or a
// third, acquires. The address is in the end where the last one wanted it, with what it is tied to.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	for _, m := range []Method{Put, Move} {
		for _, effect := range []bool{false, true} {
			for _, next := range []string{"n1", "n2", "n3"} {
				t.Run(fmt.Sprintf("%s %v %s", m, effect, next), func(t *testing.T) {
					t.Parallel()
					for n := range 30 {
						cfg, i := usual(t)
						cfg.Move = azure.MoveOn
						i.hold(&cfg, "n1", "10.0.1.50", obj{
							"applicationSecurityGroups": []any{obj{"id": i.asg("web")}, obj{"id": i.asg("db")}}, "publicIPAddress": obj{"id": i.pip("public")},
						})
						s := begin(t, cfg, i)
						method := func(o *Options) { o.Method = m }
						died := s.dies(t, "n2", n, effect, method)
						s.must(t, s.on(t, next, method))
						s.checkHolder(t, next)
						s.checkTies(t, next)
						if t.Failed() {
							t.Fatalf("killed at request %d", n)
						}
						if !died {
							if n < 5 {
								t.Fatalf("it took %d requests only", n)
							}
							return
						}
					}
					t.Error("it never came to an end")
				})
			}
		}
	}
}

// checkTies checks that the address is still tied to what it was tied to at the beginning.
func (s *site) checkTies(t *testing.T, name string) {
	t.Helper()
	c, _ := nic{"", s.Network(s.nic(name))}.find(vip)
	if !sameIDs(c.ids(fieldASG), []string{s.asg("web"), s.asg("db")}) || !sameID(c.public(), s.pip("public")) {
		t.Errorf("on %s the address is tied to %v and %s", name, c.ids(fieldASG), c.public())
	}
}

// Two machines, or three, acquire at the same time: in the end one has it, everyone who was told so but is not
// it got an error, and whoever got none has it.
func TestEverybodyAtOnce(t *testing.T) {
	t.Parallel()
	for _, m := range []Method{Put, Auto} {
		for _, holder := range []string{"", "n1", "n2"} {
			for _, early := range []bool{false, true} {
				t.Run(fmt.Sprint(m, holder, early), func(t *testing.T) {
					t.Parallel()
					cfg, i := usual(t)
					cfg.Move, cfg.FreeEarly = azure.MoveOn, early
					if holder != "" {
						i.hold(&cfg, holder, "10.0.1.50", nil)
					}
					s := begin(t, cfg, i)
					for round := range 6 {
						var wg sync.WaitGroup
						errs := map[string]error{}
						var mu sync.Mutex
						for n, name := range []string{"n1", "n2", "n3"}[:2+round%2] {
							p := s.on(t, name, func(o *Options) { o.Method = m })
							wg.Go(func() {
								time.Sleep(time.Duration(n*round*7) * time.Millisecond)
								_, err := s.acquire(t, p, time.Minute)
								mu.Lock()
								defer mu.Unlock()
								errs[name] = err
							})
						}
						wg.Wait()
						got := s.holders(vip)
						if len(got) != 1 {
							t.Fatalf("round %d: held by %v (%v)", round, got, errs)
						}
						if err := errs[got[0]]; err != nil {
							t.Errorf("round %d: %s has it and got the error %v", round, got[0], err)
						}
						for name, err := range errs {
							var e *cloud.Error
							if name != got[0] && err != nil && (!errors.As(err, &e) || e.Class != cloud.Transient) {
								t.Errorf("round %d: %s: %v", round, name, err)
							}
						}
						s.checkHolder(t, got[0])
					}
				})
			}
		}
	}
}

// Nobody is asked about anything that was not left under way.
func TestSettleNothing(t *testing.T) {
	t.Parallel()
	cfg, i := usual(t)
	s := begin(t, cfg, i)
	if err := s.on(t, "n2").Settle(t.Context(), vip); err != nil || len(s.Requests()) != 0 {
		t.Error(err, s.Requests())
	}
	s.must(t, s.on(t, "n2"))
	s.ForgetRequests()
	if err := s.on(t, "n2").Settle(t.Context(), vip); err != nil || len(s.Requests()) != 0 {
		t.Errorf("after an acquire that was seen to its end: %v, %s", err, s.trace(0))
	}
}

// What a killed acquire has left is waited for, and nothing is begun.
func TestSettle(t *testing.T) {
	t.Parallel()
	for _, m := range []Method{Put, Move} {
		for _, effect := range []bool{false, true} {
			for n := 3; n < 8; n++ {
				s := held(t, func(c *azure.Config) { c.FreeEarly = true })
				s.dies(t, "n2", n, effect, func(o *Options) { o.Method = m })
				s.ForgetRequests()
				p := s.on(t, "n2")
				if err := p.Settle(t.Context(), vip); err != nil {
					t.Errorf("%s killed at %d: %v", m, n, err)
				}
				if k := (nic{"", s.Network(s.nic("n2"))}); !k.settled() {
					t.Errorf("%s killed at %d: %s is %s", m, n, k.id, k.provisioning())
				}
				for _, r := range s.Requests() {
					if r.Service == azure.ARM && r.Method != http.MethodGet {
						t.Errorf("%s killed at %d: %v", m, n, r)
					}
				}
				if p.state.read(vip).Flight != nil {
					t.Error("it is still remembered")
				}
			}
		}
	}
}

// Settle ends with its time, and says so.
func TestSettleInVain(t *testing.T) {
	t.Parallel()
	cfg, i := usual(t)
	s := begin(t, cfg, i)
	s.Script(azure.Fault{Method: "PUT", Operation: &azure.OperationFault{Stuck: true}})
	p := s.on(t, "n2")
	acquire, stop := context.WithCancel(t.Context())
	go func() {
		_ = s.Await(acquire, func(r azure.Request) bool { return r.Is("GET", "") && strings.Contains(r.Path, "/operations/") })
		stop()
	}()
	if err := p.Acquire(acquire, vip, func(context.Context) error { return nil }); err == nil {
		t.Fatal("the operation is stuck")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := s.on(t, "n2").Settle(ctx, vip); err == nil || !strings.Contains(err.Error(), "not complete") {
		t.Error(err)
	}
}

func TestRelease(t *testing.T) {
	t.Parallel()
	cfg, i := usual(t)
	i.hold(&cfg, "n1", "10.0.1.50", obj{"applicationSecurityGroups": []any{obj{"id": i.asg("web")}, obj{"id": i.asg("db")}}, "publicIPAddress": obj{"id": i.pip("public")}})
	s := begin(t, cfg, i)
	if err := s.on(t, "n2").Release(t.Context(), vip); err != nil {
		t.Error(err)
	}
	s.checkHolder(t, "n1")
	if err := s.on(t, "n1").Release(t.Context(), vip); err != nil {
		t.Error(err)
	}
	if got := s.holders(vip); len(got) != 0 || s.Holder(vip) != "" {
		t.Errorf("held by %v", got)
	}
	if err := s.on(t, "n1").Release(t.Context(), vip); err != nil {
		t.Error(err)
	}
	// Whoever is next, and knows nothing, gives it what it was tied to.
	s.must(t, s.on(t, "n3"))
	s.checkHolder(t, "n3")
	s.checkTies(t, "n3")
}

func TestReleaseRefused(t *testing.T) {
	t.Parallel()
	cfg, i := usual(t)
	propsOf(cfg.Network[i.nic("n1")])["ipConfigurations"] = []any{i.entry("main", "10.0.1.50", nil)}
	s := begin(t, cfg, i)
	if err := s.on(t, "n1").Release(t.Context(), vip); err == nil || !strings.Contains(err.Error(), "primary") {
		t.Error(err)
	}
	s.checkHolder(t, "n1")
}

// An interface that cannot be read any more is not one without the address.
func TestReleaseUnread(t *testing.T) {
	t.Parallel()
	s := held(t)
	s.Script(azure.Fault{Method: "PUT", Path: "/networkInterfaces/n1", Status: 409, Code: "AnotherOperationInProgress"})
	s.Script(azure.Fault{Method: "GET", Path: "/networkInterfaces/n1", Skip: 1, Status: 403, Code: "AuthorizationFailed", Times: -1})
	if err := s.on(t, "n1").Release(t.Context(), vip); err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Error(err)
	}
	s.checkHolder(t, "n1")
}

func TestHolder(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		edit   func(*azure.Config, ids)
		peer   string
		fault  *azure.Fault
		want   cloud.Owner
		holder string
	}{
		{"nobody", nil, "", nil, cloud.Nobody, ""},
		{"ours", func(c *azure.Config, i ids) { i.hold(c, "n2", "10.0.1.50", nil) }, "", nil, cloud.Mine, "n2"},
		{"another's", func(c *azure.Config, i ids) { i.hold(c, "n1", "10.0.1.50", nil) }, "", nil, cloud.Other, "whose it is Azure does not tell"},
		{"a known one's", func(c *azure.Config, i ids) { i.hold(c, "n1", "10.0.1.50", nil) }, "n1", nil, cloud.Other, "n1 (machine n1)"},
		{"no longer the known one's", func(c *azure.Config, i ids) { i.hold(c, "n3", "10.0.1.50", nil) }, "n1", nil, cloud.Other, "whose it is"},
		{"may not ask", func(c *azure.Config, i ids) { i.hold(c, "n1", "10.0.1.50", nil) }, "", &azure.Fault{Path: "/CheckIPAddressAvailability", Status: 403, Times: -1}, cloud.Other, ""},
		{"cannot ask", nil, "", &azure.Fault{Path: "/networkInterfaces", Status: 403, Code: "AuthorizationFailed", Times: -1}, cloud.Unknown, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg, i := usual(t)
			if tt.edit != nil {
				tt.edit(&cfg, i)
			}
			s := begin(t, cfg, i)
			if tt.fault != nil {
				s.Script(*tt.fault)
			}
			p := s.on(t, "n2")
			if tt.peer != "" {
				if err := p.state.edit(vip, func(r *record) { r.Peer = i.nic(tt.peer) }); err != nil {
					t.Fatal(err)
				}
			}
			h, err := p.Holder(t.Context(), vip)
			if h.Owner != tt.want || !strings.Contains(h.Holder, tt.holder) || (err != nil) != (tt.want == cloud.Unknown) {
				t.Errorf("%+v, %v", h, err)
			}
		})
	}
}

// A second process of the boot asks nobody who it is.
func TestSelfIsRemembered(t *testing.T) {
	t.Parallel()
	cfg, i := usual(t)
	s := begin(t, cfg, i)
	first, err := s.on(t, "n2").Self(t.Context(), vip)
	if err != nil || first.Name != "n2" || first.Interface != i.nic("n2") || first.MAC != "00:0d:3a:00:00:02" || first.Prefix.String() != "10.0.1.0/24" {
		t.Errorf("%+v, %v", first, err)
	}
	s.ForgetRequests()
	again, err := s.on(t, "n2").Self(t.Context(), vip)
	if err != nil || again != first || len(s.Requests()) != 0 {
		t.Errorf("%+v, %v, %d requests", again, err, len(s.Requests()))
	}
	// Parameters that say something else are not answered from memory.
	if _, err := s.on(t, "n2", func(o *Options) { o.NIC = i.nic("n1") }).Self(t.Context(), vip); err == nil || !strings.Contains(err.Error(), "belongs to machine n1") {
		t.Error(err)
	}
	if _, err := s.on(t, "n2", func(o *Options) { o.MAC = "00:00:00:00:00:01" }).Self(t.Context(), vip); err == nil || !strings.Contains(err.Error(), "hardware address") {
		t.Error(err)
	}
}

// With several NICs it is the one in whose subnet the address is, or that of the device, or the one named.
func TestWhichInterface(t *testing.T) {
	t.Parallel()
	cfg, i := usual(t)
	second := i.nic("n2-b")
	cfg.VMs[1].NICs = []string{i.nic("n2"), second}
	cfg.Network[second] = obj{"properties": obj{"macAddress": "00-0D-3A-00-00-2B", "virtualMachine": obj{"id": i.VMID(group, "n2")}, "ipConfigurations": []any{
		obj{"name": "main", "properties": obj{"subnet": obj{"id": i.vnet() + "/subnets/other"}, "privateIPAllocationMethod": "Static", "privateIPAddress": "10.0.2.10", "primary": true}}}}}
	s := begin(t, cfg, i)
	for name, tt := range map[string]struct {
		edit func(*Options)
		want string
	}{
		"by subnet": {func(*Options) {}, i.nic("n2")},
		"by device": {func(o *Options) { o.MAC = "00:0D:3A:00:00:2B" }, second},
		"by id":     {func(o *Options) { o.NIC = second }, second},
	} {
		m, err := s.on(t, "n2", tt.edit).Self(t.Context(), vip)
		if err != nil || m.Interface != tt.want {
			t.Errorf("%s: %+v %v", name, m, err)
		}
	}
}

// The state is for root alone and holds neither token nor secret.
func TestStateHoldsNoSecret(t *testing.T) {
	t.Parallel()
	cfg, i := usual(t)
	i.hold(&cfg, "n1", "10.0.1.50", nil)
	s := begin(t, cfg, i)
	s.must(t, s.on(t, "n2", func(o *Options) { o.StateDir += "/below" }))
	checkFiles(t, s.dirs["n2"])
	if strings.Contains(s.log.String(), "stand-in-token") {
		t.Error("a token is in the log")
	}
}

// checkFiles checks that everything below a directory is for its owner alone and holds no token.
func checkFiles(t *testing.T, dir string) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %v", path, info.Mode())
		}
		if d.IsDir() {
			return nil
		}
		n++
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "token") {
			t.Errorf("%s: %s", path, data)
		}
		return err
	})
	if err != nil || n == 0 {
		t.Errorf("%d files, %v", n, err)
	}
}

// A public address that was given to another address meanwhile does not keep ours from moving.
func TestPublicAddressIsElsewhere(t *testing.T) {
	t.Parallel()
	cfg, i := usual(t)
	i.hold(&cfg, "n1", "10.0.1.50", obj{"publicIPAddress": obj{"id": i.pip("public")}})
	s := begin(t, cfg, i)
	if err := s.on(t, "n1").Release(t.Context(), vip); err != nil {
		t.Fatal(err)
	}
	body := s.Network(s.nic("n3"))
	c := nic{"", body}.configs()[0]
	c.props()[fieldPublic] = obj{"id": i.pip("public")}
	if err := s.PutNetwork(s.nic("n3"), body); err != nil {
		t.Fatal(err)
	}
	s.must(t, s.on(t, "n1"))
	s.checkHolder(t, "n1")
	if got, _ := (nic{"", s.Network(s.nic("n1"))}).find(vip); got.public() != "" {
		t.Error(got.public())
	}
}
