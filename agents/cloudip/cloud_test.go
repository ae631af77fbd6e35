package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/lib/cloud"
	"pgrex/lib/netif"
	"pgrex/lib/netif/netiftest"
	"pgrex/lib/ocf"
)

func transient(text string) error { return &cloud.Error{Class: cloud.Transient, Err: errors.New(text)} }

// The order of a take-over: the cloud has accepted, then the operating system, then the proof.
func TestCloudOrder(t *testing.T) {
	b := inCloud(t)
	b.cloud.acquire = func(ctx context.Context, accepted func(context.Context) error) error {
		if b.has() != "" {
			t.Error("the address was there before the cloud had accepted")
		}
		if err := accepted(ctx); err != nil {
			return err
		}
		b.wantHas("eth0 192.0.2.10/32")
		b.cloud.owner = cloud.Mine
		return nil
	}
	b.want("probe", ocf.NotRunning)
	b.want("start", ocf.OK)
	b.wantHas("eth0 192.0.2.10/32")
	if !slices.Equal(b.cloud.calls, []string{"self", "acquire"}) {
		t.Errorf("calls: %v", b.cloud.calls)
	}
	// Neither probes nor announcements: a cloud's network answers for every address and believes nobody.
	if len(b.kernel.Sent) != 0 || len(b.launched) != 0 {
		t.Errorf("sent %x, launched %v", b.kernel.Sent, b.launched)
	}
}

// Whoever fails after the address is on the operating system takes it off again.
func TestCloudFailuresTakeTheAddressOff(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		code  ocf.Code
		words string
	}{
		{"throttled", transient("throttled by ARM"), ocf.ErrGeneric, "throttled"},
		{"operation failed", fmt.Errorf("operation: %w", transient("was cancelled")), ocf.ErrGeneric, "cancelled"},
		{"no right", &cloud.Error{Class: cloud.Permission, Err: errors.New("grant networkInterfaces/write")}, ocf.ErrPerm, "networkInterfaces/write"},
		{"wrong subnet", &cloud.Error{Class: cloud.Configuration, Err: errors.New("not in the subnet")}, ocf.ErrConfigured, "subnet"},
		{"unclassified", errors.New("something else"), ocf.ErrGeneric, "something else"},
		{"out of time", &cloud.Error{Class: cloud.Configuration, Err: fmt.Errorf("no answer: %w", context.DeadlineExceeded)}, ocf.ErrGeneric, "no answer"},
	} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, accepted %v", tt.name, after), func(t *testing.T) {
				b := inCloud(t)
				b.cloud.acquire = func(ctx context.Context, accepted func(context.Context) error) error {
					if after {
						if err := accepted(ctx); err != nil {
							return err
						}
						b.wantHas("eth0 192.0.2.10/32")
					}
					return tt.err
				}
				b.want("start", tt.code, tt.words)
				b.wantHas("")
				if b.agent("monitor").state.confirmed() {
					t.Error("a start that failed counts as confirmed")
				}
				// It may be tried again, here.
				b.cloud.acquire = nil
				b.want("start", ocf.OK)
				b.want("monitor", ocf.OK)
			})
		}
	}
}

// The operating system refuses after the cloud has accepted: its reason and code are the answer.
func TestCloudOSFailure(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*bench)
		code  ocf.Code
	}{
		"not allowed": {func(b *bench) {
			b.kernel.Fail = func(call string) error {
				if strings.HasPrefix(call, "add ") {
					return unix.EPERM
				}
				return nil
			}
		}, ocf.ErrPerm},
		"no such interface": {func(b *bench) { b.with("nic=eth9") }, ocf.ErrConfigured},
		"link down":         {func(b *bench) { b.kernel.List[1].Flags &^= netif.LinkLower }, ocf.ErrGeneric},
	} {
		t.Run(name, func(t *testing.T) {
			b := inCloud(t)
			tt.spoil(b)
			b.want("start", tt.code)
			b.wantHas("")
		})
	}
}

