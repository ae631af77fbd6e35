package main

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgrex/lib/cloud"
	"pgrex/lib/netif"
	"pgrex/lib/ocf"
)

// Start takes the address off an interface where it was the first of its subnet: the others of that subnet,
// among them perhaps other resources, stay.
func TestOthersKeepTheirAddresses(t *testing.T) {
	b := lan(t).with("nic=eth0", "cidr_netmask=24")
	b.put(3, "192.0.2.10/24")
	b.put(3, "192.0.2.11/24")
	b.want("start", ocf.OK)
	b.wantHas("eth0 192.0.2.10/24")
	other := netip.MustParsePrefix("192.0.2.11/24")
	if !slices.ContainsFunc(b.kernel.Addrs, func(a netif.Address) bool { return a.Index == 3 && a.Prefix == other }) {
		t.Errorf("%s went with the address: %v", other, b.kernel.Addrs)
	}
}

// A label that only the interface's name makes too long is refused before the kernel is asked. On a
// node with a shorter name there it fits.
func TestLabelTooLongForTheInterface(t *testing.T) {
	b := lan(t).with("iflabel=standby-vip")
	b.kernel.List[1].Name = "enp0s31f6"
	b.want("start", ocf.ErrInstalled, "enp0s31f6:standby-vip", "15")
	b.wantHas("")
}

// A machine that cannot take the address does not take it from its holder either.
func TestCloudIsNotAskedInVain(t *testing.T) {
	for name, spoil := range map[string]func(*bench){
		"no such interface": func(b *bench) { b.with("nic=eth9") },
		"link down":         func(b *bench) { b.kernel.List[1].Flags &^= netif.LinkLower },
	} {
		t.Run(name, func(t *testing.T) {
			b := inCloud(t)
			spoil(b)
			if code, reason := b.call("start"); code == ocf.OK {
				t.Errorf("start: %d (%s)", code, reason)
			}
			if b.cloud.owner != cloud.Other || slices.Contains(b.cloud.calls, "acquire") {
				t.Errorf("calls: %v", b.cloud.calls)
			}
		})
	}
}

// A change in flight is waited for a moment only, since the next start sees it as well; giving the address back may
// take half of the time.
func TestCloudStopPatience(t *testing.T) {
	for release, want := range map[string]time.Duration{releaseNever: settlePatience, releaseTry: 30 * time.Second} {
		b := inCloud(t).with("release_on_stop=" + release)
		b.want("start", ocf.OK)
		left := time.Duration(0)
		b.cloud.settle = func(ctx context.Context) error {
			end, _ := ctx.Deadline()
			left = time.Until(end)
			return nil
		}
		if code, reason := b.within("stop", time.Minute); code != ocf.OK {
			t.Errorf("stop: %d (%s)", code, reason)
		}
		if left > want || left < want-time.Second {
			t.Errorf("release_on_stop=%s: the cloud has %v of a minute, want %v", release, left, want)
		}
	}
}

// Stop ends in time also if the driver does not hear the context.
func TestCloudStopIsDeaf(t *testing.T) {
	b := inCloud(t)
	b.want("start", ocf.OK)
	hold := make(chan struct{})
	defer close(hold)
	b.cloud.settle = func(context.Context) error { <-hold; return nil }
	begin := time.Now()
	if code, reason := b.within("stop", time.Second); code != ocf.OK {
		t.Errorf("stop: %d (%s)", code, reason)
	}
	if took := time.Since(begin); took > 900*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	b.wantHas("")
}

// An address that the cloud is still giving to this machine is running and not proven: the next probe asks again.
func TestProbeDuringAChange(t *testing.T) {
	b := inCloud(t)
	b.put(2, "192.0.2.10/32")
	b.cloud.owner, b.cloud.changing = cloud.Mine, true
	b.want("probe", ocf.OK)
	if b.agent("probe").state.confirmed() {
		t.Error("taken for proven")
	}
	b.cloud.changing = false
	b.want("probe", ocf.OK)
	if !b.agent("probe").state.confirmed() {
		t.Error("not taken for proven")
	}
}
