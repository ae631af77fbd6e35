package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgrex/tests/lab/bmc"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/network"
	"pgrex/tests/lab/site"
)

// fencePage is where an operator reads how devices are replaced and levels made.
const fencePage = "fence_ipmi.md"

func fencing() []Scenario {
	return []Scenario{
		{
			Name: "fence-replaced",
			Text: "running devices of fence_ipmilan become fence_ipmi by the documented commands, back, and again: nobody notices; then the primary loses its power and the new device fences it",
			Variables: map[string]string{
				"FENCE_AGENT": "fence_ipmilan",
				"BMC_OPTIONS": "lanplus=1 cipher=3 power_wait=1",
			},
			Spoils: true,
			Play:   fenceReplaced,
		},
		{
			Name:      "fence-second-level",
			Text:      "two levels of fencing: the primary's node loses its power and its BMC with it: the second device fences it, the standby serves",
			SecondBMC: true,
			Spoils:    true,
			Play:      fenceSecondLevel,
		},
		{
			Name: "fence-slow-bmc",
			Text: "each answer of the primary's BMC takes a second and more, then its node loses its power: it is fenced all the same, the standby serves",
			Play: fenceSlowBMC,
		},
	}
}

// fencedWith is what the log of the fencing daemons says about a device since a
// time: the results of its actions, "0" for success.
func (r *Run) fencedWith(device string, since time.Time) ([]string, error) {
	var results []string
	for _, n := range r.NodeNames() {
		lines, err := r.LogSince(n, since)
		if err != nil {
			return nil, err
		}
		for _, l := range lines {
			_, after, found := strings.Cut(l.Text, " using "+device+" returned ")
			if found && l.Daemon == "pacemaker-fenced" && strings.Contains(l.Text, "'reboot'") {
				result, _, _ := strings.Cut(after, " ")
				results = append(results, result)
			}
		}
	}
	return results, nil
}

// started is the agent of a resource that runs, empty when it does not.
func started(v cluster.View, id string) string {
	for _, x := range v.Resources {
		if x.ID == id && x.Role == "Started" && !x.Failed {
			return x.Agent
		}
	}
	return ""
}

// device is the fence agent of a device that runs, empty when it does not.
func device(v cluster.View, id string) string {
	return strings.TrimPrefix(started(v, id), "stonith:")
}

// replaceDevices follows the page one way and shows that only the devices have
// changed.
func (r *Run) replaceDevices(ctx context.Context, tag, to string) error {
	was, err := r.picture(ctx)
	if err != nil {
		return err
	}
	v, err := r.View(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := r.follow(ctx, v.From, fencePage, tag, ""); err != nil {
		return err
	}
	v, err = r.View(ctx)
	if err != nil {
		return err
	}
	for _, n := range r.NodeNames() {
		if got := device(v, "fence-"+n); got != to {
			return fmt.Errorf("the device of %s is %q after the last command, not %s; the cluster says: %s", n, got, to, v.Line())
		}
	}
	if len(v.Failures) > 0 {
		return fmt.Errorf("an action failed: %v", v.Failures)
	}
	now, err := r.picture(ctx)
	if err == nil {
		err = was.differs(now)
	}
	if err != nil {
		return fmt.Errorf("moving to %s: %w", to, err)
	}
	r.Log("all devices are %s; postmasters %v and all attributes are as before; longest gap meanwhile %.3fs",
		to, now.pids, r.W.History().LongestGap(begin, time.Now()).Length().Seconds())
	return nil
}

func fenceReplaced(ctx context.Context, r *Run) error {
	const password = "/run/bmc-password"
	for i, n := range r.NodeNames() {
		for _, from := range r.NodeNames() {
			if _, err := r.Sh(ctx, from, fmt.Sprintf("umask 077; echo '%s' >%s", bmc.Password, password)); err != nil {
				return err
			}
			settings := fmt.Sprintf("BMC=%s BMC_USER=%s PASSWORD_FILE=%s", network.BMCAddress(i+1), bmc.User, password)
			if err := r.follow(ctx, from, fencePage, "replace-check", settings); err != nil {
				return fmt.Errorf("on %s, for %s: %w", from, n, err)
			}
		}
	}
	for _, way := range [][2]string{{"replace", "fence_ipmi"}, {"replace-back", "fence_ipmilan"}, {"replace", "fence_ipmi"}} {
		if err := r.replaceDevices(ctx, way[0], way[1]); err != nil {
			return err
		}
	}
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	// The delay becomes the agent's affair.
	if err := r.follow(ctx, was.standby, fencePage, "replace-delay", ""); err != nil {
		return err
	}
	begin := time.Now()
	if err := r.primaryFenced(ctx, fault.PowerOff, time.Minute); err != nil {
		return err
	}
	results, err := r.fencedWith("fence-"+was.primary, begin)
	if err != nil {
		return err
	}
	if len(results) != 1 || results[0] != "0" {
		return fmt.Errorf("want one fencing by the new device of %s, the log shows %v", was.primary, results)
	}
	return nil
}

func fenceSecondLevel(ctx context.Context, r *Run) error {
	v, err := r.View(ctx)
	if err != nil {
		return err
	}
	settings := fmt.Sprintf("BMC2_N1=%s BMC2_N2=%s BMC_USER=%s BMC_PASSWORD=%s",
		network.SecondBMCAddress(1), network.SecondBMCAddress(2), bmc.User, bmc.Password)
	if err := r.follow(ctx, v.From, fencePage, "second-level", settings); err != nil {
		return err
	}
	err = r.Wait(ctx, "the second device to run", 30*time.Second, func(v cluster.View) bool { return device(v, "fence2") == "fence_ipmi" })
	if err != nil {
		return err
	}
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	// As when a supply dies that machine and BMC share.
	both := func(ctx context.Context, s *site.Site, node string) (fault.Evidence, error) {
		if e, err := fault.BMCGone(ctx, s, node); err != nil {
			return e, err
		}
		return fault.PowerOff(ctx, s, node)
	}
	if err := r.primaryFenced(ctx, both, time.Minute); err != nil {
		return err
	}
	first, err := r.fencedWith("fence-"+was.primary, begin)
	if err != nil {
		return err
	}
	second, err := r.fencedWith("fence2", begin)
	if err != nil {
		return err
	}
	r.Log("results of the first level's device: %v, of the second's: %v", first, second)
	switch {
	case len(first) == 0 || contains(first, "0"):
		return errors.New("the first level was not tried in vain")
	case len(second) != 1 || second[0] != "0":
		return errors.New("it was not the second level that fenced, and once")
	}
	return nil
}

func fenceSlowBMC(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = fault.BMCSwift(context.WithoutCancel(ctx), r.Site, was.primary) }()
	if err := r.Must(fault.BMCSlow(ctx, r.Site, was.primary, "600bit")); err != nil {
		return err
	}
	at := network.BMCAddress(1 + slices.Index(r.NodeNames(), was.primary))
	began := time.Now()
	_, err = r.Sh(ctx, was.standby, fmt.Sprintf("fence_ipmi --ip=%s --username=%s --password=%s --lanplus --action=status", at, bmc.User, bmc.Password))
	if err != nil {
		return err
	}
	took := time.Since(began)
	if r.Log("a look at the power took %.1f s", took.Seconds()); took < 3*time.Second {
		return fmt.Errorf("its BMC is not slow: a look took %v", took)
	}
	return r.primaryFenced(ctx, fault.PowerOff, time.Minute)
}
