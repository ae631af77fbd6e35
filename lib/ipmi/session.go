package ipmi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/command/app"
	"github.com/bougou/go-ipmi/pkg/types"

	"pgrex/lib/life"
)

// way is how a session is opened.
type way struct {
	dialect Dialect
	suite   int
	// patience bounds a try of something that the BMC may silently not know; 0 is none.
	patience time.Duration
}

// session is one session with a BMC.
type session struct {
	client *client.Client
	wire   *wire
}

const (
	// suitePatience is how long a BMC that is known to be awake may take to say no to a cipher suite
	// before the next is tried, if it has answered the probe at once; one that was slow there may
	// be so again. Together with the probe it keeps the search below two seconds.
	suitePatience = 700 * time.Millisecond
	// pause lies between two tries to reach a BMC whose network refuses.
	pause = 100 * time.Millisecond
)

// connect opens a session, in whatever way the BMC takes. A BMC from which nothing has been heard for
// Tries times Config.Try is given up, one that fell silent after twice that, one that goes on stammering,
// or is slow, after three times. Until then what may pass is tried again: a BMC that restarts its network
// refuses for a moment, and datagrams get lost.
func (b *BMC) connect(ctx context.Context) (*session, error) {
	silence := Tries * b.cfg.Try
	ctx, cancel := context.WithTimeout(ctx, 3*silence)
	defer cancel()
	began, took := time.Now(), b.took.Load()
	var asked time.Time // since when its address is known
	b.heard.Store(nil)
	// left is how much longer it may say nothing. It has answered once if it had to think about a
	// suite or a lost datagram in silence, and then there is more than that to be tried.
	left := func() time.Duration {
		if heard := b.heard.Load(); heard != nil {
			return 2*silence - time.Since(*heard)
		}
		return silence - time.Since(asked)
	}
	b.addrs = nil
	var told error // the last that was more than silence
	for {
		var s *session
		var err error
		if b.addrs == nil {
			// Names may take their time, in which no BMC is asked.
			b.addrs, err = b.resolve(ctx)
			asked = time.Now()
		}
		if err == nil {
			s, err = b.searchWhile(ctx, left)
		}
		if err == nil {
			return s, nil
		}
		kind := KindOf(err)
		if kind != Unreachable && kind != Busy && kind != Silent && !errors.Is(err, errFellSilent) {
			return nil, err
		}
		if kind != Silent {
			told = err
		}
		if kind == Unreachable {
			b.turn++
		}
		refused := kind != Silent && time.Since(began) >= silence
		if left() <= 0 || refused || life.Pause(ctx, pause) != nil {
			break
		}
	}
	if b.heard.Load() == nil {
		b.took.Store(took) // for all that is known it is not slow, but gone
	}
	if told != nil {
		return nil, told
	}
	waited := min(time.Since(began).Round(100*time.Millisecond), silence)
	return nil, errorf(Silent, "the BMC %s gave no answer within %s; check its address, and that it speaks IPMI over LAN", b.cfg.address(), waited)
}

// resolve finds the addresses of the BMC.
func (b *BMC) resolve(ctx context.Context) ([]netip.Addr, error) {
	addrs, err := b.cfg.Resolve(ctx, b.cfg.Host)
	if err == nil && len(addrs) == 0 {
		err = &net.DNSError{Err: "it has no address", Name: b.cfg.Host, IsNotFound: true}
	}
	if err != nil {
		return nil, b.classify("open a socket", 0, err)
	}
	return addrs, nil
}

// searchWhile is search, which ends as silent when there is no time left for the BMC's silence.
func (b *BMC) searchWhile(ctx context.Context, left func() time.Duration) (*session, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for d := left(); d > 0; d = left() {
			if life.Pause(ctx, d) != nil {
				return
			}
		}
		cancel()
	}()
	return b.search(ctx)
}

