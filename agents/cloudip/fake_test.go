package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgrex/lib/cloud"
	"pgrex/lib/netif"
	"pgrex/lib/netif/netiftest"
	"pgrex/lib/ocf"
)

// fakeCloud is a cloud in memory.
type fakeCloud struct {
	// silent never answers; patience is how long it would have been waited for.
	silent   bool
	patience time.Duration
	owner    cloud.Owner
	changing bool
	mac      string
	// acquire, if set, replaces what Acquire does.
	acquire  func(ctx context.Context, accepted func(context.Context) error) error
	holder   error // of Holder
	settle   func(context.Context) error
	release  error
	findings []cloud.Finding
	calls    []string
	clock    *time.Duration
}

func (f *fakeCloud) Name() string { return "azure" }

func (f *fakeCloud) Self(context.Context, netip.Addr) (cloud.Machine, error) {
	f.calls = append(f.calls, "self")
	return cloud.Machine{Name: "vm1", Interface: "nic1", MAC: f.mac}, nil
}

func (f *fakeCloud) Holder(ctx context.Context, _ netip.Addr) (cloud.Holding, error) {
	f.calls = append(f.calls, "holder")
	if f.silent {
		end, _ := ctx.Deadline()
		f.patience = time.Until(end)
		return cloud.Holding{}, context.DeadlineExceeded
	}
	if f.holder != nil {
		return cloud.Holding{}, f.holder
	}
	return cloud.Holding{Owner: f.owner, Holder: "nic2 of vm2", Changing: f.changing}, nil
}

func (f *fakeCloud) Acquire(ctx context.Context, _ netip.Addr, accepted func(context.Context) error) error {
	f.calls = append(f.calls, "acquire")
	if f.acquire != nil {
		return f.acquire(ctx, accepted)
	}
	if f.owner == cloud.Mine {
		return nil
	}
	f.calls = append(f.calls, "accepted")
	if err := accepted(ctx); err != nil {
		return err
	}
	f.owner = cloud.Mine
	f.calls = append(f.calls, "proven")
	return nil
}

func (f *fakeCloud) Settle(ctx context.Context, _ netip.Addr) error {
	f.calls = append(f.calls, "settle")
	if f.settle != nil {
		return f.settle(ctx)
	}
	return nil
}

func (f *fakeCloud) Release(context.Context, netip.Addr) error {
	f.calls = append(f.calls, "release")
	f.owner = cloud.Nobody
	return f.release
}

func (f *fakeCloud) Preflight(context.Context, netip.Addr) []cloud.Finding { return f.findings }

// bench is one node on which actions are called one after the other.
type bench struct {
	t      *testing.T
	kernel *netiftest.Kernel
	cloud  *fakeCloud // nil on a LAN
	params map[string]string
	dir    string
	clock  time.Duration
	// launched are the background processes that were asked for.
	launched [][]string
	log, out bytes.Buffer
	built    int
}

