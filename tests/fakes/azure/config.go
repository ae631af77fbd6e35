package azure

import (
	"fmt"
	"time"
)

// Duration is a time.Duration that configuration files write as "250ms".
type Duration time.Duration

// MarshalText writes the duration as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what MarshalText writes.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("duration %q: %w", text, err)
	}
	*d = Duration(v)
	return nil
}

// Config is what the cloud holds when it begins. The zero value is an empty
// subscription without any latency.
type Config struct {
	// Subscription, Tenant and Location have defaults that look like the real
	// ones.
	Subscription, Tenant, Location string
	// Groups are the resource groups that exist besides those of the machines.
	Groups []string
	VMs    []VM
	// Principals are the identities that may sign in.
	Principals []Principal
	// Network holds network resources in ARM's own JSON, by resource id: virtual
	// networks with their subnets, network interfaces, security groups, load
	// balancers, public addresses.
	Network map[string]map[string]any
	Latency Latency
	// Move says what the subscription knows of moveIpConfigurations.
	Move Move
	// Busy is the answer to a change of what is being changed.
	Busy Busy
	// FreeEarly frees an address when the change that takes it away is accepted,
	// not only when the data plane has let go of it. Which of them the real one
	// does is not known.
	FreeEarly bool
	// OperationRights makes reading an operation need the right
	// Microsoft.Network/locations/operations/read.
	OperationRights bool
	// PageSize bounds the entries of one page of a list; 0 means 100.
	PageSize int
	// PollAfter is sent as Retry-After, in seconds, with every accepted
	// operation; negative sends none.
	PollAfter int
	// TokenLife is how long a token is good for; 0 means an hour.
	TokenLife Duration
}

// Latency is how long things take. Each is counted from the request.
type Latency struct {
	// Answer delays every answer of ARM.
	Answer Duration
	// PowerOff is the time until a machine that is powered off with
	// skipShutdown is off; Shutdown the same without skipShutdown.
	PowerOff, Shutdown Duration
	// Start is the time until a started machine runs, Deallocate until a
	// machine has given back its host.
	Start, Deallocate Duration
	// Update is the time a change of a network interface takes, Move the time to
	// move ipConfigurations (0: as Update), Subnet a change of a subnet.
	Update, Move, Subnet Duration
	// Program is when such a change is in the data plane; 0 or more than the change
	// takes means at its end.
	Program Duration
	// Metadata is the time from there until the metadata service tells of it.
	Metadata Duration
	// Tail is how long an operation goes on after its effect is visible.
	Tail Duration
}

// VM is a virtual machine.
type VM struct {
	Name, Group string
	// Power is the code behind "PowerState/"; "" means running.
	Power string
	// ID is the machine's unique id; one is made up if it is empty.
	ID string
	// NICs are the resource ids of its network interfaces.
	NICs []string
	Tags map[string]string
	// Stuck makes it ignore powerOff and start: operations are accepted and
	// succeed without effect.
	Stuck bool
	// Statuses, if not nil, replaces the statuses of the instance view.
	Statuses []string
}

// Principal is an identity that can sign in: an application or a managed
// identity.
type Principal struct {
	// Name is for people. ClientID and ObjectID are made up if empty.
	Name, ClientID, ObjectID string
	// Secret, CertificatePEM and FederatedToken are the credentials of an
	// application; an empty one cannot be used.
	Secret, CertificatePEM, FederatedToken string
	// SystemOf names the machine whose system-assigned identity this is.
	SystemOf string
	// AssignedTo names the machines that carry it as user-assigned identity;
	// ResourceID is then its resource id.
	AssignedTo []string
	ResourceID string
	Grants     []Grant
}

// Grant is a role assigned at a scope; it holds for everything below.
type Grant struct {
	// Scope is a resource id; "/" is everything.
	Scope               string
	Actions, NotActions []string
}

const (
	defaultSubscription = "11111111-2222-3333-4444-555555555555"
	defaultTenant       = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	defaultLocation     = "japaneast"
)
