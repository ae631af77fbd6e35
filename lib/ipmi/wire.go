package ipmi

import (
	"bytes"
	"crypto/hmac"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bougou/go-ipmi/pkg/crypto"
	"github.com/bougou/go-ipmi/pkg/rmcpplus"
	"github.com/bougou/go-ipmi/pkg/types"
)

// wire stands between go-ipmi and the network. It lets through only datagrams that belong to the
// session and, once there is one, that the BMC has signed; everything else it drops, as if it had
// been lost. go-ipmi itself pairs answers with requests by two bytes, takes an unsigned packet in
// the middle of a signed session, and parses on a goroutine of its own, where a malformed packet
// would end the process.
type wire struct {
	net.Conn
	user, password string
	// kg is the BMC's own key, see kg.go; empty for nearly all.
	kg []byte
	// only is the one authentication type of IPMI 1.5 that go-ipmi may see offered; 0 is any.
	only byte
	// missing says that the BMC did not offer it.
	missing bool
	// heard and took are those of the BMC; nil in tests of the wire alone.
	heard *atomic.Pointer[time.Time]
	took  *atomic.Int64
	// patience is how long the same datagram is not sent again; nil if its sender sees to that.
	patience func() time.Duration

	mu sync.Mutex
	// asked is when the first datagram left that no answer has come to.
	asked time.Time
	// last is the datagram that left last, lastAt when.
	last   []byte
	lastAt time.Time
	// refusal is the status by which the BMC has refused a step of the session set-up.
	refusal types.RmcpStatusCode
	// want is the payload type of the answer to the session set-up message sent last.
	want types.PayloadType
	// plus says that the session is one of RMCP+, live that it is established.
	plus, live bool
	auth       types.AuthAlg
	integrity  types.IntegrityAlg
	crypt      types.CryptAlg
	console    uint32
	consoleRnd []byte
	role       byte
	bmcID      uint32
	bmcGUID    []byte
	// theirs are the keys of the BMC, ours those of go-ipmi: the same unless there is a Kg.
	theirs, ours keySet
	seen         map[string]bool // signatures of the packets that were believed
}

// dialer hands the wire to go-ipmi, which resolves names in a way that knows no IPv6 literals.
type dialer struct{ w *wire }

// Dial returns the wire.
func (d dialer) Dial(string, string) (net.Conn, error) { return d.w, nil }

const (
	rmcpHeader    = 4  // bytes before the session header
	sessionHeader = 12 // bytes of an RMCP+ session header
)

// Write sends a datagram, and learns from it what answer to expect. One that is sent again too
// early is lost here: go-ipmi sends all its repetitions at once when its context ends, and never
// waits longer for the next, while each is one more that a slow BMC has to answer.
func (w *wire) Write(b []byte) (int, error) {
	now := time.Now()
	if w.early(b, now) {
		return len(b), nil
	}
	w.waited(now)
	w.observe(b)
	b = w.outgoing(b)
	n, err := w.Conn.Write(b)
	if errors.Is(err, syscall.ECONNREFUSED) {
		// What is reported is the fate of an earlier datagram; this one was not sent.
		n, err = w.Conn.Write(b)
	}
	return n, err
}

// early tells whether a datagram left already, and its answer is still to be waited for.
func (w *wire) early(b []byte, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.patience != nil && bytes.Equal(b, w.last) && now.Sub(w.lastAt) < w.patience() {
		return true
	}
	w.last, w.lastAt = bytes.Clone(b), now
	return false
}

// waited notes that no answer has come until now: it takes that long at least.
func (w *wire) waited(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.took != nil && !w.asked.IsZero() {
		w.took.Store(max(w.took.Load(), int64(now.Sub(w.asked))))
	}
}

