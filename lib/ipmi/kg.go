package ipmi

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"

	"github.com/bougou/go-ipmi/pkg/crypto"
	"github.com/bougou/go-ipmi/pkg/rmcpplus"
	"github.com/bougou/go-ipmi/pkg/types"
)

// A BMC may have a key of its own, Kg, from which the keys of a session are derived in place of the
// user's password (IPMI 2.0, 13.33). go-ipmi can compute with it and offers no way to set it. So the
// wire, which knows all that goes into the keys anyway, speaks with the BMC under the true keys and
// with go-ipmi under those that it has derived from the password. The user's own proof, by the
// password, is the same in both.

// keySet are the keys of one session.
type keySet struct{ sik, k1, k2 []byte }

// derive computes a session's keys from Kg or the user's key.
func (w *wire) derive(bmcRnd, secret []byte) (k keySet, err error) {
	k.sik, k.k1, k.k2, err = crypto.DeriveSessionKeys(w.auth, w.consoleRnd, bmcRnd, w.role, w.user, secret)
	return k, err
}

// keyed reports whether the BMC's keys differ from go-ipmi's.
func (w *wire) keyed() bool { return len(w.kg) > 0 }

// vouch translates the last message of a login, in which the BMC proves that it knows the session's
// keys. A proof that is wrong is spoilt, lest go-ipmi finds it right: a BMC without Kg signs with the
// password.
func (w *wire) vouch(m *rmcpplus.RAKPMessage4, b []byte) {
	icv := func(k keySet) []byte {
		code, err := crypto.RAKP4ICV(w.auth, w.consoleRnd, w.bmcID, w.bmcGUID, k.sik)
		if err != nil {
			return nil
		}
		return code
	}
	at := bytes.LastIndex(b, m.IntegrityCheckValue)
	if at < 0 || len(m.IntegrityCheckValue) == 0 {
		return
	}
	if want := icv(w.theirs); want != nil && hmac.Equal(want, m.IntegrityCheckValue) {
		copy(b[at:], icv(w.ours))
		return
	}
	for i, c := range icv(w.ours) {
		b[at+i] = ^c
	}
}

// recode turns a packet of the session that is signed and encrypted with one set of keys into one
// with another. b begins with the session header; its length stays the same.
func (w *wire) recode(b []byte, from, to keySet) bool {
	n, _ := crypto.IntegrityAuthCodeLen(w.integrity)
	s := types.Session20{}
	if s.Unpack(b) != nil {
		return false
	}
	end := sessionHeader + int(s.SessionHeader20.PayloadLength)
	signed := end + types.IntegrityPadLen(sessionHeader, int(s.SessionHeader20.PayloadLength)) + 2
	if len(b) < signed+n {
		return false
	}
	plain, err := crypto.DecryptAESPayload(b[sessionHeader:end], from.k2)
	if err != nil {
		return false
	}
	iv := make([]byte, 16)
	_, _ = rand.Read(iv) // never fails
	payload, err := crypto.EncryptAESPayload(plain, to.k2, iv)
	if err != nil || len(payload) != end-sessionHeader {
		return false
	}
	copy(b[sessionHeader:], payload)
	code, err := crypto.SessionIntegrityAuthCode(w.integrity, b[:signed], to.k1, w.password)
	if err != nil {
		return false
	}
	copy(b[signed:], code)
	return true
}

// outgoing translates a packet of ours.
func (w *wire) outgoing(b []byte) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.keyed() || !w.live || len(b) < rmcpHeader+sessionHeader || types.AuthType(b[rmcpHeader]) != types.AuthTypeRMCPPlus {
		return b
	}
	c := bytes.Clone(b)
	if !w.recode(c[rmcpHeader:], w.ours, w.theirs) {
		return b
	}
	return c
}

// incoming translates a packet of the BMC that has been found true.
func (w *wire) incoming(b []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.keyed() || !w.live || len(b) < rmcpHeader+sessionHeader || types.PayloadType(b[rmcpHeader+1]&0x3f) != types.PayloadTypeIPMI {
		return true
	}
	return w.recode(b[rmcpHeader:], w.theirs, w.ours)
}
