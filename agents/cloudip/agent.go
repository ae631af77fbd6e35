package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"pgrex/lib/cloud"
	"pgrex/lib/netif"
	"pgrex/lib/ocf"
)

// network is the network stack that has the address.
type network interface {
	netif.Kernel
	netif.Wire
	Setting(path string) (string, error)
}

// agent is one action on one address.
type agent struct {
	call *ocf.Call
	conf config
	net  network
	// kind is the cloud, nil on a LAN; provider is built from it when it is first needed.
	kind     *providerKind
	provider cloud.Provider
	state    state
	herald   background
	// out takes the findings of validate-all.
	out io.Writer
	log *slog.Logger
}

// handlers are the actions of the agent.
func handlers() map[string]func(context.Context, *ocf.Call) error {
	wrap := func(f func(*agent, context.Context) error) func(context.Context, *ocf.Call) error {
		return func(ctx context.Context, c *ocf.Call) error {
			a := newAgent(c)
			ns, err := netif.Open(a.conf.namespace)
			if err != nil {
				return a.withoutNetwork(err)
			}
			defer func() { _ = ns.Close() }()
			a.net = ns
			return f(a, ctx)
		}
	}
	return map[string]func(context.Context, *ocf.Call) error{
		"start":        wrap((*agent).start),
		"stop":         wrap((*agent).stop),
		"monitor":      wrap((*agent).monitor),
		"status":       wrap((*agent).monitor),
		"validate-all": wrap((*agent).validate),
		"reload-agent": func(_ context.Context, c *ocf.Call) error {
			// The next monitor reads the new values; nothing else keeps them.
			return newConfig(c).err
		},
	}
}

func newAgent(c *ocf.Call) *agent {
	a := &agent{call: c, conf: newConfig(c), out: os.Stdout, log: c.Log}
	a.state = newState(a.conf)
	a.herald = background{state: a.state, launch: launchSelf}
	kind, err := chooseProvider(a.conf.provider, providers())
	if err != nil && a.conf.err == nil {
		a.conf.err = bad("%w", err)
	}
	a.kind = kind
	return a
}

// withoutNetwork is the answer where the network namespace is missing: an address in it is gone with
// it. Any other trouble is not known to be that.
func (a *agent) withoutNetwork(err error) error {
	if !errors.Is(err, netif.ErrNoNamespace) {
		return ocf.Errorf(ocf.ErrGeneric, "%w", err)
	}
	switch a.call.Action {
	case "start", "validate-all":
		if a.conf.err != nil {
			return a.conf.err
		}
	case "stop":
		a.log.Info("nothing to stop: " + err.Error())
		if err := a.herald.end(); err != nil {
			a.log.Warn("the announcements in the background cannot be ended", "error", err)
		}
		a.state.forget()
		return nil
	case "monitor", "status":
		return ocf.Status(ocf.NotRunning)
	}
	return ocf.Errorf(ocf.ErrGeneric, "%w", err)
}

// cloud returns the provider, built once.
func (a *agent) cloud(ctx context.Context) (cloud.Provider, error) {
	if a.provider == nil {
		p, err := a.kind.build(ctx, a.call)
		if err != nil {
			return nil, cloudError(err)
		}
		a.provider = p
	}
	return a.provider, nil
}

// cloudError gives an error of a cloud its exit code.
func cloudError(err error) error {
	var own *ocf.Error
	var e *cloud.Error
	switch {
	case errors.As(err, &own):
		return err // of our own half, on its way through the provider
	case !errors.As(err, &e), e.Class == cloud.Transient, e.Class == cloud.Unclassified:
		return ocf.Errorf(ocf.ErrGeneric, "%w", err)
	case e.Class == cloud.Permission:
		return ocf.Errorf(ocf.ErrPerm, "%w", err)
	case e.Class == cloud.Unfit:
		return ocf.Errorf(ocf.ErrInstalled, "%w", err)
	}
	return ocf.Errorf(ocf.ErrConfigured, "%w", err)
}

// reserve gives a context that leaves d of the action's time for what follows.
func reserve(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, end.Add(-d))
	}
	return context.WithCancel(ctx)
}

// holders are the interfaces that have the address now.
func (a *agent) holders() ([]netif.Holding, error) {
	h, err := netif.Holders(a.net, a.conf.ip, a.conf.nic)
	if err != nil {
		return nil, ocf.Errorf(ocf.ErrGeneric, "%w", err)
	}
	return h, nil
}

// remove takes the address off this machine, with proof.
func (a *agent) remove() error {
	removed, err := netif.Remove(a.net, a.conf.ip, a.conf.nic)
	for _, h := range removed {
		a.log.Info(fmt.Sprintf("removed %s from %s", h.Prefix, h.Link.Name))
		// What monitors asked must not be known as the way to the next holder.
		if err := a.net.Forget(h.Index, a.conf.ip); err != nil {
			a.log.Debug("the neighbour is not forgotten", "error", err)
		}
	}
	if err != nil {
		return osError(err, "%s cannot be removed", a.conf.ip)
	}
	return nil
}
