package cluster

import (
	"os"
	"path"

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
	v["PRIORITY_FENCING_DELAY"] = "3s"
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
