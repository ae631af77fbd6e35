// Package ipmitest is a management controller for tests: go-ipmi's own server on a loopback port,
// whose machine and whose network do as a test says.
package ipmitest

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/handlers"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/types"
)

// The users of every BMC, all with Password.
const (
	Admin    = "admin"
	Operator = "operator"
	Looker   = "looker"
	Password = "correct horse"
)

// Options say what kind of BMC it is.
type Options struct {
	// Suites are the cipher suites that it takes; nil means 3 and 17.
	Suites []int
	// No15 refuses IPMI 1.5.
	No15 bool
	// Kg is a key of the BMC's own.
	Kg []byte
}

// BMC is one controller. Its functions are read when they are needed; set them by Script.
type BMC struct {
	Port int

	mu   sync.Mutex
	opts Options
	stop func()

	on     bool
	orders []string
	script Script
}

// Script are the misfortunes of a BMC. Nil functions stand for good behaviour.
type Script struct {
	// Order carries out an order ("on", "off", "cycle", "diag") and returns a completion code; what
	// it does to the machine it does by Set.
	Order func(what string) byte
	// State answers a question for the state.
	State func() (on bool, code byte)
	// In and Out see every datagram that comes and goes; false loses it.
	In, Out func(b []byte) bool
	// Extra are datagrams sent before the answer b.
	Extra func(b []byte) [][]byte
}

// Start starts a BMC whose machine is on; the test's end stops it.
func Start(t testing.TB, opts Options) *BMC {
	t.Helper()
	b := &BMC{opts: opts, on: true}
	b.Boot(t)
	t.Cleanup(b.Halt)
	return b
}

// Boot starts the controller, without any session, at the port it had before.
func (b *BMC) Boot(t testing.TB) {
	t.Helper()
	addr := net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: b.Port}
	conn, err := net.ListenUDP("udp4", &addr)
	if err != nil {
		t.Fatal(err)
	}
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		t.Fatalf("odd address %v", conn.LocalAddr())
	}
	b.Port = local.Port
	machine := mock.New()
	info := bmc.DeviceInfo{DeviceID: 32, DeviceRevision: 1, FirmwareMajor: 1, IPMIVersion: 0x20}
	var options []bmc.Option
	if b.opts.No15 {
		options = append(options, bmc.WithV15Disabled())
	}
	if b.opts.Suites != nil {
		var ids []types.CipherSuiteID
		for _, s := range b.opts.Suites {
			ids = append(ids, types.CipherSuiteID(s))
		}
		options = append(options, bmc.WithCipherSuites(ids))
	}
	options = append(options, bmc.WithKG(b.opts.Kg))
	controller := bmc.New(info, [16]byte{1}, machine, options...)
	for i, u := range []struct {
		name  string
		level bmc.PrivilegeLevel
	}{{Admin, bmc.PrivilegeLevelAdministrator}, {Operator, bmc.PrivilegeLevelOperator}, {Looker, bmc.PrivilegeLevelUser}} {
		user, err := controller.Users.Add(uint8(i+2), u.name)
		if err != nil {
			t.Fatal(err)
		}
		user.SetPassword([]byte(Password))
		user.Enabled = true
		user.ChannelAccess[1] = bmc.UserChannelAccess{MaxPrivilege: u.level, Enabled: true}
	}
	registry := handlers.NewRegistry()
	handlers.RegisterAllHandlers(registry)
	registry.RegisterFunc(types.CommandGetChassisStatus, b.status)
	registry.RegisterFunc(types.CommandChassisControl, b.control)
	srv := server.NewServer(controller, &network{UDPConn: conn, bmc: b}, server.WithHandlerRegistry(registry))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ctx)
	}()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stop = func() {
		cancel()
		_ = srv.Close()
		_ = conn.Close()
		<-done
	}
}

// Halt ends the controller, as if its network had gone.
func (b *BMC) Halt() {
	b.mu.Lock()
	stop := b.stop
	b.stop = nil
	b.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// Script changes what the BMC does.
func (b *BMC) Script(s Script) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.script = s
}

func (b *BMC) current() Script {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.script
}

// Set switches the machine.
func (b *BMC) Set(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.on = on
}

// SetAfter switches the machine later.
func (b *BMC) SetAfter(on bool, d time.Duration) {
	time.AfterFunc(d, func() { b.Set(on) })
}

// On is the state of the machine.
func (b *BMC) On() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.on
}

// Orders are the orders that arrived, oldest first.
func (b *BMC) Orders() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.orders...)
}

func (b *BMC) status(context.Context, *handlers.HandlerContext, []byte) ([]byte, types.CompletionCode, error) {
	on, code := b.On(), byte(0)
	if f := b.current().State; f != nil {
		on, code = f()
	}
	return (&chassis.GetChassisStatusResponse{PowerIsOn: on}).Pack(), types.CompletionCode(code), nil
}

// orders by their number in Chassis Control.
var orders = map[byte]string{0: "off", 1: "on", 2: "cycle", 4: "diag"}

func (b *BMC) control(_ context.Context, h *handlers.HandlerContext, req []byte) ([]byte, types.CompletionCode, error) {
	if len(req) < 1 {
		return nil, types.CodeRequestDataTruncated, nil
	}
	if h.Session != nil && h.Session.PrivilegeLevel < bmc.PrivilegeLevelOperator {
		return nil, types.CompletionCode(0xd4), nil
	}
	what := orders[req[0]&0xf]
	b.mu.Lock()
	b.orders = append(b.orders, what)
	f := b.script.Order
	b.mu.Unlock()
	if f != nil {
		return nil, types.CompletionCode(f(what)), nil
	}
	switch what {
	case "on", "off":
		b.Set(what == "on")
	case "cycle":
		b.Set(false)
		b.SetAfter(true, 300*time.Millisecond)
	}
	return nil, types.CodeOK, nil
}

// network loses and adds datagrams as the script says.
type network struct {
	*net.UDPConn
	bmc *BMC
}

// ReadFrom returns the next datagram that is not lost.
func (n *network) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		k, addr, err := n.UDPConn.ReadFrom(b)
		if f := n.bmc.current().In; err == nil && f != nil && !f(b[:k]) {
			continue
		}
		return k, addr, err
	}
}

// WriteTo sends a datagram, if it is not lost.
func (n *network) WriteTo(b []byte, addr net.Addr) (int, error) {
	s := n.bmc.current()
	if s.Extra != nil {
		for _, x := range s.Extra(b) {
			if _, err := n.UDPConn.WriteTo(x, addr); err != nil {
				return 0, err
			}
		}
	}
	if s.Out != nil && !s.Out(b) {
		return len(b), nil
	}
	return n.UDPConn.WriteTo(b, addr)
}