// lan is a node with eth0 in 192.0.2.0/24 and 2001:db8::/64 and eth1 in 198.51.100.0/24.
func lan(t *testing.T) *bench {
	t.Helper()
	k := &netiftest.Kernel{
		List:       []netif.Link{netiftest.Loopback(), netiftest.Ethernet(2, "eth0"), netiftest.Ethernet(3, "eth1")},
		Neighbours: map[netip.Addr]net.HardwareAddr{},
	}
	for index, prefixes := range map[int][]string{1: {"127.0.0.1/8"}, 2: {"192.0.2.1/24", "2001:db8::1/64"}, 3: {"198.51.100.1/24"}} {
		for _, p := range prefixes {
			if err := k.AddAddress(netif.Address{Index: index, Prefix: netip.MustParsePrefix(p)}, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	k.Calls = nil
	return &bench{t: t, kernel: k, dir: t.TempDir(), clock: time.Hour, params: map[string]string{"ip": "192.0.2.10", "provider": "none"}}
}

// inCloud is the same node in a cloud in which another machine has the address.
func inCloud(t *testing.T) *bench {
	b := lan(t)
	b.params["provider"] = "azure"
	b.cloud = &fakeCloud{owner: cloud.Other, mac: "02-00-00-00-00-02"}
	return b
}

func (b *bench) with(params ...string) *bench {
	for _, p := range params {
		name, value, _ := strings.Cut(p, "=")
		b.params[name] = value
	}
	return b
}

// agent makes the agent for one call. kind is an action, or "probe".
func (b *bench) agent(kind string) *agent {
	b.t.Helper()
	env := map[string]string{}
	action := kind
	switch kind {
	case "probe":
		action, env["OCF_RESKEY_CRM_meta_interval"] = "monitor", "0"
	case "monitor":
		env["OCF_RESKEY_CRM_meta_interval"] = "10000"
	}
	for name, value := range b.params {
		env["OCF_RESKEY_"+name] = value
	}
	c := ocf.NewCall(declaration(), action, func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	}, slog.New(slog.NewTextHandler(&b.log, nil)))
	a := newAgent(c)
	if b.cloud != nil {
		// The parameter's own cloud need not be one of those that are built in.
		a.conf.err = c.ParamErr
		if a.conf.err == nil {
			a.conf.err = a.conf.check(c)
		}
		a.kind = &providerKind{name: "azure", build: func(context.Context, *ocf.Call) (cloud.Provider, error) {
			b.built++
			return b.cloud, nil
		}}
	}
	a.net, a.out = b.kernel, &b.out
	a.state.dir = b.dir
	a.state.clock = func() time.Duration { return b.clock }
	a.herald = background{state: a.state, launch: func(args []string) (int, error) {
		b.launched = append(b.launched, args)
		return 1 << 30, nil // no such process
	}}
	return a
}

// call calls an action within a timeout and returns its exit code and reason.
func (b *bench) call(kind string) (ocf.Code, string) {
	b.t.Helper()
	return b.within(kind, 20*time.Second)
}

func (b *bench) within(kind string, d time.Duration) (ocf.Code, string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), d)
	defer cancel()
	a := b.agent(kind)
	var err error
	switch kind {
	case "start":
		err = a.start(ctx)
	case "stop":
		err = a.stop(ctx)
	case "validate-all":
		err = a.validate(ctx)
	default:
		err = a.monitor(ctx)
	}
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	return ocf.CodeOf(err), reason
}

// want calls an action and fails the test unless it answers the code.
func (b *bench) want(kind string, code ocf.Code, words ...string) {
	b.t.Helper()
	got, reason := b.call(kind)
	if got != code {
		b.t.Errorf("%s: %d (%s), want %d\n%s", kind, got, reason, code, b.log.String())
	}
	for _, w := range words {
		if !strings.Contains(reason, w) {
			b.t.Errorf("%s: the reason %q does not tell of %q", kind, reason, w)
		}
	}
}

// has reports where the address is, as "eth0 192.0.2.10/24".
func (b *bench) has() string {
	b.t.Helper()
	ip := netip.MustParseAddr(b.params["ip"])
	addrs, _ := b.kernel.Addresses(netif.Family(ip))
	var list []string
	for _, a := range addrs {
		if a.IP() == ip {
			i := slices.IndexFunc(b.kernel.List, func(l netif.Link) bool { return l.Index == a.Index })
			list = append(list, fmt.Sprintf("%s %s", b.kernel.List[i].Name, a.Prefix))
		}
	}
	return strings.Join(list, ", ")
}

func (b *bench) wantHas(want string) {
	b.t.Helper()
	if got := b.has(); got != want {
		b.t.Errorf("the address is on %q, want %q", got, want)
	}
}

// put puts the address on an interface behind the agent's back.
func (b *bench) put(index int, prefix string) {
	b.t.Helper()
	if err := b.kernel.AddAddress(netif.Address{Index: index, Prefix: netip.MustParsePrefix(prefix)}, false); err != nil {
		b.t.Fatal(err)
	}
}
