package netif

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// patience bounds one exchange with the kernel. It answers in microseconds; the
// bound is for a kernel whose network lock is held by something that hangs.
const patience = 10 * time.Second

// socket is a Kernel over rtnetlink.
type socket struct {
	conn *netlink.Conn
	// ns is the descriptor of the namespace, 0 for the process's own.
	ns int
}

func dialKernel(ns int) (*socket, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: ns})
	if err != nil {
		return nil, fmt.Errorf("cannot speak to the kernel's network stack: %w", err)
	}
	return &socket{conn: conn, ns: ns}, nil
}

func (s *socket) close() error { return s.conn.Close() }

func (s *socket) execute(what netlink.HeaderType, flags netlink.HeaderFlags, body []byte) ([]netlink.Message, error) {
	if err := s.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	msgs, err := s.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: what, Flags: netlink.Request | flags}, Data: body,
	})
	if e := (*netlink.OpError)(nil); errors.As(err, &e) && e.Err != nil {
		err = e.Err // its own words are about sockets
	}
	return msgs, err
}

// dumpAttempts is how often a listing is asked for that changed while it was being read. Each
// takes well under a millisecond.
const dumpAttempts = 20

// dump reads a whole listing. The kernel marks one during which something changed (NLM_F_DUMP_INTR):
// it may lack an entry, and "not there" must not be concluded from it.
func dump[T any](s *socket, ask, answer netlink.HeaderType, body []byte, parse func([]byte) (T, error)) ([]T, error) {
	for range dumpAttempts {
		msgs, err := s.execute(ask, netlink.Dump, body)
		if err != nil {
			return nil, err
		}
		list := make([]T, 0, len(msgs))
		interrupted := false
		for _, m := range msgs {
			interrupted = interrupted || m.Header.Flags&netlink.DumpInterrupted != 0
			if m.Header.Type != answer {
				continue
			}
			item, err := parse(m.Data)
			if err != nil {
				return nil, err
			}
			list = append(list, item)
		}
		if !interrupted {
			return list, nil
		}
	}
	return nil, errors.New("the configuration changes faster than it can be read")
}

// Links lists the interfaces.
func (s *socket) Links() ([]Link, error) {
	body, err := linkQuery()
	if err != nil {
		return nil, err
	}
	links, err := dump(s, unix.RTM_GETLINK, unix.RTM_NEWLINK, body, parseLink)
	if err != nil {
		return nil, fmt.Errorf("cannot list the network interfaces: %w", err)
	}
	return links, nil
}

// Addresses lists the addresses of a family.
func (s *socket) Addresses(family int) ([]Address, error) {
	addrs, err := dump(s, unix.RTM_GETADDR, unix.RTM_NEWADDR, addressQuery(family), parseAddress)
	if err != nil {
		return nil, fmt.Errorf("cannot list the addresses: %w", err)
	}
	return addrs, nil
}

// Routes lists the routes of a family.
func (s *socket) Routes(family int) ([]Route, error) {
	routes, err := dump(s, unix.RTM_GETROUTE, unix.RTM_NEWROUTE, routeQuery(family), parseRoute)
	if err != nil {
		return nil, fmt.Errorf("cannot list the routes: %w", err)
	}
	return routes, nil
}

// AddAddress adds an address.
func (s *socket) AddAddress(a Address, replace bool) error {
	body, err := encodeAddress(a, unix.RTM_NEWADDR)
	if err != nil {
		return err
	}
	flags := netlink.Acknowledge | netlink.Create | netlink.Excl
	if replace {
		flags = netlink.Acknowledge | netlink.Create | netlink.Replace
	}
	_, err = s.execute(unix.RTM_NEWADDR, flags, body)
	switch {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%s: %w", a.Prefix, ErrExists)
	case err != nil:
		return fmt.Errorf("cannot add %s: %w", a.Prefix, err)
	}
	return nil
}

// RemoveAddress removes an address.
func (s *socket) RemoveAddress(a Address) error {
	body, err := encodeAddress(a, unix.RTM_DELADDR)
	if err != nil {
		return err
	}
	_, err = s.execute(unix.RTM_DELADDR, netlink.Acknowledge, body)
	switch {
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%s: %w", a.Prefix, ErrGone)
	case err != nil:
		return fmt.Errorf("cannot remove %s: %w", a.Prefix, err)
	}
	return nil
}

// RemoveRoute removes a route.
func (s *socket) RemoveRoute(r Route) error {
	body, err := encodeRoute(r)
	if err != nil {
		return err
	}
	_, err = s.execute(unix.RTM_DELROUTE, netlink.Acknowledge, body)
	switch {
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV):
		return fmt.Errorf("route to %s: %w", r.Dst, ErrGone)
	case err != nil:
		return fmt.Errorf("cannot remove the route to %s: %w", r.Dst, err)
	}
	return nil
}

// SetUp sets an interface up.
func (s *socket) SetUp(index int) error {
	if _, err := s.execute(unix.RTM_NEWLINK, netlink.Acknowledge, setUp(index)); err != nil {
		return fmt.Errorf("cannot set the interface up: %w", err)
	}
	return nil
}

// Watch subscribes to changes.
func (s *socket) Watch() (Watch, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{
		NetNS:  s.ns,
		Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot watch the kernel's network stack: %w", err)
	}
	return &watch{conn: conn}, nil
}

type watch struct{ conn *netlink.Conn }

// Next waits for a change.
func (w *watch) Next(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = w.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	// What is in the messages does not matter: the caller looks at the whole again. Neither does an
	// overflow of the socket, which means that there was a change.
	if _, err := w.conn.Receive(); err != nil && ctx.Err() == nil && !errors.Is(err, unix.ENOBUFS) {
		return fmt.Errorf("cannot watch the kernel's network stack: %w", err)
	}
	return ctx.Err()
}

// Close ends the watch.
func (w *watch) Close() error { return w.conn.Close() }
