package cluster

import (
	"context"
	"fmt"
	"os"
	"path"
	"sort"
	"strings"
	"time"

	fake "pgrex/tests/fakes/azure"
	"pgrex/tests/lab/azure"
	"pgrex/tests/lab/network"
)

// The documented configurations.
const (
	lanExample   = "pgrex.pcs"
	azureExample = "pgrex-azure.pcs"
)

// example is the path below docs of the configuration that the cluster gets.
func (o Options) example() string {
	name := o.Example
	switch {
	case name != "":
	case o.Azure:
		name = azureExample
	default:
		name = lanExample
	}
	return path.Join("examples", name)
}

// replicationVIP is where standbys stream from.
func (c *Cluster) replicationVIP() string {
	if c.Azure {
		return azure.VIPReplication
	}
	return network.VIPReplication
}

// addCloudVariables adds those of docs/examples/pgrex-azure.pcs that the lab has its
// own values for.
func addCloudVariables(v map[string]string) {
	v["VIP_REPLICATION"] = azure.VIPReplication
	v["RESOURCE_GROUP"] = azure.Group
	v["PING_HOST"] = network.Gateway
	// The lab's machines are off sooner than real ones.
	v["FENCING_DELAY"] = "3s"
}

// addCloudFiles adds what a node in Azure has: names and a certificate that lead to
// the Resource Manager, and a way there.
func (c *Cluster) addCloudFiles(f map[string]string) error {
	if !c.Azure {
		return nil
	}
	ca, err := os.ReadFile(c.CloudCA())
	if err != nil {
		return err
	}
	f["/etc/lab/ca.pem"] = string(ca)
	f["/etc/hosts"] += azure.Hosts()
	f["/etc/lab/net.batch"] += azure.Routes()
	return nil
}

// WithCloudEvents adds what was asked of the cloud since a time, and what it did.
func (c *Cluster) WithCloudEvents(ctx context.Context, events []Event, since time.Time) ([]Event, error) {
	requests, err := c.Cloud().Requests(ctx)
	if err != nil {
		return nil, err
	}
	bindings, err := c.Cloud().Bindings(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range requests {
		if text := cloudOrder(r); text != "" && r.When.After(since) {
			events = append(events, Event{At: r.When, Node: r.Principal, Text: text})
		}
	}
	for _, b := range bindings {
		to := "nobody"
		if b.NIC != "" {
			to = path.Base(b.NIC)
		}
		if b.When.After(since) {
			events = append(events, Event{At: b.When, Text: fmt.Sprintf("network: %s is delivered to %s", b.Address, to)})
		}
	}
	sort.SliceStable(events, func(i, j int) bool { return events[i].At.Before(events[j].At) })
	return events, nil
}

// cloudOrder is a request that changes something, in one line; "" for others.
func cloudOrder(r fake.Request) string {
	if r.Service != fake.ARM || r.Method != "PUT" && r.Method != "POST" {
		return ""
	}
	parts := strings.Split(r.Path, "/")
	what := strings.Join(parts[max(0, len(parts)-2):], "/")
	answer := fmt.Sprint(r.Status)
	if r.Status == 0 {
		answer = "no answer"
	}
	return fmt.Sprintf("ARM: %s asks %s %s: %s", r.Principal, r.Method, what, answer)
}