// observe notes when a question is asked, and reads our own session set-up messages; their layout is
// fixed (IPMI 2.0, 13.17 to 13.22).
func (w *wire) observe(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked.IsZero() {
		w.asked = time.Now()
	}
	if len(b) < rmcpHeader+sessionHeader || types.AuthType(b[rmcpHeader]) != types.AuthTypeRMCPPlus {
		return
	}
	payload := b[rmcpHeader+sessionHeader:]
	switch types.PayloadType(b[rmcpHeader+1] & 0x3f) {
	case types.PayloadTypeRmcpOpenSessionRequest:
		req := rmcpplus.OpenSessionRequest{}
		if req.Unpack(payload) != nil {
			return
		}
		w.want, w.plus, w.live = types.PayloadTypeRmcpOpenSessionResponse, true, false
		w.console = req.RemoteConsoleSessionID
		w.auth, w.integrity, w.crypt = types.AuthAlg(req.AuthAlg), types.IntegrityAlg(req.IntegrityAlg), types.CryptAlg(req.CryptAlg)
		w.seen = map[string]bool{}
	case types.PayloadTypeRAKPMessage1:
		if len(payload) >= 28 {
			w.want = types.PayloadTypeRAKPMessage2
			w.consoleRnd, w.role = bytes.Clone(payload[8:24]), payload[24]
		}
	case types.PayloadTypeRAKPMessage3:
		w.want = types.PayloadTypeRAKPMessage4
	}
}

// Read returns the next datagram that may be believed.
func (w *wire) Read(b []byte) (int, error) {
	for {
		n, err := w.Conn.Read(b)
		if err != nil {
			return n, err
		}
		if w.accept(b[:n]) && w.incoming(b[:n]) {
			w.restrict(b[:n])
			w.answered(time.Now())
			return n, nil
		}
	}
}

// answered notes that a datagram was let through.
func (w *wire) answered(now time.Time) {
	if w.heard == nil {
		return
	}
	w.heard.Store(&now)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.asked.IsZero() {
		w.took.Store(int64(now.Sub(w.asked)))
		w.asked = time.Time{}
	}
}

// accept tells whether a datagram may be believed, and can be parsed.
func (w *wire) accept(b []byte) (ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// go-ipmi parses the same bytes again where a panic would end the process, with exit code 2,
	// which of all codes means "off" to those who call a fence agent.
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	packet := types.Rmcp{}
	if packet.Unpack(b) != nil || packet.RmcpHeader.Version != types.RmcpVersion || packet.RmcpHeader.ACKFlag {
		return false
	}
	switch {
	case packet.Session20 != nil:
		return w.plus && w.accept20(packet.Session20, b[rmcpHeader:])
	case packet.Session15 != nil:
		return !w.plus && w.accept15(packet.Session15)
	}
	return false
}

func (w *wire) accept20(s *types.Session20, b []byte) bool {
	h := s.SessionHeader20
	if h.PayloadType == types.PayloadTypeIPMI {
		return w.live && w.signed(s, b)
	}
	if w.live || h.PayloadType != w.want || h.PayloadEncrypted || h.PayloadAuthenticated || h.SessionID != 0 {
		return false
	}
	// A refusal may be shorter than the specification says, and go-ipmi then loses its reason.
	if p := s.SessionPayload; len(p) >= 2 && p[1] != byte(types.RmcpStatusCodeNoErrors) {
		w.refusal = types.RmcpStatusCode(p[1])
		return true
	}
	switch h.PayloadType {
	case types.PayloadTypeRmcpOpenSessionResponse:
		m := rmcpplus.OpenSessionResponse{}
		if m.Unpack(s.SessionPayload) != nil {
			return false
		}
		// A BMC that agrees to less than was asked for, or somebody in its name, is not believed.
		w.bmcID = m.ManagedSystemSessionID
		return m.RemoteConsoleSessionID == w.console &&
			types.AuthAlg(m.AuthAlg) == w.auth && types.IntegrityAlg(m.IntegrityAlg) == w.integrity && types.CryptAlg(m.CryptAlg) == w.crypt
	case types.PayloadTypeRAKPMessage2:
		m := rmcpplus.RAKPMessage2{AuthAlg: w.auth}
		if m.Unpack(s.SessionPayload) != nil {
			return false
		}
		w.bmcGUID = bytes.Clone(m.ManagedSystemGUID[:])
		return w.keys(m.ManagedSystemRandomNumber[:])
	case types.PayloadTypeRAKPMessage4:
		m := rmcpplus.RAKPMessage4{AuthAlg: w.auth}
		w.live = m.Unpack(s.SessionPayload) == nil
		if w.live && w.keyed() {
			w.vouch(&m, b)
		}
		return w.live
	}
	return false
}

