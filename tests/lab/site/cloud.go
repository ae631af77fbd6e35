package site

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	fake "pgrex/tests/fakes/azure"
	"pgrex/tests/lab/azure"
	"pgrex/tests/lab/network"
)

// CloudLatency is that of the lab's Azure: quicker than the real one, so that a
// scenario shows the order of things and not patience. Scenarios that are about a
// slow cloud make it slower.
func CloudLatency() fake.Latency {
	ms := func(n int) fake.Duration { return fake.Duration(time.Duration(n) * time.Millisecond) }
	return fake.Latency{Answer: ms(10), PowerOff: ms(300), Shutdown: ms(2000), Start: ms(500), Update: ms(1500), Program: ms(500), Tail: ms(300), Metadata: ms(2000)}
}

// clientNumber is the client's number at the switch.
const clientNumber = 0xc0

// LANs are what a node is plugged into.
func (p Plan) LANs() []network.LAN {
	if p.Azure {
		return azure.LANs()
	}
	return network.LANs()
}

// CloudCA is the file with the certificate of the lab's Resource Manager.
func (p Plan) CloudCA() string { return filepath.Join(p.Dir(), "azure-ca.pem") }

func (p Plan) cloudSocket() string { return filepath.Join(p.Dir(), "azure.sock") }

// buildCloud makes the virtual network and the cloud over it.
func (d *daemon) buildCloud(ctx context.Context) error {
	var err error
	if d.sw, err = network.NewVNet(ctx); err != nil {
		return err
	}
	d.cloud, err = azure.New(ctx, d.sw, azure.Options{
		Nodes:  d.plan.NodeNames(),
		Others: map[string]azure.Other{ClientMachine: {Number: clientNumber, Address: network.Client}},
		Config: fake.Config{Latency: CloudLatency(), OperationRights: true},
		Power:  machines{d},
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(d.plan.CloudCA(), d.cloud.CA(), 0o644); err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", d.plan.cloudSocket())
	if err != nil {
		return err
	}
	// It ends with this process.
	fake.Serve(l, d.cloud.Control(), nil)
	return nil
}

// machines lets the cloud switch the lab's machines.
type machines struct{ d *daemon }

// Switch is what an order to a virtual machine does.
func (m machines) Switch(ctx context.Context, vm string, on bool) error {
	n, ok := m.d.nodes[vm]
	if !ok {
		return fmt.Errorf("no node %q", vm)
	}
	m.d.log.Info("the cloud switches a machine", "node", vm, "on", on)
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	if on {
		return n.PowerOn(ctx)
	}
	return n.PowerOff(ctx)
}

// bmcPid is the process of a node's management controller, 0 if it has none.
func (d *daemon) bmcPid(node string) int {
	if b := d.bmcs[node]; b != nil {
		return b.Pid()
	}
	return 0
}

// Cloud gives orders to the lab's Azure.
func (s *Site) Cloud() *azure.Client { return azure.NewClient(s.cloudSocket()) }

// Hide takes the way to the cloud's API away from a node, or gives it back.
func (s *Site) Hide(ctx context.Context, node string, hidden bool) error {
	_, err := s.order(ctx, request{Op: opHide, Node: node, On: hidden})
	return err
}

// Metadata lets the instance metadata service of a node work or not.
func (s *Site) Metadata(ctx context.Context, node string, on bool) error {
	_, err := s.order(ctx, request{Op: opMetadata, Node: node, On: on})
	return err
}
