// Package azure puts machines of the lab into a stand-in for Azure: their cards
// into subnets of a virtual network, with network interfaces and virtual machines
// in the Resource Manager that own their addresses, the Resource Manager where its
// names lead, and an instance metadata service inside of each machine.
//
// It joins what others own: the stand-in (tests/fakes/azure) says who holds an
// address, the virtual network (tests/lab/network) delivers its packets.
package azure

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	fake "pgrex/tests/fakes/azure"
	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
)

const (
	// Group is the resource group that everything is in.
	Group = "pgrex"
	// VNet is the virtual network. Its subnets have the names of the LANs.
	VNet = "pgrex-vnet"
	// VIPReplication is where standbys stream from. The PG-REX manual's address,
	// 192.168.2.3, is one of those that Azure keeps in every subnet.
	VIPReplication = "192.168.2.10"
)

// Options say what is in the subscription.
type Options struct {
	// Nodes are the machines, in the order of their numbers at the switch.
	Nodes []string
	// Others are machines without a virtual machine of ours, by their numbers: the
	// clients.
	Others map[string]Other
	// Config is the beginning of the configuration: latencies, features. Machines,
	// network and identities are added.
	Config fake.Config
	// Power switches the machines, nil for nothing.
	Power fake.Power
}

// Other is a machine with one card on the service LAN.
type Other struct {
	Number  int
	Address string
}

// Azure is the cloud of one lab.
type Azure struct {
	*fake.Cloud
	sw    *network.Switch
	ca    *fake.Authority
	cards map[string]network.Card // by the lower-case id of the interface

	mu      sync.Mutex
	arm     *fake.Server
	servers map[string]*fake.Server // metadata services by machine
}

// LANs are the subnets.
func LANs() []network.LAN {
	return []network.LAN{network.Service, network.Replication, network.Interconnect}
}

// Role is what the identity of a node may do in the resource group, OperationsRole
// what it may do in the subscription, which is where operations are read: what
// docs/azure.md gives, which is what docs/cloudip-azure.md and docs/fence_azure.md
// list, and nothing else.
func Role() []string {
	return []string{
		"Microsoft.Compute/virtualMachines/read",
		"Microsoft.Compute/virtualMachines/powerOff/action",
		"Microsoft.Compute/virtualMachines/start/action",
		"Microsoft.Network/networkInterfaces/read",
		"Microsoft.Network/networkInterfaces/write",
		"Microsoft.Network/virtualNetworks/subnets/join/action",
		"Microsoft.Network/virtualNetworks/moveIpConfigurations/action",
		"Microsoft.Authorization/permissions/read",
	}
}

// OperationsRole is described at Role.
func OperationsRole() []string {
	return []string{
		"Microsoft.Compute/locations/operations/read",
		"Microsoft.Network/locations/operations/read",
	}
}

