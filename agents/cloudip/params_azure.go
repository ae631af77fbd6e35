package main

import (
	"errors"
	"path"
	"slices"
	"strings"

	"pgrex/lib/azure/names"
	"pgrex/lib/meta"
)

// azureParams are the parameters of provider=azure. Those that say who we are and which Azure it is
// have the names they have in fence_azure. No secret is a parameter: what is in the cluster's
// configuration every node's users of the cluster can read.
func azureParams() []meta.Parameter {
	return slices.Concat([]meta.Parameter{
		{
			Name: "move_method", Type: meta.Select, Options: []string{"auto", "move", "put"}, Default: "auto", Reloadable: true,
			Short: "How the address moves on Azure",
			Long: `move: one call (moveIpConfigurations), in which the address is never nobody's; the subscription has to be registered
for Microsoft.Network/AllowMoveIpConfigurations. put: the former holder's network interface is changed, then ours. auto: move where
it is known, else put; that it is not known is remembered for a day.`,
		},
		{
			Name: "preserve_associations", Type: meta.String, Default: "asg,pip", Reloadable: true, Check: checkAssociations,
			Short: "What follows the address on Azure",
			Long: `Separated by commas: asg, its application security groups; pip, its public address; lb, the pools of load balancers
that it is in; or none. lb is not the default because a secondary address in a pool that has an outbound rule is refused, and in
others it breaks the machine's own connections.`,
		},
		{
			Name: "nic_id", Type: meta.String, Check: checkNICID,
			Short: "Network interface in Azure's terms",
			Long: `The resource id of the network interface that takes the address (/subscriptions/...). Unless set, it is the one of this
machine whose subnet contains the address, or whose hardware address is that of nic. It differs from node to node: set it only in
rules or where each node has a resource of its own.`,
		},
	}, azureIdentityParams(), azurePlaceParams())
}

func azureIdentityParams() []meta.Parameter {
	return []meta.Parameter{
		{
			Name: "identity", Type: meta.String, Reloadable: true,
			Short: "User-assigned managed identity on Azure",
			Long: `Its client ID, or its resource ID (/subscriptions/...). Without it and without username the machine's
system-assigned identity is used, or the only user-assigned one if it has none.`,
		},
		{
			Name: "username", Type: meta.String, Reloadable: true,
			Short: "Application (client) ID of a service principal on Azure",
			Long:  `With it the agent signs in as that application, by password_file, certificate_file or federated_token_file, in the directory tenantId.`,
		},
		{
			Name: "tenantId", Type: meta.String, Reloadable: true,
			Short: "Tenant of the application on Azure",
			Long:  `The directory (Microsoft Entra ID) in which username is registered. Not needed with a managed identity.`,
		},
		{
			Name: "password_file", Type: meta.String, Reloadable: true, Check: absolute,
			Short: "File with the secret of the application on Azure",
			Long:  `An absolute path; the file has to be root's and readable by nobody else. With certificate_file it holds its passphrase.`,
		},
		{
			Name: "certificate_file", Type: meta.String, Reloadable: true, Check: absolute,
			Short: "Certificate and private key of the application on Azure",
			Long:  `An absolute path to PEM or PKCS#12; the file has to be root's and readable by nobody else.`,
		},
		{
			Name: "federated_token_file", Type: meta.String, Reloadable: true, Check: absolute,
			Short: "Token of a workload identity federation on Azure",
			Long:  `An absolute path to the file that holds the token which another identity provider has issued and keeps fresh.`,
		},
	}
}

func azurePlaceParams() []meta.Parameter {
	return []meta.Parameter{
		{
			Name: "cloud", Type: meta.String, Reloadable: true, Check: names.KnownCloud,
			Short: "Which Azure it is",
			Long:  `public, usgov, china, or stack for a private cloud, which needs metadata_endpoint. Unless set, the machine's metadata tell.`,
		},
		{
			Name: "metadata_endpoint", Type: meta.String, Reloadable: true, Check: names.HTTPS,
			Short: "URL of a private cloud's Resource Manager",
			Long:  `Needed with cloud=stack. It is not the instance metadata service.`,
		},
		{
			Name: "subscriptionId", Type: meta.String, Reloadable: true,
			Short: "Subscription of this machine on Azure",
			Long:  `Needed only where the instance metadata do not tell the machine's resource id, as in private clouds.`,
		},
		{
			Name: "resourceGroup", Type: meta.String, Reloadable: true,
			Short: "Resource group of this machine on Azure",
			Long:  `Needed only where the instance metadata do not tell the machine's resource id, as in private clouds.`,
		},
		{
			Name: "request_timeout", Type: meta.Seconds, Default: "10", Min: number(1), Max: number(120), Reloadable: true,
			Short: "Seconds that one request to Azure may take",
			Long:  `A request without an answer is given up after this time and sent again. It bounds no action: start has the time that the cluster gives it.`,
		},
	}
}

func checkNICID(v string) error {
	parts := strings.Split(strings.ToLower(v), "/")
	if len(parts) != 9 || parts[0] != "" || parts[1] != "subscriptions" || parts[3] != "resourcegroups" || parts[5] != "providers" ||
		parts[6] != "microsoft.network" || parts[7] != "networkinterfaces" || slices.Contains(parts[1:], "") {
		return errors.New("is not the id of a network interface (/subscriptions/.../resourceGroups/.../providers/Microsoft.Network/networkInterfaces/...)")
	}
	return nil
}

// associations are the words of preserve_associations.
func associations(v string) []string {
	var all []string
	for w := range strings.SplitSeq(v, ",") {
		if w = strings.ToLower(strings.TrimSpace(w)); w != "" {
			all = append(all, w)
		}
	}
	return all
}

func checkAssociations(v string) error {
	words := associations(v)
	for _, w := range words {
		if !slices.Contains([]string{"asg", "pip", "lb", "none"}, w) {
			return errors.New("has a word that is none of asg, pip, lb, none")
		}
	}
	if slices.Contains(words, "none") && len(words) > 1 {
		return errors.New("cannot be none and something else")
	}
	return nil
}

func absolute(v string) error {
	if !path.IsAbs(v) {
		return errors.New("is not an absolute path")
	}
	return nil
}