// The deadline: acquiring ends early enough for the address to come off.
func TestCloudDeadline(t *testing.T) {
	b := inCloud(t)
	b.cloud.acquire = func(ctx context.Context, accepted func(context.Context) error) error {
		if err := accepted(ctx); err != nil {
			return err
		}
		<-ctx.Done()
		return &cloud.Error{Class: cloud.Transient, Err: fmt.Errorf("the move is not complete: %w", ctx.Err())}
	}
	begin := time.Now()
	code, reason := b.within("start", time.Second)
	if took := time.Since(begin); code != ocf.ErrGeneric || took > 990*time.Millisecond || !strings.Contains(reason, "not complete") {
		t.Errorf("%d (%s) after %v", code, reason, took)
	}
	b.wantHas("")
}

func TestCloudAlreadyOurs(t *testing.T) {
	b := inCloud(t)
	b.cloud.owner = cloud.Mine
	b.want("start", ocf.OK)
	b.wantHas("eth0 192.0.2.10/32")
	// A second start asks again, and does not take the address away meanwhile.
	b.kernel.Calls = nil
	b.want("start", ocf.OK)
	if len(b.kernel.Calls) != 0 {
		t.Errorf("a second start changed %v", b.kernel.Calls)
	}
}

// An address that is here although nobody was asked (a start that was killed, provisioning at boot)
// goes before the cloud is asked: it could be the source of the question.
func TestCloudStartRemovesStrayAddress(t *testing.T) {
	b := inCloud(t)
	b.put(2, "192.0.2.10/24")
	b.cloud.acquire = func(context.Context, func(context.Context) error) error {
		b.wantHas("")
		return transient("unreachable")
	}
	b.want("start", ocf.ErrGeneric)
	b.wantHas("")
}

func TestCloudPlace(t *testing.T) {
	for _, tt := range []struct {
		name   string
		params []string
		mac    string
		spoil  func(*netiftest.Kernel)
		want   string
	}{
		{"by hardware address", nil, "020000000003", nil, "eth1 192.0.2.10/32"},
		{"in capitals with colons", nil, "02:00:00:00:00:03", nil, "eth1 192.0.2.10/32"},
		{"as given", []string{"nic=eth0", "cidr_netmask=24"}, "020000000003", nil, "eth0 192.0.2.10/24"},
		{"not the fast path below", nil, "020000000003", func(k *netiftest.Kernel) {
			vf := netiftest.Ethernet(9, "enP1s1")
			vf.Hardware, vf.Master = k.List[2].Hardware, 3
			k.List = slices.Insert(k.List, 1, vf)
		}, "eth1 192.0.2.10/32"},
		{"not the VLAN on top", nil, "020000000003", func(k *netiftest.Kernel) {
			vlan := netiftest.Ethernet(9, "eth1.7")
			vlan.Hardware, vlan.Kind = k.List[2].Hardware, "vlan"
			k.List = slices.Insert(k.List, 1, vlan)
		}, "eth1 192.0.2.10/32"},
		{"IPv6", []string{"ip=2001:db8::10"}, "020000000002", nil, "eth0 2001:db8::10/128"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := inCloud(t).with(tt.params...)
			b.cloud.mac = tt.mac
			if tt.spoil != nil {
				tt.spoil(b.kernel)
			}
			b.want("start", ocf.OK)
			b.wantHas(tt.want)
			for _, a := range b.kernel.Addrs {
				if a.IP().Is6() && a.IP().String() == b.params["ip"] && (a.Preferred != 0 || a.Flags&netif.AddrNoDAD == 0) {
					t.Errorf("an IPv6 address that could become the source of a request, or is asked for: %+v", a)
				}
			}
		})
	}
	for _, mac := range []string{"", "frog", "02000000000", "0200000000ff"} {
		b := inCloud(t)
		b.cloud.mac = mac
		b.want("start", ocf.ErrGeneric, "hardware address")
		b.wantHas("")
		if slices.Contains(b.cloud.calls, "acquire") {
			t.Errorf("mac %q: taken from its holder although it has no place here", mac)
		}
	}
}

