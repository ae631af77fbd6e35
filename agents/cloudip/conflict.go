package main

import (
	"context"
	"net"
	"time"

	"pgrex/lib/netif"
	"pgrex/lib/ocf"
)

// quickPatience is how long a start without run_arping waits for the answer to its one probe, counted
// from when it was sent. The address is already in use by then.
const quickPatience = 20 * time.Millisecond

// firstLook is the question whether an address is in use that is asked before it is added. The zero
// value asks nobody.
type firstLook struct {
	q     netif.Question
	until time.Time
}

// lookFirst asks whether the address is in use. With run_arping it waits for the answer and an answer
// is an error; otherwise the question is on its way when it returns. Nobody is asked for IPv6, where
// the kernel does it; on links without ARP; and in a cloud, whose network answers for every address.
func (a *agent) lookFirst(ctx context.Context, l netif.Link) (firstLook, error) {
	if a.conf.ip.Is6() || a.kind != nil || !l.Speaks() || l.Down() != "" {
		return firstLook{}, nil
	}
	if holders, err := a.holders(); err != nil || len(holders) > 0 {
		return firstLook{}, err // it is we who would answer
	}
	look, err := a.question(l)
	if err == nil && !a.conf.thorough {
		if err = look.q.Ask(); err == nil {
			look.until = time.Now().Add(quickPatience)
			return look, nil
		}
	}
	if err != nil {
		look.close()
		if a.conf.thorough {
			return firstLook{}, osError(err, "nobody can be asked whether %s is in use", a.conf.ip)
		}
		a.log.Warn("nobody can be asked whether the address is in use", "error", err)
		return firstLook{}, nil
	}
	defer look.close()
	who, err := look.q.Inquire(ctx)
	switch {
	case err != nil:
		return firstLook{}, osError(err, "it cannot be found out whether %s is in use", a.conf.ip)
	case who != nil:
		return firstLook{}, ocf.Errorf(ocf.ErrGeneric, "%s is in use on %s by the machine with the hardware address %s", a.conf.ip, l.Name, who)
	}
	return firstLook{}, nil
}

// question opens the link for ARP.
func (a *agent) question(l netif.Link) (firstLook, error) {
	links, err := a.net.Links()
	if err != nil {
		return firstLook{}, err
	}
	p, err := a.net.Open(l, netif.Family(a.conf.ip))
	if err != nil {
		return firstLook{}, err
	}
	return firstLook{q: netif.Question{Packets: p, IP: a.conf.ip, Hardware: l.Hardware, Own: netif.Own(links)}}, nil
}

// answer waits for what is left of the time and returns who has the address, nil if nobody said so.
func (f firstLook) answer(ctx context.Context) net.HardwareAddr {
	if f.q.Packets == nil {
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, f.until)
	defer cancel()
	who, err := f.q.Answer(ctx, false)
	if err != nil {
		return nil
	}
	return who
}

func (f firstLook) close() {
	if f.q.Packets != nil {
		_ = f.q.Packets.Close()
	}
}
