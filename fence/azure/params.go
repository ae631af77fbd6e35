package main

import (
	"context"
	"errors"
	"strings"

	"pgrex/lib/azure"
	"pgrex/lib/azure/names"
	"pgrex/lib/meta"
	"pgrex/lib/stonith"
)

const (
	long = `Switches virtual machines of Azure off and on through the Azure Resource Manager.

off is a hard power-off (skipShutdown). It is reported only when the machine's instance view, read after the order, says stopped or deallocated; an operation that Azure reports as failed ends the action at once with Azure's reason. reboot is off, proven, and then start, whose completion is not waited for.

The agent signs in with the managed identity of the virtual machine it runs on, unless username says otherwise. The identity needs Microsoft.Compute/virtualMachines/read, powerOff/action and start/action on every machine of the cluster; validate-all tells what is missing.

With network_fencing a machine counts as off as soon as all its IP configurations have been moved to the subnet "fence-subnet" of their virtual network and Azure has confirmed that. That subnet needs a network security group with two rules of priority 100 that deny everything from and to everywhere: FENCE_DENY_ALL_INBOUND and FENCE_DENY_ALL_OUTBOUND. The machine is powered off as well; monitor moves the network back and starts it when it is off.`
	vendor = "https://azure.microsoft.com"

	requestTimeout = "request_timeout"
)

// declaration is the agent. The way to the network is handed in, for tests.
func declaration(w azure.Wire) stonith.Agent {
	return stonith.Agent{
		Name: "fence_azure", Short: "Fence agent for virtual machines in Azure", Long: long, Vendor: vendor,
		Plugs: true, Login: true, Validates: true,
		Parameters: parameters(),
		Defaults:   map[string]string{"power_timeout": "150"},
		Check:      check,
		Open: func(ctx context.Context, c *stonith.Call) (stonith.Device, error) {
			d, err := open(ctx, w, c)
			if err != nil {
				return nil, err // a nil *device in the interface would not be nil
			}
			return d, nil
		},
	}
}

func parameters() []stonith.Parameter {
	one := 1
	param := func(name string, kind meta.Kind, word, short, long string) stonith.Parameter {
		return stonith.Parameter{Parameter: meta.Parameter{Name: name, Type: kind, Short: short, Long: long}, Word: word}
	}
	username := param("username", meta.String, "appid",
		"Application (client) ID of a service principal",
		"With it the agent signs in as that application, by password, certificate_file or federated_token_file. Without it, it uses the managed identity of the virtual machine it runs on.")
	username.Old, username.Letter = []string{"login"}, "l"
	password := param("password", meta.String, "authkey",
		"Secret of the application, or passphrase of certificate_file",
		"The secret stands in the cluster's configuration then; password_file and password_script keep it out of there. Secrets of applications expire: a managed identity has none.")
	password.Old, password.Letter, password.Secret = []string{"passwd"}, "p", true
	plug := param("plug", meta.String, "id",
		"Name of the virtual machine",
		"Pacemaker sets it to the node's name, or to what pcmk_host_map says. In the configuration itself it makes monitor check that machine as well.")
	plug.Old, plug.Letter, plug.Required = []string{"port"}, "n", true
	tenant := param("tenantId", meta.String, "id",
		"Tenant of the application",
		"The directory (Microsoft Entra ID) in which username is registered. Not needed with a managed identity.")
	network := param("network_fencing", meta.Boolean, "",
		"Cut the machine off the network first",
		"off and reboot then succeed once the network is cut, and the machine is powered off behind that; reboot does not switch on, monitor does. See the description for the subnet that this needs.")
	network.Old, network.Flag = []string{"network-fencing"}, "network-fencing"
	endpoint := param("metadata_endpoint", meta.String, "url",
		"URL of a private cloud's Resource Manager",
		"Needed with cloud=stack, from where it gets the addresses of that cloud. It is not the instance metadata service.")
	endpoint.Old, endpoint.Flag, endpoint.Check = []string{"metadata-endpoint"}, "metadata-endpoint", names.HTTPS
	cloudName := param("cloud", meta.String, "name",
		"Which Azure it is",
		"public (the default), usgov, china, or stack for a private cloud, which needs metadata_endpoint.")
	cloudName.Check = names.KnownCloud
	certificate := param("certificate_file", meta.String, "path",
		"Certificate and private key of the application",
		"PEM, unencrypted, or PKCS#12; an absolute path on every node that may fence; readable by root only. password is the passphrase of PKCS#12, if it has one.")
	certificate.Check = absolute
	federated := param("federated_token_file", meta.String, "path",
		"Token of a workload identity federation",
		"An absolute path to the file that holds the token which another identity provider has issued and keeps fresh; the application (username) has to trust that provider.")
	federated.Check = absolute
	timeout := param(requestTimeout, meta.Seconds, "seconds",
		"How long one request may take",
		"A request without an answer is given up after this time, and repeated where that makes sense. It holds whoever limits the action, since a connection that has died must not use up the whole time.")
	timeout.Default, timeout.Min = "10", &one
	login := param("login_timeout", meta.Seconds, "seconds",
		"Accepted and ignored: signing in is a request like any other",
		"See request_timeout.")
	login.Default = "5"
	return []stonith.Parameter{
		username, password, plug,
		param("resourceGroup", meta.String, "name",
			"Resource group of the virtual machines",
			"If it is not set, that of the machine the agent runs on, as its instance metadata say."),
		tenant,
		param("subscriptionId", meta.String, "id",
			"Subscription of the virtual machines",
			"If it is not set, that of the machine the agent runs on, as its instance metadata say."),
		network,
		param("msi", meta.Boolean, "",
			"Use the managed identity",
			"The default when username is not set. username, password and tenantId are then ignored."),
		param("identity", meta.String, "id",
			"User-assigned managed identity",
			"Its client ID, or its resource ID (/subscriptions/...). Without it the machine's system-assigned identity is used, or the only user-assigned one if it has none."),
		certificate, federated, cloudName, endpoint, timeout, login,
	}
}

func absolute(path string) error {
	if !strings.HasPrefix(path, "/") {
		return errors.New("is not an absolute path")
	}
	return nil
}

// managed reports whether the call signs in with a managed identity.
func managed(c *stonith.Call) bool {
	return c.Values.Bool("msi") || c.Values.String("identity") != "" || c.Values.String("username") == ""
}

// check looks at the parameters together.
func check(c *stonith.Call) error {
	v := c.Values
	stack := strings.EqualFold(v.String("cloud"), names.Stack)
	switch {
	case stack && v.String("metadata_endpoint") == "":
		return stonith.Errorf(stonith.Usage, "Failed: cloud=stack needs metadata_endpoint, the URL of that cloud's Resource Manager")
	case v.Bool("msi") && c.IsSet("username"):
		c.Log.Warn("msi is set: username, password and tenantId are ignored")
	case managed(c) && (c.IsSet("certificate_file") || c.IsSet("federated_token_file")):
		return stonith.Errorf(stonith.Usage, "Failed: certificate_file and federated_token_file need username, the application's client ID, and no msi")
	case !managed(c) && v.String("tenantId") == "":
		return stonith.Errorf(stonith.Usage, "Failed: username needs tenantId, the directory in which the application is registered")
	}
	// The network is cut within seconds, and that is what the cluster waits for; switching on again
	// has to wait until the machine is really off, and is monitor's affair.
	if c.Action == "reboot" && v.Bool("network_fencing") {
		c.Action = "off"
	}
	return nil
}