// New builds the cloud over a switch made by network.NewVNet, and serves the
// Resource Manager in it. Close must be called at the end.
func New(ctx context.Context, sw *network.Switch, o Options) (*Azure, error) {
	a := &Azure{sw: sw, cards: map[string]network.Card{}, servers: map[string]*fake.Server{}}
	cfg, err := a.config(o)
	if err != nil {
		return nil, err
	}
	if a.Cloud, err = fake.New(cfg, o.Power); err != nil {
		return nil, err
	}
	if err := a.SetPlane(plane{a}); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	if a.ca, err = fake.NewAuthority(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	l, err := fake.ListenAt(ctx, network.CloudAPI+":443@"+sw.Netns())
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	cert, err := a.ca.Certificate(network.CloudAPI)
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	a.arm = fake.Serve(l, a.Handler(), &cert)
	return a, nil
}

// config describes machines, cards and identities.
func (a *Azure) config(o Options) (fake.Config, error) {
	cfg := o.Config
	// Only to make ids.
	ids, err := fake.New(fake.Config{Subscription: cfg.Subscription}, nil)
	if err != nil {
		return cfg, err
	}
	defer ids.Close()
	vnet := ids.NetworkID(Group, "virtualNetworks", VNet)
	subnets := []any{}
	for _, l := range LANs() {
		subnets = append(subnets, map[string]any{"name": string(l), "properties": map[string]any{"addressPrefix": l.Subnet().String()}})
	}
	cfg.Groups = append(cfg.Groups, Group)
	all := map[string]map[string]any{vnet: {"properties": map[string]any{
		"addressSpace": map[string]any{"addressPrefixes": []any{"192.168.0.0/16"}}, "subnets": subnets}}}
	for k, v := range cfg.Network {
		all[k] = v
	}
	cfg.Network = all
	for i, node := range o.Nodes {
		vm := fake.VM{Name: node, Group: Group}
		for _, l := range LANs() {
			vm.NICs = append(vm.NICs, a.addCard(ids, cfg, node, i+1, l, network.Address(l, i+1)))
		}
		cfg.VMs = append(cfg.VMs, vm)
		cfg.Principals = append(cfg.Principals, fake.Principal{Name: node, SystemOf: node, Grants: []fake.Grant{
			{Scope: ids.GroupID(Group), Actions: Role()},
			{Scope: "/subscriptions/" + ids.Subscription(), Actions: OperationsRole()},
		}})
	}
	for name, other := range o.Others {
		a.addCard(ids, cfg, name, other.Number, network.Service, other.Address)
	}
	return cfg, nil
}

// addCard describes the interface of a machine on a LAN and returns its id.
func (a *Azure) addCard(ids *fake.Cloud, cfg fake.Config, machine string, i int, l network.LAN, address string) string {
	id := ids.NetworkID(Group, "networkInterfaces", machine+"-"+string(l))
	a.cards[strings.ToLower(id)] = network.Card{Machine: machine, LAN: l}
	cfg.Network[id] = map[string]any{"properties": map[string]any{
		"macAddress": strings.ToUpper(strings.ReplaceAll(network.MAC(l, i), ":", "-")),
		"ipConfigurations": []any{map[string]any{"name": "ipconfig1", "properties": map[string]any{
			"primary": true, "privateIPAllocationMethod": "Static", "privateIPAddress": address,
			"subnet": map[string]any{"id": ids.NetworkID(Group, "virtualNetworks", VNet) + "/subnets/" + string(l)},
		}}},
	}}
	return id
}

// NIC is the resource id of a machine's interface on a LAN.
func (a *Azure) NIC(machine string, l network.LAN) string {
	return a.NetworkID(Group, "networkInterfaces", machine+"-"+string(l))
}

// CA is the certificate that the Resource Manager is trusted by, as PEM.
func (a *Azure) CA() []byte { return a.ca.PEM() }

// Hosts are lines for /etc/hosts that lead the names of Azure here.
func Hosts() string {
	return network.CloudAPI + " management.azure.com login.microsoftonline.com\n"
}

// Routes are commands for ip -batch that a machine runs at boot: the way out of the
// service LAN. Nothing but the cloud's API is out there.
func Routes() string {
	return fmt.Sprintf("route add default via %s dev %s\n", network.Router, network.Service.Interface())
}

// Attach serves the instance metadata of a machine inside of its namespace, at the
// path given. A machine that boots has a new namespace and is attached again.
func (a *Azure) Attach(ctx context.Context, machine, netns string) error {
	if err := a.Detach(machine); err != nil {
		return err
	}
	_, err := host.Input(ctx, fmt.Sprintf("link set lo up\naddress replace %s/32 dev lo\n", network.Metadata),
		"nsenter", "--net="+netns, "ip", "-batch", "-")
	if err != nil {
		return err
	}
	l, err := fake.ListenAt(ctx, network.Metadata+":80@"+netns)
	if err != nil {
		return fmt.Errorf("cannot serve the metadata of %s: %w", machine, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.servers[machine] = fake.Serve(l, a.MetadataHandler(Group, machine), nil)
	return nil
}

// Detach ends the metadata service of a machine: connections to it are refused.
func (a *Azure) Detach(machine string) error {
	a.mu.Lock()
	s := a.servers[machine]
	delete(a.servers, machine)
	a.mu.Unlock()
	if s == nil {
		return nil
	}
	return s.Close()
}

// Close ends the services and the cloud.
func (a *Azure) Close() error {
	a.mu.Lock()
	servers := a.servers
	a.servers = map[string]*fake.Server{}
	a.mu.Unlock()
	var errs []error
	for _, s := range servers {
		errs = append(errs, s.Close())
	}
	if a.arm != nil {
		errs = append(errs, a.arm.Close())
	}
	a.Cloud.Close()
	return errors.Join(errs...)
}

// plane hands what the cloud says on to the virtual network.
type plane struct{ a *Azure }

// Bind gives addresses to the cards of interfaces.
func (p plane) Bind(ctx context.Context, changes []fake.Binding) error {
	set := map[netip.Addr]network.Card{}
	for _, b := range changes {
		if !b.Address.Is4() {
			continue // the virtual network has no IPv6
		}
		set[b.Address] = p.a.cards[strings.ToLower(b.NIC)]
	}
	return p.a.sw.Bind(ctx, set)
}