// stop: the operating system first, and whatever the cloud does it succeeds in time.
func TestCloudStop(t *testing.T) {
	for _, tt := range []struct {
		name   string
		params []string
		spoil  func(*fakeCloud)
		want   []string
	}{
		{"never released by default", nil, nil, []string{"settle"}},
		{"released if asked", []string{"release_on_stop=try"}, nil, []string{"settle", "release"}},
		{"release fails", []string{"release_on_stop=try"}, func(f *fakeCloud) { f.release = transient("503") }, []string{"settle", "release"}},
		{"settling fails", []string{"release_on_stop=try"}, func(f *fakeCloud) {
			f.settle = func(context.Context) error { return transient("503") }
		}, []string{"settle"}},
		{"the cloud hangs", nil, func(f *fakeCloud) {
			f.settle = func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			}
		}, []string{"settle"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := inCloud(t).with(tt.params...)
			b.want("start", ocf.OK)
			b.cloud.calls = nil
			settle := b.cloud.settle
			if tt.spoil != nil {
				tt.spoil(b.cloud)
				settle = b.cloud.settle
			}
			b.cloud.settle = func(ctx context.Context) error {
				b.wantHas("")
				if settle != nil {
					return settle(ctx)
				}
				return nil
			}
			begin := time.Now()
			if code, reason := b.within("stop", time.Second); code != ocf.OK {
				t.Errorf("stop: %d (%s)", code, reason)
			}
			if took := time.Since(begin); took > 700*time.Millisecond {
				t.Errorf("the cloud took %v of one second", took)
			}
			if !slices.Equal(b.cloud.calls, tt.want) {
				t.Errorf("calls %v, want %v", b.cloud.calls, tt.want)
			}
			b.want("monitor", ocf.NotRunning)
		})
	}
}

// A monitor looks at this machine only, and does not even build what could ask the cloud.
func TestCloudMonitorAsksNobody(t *testing.T) {
	b := inCloud(t)
	b.want("start", ocf.OK)
	b.cloud.calls, b.built = nil, 0
	for range 3 {
		b.want("monitor", ocf.OK)
		b.want("probe", ocf.OK)
	}
	if len(b.cloud.calls) != 0 || b.built != 0 || len(b.kernel.Sent) != 0 || b.kernel.Solicited != 0 {
		t.Errorf("calls %v, built %d times, sent %x", b.cloud.calls, b.built, b.kernel.Sent)
	}
}

func TestCloudCheckInterval(t *testing.T) {
	b := inCloud(t).with("cloud_check_interval=60")
	b.want("start", ocf.OK)
	b.cloud.calls = nil
	asked := func(want int) {
		t.Helper()
		if len(b.cloud.calls) != want {
			t.Errorf("calls: %v, want %d", b.cloud.calls, want)
		}
	}
	b.want("monitor", ocf.OK)
	asked(0) // start has just had the proof
	b.clock += 61 * time.Second
	b.want("monitor", ocf.OK)
	asked(1)
	b.want("monitor", ocf.OK)
	asked(1)

	// Unknown is never "not running", and is not asked for by every monitor.
	b.clock += 61 * time.Second
	b.cloud.holder = transient("unreachable")
	b.want("monitor", ocf.OK)
	asked(2)
	b.want("monitor", ocf.OK)
	asked(2)

	// On its way from one to the other it is nobody's yet.
	b.cloud.holder, b.cloud.owner, b.cloud.changing = nil, cloud.Other, true
	b.clock += 61 * time.Second
	b.want("monitor", ocf.OK)
	asked(3)

	// A clear answer counts.
	b.cloud.changing = false
	b.clock += 61 * time.Second
	b.want("monitor", ocf.NotRunning, "nic2 of vm2")
	// And the next probe does not believe the note of the start any more.
	b.want("probe", ocf.NotRunning)
	b.wantHas("")
}