// keys computes the session's keys from both sides' random numbers. If the password is wrong they
// are too, and go-ipmi says so when it checks the message that is being let through.
func (w *wire) keys(bmcRnd []byte) bool {
	var err error
	if w.ours, err = w.derive(bmcRnd, crypto.PadPassword20([]byte(w.password))); err != nil {
		return false
	}
	w.theirs = w.ours
	if w.keyed() {
		w.theirs, err = w.derive(bmcRnd, crypto.PadPassword20(w.kg))
	}
	return err == nil
}

// signed checks signature, freshness and encryption of a packet of the session.
func (w *wire) signed(s *types.Session20, b []byte) bool {
	h := s.SessionHeader20
	n, ok := crypto.IntegrityAuthCodeLen(w.integrity)
	if !ok || n == 0 || !h.PayloadAuthenticated || !h.PayloadEncrypted || h.SessionID != w.console {
		return false
	}
	end := sessionHeader + int(h.PayloadLength)
	pad := types.IntegrityPadLen(sessionHeader, int(h.PayloadLength))
	if len(b) < end+pad+2+n {
		return false
	}
	code, err := crypto.SessionIntegrityAuthCode(w.integrity, b[:end+pad+2], w.theirs.k1, w.password)
	if err != nil || !hmac.Equal(code, b[end+pad+2:end+pad+2+n]) {
		return false
	}
	// Not the sequence number tells a packet that is sent again: some BMCs do not count theirs.
	if w.seen[string(code)] {
		return false
	}
	plain, err := crypto.DecryptAESPayload(s.SessionPayload, w.theirs.k2)
	if err != nil || len(plain) < shortest {
		return false
	}
	w.seen[string(code)] = true
	return true
}

// shortest is the length of an IPMI message without data.
const shortest = 8

// accept15 checks a packet of IPMI 1.5, whose signatures are optional and weak. A signature that is
// there has to be right; without one the message's checksums have to be.
func (w *wire) accept15(s *types.Session15) bool {
	h := s.SessionHeader15
	switch {
	case len(s.Payload) < shortest:
		return false
	case h.AuthType != types.AuthTypeNone:
		return crypto.VerifyMultiSessionAuthCode(h.AuthType, []byte(w.password), h.SessionID, h.Sequence, s.Payload, h.AuthCode)
	}
	return wholesome(s.Payload)
}

const (
	capabilities = 0x38 // command Get Channel Authentication Capabilities
	typesAt      = 8    // where in its answer the authentication types are
)

// restrict makes go-ipmi, which takes the best authentication type that is offered, take the one
// that was configured: it hides the others from the BMC's list.
func (w *wire) restrict(b []byte) {
	packet := types.Rmcp{}
	if w.only == 0 || packet.Unpack(b) != nil || packet.Session15 == nil {
		return
	}
	m := packet.Session15.Payload
	if len(m) < typesAt+2 || m[5] != capabilities || m[6] != 0 {
		return
	}
	offered := m[typesAt]
	w.mu.Lock()
	w.missing = offered&w.only == 0
	w.mu.Unlock()
	kept := offered&0xc0 | offered&w.only
	// The payload is a copy; it ends where the datagram does, but for a pad byte.
	at := bytes.LastIndex(b, m)
	b[at+typesAt] = kept
	b[at+len(m)-1] += offered - kept // keeps the checksum right
}

// wholesome checks the two checksums of an IPMI message (IPMI 2.0, 13.8).
func wholesome(m []byte) bool {
	return len(m) >= shortest && sum(m[:3]) == 0 && sum(m[3:]) == 0
}

func sum(b []byte) (s byte) {
	for _, c := range b {
		s += c
	}
	return s
}

// unreachable reports whether the network itself refused.
func unreachable(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) ||
		errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTDOWN) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM) ||
		errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.ENETDOWN) || errors.Is(err, syscall.EINVAL)
}

// cause is what the network said, in few words.
func cause(err error) string {
	var dns *net.DNSError
	var errno syscall.Errno
	switch {
	case errors.As(err, &dns):
		return "its name cannot be resolved"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens on that port"
	case errors.As(err, &errno):
		return errno.Error()
	}
	return err.Error()
}

func containsAny(s string, words ...string) bool {
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}