// search tries the ways one after the other, and remembers the one that led in.
func (b *BMC) search(ctx context.Context) (*session, error) {
	if b.found != nil {
		return b.open(ctx, *b.found)
	}
	ways, err := b.ways(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for i, w := range ways {
		if i == len(ways)-1 {
			w.patience = 0
		}
		s, err := b.open(ctx, w)
		if err == nil {
			w.patience = 0
			b.found = &w
			b.cfg.Log.Debug("session opened", "bmc", b.cfg.address(), "dialect", w.dialect, "suite", w.suite)
			return s, nil
		}
		errs = append(errs, err)
		// A wrong password is wrong in every dialect, and trying again may lock the user out.
		if kind := KindOf(err); kind != Suite && (kind != Silent || w.patience == 0) {
			return nil, err
		}
		b.cfg.Log.Debug("no session this way: "+err.Error(), "dialect", w.dialect, "suite", w.suite)
	}
	return nil, errs[0]
}

// ways lists what may be tried, the best first. A question is asked only if there is a choice.
func (b *BMC) ways(ctx context.Context) ([]way, error) {
	if b.cfg.Dialect == IPMI15 {
		return []way{{dialect: IPMI15}}, nil
	}
	if b.cfg.Dialect == RMCPPlus && b.cfg.Suite != 0 {
		return []way{{dialect: RMCPPlus, suite: b.cfg.Suite}}, nil
	}
	caps, err := b.probe(ctx)
	if err != nil {
		return nil, err
	}
	wanted := suites
	if b.cfg.Suite != 0 {
		wanted = []int{b.cfg.Suite}
	}
	var ways []way
	if b.cfg.Dialect == RMCPPlus || caps.SupportIPMIv20 {
		for _, s := range wanted {
			ways = append(ways, way{RMCPPlus, s, b.patience(suitePatience)})
		}
	}
	// A configured suite, a Kg key or a long password asks for RMCP+ without saying so.
	if b.cfg.Dialect == Any && b.cfg.Suite == 0 && len(b.cfg.Kg) == 0 && len(b.cfg.Password) <= 16 && (caps.SupportIPMIv15 || !caps.IPMIv20ExtendedAvailable) {
		ways = append(ways, way{dialect: IPMI15})
	}
	if len(ways) == 0 {
		return nil, errorf(Suite, "the BMC %s offers neither RMCP+ nor IPMI 1.5 in a way that fits the parameters", b.cfg.address())
	}
	return ways, nil
}

// probe asks the BMC what it speaks, by the one question that needs no session and has the same
// form in every dialect.
func (b *BMC) probe(ctx context.Context) (*app.GetChannelAuthenticationCapabilitiesResponse, error) {
	w, err := b.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	ctx, cancel := context.WithTimeout(ctx, Tries*b.cfg.Try)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = w.Conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	req := &app.GetChannelAuthenticationCapabilitiesRequest{
		IPMIv20Extended: true, ChannelNumber: types.ChannelNumberSelf, MaximumPrivilegeLevel: privileges[b.cfg.Privilege],
	}
	msg := &types.IPMIRequest{
		ResponderAddr: types.BMC_SA, NetFn: req.Command().NetFn, RequesterAddr: types.RemoteConsole_SWID,
		RequesterSequence: 1, Command: req.Command().ID, CommandData: req.Pack(),
	}
	msg.ComputeChecksum()
	payload := msg.Pack()
	packet := (&types.Rmcp{RmcpHeader: types.NewRmcpHeader(), Session15: &types.Session15{
		SessionHeader15: &types.SessionHeader15{PayloadLength: uint8(len(payload))}, Payload: payload,
	}}).Pack()
	buf := make([]byte, client.DefaultBufferSize)
	// It changes nothing, so it may be repeated sooner than other questions; but not for long, since
	// a slow BMC answers each, and those that come after have to wait for it.
	sent := int64(1)
	for try := min(b.cfg.Try, 250*time.Millisecond); ; try, sent = 3*try, sent+1 {
		if _, err := w.Write(packet); err != nil {
			return nil, b.classify("name its capabilities", 0, err)
		}
		_ = w.SetReadDeadline(time.Now().Add(try))
		// After the deadline, which would else undo that of the context's end.
		if ctx.Err() != nil {
			return nil, b.classify("name its capabilities", 0, ctx.Err())
		}
		for {
			n, err := w.Read(buf)
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				break
			}
			if err != nil {
				return nil, b.classify("name its capabilities", 0, err)
			}
			if caps := capabilitiesIn(buf[:n]); caps != nil {
				// The other answers stand in line before that to the next question.
				b.took.Store(sent * b.took.Load())
				return caps, nil
			}
		}
	}
}

