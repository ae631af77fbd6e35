package chaos

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
)

const (
	// askEvery is how often the clients' LAN is asked for an address. Whatever is
	// answered before the next question belongs to the last.
	askEvery  = 200 * time.Millisecond
	arpLength = 42
)

// answers asks on the service LAN, as an ARP request, who has an address, and
// remembers every answer.
type answers struct {
	fd      int
	address netip.Addr
	own     net.HardwareAddr

	mu     sync.Mutex
	count  int
	wrong  []string
	cancel context.CancelFunc
	done   chan struct{}
}

// listen starts asking for an address from the clients' place.
func listen(ctx context.Context, c *cluster.Cluster, address string) (*answers, error) {
	a := &answers{done: make(chan struct{})}
	var err error
	if a.address, err = netip.ParseAddr(address); err != nil {
		return nil, err
	}
	err = host.InNetns(c.ClientNetns, func() error {
		card, err := net.InterfaceByName(network.Service.Interface())
		if err != nil {
			return err
		}
		a.own = card.HardwareAddr
		const arp = unix.ETH_P_ARP<<8&0xff00 | unix.ETH_P_ARP>>8
		if a.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, arp); err != nil {
			return err
		}
		return unix.Bind(a.fd, &unix.SockaddrLinklayer{Protocol: arp, Ifindex: card.Index})
	})
	if err != nil {
		return nil, fmt.Errorf("cannot ask for %s: %w", address, err)
	}
	ctx, a.cancel = context.WithCancel(ctx)
	go a.run(ctx)
	return a, nil
}

func (a *answers) run(ctx context.Context) {
	defer close(a.done)
	defer func() { _ = unix.Close(a.fd) }()
	t := time.NewTicker(askEvery)
	defer t.Stop()
	for {
		_, _ = a.heard() // of the last question, when it is asked late
		asked := time.Now()
		if err := unix.Send(a.fd, a.question(), 0); err != nil && !errors.Is(err, unix.ENETDOWN) {
			a.note(fmt.Sprintf("cannot ask for %s: %v", a.address, err))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		macs, n := a.heard()
		a.mu.Lock()
		a.count += n
		a.mu.Unlock()
		if len(macs) > 1 {
			a.note(fmt.Sprintf("%s: %s was answered by %v", asked.Format("15:04:05.000"), a.address, macs))
		}
	}
}

func (a *answers) note(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wrong = append(a.wrong, text)
}

// question is an ARP request.
func (a *answers) question() []byte {
	b := make([]byte, 0, arpLength)
	b = append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	b = append(b, a.own...)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_ARP)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, request
	b = append(b, a.own...)
	b = append(b, net.ParseIP(network.Client).To4()...)
	b = append(b, 0, 0, 0, 0, 0, 0)
	return append(b, a.address.AsSlice()...)
}

// heard are the hardware addresses that have answered since it was last called.
func (a *answers) heard() (macs []string, n int) {
	b := make([]byte, 128)
	for {
		k, _, err := unix.Recvfrom(a.fd, b, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return macs, n
		}
		mac, ok := a.reply(b[:k])
		if !ok {
			continue
		}
		n++
		if !slices.Contains(macs, mac) {
			macs = append(macs, mac)
		}
	}
}

// reply is who says in a frame, to us, that it has the address.
func (a *answers) reply(frame []byte) (string, bool) {
	if len(frame) < arpLength || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_ARP || binary.BigEndian.Uint16(frame[20:]) != 2 {
		return "", false
	}
	toUs := slices.Equal(frame[0:6], a.own)
	if sender := netip.AddrFrom4([4]byte(frame[28:32])); !toUs || sender != a.address {
		return "", false // a gratuitous one is an announcement, no answer
	}
	return net.HardwareAddr(frame[22:28]).String(), true
}

// found is how many answers there were so far, and what was wrong with them.
func (a *answers) found() (int, []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count, slices.Clone(a.wrong)
}

// stop ends it.
func (a *answers) stop() {
	a.cancel()
	<-a.done
}
