package netif

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// AwaitUsable waits until the kernel's duplicate address detection for an IPv6 address has ended: one
// to two seconds by default. ErrDuplicate means that it found the address in use, ErrGone that the
// address was taken away meanwhile.
func AwaitUsable(ctx context.Context, k Kernel, ip netip.Addr, index int) error {
	return await(ctx, k, func() (bool, error) {
		addrs, err := k.Addresses(Family(ip))
		if err != nil {
			return false, err
		}
		for _, a := range addrs {
			if a.Index != index || a.IP() != ip {
				continue
			}
			if a.Flags&AddrDADFailed != 0 {
				return false, fmt.Errorf("%s: %w", ip, ErrDuplicate)
			}
			return a.Flags&AddrTentative == 0, nil
		}
		return false, fmt.Errorf("%s: %w", ip, ErrGone)
	})
}

// AwaitLink waits until a link carries packets. The error says why it does not.
func AwaitLink(ctx context.Context, k Kernel, index int) error {
	why := ""
	err := await(ctx, k, func() (bool, error) {
		links, err := k.Links()
		if err != nil {
			return false, err
		}
		for _, l := range links {
			if l.Index == index {
				why = l.Down()
				return why == "", nil
			}
		}
		return false, ErrNoLink
	})
	if err != nil && why != "" && ctx.Err() != nil {
		return fmt.Errorf("the link is down (%s): %w", why, err)
	}
	return err
}

// await calls done at first and after each change until it says yes or fails.
func await(ctx context.Context, k Kernel, done func() (bool, error)) error {
	// Most often there is nothing to wait for.
	if ok, err := done(); ok || err != nil {
		return err
	}
	w, err := k.Watch()
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		if err := w.Next(ctx); err != nil {
			if ok, derr := done(); ok {
				return nil
			} else if derr != nil {
				return errors.Join(derr, err)
			}
			return err
		}
	}
}