// capabilitiesIn reads the answer to the probe; nil for any other datagram.
func capabilitiesIn(b []byte) *app.GetChannelAuthenticationCapabilitiesResponse {
	packet, msg, caps := types.Rmcp{}, types.IPMIResponse{}, app.GetChannelAuthenticationCapabilitiesResponse{}
	if packet.Unpack(b) != nil || packet.Session15 == nil || msg.Unpack(packet.Session15.Payload) != nil {
		return nil
	}
	if msg.Command != capabilities || msg.CompletionCode != 0 || caps.Unpack(msg.Data) != nil {
		return nil
	}
	return &caps
}

// dial opens a socket to the BMC. No datagram is sent.
func (b *BMC) dial(ctx context.Context) (*wire, error) {
	at := net.JoinHostPort(b.addrs[b.turn%len(b.addrs)].Unmap().String(), strconv.Itoa(b.cfg.Port))
	conn, err := new(net.Dialer).DialContext(ctx, "udp", at)
	if err != nil {
		return nil, b.classify("open a socket", 0, err)
	}
	return &wire{Conn: conn, user: b.cfg.User, password: b.cfg.Password, kg: b.cfg.Kg, only: authBits[b.cfg.Auth], heard: &b.heard, took: &b.took}, nil
}

// open opens a session in one way. What it leaves after a failure is nothing.
func (b *BMC) open(ctx context.Context, w way) (*session, error) {
	conn, err := b.dial(ctx)
	if err != nil {
		return nil, err
	}
	conn.patience = b.try
	c, err := client.NewClient(b.cfg.Host, b.cfg.Port, b.cfg.User, b.cfg.Password)
	if err != nil {
		_ = conn.Close()
		return nil, &Error{BadConfig, err.Error(), err}
	}
	c.WithUDPProxy(dialer{conn}).WithTimeout(b.try()).WithRetry(Tries - 1).WithMaxPrivilegeLevel(privileges[b.cfg.Privilege])
	s := &session{client: c, wire: conn}
	if w.dialect == IPMI15 {
		// A BMC does not answer a repeated step of this login: it is begun anew instead (connect).
		c.WithRetry(1)
		err = s.open15(ctx)
	} else {
		err = s.open20(ctx, w, b.try)
	}
	if err == nil {
		// A repeated datagram is not answered again by a BMC that counts them, so inside the
		// session a question is repeated as a new one (BMC.ask).
		c.WithRetry(0)
		return s, nil
	}
	conn.waited(time.Now())
	if conn.established() {
		s.close(ctx)
	} else {
		_ = conn.Close()
	}
	return nil, b.unopened(conn, w, err)
}

// open20 takes the steps of RMCP+ one by one: go-ipmi's own Connect asks an old BMC questions that
// it leaves unanswered for seconds, tries a wrong password once with every suite, and drops the
// reason of a failure. try says before each step how long its answer may take.
func (s *session) open20(ctx context.Context, w way, try func() time.Duration) error {
	s.client.WithCipherSuiteID(types.CipherSuiteID(w.suite))
	first := ctx
	if w.patience > 0 {
		var cancel context.CancelFunc
		first, cancel = context.WithTimeout(ctx, w.patience)
		defer cancel()
	}
	if _, err := s.client.OpenSession(first); err != nil {
		return err
	}
	s.client.WithTimeout(try())
	if _, err := s.client.RAKPMessage1(ctx); err != nil {
		return err
	}
	s.client.WithTimeout(try())
	if _, err := s.client.RAKPMessage3(ctx); err != nil {
		return fmt.Errorf("%w: %w", errLastStep, err)
	}
	s.client.WithTimeout(try())
	if _, err := s.client.SetSessionPrivilegeLevel(ctx, s.client.SessionPrivilegeLevel()); err != nil {
		return fmt.Errorf("%s: %w", stepPrivilege, err)
	}
	return nil
}

