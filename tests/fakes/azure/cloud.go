package azure

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Power switches what stands behind a virtual machine. It is called once per
// change, outside of any lock, and the change becomes visible in the API only
// when it has returned without error.
type Power interface {
	Switch(ctx context.Context, vm string, on bool) error
}

// Cloud is one subscription and everything in it. Its methods may be called at
// any time, also while requests are being answered.
type Cloud struct {
	power  Power
	ctx    context.Context
	cancel context.CancelFunc
	began  time.Time
	id     string
	work   sync.WaitGroup // changes under way

	mu         sync.Mutex
	cfg        Config
	groups     map[string]string // lower case -> as created
	vms        map[string]*machine
	principals []Principal
	tokens     map[string]token
	operations map[string]*operation
	network    map[string]*resource // by lower case id
	faults     []*scripted
	journal    []Request
	changed    chan struct{} // closed and replaced whenever the journal grows
	locks      map[string]string
	bound      map[place]held // the data plane
	bindings   []Binding

	// planeMu keeps the changes of the data plane in one order. It is taken before mu.
	planeMu sync.Mutex
	plane   Plane
}

// New builds a cloud. power may be nil: then nothing stands behind the machines.
// Close must be called at the end.
func New(cfg Config, power Power) (*Cloud, error) {
	if cfg.Subscription == "" {
		cfg.Subscription = defaultSubscription
	}
	if cfg.Tenant == "" {
		cfg.Tenant = defaultTenant
	}
	if cfg.Location == "" {
		cfg.Location = defaultLocation
	}
	if cfg.PageSize == 0 {
		cfg.PageSize = 100
	}
	if cfg.TokenLife == 0 {
		cfg.TokenLife = Duration(time.Hour)
	}
	c := &Cloud{
		power: power, began: time.Now(), id: uuid(), cfg: cfg,
		groups: map[string]string{}, vms: map[string]*machine{}, tokens: map[string]token{},
		operations: map[string]*operation{}, network: map[string]*resource{}, changed: make(chan struct{}),
		locks: map[string]string{}, bound: map[place]held{},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	for _, g := range cfg.Groups {
		c.groups[strings.ToLower(g)] = g
	}
	if err := c.putAll(cfg.Network); err != nil {
		return nil, err
	}
	for _, vm := range cfg.VMs {
		if err := c.AddVM(vm); err != nil {
			return nil, err
		}
	}
	for _, p := range cfg.Principals {
		c.AddPrincipal(p)
	}
	return c, nil
}

// Close ends what is under way. Servers are closed by themselves.
func (c *Cloud) Close() {
	c.cancel()
	c.work.Wait()
}

// Subscription is the id of the subscription.
func (c *Cloud) Subscription() string { return c.cfg.Subscription }

// Tenant is the id of the tenant.
func (c *Cloud) Tenant() string { return c.cfg.Tenant }

// GroupID is the resource id of a resource group.
func (c *Cloud) GroupID(group string) string {
	return "/subscriptions/" + c.cfg.Subscription + "/resourceGroups/" + group
}

// VMID is the resource id of a virtual machine.
func (c *Cloud) VMID(group, name string) string {
	return c.GroupID(group) + "/providers/Microsoft.Compute/virtualMachines/" + name
}

// NetworkID is the resource id of a network resource, kind being
// networkInterfaces, virtualNetworks or networkSecurityGroups.
func (c *Cloud) NetworkID(group, kind, name string) string {
	return c.GroupID(group) + "/providers/Microsoft.Network/" + kind + "/" + name
}

// AddPrincipal adds an identity and returns it with its ids.
func (c *Cloud) AddPrincipal(p Principal) Principal {
	if p.ClientID == "" {
		p.ClientID = uuid()
	}
	if p.ObjectID == "" {
		p.ObjectID = uuid()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.principals = append(c.principals, p)
	return p
}

// SetGrants replaces the roles of the identity with this name.
func (c *Cloud) SetGrants(name string, grants []Grant) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.principals {
		if c.principals[i].Name == name {
			c.principals[i].Grants = grants
			return nil
		}
	}
	return fmt.Errorf("there is no identity %q", name)
}

// SetLatency changes how long things take from now on.
func (c *Cloud) SetLatency(l Latency) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cfg.Latency = l
}

var errNoVM = errors.New("there is no such virtual machine")

// after runs f when d has passed, unless the cloud is closed before.
func (c *Cloud) after(d Duration, f func()) {
	c.work.Go(func() {
		t := time.NewTimer(time.Duration(d))
		defer t.Stop()
		select {
		case <-t.C:
			f()
		case <-c.ctx.Done():
		}
	})
}

// allowed reports whether the principal has the right at the scope: some grant
// on the way up names it in its actions and not in its notActions.
func (p Principal) allowed(right, scope string) bool {
	return slices.ContainsFunc(p.Grants, func(g Grant) bool {
		return within(scope, g.Scope) && matchesAny(g.Actions, right) && !matchesAny(g.NotActions, right)
	})
}

func within(scope, above string) bool {
	scope, above = strings.ToLower(scope), strings.ToLower(strings.TrimSuffix(above, "/"))
	return scope == above || strings.HasPrefix(scope, above+"/")
}

func matchesAny(patterns []string, right string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(strings.ToLower(p), strings.ToLower(right)) })
}

// matches compares a right with a pattern in which * stands for anything,
// slashes too.
func matches(pattern, right string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == right
	}
	if !strings.HasPrefix(right, head) {
		return false
	}
	for i := len(head); i <= len(right); i++ {
		if matches(rest, right[i:]) {
			return true
		}
	}
	return false
}

func uuid() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails, says its documentation
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
