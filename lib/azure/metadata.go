package azure

import (
	"context"
	"net/http"
	"time"
)

const (
	metadataURL = "http://169.254.169.254/metadata/instance?api-version=2021-02-01"
	// metadataPatience bounds one request to the service, which is on the same host.
	metadataPatience = 3 * time.Second
)

// Instance is what the instance metadata service says of the machine we run on.
type Instance struct {
	Compute struct {
		Name           string `json:"name"`
		ResourceGroup  string `json:"resourceGroupName"`
		SubscriptionID string `json:"subscriptionId"`
		// ResourceID is that of the machine, VMID its unique id.
		ResourceID string `json:"resourceId"`
		VMID       string `json:"vmId"`
		// Environment is AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud or another.
		Environment string `json:"azEnvironment"`
		ScaleSet    string `json:"vmScaleSetName"`
	} `json:"compute"`
	Network struct {
		Interfaces []InstanceInterface `json:"interface"`
	} `json:"network"`
}

// InstanceInterface is an interface of the machine. It has no id of ARM.
type InstanceInterface struct {
	// MAC is written without separators.
	MAC  string `json:"macAddress"`
	IPv4 struct {
		Addresses []struct {
			Private string `json:"privateIpAddress"`
		} `json:"ipAddress"`
		Subnets []struct {
			Address string `json:"address"`
			Prefix  string `json:"prefix"`
		} `json:"subnet"`
	} `json:"ipv4"`
}

// OwnInstance asks the instance metadata service through an HTTP client of [Wire.Client] that has no proxy.
func OwnInstance(ctx context.Context, local *http.Client) (Instance, error) {
	var doc Instance
	err := look(ctx, local, metadataURL, http.Header{"Metadata": {"true"}}, metadataPatience, &doc)
	return doc, err
}

// Instance asks the instance metadata service, which is no part of ARM.
func (c *Client) Instance(ctx context.Context) (Instance, error) { return OwnInstance(ctx, c.local) }