// errLastStep marks errors of the last step of a login, in which the BMC has already proven that it
// knows the user's password.
var errLastStep = errors.New("last step of the login")

// open15 opens a session of IPMI 1.5.
func (s *session) open15(ctx context.Context) error {
	return s.client.WithInterface(client.InterfaceLan).Connect(ctx)
}

// close ends the session and frees everything. It takes no longer than closeTime, and has that time
// even if ctx has ended: sessions are few on a BMC and live on for a minute if they are not closed.
func (s *session) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	// An exchange that its caller gave up may still be reading and keep ours from starting.
	_ = s.wire.Conn.SetReadDeadline(time.Now())
	stop := context.AfterFunc(ctx, func() { _ = s.wire.Conn.Close() })
	defer stop()
	_ = s.client.Close(ctx)
	_ = s.wire.Conn.Close()
}

const closeTime = 300 * time.Millisecond

func (w *wire) established() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.live
}

// unopened says why a session could not be opened.
func (b *BMC) unopened(conn *wire, w way, err error) error {
	conn.mu.Lock()
	refusal, missing := conn.refusal, conn.missing
	conn.mu.Unlock()
	switch {
	case missing:
		return errorf(Suite, "the BMC %s does not offer auth=%s at privilege level %s", b.cfg.address(), b.cfg.Auth, b.cfg.level())
	case refusal != types.RmcpStatusCodeNoErrors:
		return b.status(refusal, w.suite, err)
	}
	if resp, ok := types.IsResponseError(err); ok {
		if e := b.refused(err, uint8(resp.CompletionCode())); e != nil {
			return e
		}
	}
	e := b.classify("open a session", w.suite, err)
	if e.Kind == Silent && strings.Contains(err.Error(), stepActivate) {
		return &Error{Auth, fmt.Sprintf("the BMC %s fell silent in the middle of the login of user %q, as most do over IPMI 1.5 if the password is wrong", b.cfg.address(), b.cfg.User), errFellSilent}
	}
	return e
}

// errFellSilent marks a login that may have failed for the password or for a lost datagram.
var errFellSilent = errors.New("silent in the middle of the login")

// The names go-ipmi gives to the steps of a login, the only way to tell them apart.
const (
	stepChallenge = "GetSessionChallenge"
	stepActivate  = "ActivateSession"
	stepPrivilege = "SetSessionPrivilegeLevel"
)

// refused explains the completion codes that mean something else in each step of a login (IPMI 2.0,
// 22.16 to 22.18); nil for those that mean the same everywhere.
func (b *BMC) refused(err error, code uint8) *Error {
	at := func(step string) bool { return strings.Contains(err.Error(), step) }
	switch {
	case code < 0x80 || code > 0x86:
		return nil
	case at(stepChallenge):
		return &Error{Auth, fmt.Sprintf("the BMC %s does not know user %q", b.cfg.address(), b.cfg.User), err}
	case at(stepActivate) && code <= 0x83:
		return &Error{Busy, fmt.Sprintf("the BMC %s has no session left; others hold them all", b.cfg.address()), err}
	case at(stepPrivilege) || code == 0x86:
		return &Error{Privilege, fmt.Sprintf("the BMC %s does not give user %q the privilege level %s; set privlvl to what the user has", b.cfg.address(), b.cfg.User, b.cfg.level()), err}
	}
	return nil
}

// over reports whether the time of ctx is up. What waits for a deadline by itself may notice a moment
// before the context does.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && time.Until(deadline) <= 0
}

// usable reports whether a session can go on after an error: the BMC has answered, so it lives.
func usable(err error) bool {
	return slices.Contains([]Kind{Privilege, Busy, Unsupported}, KindOf(err))
}
