package fault

import (
	"context"
	"fmt"
	"time"

	"pgrex/tests/lab/bmc"
	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
	"pgrex/tests/lab/site"
)

// BMCGone makes the management controller of a node silent, as a dead one.
func BMCGone(ctx context.Context, s *site.Site, node string) (Evidence, error) {
	e := Evidence{At: time.Now(), Fault: "BMC of " + node + " unreachable"}
	if err := s.Cut(ctx, bmc.MachineOf(node), network.Both, network.Management); err != nil {
		return e, err
	}
	e.Detail = "cut from the management LAN"
	return e, nil
}

// BMCSlow makes the answers of the management controller of a node late: what it sends
// goes through a bucket that fills at a rate, such as "1600bit", with which an answer takes
// half a second to a whole one. BMCSwift takes it back; the lab's healing of cuts does not.
func BMCSlow(ctx context.Context, s *site.Site, node, rate string) (Evidence, error) {
	e := Evidence{At: time.Now(), Fault: "BMC of " + node + " slow"}
	dev := network.Management.Interface()
	// The bucket holds two answers, so that the second one of a session is the first to wait.
	if err := besideBMC(ctx, s, node, "tc", "qdisc", "replace", "dev", dev, "root", "tbf", "rate", rate, "burst", "400", "latency", "20s"); err != nil {
		return e, err
	}
	e.InForce = time.Now()
	e.Detail = rate + " from it to the management LAN"
	return e, nil
}

// BMCSwift takes BMCSlow back, and does no harm where there was none.
func BMCSwift(ctx context.Context, s *site.Site, node string) error {
	return besideBMC(ctx, s, node, "sh", "-c", "tc qdisc del dev "+network.Management.Interface()+" root 2>/dev/null; true")
}

// besideBMC runs a command in the network of a controller.
func besideBMC(ctx context.Context, s *site.Site, node string, command ...string) error {
	n, err := s.Node(ctx, node)
	if err != nil {
		return err
	}
	if n.BMC == 0 {
		return fmt.Errorf("%w: BMC of %s", ErrNoProcess, node)
	}
	_, err = host.Input(ctx, "", "nsenter", append([]string{fmt.Sprintf("--net=/proc/%d/ns/net", n.BMC)}, command...)...)
	return err
}