// A probe holds up the start of the address on all nodes, so a cloud that is silent is soon given up.
func TestCloudProbeIsShort(t *testing.T) {
	b := inCloud(t).with("cloud_check_interval=60")
	b.put(2, "192.0.2.10/24")
	b.cloud.silent = true
	b.want("probe", ocf.NotRunning)
	b.wantHas("")
	if b.cloud.patience <= 0 || b.cloud.patience > probePatience {
		t.Errorf("asked for %v", b.cloud.patience)
	}
	b.put(2, "192.0.2.10/24")
	b.clock += 61 * time.Second
	b.want("monitor", ocf.OK)
	if b.cloud.patience <= probePatience {
		t.Errorf("a monitor, which holds up nobody, asked for %v", b.cloud.patience)
	}
}

// At a probe the note of a confirmed start is believed; without one the cloud is asked.
func TestCloudProbe(t *testing.T) {
	for _, tt := range []struct {
		name    string
		owner   cloud.Owner
		err     error
		code    ocf.Code
		has     string
		believe bool
	}{
		{"put back at boot, another machine has it", cloud.Other, nil, ocf.NotRunning, "", false},
		{"put back at boot, another machine is getting it", cloud.Other, nil, ocf.NotRunning, "", false},
		{"put back at boot, nobody has it", cloud.Nobody, nil, ocf.NotRunning, "", false},
		{"put there by a former agent, ours", cloud.Mine, nil, ocf.OK, "eth0 192.0.2.10/24", true},
		{"put back at boot, the cloud cannot be asked", cloud.Unknown, transient("unreachable"), ocf.NotRunning, "", false},
		{"put back at boot, no right to ask", cloud.Unknown, &cloud.Error{Class: cloud.Permission, Err: errors.New("no")}, ocf.NotRunning, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := inCloud(t)
			b.put(2, "192.0.2.10/24")
			b.cloud.owner, b.cloud.holder, b.cloud.changing = tt.owner, tt.err, strings.Contains(tt.name, "is getting it")
			b.want("probe", tt.code)
			b.wantHas(tt.has)
			if b.agent("probe").state.confirmed() != tt.believe {
				t.Errorf("believed from now on: %v", !tt.believe)
			}
			if !slices.Equal(b.cloud.calls, []string{"holder"}) {
				t.Errorf("calls: %v", b.cloud.calls)
			}
		})
	}
	t.Run("a start that was killed, the cloud cannot be asked", func(t *testing.T) {
		b := inCloud(t)
		kill(b)
		b.cloud.holder = transient("unreachable")
		b.want("probe", ocf.OK)
		b.wantHas("eth0 192.0.2.10/32")
		// What the kernel knows of the address stands in for a note that could not be written.
		b.agent("probe").state.forget()
		b.want("probe", ocf.OK)
		// After a clear answer that it is another's, silence means nothing.
		b.cloud.holder, b.cloud.owner = nil, cloud.Other
		b.want("probe", ocf.NotRunning)
		b.wantHas("")
	})
	t.Run("a start that was killed, another machine has it", func(t *testing.T) {
		b := inCloud(t)
		kill(b)
		b.want("probe", ocf.NotRunning)
		b.wantHas("")
	})
	t.Run("a start that was killed, and a boot", func(t *testing.T) {
		b := inCloud(t)
		kill(b)
		b.clock = time.Minute // the clock began again
		b.kernel.Addrs = slices.DeleteFunc(b.kernel.Addrs, func(a netif.Address) bool { return a.Proto == addressProto })
		b.put(2, "192.0.2.10/24")
		b.cloud.holder = transient("unreachable")
		b.want("probe", ocf.NotRunning)
		b.wantHas("")
	})
	t.Run("a start that failed leaves no note", func(t *testing.T) {
		b := inCloud(t)
		b.cloud.acquire = func(ctx context.Context, accepted func(context.Context) error) error {
			return errors.Join(accepted(ctx), transient("failed"))
		}
		b.want("start", ocf.ErrGeneric)
		if _, ok := b.agent("probe").state.age(placed); ok {
			t.Error("there is one")
		}
	})
	t.Run("no address, no question", func(t *testing.T) {
		b := inCloud(t)
		b.want("probe", ocf.NotRunning)
		if b.built != 0 {
			t.Error("the cloud was asked")
		}
	})
	t.Run("a note of another boot says nothing", func(t *testing.T) {
		b := inCloud(t)
		b.want("start", ocf.OK)
		b.clock = time.Minute // the clock began again
		b.cloud.owner = cloud.Other
		b.want("probe", ocf.NotRunning)
		b.wantHas("")
	})
}

