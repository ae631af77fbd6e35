package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pgrex/lib/life"
	"pgrex/lib/proc"
	fake "pgrex/tests/fakes/azure"
	"pgrex/tests/lab/azure"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
)

// inAzure are the scenarios in the lab's Azure: addresses by cloudip, fencing by
// fence_azure.
func inAzure() []Scenario {
	all := []Scenario{
		{
			Name: "azure-postmaster-killed",
			Text: "in Azure: the primary's postmaster dies, the standby serves and its network interfaces hold the addresses",
			Play: func(ctx context.Context, r *Run) error { return r.andMoved(ctx, postmasterKilled) },
		},
		{
			Name: "azure-primary-power-loss",
			Text: "in Azure: the primary's machine loses its power: fenced through the Resource Manager, the standby serves",
			Play: func(ctx context.Context, r *Run) error { return r.andMoved(ctx, primaryPowerLoss) },
		},
		{
			Name: "azure-primary-frozen",
			Text: "in Azure: the primary's machine is paused: fenced, the standby serves",
			Play: func(ctx context.Context, r *Run) error { return r.andMoved(ctx, primaryFrozen) },
		},
		{
			Name: "azure-cut-between",
			Text: "in Azure: the nodes lose each other and both reach the Resource Manager: the standby is fenced, the primary serves on",
			Play: func(ctx context.Context, r *Run) error {
				return r.primarySurvives(ctx, false, network.Interconnect, network.Replication)
			},
		},
		{
			Name: "azure-cut-primary",
			Text: "in Azure: the primary is cut off from everything, the Resource Manager too: fenced, the standby serves",
			Play: func(ctx context.Context, r *Run) error { return r.andMoved(ctx, cutOffPrimary) },
		},
		{
			Name: "azure-throttled",
			Text: "in Azure: no change is accepted for 30 s during a failover: the addresses follow when it is over",
			Play: func(ctx context.Context, r *Run) error {
				return r.trouble(ctx, 30*time.Second, fake.Fault{Status: 429, Code: "TooManyRequests", RetryAfter: "5", Times: -1})
			},
		},
		{
			Name: "azure-slow",
			Text: "in Azure: every change takes a minute during a failover: the addresses follow",
			Play: func(ctx context.Context, r *Run) error {
				return r.trouble(ctx, 0, fake.Fault{Operation: &fake.OperationFault{Status: "Succeeded", Effect: true, After: fake.Duration(time.Minute)}, Times: -1})
			},
		},
		{
			Name: "azure-operation-fails",
			Text: "in Azure: the first change of each interface fails after it was accepted: the next attempt succeeds",
			Play: func(ctx context.Context, r *Run) error {
				return r.trouble(ctx, 0, fake.Fault{Operation: &fake.OperationFault{Code: "InternalServerError", After: fake.Duration(time.Second)}})
			},
		},
		{
			Name: "azure-metadata-down",
			Text: "in Azure: the standby's metadata service is down for 30 s during a failover: the addresses follow when it is back",
			Play: func(ctx context.Context, r *Run) error {
				return r.without(ctx, func(node string, on bool) error { return r.Metadata(ctx, node, on) })
			},
		},
		{
			Name: "azure-unreachable",
			Text: "in Azure: the standby does not reach the Resource Manager for 30 s during a failover: the addresses follow then",
			Play: func(ctx context.Context, r *Run) error {
				return r.without(ctx, func(node string, on bool) error { return r.Hide(ctx, node, !on) })
			},
		},
		{
			Name:    "azure-lan-configuration",
			Text:    "in Azure: the configuration for a LAN does not work there, in the two ways that made cloudip and fence_azure",
			Example: "pgrex.pcs",
			Variables: map[string]string{
				"IP_AGENT": cluster.IPReference, "FENCE_AGENT": "fence_ipmilan", "BMC_OPTIONS": "lanplus=1 cipher=3 power_wait=1",
			},
			Sick:  true,
			Quiet: true,
			Play:  lanConfiguration,
		},
	}
	all = append(all, fencingInAzure()...)
	for i := range all {
		all[i].Azure = true
	}
	return all
}

// andMoved plays a failover and shows that the cloud has followed: the writer's
// commits at the same address say it too.
func (r *Run) andMoved(ctx context.Context, play func(context.Context, *Run) error) error {
	_, s, err := r.Pair(ctx)
	if err != nil {
		return err
	}
	if err := play(ctx, r); err != nil {
		return err
	}
	return r.holds(ctx, s)
}

// holds waits until the cloud delivers the primary's addresses to a node.
func (r *Run) holds(ctx context.Context, node string) error {
	for address, lan := range map[string]network.LAN{network.VIPPrimary: network.Service, azure.VIPReplication: network.Replication} {
		var holder string
		wait, cancel := context.WithTimeout(ctx, 2*time.Minute)
		err := host.Poll(wait, address+" at "+node, 100*time.Millisecond, func() (bool, error) {
			var err error
			holder, err = r.holder(ctx, address)
			return holder == node+"-"+string(lan), err
		})
		cancel()
		if err != nil {
			return fmt.Errorf("%w; it is at %q", err, holder)
		}
		r.Log("the cloud delivers %s to %s", address, holder)
	}
	return nil
}

// holder is the name of the interface that the cloud delivers an address to.
func (r *Run) holder(ctx context.Context, address string) (string, error) {
	all, err := r.Cloud().Bindings(ctx)
	if err != nil {
		return "", err
	}
	nic := ""
	for _, b := range all {
		if b.Address.String() == address {
			nic = b.NIC
		}
	}
	return nic[strings.LastIndexByte(nic, '/')+1:], nil
}

