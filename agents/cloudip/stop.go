package main

import (
	"context"
	"time"
)

// What the cloud may take of stop's time: a part of it where the address is to be given back, and a moment where
// only a change in flight is to be seen to its end. The next start sees that as well, wherever it is, and
// cannot begin before stop has ended.
const (
	releaseShare   = 2
	settlePatience = 5 * time.Second
)

// releaseGrace is how long the driver may take to say what it was waiting for when its time is over.
const releaseGrace = 50 * time.Millisecond

// stop takes the address off this machine, whatever its interface, its routes, the parameters or the
// cloud are like: success means that it is gone. That alone makes the node harmless, so what the cloud
// says afterwards cannot make stop fail.
func (a *agent) stop(ctx context.Context) error {
	if !a.conf.ip.IsValid() {
		// Without an address nothing was ever started.
		a.log.Warn("nothing to stop: the parameter ip is missing or no address")
		return nil
	}
	if err := a.herald.end(); err != nil {
		// It looks for the address before each announcement, so it ends by itself.
		a.log.Warn("the announcements in the background cannot be ended", "error", err)
	}
	if err := a.remove(); err != nil {
		return err
	}
	if a.kind != nil {
		a.release(ctx)
	}
	a.state.forget()
	return nil
}

// release resolves in the cloud what is in flight, and gives the address up if that is wanted.
func (a *agent) release(ctx context.Context) {
	if end, ok := ctx.Deadline(); ok {
		share := time.Until(end) / releaseShare
		if !a.conf.release {
			share = min(share, settlePatience)
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, share)
		defer cancel()
	}
	// Not all that a cloud's driver does hears the context: a secret's file may be on a disk that hangs.
	done := make(chan error, 1)
	go func() { done <- a.settle(ctx) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
		select {
		case err = <-done: // it knows better why
		case <-time.After(releaseGrace):
		}
	}
	if err != nil {
		a.log.Warn("the address is off this machine; in the cloud its assignment stays as it is until the next start takes it over", "error", err)
	}
}

func (a *agent) settle(ctx context.Context) error {
	provider, err := a.cloud(ctx)
	if err != nil {
		return err
	}
	if err := provider.Settle(ctx, a.conf.ip); err != nil || !a.conf.release {
		return err
	}
	return provider.Release(ctx, a.conf.ip)
}