// kill ends a start after the address has come and before the cloud's proof.
func kill(b *bench) {
	b.t.Helper()
	a := b.agent("start")
	b.cloud.acquire = func(ctx context.Context, accepted func(context.Context) error) error {
		if err := accepted(ctx); err != nil {
			b.t.Error(err)
		}
		panic("killed")
	}
	defer func() {
		if recover() != "killed" {
			b.t.Error("the start came to an end")
		}
		b.cloud.acquire = nil
		b.wantHas("eth0 192.0.2.10/32")
	}()
	_ = a.startCloud(b.t.Context())
}

func TestCloudPreflight(t *testing.T) {
	b := inCloud(t)
	b.cloud.findings = []cloud.Finding{
		{Level: cloud.Fine, Text: "identity: system-assigned"},
		{Level: cloud.Warn, Text: "cloud-init would put the address back: disable it"},
		{Level: cloud.Untold, Text: "public IP: not allowed to read it"},
	}
	level := func(n string) (ocf.Code, string) {
		a := b.agent("validate-all")
		if n != "" {
			a.call.CheckLevel = 10
		}
		err := a.validate(t.Context())
		reason := ""
		if err != nil {
			reason = err.Error()
		}
		return ocf.CodeOf(err), reason
	}
	if code, reason := level(""); code != ocf.OK || b.out.Len() != 0 || b.built != 1 || len(b.cloud.calls) != 0 {
		t.Errorf("level 0: %d (%s) %q", code, reason, b.out.String())
	}
	code, reason := level("10")
	lines := strings.Split(strings.TrimSpace(b.out.String()), "\n")
	if code != ocf.OK || len(lines) != 4 || lines[2] != "warning: cloud-init would put the address back: disable it" {
		t.Errorf("level 10: %d (%s)\n%s", code, reason, b.out.String())
	}
	b.cloud.findings = append(b.cloud.findings, cloud.Finding{Level: cloud.Fatal, Text: "the address is another NIC's primary"})
	if code, reason := level("10"); code != ocf.ErrGeneric || !strings.Contains(reason, "primary") {
		t.Errorf("fatal: %d (%s)", code, reason)
	}
}

func TestChooseProvider(t *testing.T) {
	kinds := func(here bool) []providerKind {
		return []providerKind{{name: "azure", detect: func() bool { return here }}}
	}
	for _, tt := range []struct {
		param string
		here  bool
		want  string
	}{
		{"auto", false, ""}, {"auto", true, "azure"}, {"none", true, ""}, {"azure", false, "azure"},
	} {
		k, err := chooseProvider(tt.param, kinds(tt.here))
		if got := ""; err != nil || (k != nil && k.name != tt.want) || (k == nil && got != tt.want) {
			t.Errorf("%+v: %v, %v", tt, k, err)
		}
	}
	if k, err := chooseProvider("azure", nil); err == nil {
		t.Errorf("a cloud that is not built in: %v", k)
	}
}