func cutOffPrimary(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	if _, _, err := r.cutUntilFenced(ctx, was.primary, azure.LANs()...); err != nil {
		return err
	}
	return r.failover(ctx, was.standby, was.timeline, time.Minute)
}

// connects says whether the client gets through to a server at an address.
func (r *Run) connects(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	res, err := proc.OS{}.Run(ctx, proc.Cmd{Path: "nsenter", Args: []string{"--net=" + r.ClientNetns,
		"pg_isready", "--timeout=1", "--host=" + address}})
	if err == nil && res.ExitCode != 0 {
		err = errors.New(strings.TrimSpace(string(res.Stdout)))
	}
	return err
}

// lanConfiguration shows what somebody meets who takes the manual's configuration to
// Azure: the address is on the node and nobody reaches it, and no node can be fenced.
func lanConfiguration(ctx context.Context, r *Run) error {
	const node = "n1"
	err := r.Wait(ctx, "the address on a primary", time.Minute, func(v cluster.View) bool {
		on := v.On(cluster.IPPrimary, "Started")
		return len(on) == 1 && on[0] == node && v.Primary() == node
	})
	if err != nil {
		return err
	}
	if out, err := r.Sh(ctx, node, "ip -o address show to "+network.VIPPrimary); err != nil || out == "" {
		return fmt.Errorf("the address is not on %s's system: %q, %w", node, out, err)
	}
	if err := r.connects(ctx, network.Address(network.Service, 1)); err != nil {
		return fmt.Errorf("the client does not reach %s at its own address: %w", node, err)
	}
	if err := r.connects(ctx, network.VIPPrimary); err == nil {
		return errors.New("the client reaches an address that the cloud has not assigned")
	}
	r.Log("the cluster says that %s is up on %s; no client reaches it", network.VIPPrimary, node)
	return r.notFencedByIPMI(ctx)
}

// notFencedByIPMI shows that a dead machine stays a riddle without fence_azure.
func (r *Run) notFencedByIPMI(ctx context.Context) error {
	err := r.Wait(ctx, "the fencing devices to fail", 2*time.Minute, func(v cluster.View) bool {
		failed := map[string]bool{}
		for _, f := range v.Failures {
			id, _, _ := strings.Cut(f, "_")
			failed[id] = true
		}
		return failed["fence-n1"] && failed["fence-n2"]
	})
	if err != nil {
		return err
	}
	if err := r.Must(fault.PowerOff(ctx, r.Site, "n1")); err != nil {
		return err
	}
	err = r.Wait(ctx, "n2 to want n1 fenced", time.Minute, func(v cluster.View) bool {
		for _, n := range v.Nodes {
			if n.Name == "n1" && n.Unclean {
				return true
			}
		}
		return false
	})
	if err != nil {
		return err
	}
	err = r.Stays(ctx, "no service without fencing", 20*time.Second, func(v cluster.View) bool {
		for _, f := range v.Fencing {
			if f.Status == "success" {
				return false
			}
		}
		p := v.On(cluster.ResourcePgsql, "Promoted")
		return !contains(p, "n2")
	})
	if err == nil {
		r.Log("n1 is dead and cannot be fenced: n2 does not take over")
	}
	return err
}

// The longest that a failover may take when the cloud is slow or refuses.
const troubled = 4 * time.Minute

// trouble scripts a fault for the changes of all interfaces, kills the primary's
// server, takes the fault back after a while if that is not 0, and expects that the
// cluster comes into service at the standby by itself.
func (r *Run) trouble(ctx context.Context, lasts time.Duration, f fake.Fault) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = r.Cloud().ClearFaults(context.WithoutCancel(ctx)) }()
	for _, lan := range azure.LANs() {
		f.Service, f.Method, f.Path = fake.ARM, "PUT", "/networkInterfaces/"+was.standby+"-"+string(lan)
		if err := r.Cloud().Script(ctx, f); err != nil {
			return err
		}
	}
	if err := r.Kill(ctx, was.primary, "postmaster", fault.Postmaster); err != nil {
		return err
	}
	if lasts > 0 {
		if err := life.Pause(ctx, lasts); err != nil {
			return err
		}
		if err := r.Cloud().ClearFaults(ctx); err != nil {
			return err
		}
		r.Log("the cloud is itself again")
	}
	return r.servesAt(ctx, was)
}

// without takes something away from the standby, kills the primary's server, and
// gives it back after 30 s.
func (r *Run) without(ctx context.Context, set func(node string, on bool) error) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	if err := set(was.standby, false); err != nil {
		return err
	}
	defer func() { _ = set(was.standby, true) }()
	if err := r.Kill(ctx, was.primary, "postmaster", fault.Postmaster); err != nil {
		return err
	}
	if err := life.Pause(ctx, 30*time.Second); err != nil {
		return err
	}
	if err := set(was.standby, true); err != nil {
		return err
	}
	r.Log("%s has everything again", was.standby)
	return r.servesAt(ctx, was)
}

// servesAt waits for service after trouble, at the standby. There is one owner of each
// address then.
func (r *Run) servesAt(ctx context.Context, was before) error {
	if err := r.WaitCommits(ctx, troubled); err != nil {
		return err
	}
	if err := r.WaitPrimary(ctx, was.standby, time.Minute); err != nil {
		return err
	}
	r.Log("%s serves, it was %s before", was.standby, was.primary)
	return r.holds(ctx, was.standby)
}
