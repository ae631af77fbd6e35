package azure

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"pgrex/lib/azure"
	"pgrex/lib/azure/names"
	"pgrex/lib/cloud"
	"pgrex/lib/life"
)

// Method is how an address is moved.
type Method string

// The methods.
const (
	// Auto moves in one call where the subscription knows that, and otherwise by Put.
	Auto Method = "auto"
	// Move is moveIpConfigurations: one operation, without a moment in which the address is nobody's.
	Move Method = "move"
	// Put replaces both NICs, the former holder's first.
	Put Method = "put"
)

// Preserve says what follows the address besides itself.
type Preserve struct {
	// ASG are application security groups, PublicIP is the public address, LB are the backend pools of load
	// balancers and application gateways, and NAT rules.
	ASG, PublicIP, LB bool
}

// Options are what a Provider is made of.
type Options struct {
	// Azure is how ARM is reached. Its Cloud may be empty: then the machine's metadata tell.
	Azure azure.Options
	// SubscriptionID and ResourceGroup are those of the machine where its metadata do not say; mostly "".
	SubscriptionID, ResourceGroup string
	// NIC is the id of the NIC that takes the address; "" finds it.
	NIC string
	// MAC is the hardware address of the device that takes the address, "" if that is not decided.
	MAC      string
	Method   Method
	Preserve Preserve
	// StateDir is a directory for root alone that does not outlive a boot. It is made if missing.
	StateDir string
	// Root is where the machine's files are, "" for /.
	Root string
	// Poll is the time between two looks at an operation, and between two attempts at something that is
	// locked; 0 means a second.
	Poll time.Duration
	Log  *slog.Logger
}

// Provider is Azure, for one action of an agent. It fulfils [cloud.Provider].
type Provider struct {
	o     Options
	state store
	arm   *azure.Client
	// known is the machine as it was found in this action, by address.
	known map[netip.Addr]self
	// fresh are NICs that were read a moment ago, by id; each is used once.
	fresh map[string]nic
}

var _ cloud.Provider = (*Provider)(nil)

// New makes a provider. It makes no request.
func New(o Options) *Provider {
	if o.Poll <= 0 {
		o.Poll = time.Second
	}
	if o.Method == "" {
		o.Method = Auto
	}
	if o.Azure.Log == nil {
		o.Azure.Log = o.Log
	}
	return &Provider{o: o, state: store{o.StateDir, o.Root}, known: map[netip.Addr]self{}, fresh: map[string]nic{}}
}

// Name is azure.
func (p *Provider) Name() string { return "azure" }

// Close drops the connections. A Provider that was never used has none.
func (p *Provider) Close() {
	if p.arm != nil {
		p.arm.Close()
	}
}

// open prepares the way to ARM, once.
func (p *Provider) open(ctx context.Context, environment string) error {
	if p.arm != nil {
		return nil
	}
	o := p.o.Azure
	if o.Cloud == "" {
		o.Cloud = cloudOf(environment)
	}
	arm, err := azure.Open(ctx, o)
	if err != nil {
		return classified(err)
	}
	p.arm = arm
	return nil
}

// cloudOf is the name of a cloud by what the metadata call it.
func cloudOf(environment string) string {
	switch strings.ToLower(environment) {
	case "azureusgovernmentcloud":
		return names.USGov
	case "azurechinacloud":
		return names.China
	}
	return names.Public
}

// Holder asks who holds the address: our own NIC first, then the one that was seen with it last, then the
// virtual network, which knows whether it is free but not whose it is.
func (p *Provider) Holder(ctx context.Context, address netip.Addr) (cloud.Holding, error) {
	me, err := p.self(ctx, address)
	if err != nil {
		return cloud.Holding{}, err
	}
	own, err := p.readNIC(ctx, me.NIC)
	var e *azure.Error
	if errors.As(err, &e) && e.Class == azure.NotFound {
		p.forget(address) // the next look finds our NIC anew
	}
	if err != nil {
		return cloud.Holding{}, err
	}
	if _, ok := own.find(address); ok {
		return cloud.Holding{Owner: cloud.Mine, Holder: azure.Last(me.NIC), Changing: !own.settled()}, nil
	}
	if peer := p.state.read(address).Peer; peer != "" && !sameID(peer, me.NIC) {
		if other, err := p.readNIC(ctx, peer); err == nil {
			if _, ok := other.find(address); ok {
				return cloud.Holding{Owner: cloud.Other, Holder: other.describe(), Changing: !other.settled()}, nil
			}
		}
	}
	held := cloud.Holding{Owner: cloud.Other, Holder: "not this machine; whose it is Azure does not tell", Changing: own.changing()}
	if free, err := p.free(ctx, own.subnet(), address); err == nil && free {
		held.Owner, held.Holder = cloud.Nobody, ""
	}
	return held, nil
}

// free asks the virtual network of a subnet whether an address is free.
func (p *Provider) free(ctx context.Context, subnet string, address netip.Addr) (bool, error) {
	var answer struct {
		Available bool `json:"available"`
	}
	err := p.arm.Fetch(ctx, networkOf(subnet)+"/CheckIPAddressAvailability?ipAddress="+address.String(), p.arm.Place.Network, &answer)
	return answer.Available, err
}

// silence is how long Settle and Release wait for the first answer: who calls them goes on without.
const silence = 5 * time.Second

// firstLook reads our own NIC, if Azure can be reached at all.
func (p *Provider) firstLook(ctx context.Context, address netip.Addr) (nic, error) {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	me, err := p.self(ctx, address)
	if err != nil {
		return nic{}, err
	}
	if n, ok := p.justRead(me.NIC); ok {
		return n, nil
	}
	return p.readNIC(ctx, me.NIC)
}

// Release takes the address off our NIC and waits until that is done.
func (p *Provider) Release(ctx context.Context, address netip.Addr) error {
	own, err := p.firstLook(ctx, address)
	for {
		if err != nil {
			return err
		}
		cfg, ok := own.find(address)
		if !ok {
			return nil
		}
		if cfg.primary() {
			return isPrimary(own, cfg, address)
		}
		op, refused := p.remove(ctx, own, cfg, address, nil)
		if refused == nil {
			what := fmtWhat("taking %s off %s", address, own.describe())
			if err = p.follow(ctx, op, what); errors.Is(err, errUntold) {
				_, err = p.calm(ctx, own.id, what)
			}
			return err
		}
		if !passing(refused) || life.Pause(ctx, p.o.Poll) != nil {
			return refused
		}
		own, err = p.readNIC(ctx, own.id)
	}
}

// Settle waits for the end of what an acquire of this machine has left under way. It begins nothing, and
// makes no request if nothing was left.
func (p *Provider) Settle(ctx context.Context, address netip.Addr) error {
	left := p.state.read(address)
	if left.Flight == nil {
		return nil
	}
	own, err := p.firstLook(ctx, address)
	if err != nil {
		return err
	}
	what := fmtWhat("an earlier change of %s", azure.Last(own.id))
	if left.Flight.URL != "" && p.arm.Ours(left.Flight.URL) {
		// That it failed is as good an end as any.
		if err := p.follow(ctx, &azure.Operation{URL: left.Flight.URL}, what); err != nil && ctx.Err() != nil {
			return err
		}
	}
	if left.Flight.URL != "" || own.changing() {
		if _, err := p.calm(ctx, own.id, what); err != nil {
			return err
		}
	}
	return p.state.edit(address, func(s *record) { s.Flight = nil })
}
