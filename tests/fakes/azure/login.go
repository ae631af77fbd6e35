package azure

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the thumbprint that certificates are known by
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// token is an access token that was handed out.
type token struct {
	object, audience string
	issued           time.Time
	life             time.Duration
}

// isLogin tells the paths of the login endpoint from those of ARM.
func isLogin(path string) bool {
	p := strings.ToLower(path)
	return strings.HasSuffix(p, "/token") || strings.HasSuffix(p, "/.well-known/openid-configuration") ||
		strings.HasSuffix(p, "/discovery/instance")
}

// login answers the login endpoint: discovery and tokens for applications, of
// the first and the second version.
func (c *Cloud) login(r *http.Request, body []byte, _ *Fault) answer {
	host := "https://" + r.Host
	tenant, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case strings.HasSuffix(rest, "discovery/instance"):
		endpoint, err := url.Parse(r.URL.Query().Get("authorization_endpoint"))
		if err != nil || endpoint.Host == "" {
			return loginError(http.StatusBadRequest, "invalid_instance", "AADSTS50049: Unknown or invalid instance.")
		}
		of, _, _ := strings.Cut(strings.TrimPrefix(endpoint.Path, "/"), "/")
		return answer{code: http.StatusOK, body: map[string]any{
			"tenant_discovery_endpoint": "https://" + endpoint.Host + "/" + of + "/v2.0/.well-known/openid-configuration",
			"api-version":               "1.1",
			"metadata": []any{map[string]any{
				"preferred_network": endpoint.Host, "preferred_cache": endpoint.Host, "aliases": []string{endpoint.Host},
			}},
		}}
	case !strings.EqualFold(tenant, c.cfg.Tenant) && !strings.EqualFold(tenant, "adfs"):
		return loginError(http.StatusBadRequest, "invalid_request", fmt.Sprintf(
			"AADSTS90002: Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.", tenant))
	case strings.HasSuffix(rest, "openid-configuration"):
		v2 := ""
		if strings.HasPrefix(rest, "v2.0/") {
			v2 = "/v2.0"
		}
		return answer{code: http.StatusOK, body: map[string]any{
			"token_endpoint":                        host + "/" + tenant + "/oauth2" + v2 + "/token",
			"authorization_endpoint":                host + "/" + tenant + "/oauth2" + v2 + "/authorize",
			"issuer":                                host + "/" + tenant + v2,
			"response_types_supported":              []string{"code", "id_token", "token"},
			"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt"},
		}}
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || r.Method != http.MethodPost {
		return loginError(http.StatusBadRequest, "invalid_request", "AADSTS900144: The request body must contain a form.")
	}
	return c.signIn(host+r.URL.Path, form)
}

// signIn checks the credentials of an application; c.mu is held.
func (c *Cloud) signIn(endpoint string, form url.Values) answer {
	if g := form.Get("grant_type"); g != "client_credentials" {
		return loginError(http.StatusBadRequest, "unsupported_grant_type", "AADSTS70003: The app requested an unsupported grant type '"+g+"'.")
	}
	id := form.Get("client_id")
	i := slices.IndexFunc(c.principals, func(p Principal) bool { return strings.EqualFold(p.ClientID, id) && p.SystemOf == "" })
	if i < 0 {
		return loginError(http.StatusBadRequest, "unauthorized_client", fmt.Sprintf(
			"AADSTS700016: Application with identifier '%s' was not found in the directory.", id))
	}
	p := c.principals[i]
	if reason := p.check(endpoint, form); reason != "" {
		a := loginError(http.StatusUnauthorized, "invalid_client", reason)
		a.principal = p.Name
		return a
	}
	aud := form.Get("resource")
	if aud == "" {
		aud = strings.TrimSuffix(form.Get("scope"), "/.default")
		for word := range strings.FieldsSeq(form.Get("scope")) {
			if s, ok := strings.CutSuffix(word, "/.default"); ok {
				aud = s
			}
		}
	}
	value := c.issue(p, aud)
	life := int(time.Duration(c.cfg.TokenLife).Seconds())
	return answer{code: http.StatusOK, principal: p.Name, body: map[string]any{
		"token_type": "Bearer", "expires_in": life, "ext_expires_in": life, "access_token": value,
	}}
}

// issue makes a token; c.mu is held.
func (c *Cloud) issue(p Principal, aud string) string {
	value := "stand-in-token-" + uuid()
	c.tokens[value] = token{p.ObjectID, strings.TrimRight(aud, "/"), time.Now(), time.Duration(c.cfg.TokenLife)}
	return value
}

// ExpireTokens makes every token handed out so far useless.
func (c *Cloud) ExpireTokens() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, t := range c.tokens {
		t.life = -1
		c.tokens[k] = t
	}
}

// check looks at the credentials in the form and says what is wrong with them.
func (p Principal) check(endpoint string, form url.Values) string {
	switch assertion := form.Get("client_assertion"); {
	case assertion != "" && p.FederatedToken != "" && assertion == p.FederatedToken:
		return ""
	case assertion != "":
		if err := p.checkAssertion(endpoint, assertion); err != nil {
			return "AADSTS700027: The certificate or token with identifier used to sign the client assertion is not registered on application: " + err.Error() + "."
		}
		return ""
	case p.Secret != "" && form.Get("client_secret") == p.Secret:
		return ""
	}
	return fmt.Sprintf("AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", p.ClientID)
}

// checkAssertion verifies a JWT signed with the application's certificate.
func (p Principal) checkAssertion(endpoint, assertion string) error {
	block, _ := pem.Decode([]byte(p.CertificatePEM))
	if block == nil {
		return errors.New("the application has no certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok {
		return errors.New("the application's certificate has no RSA key")
	}
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return errors.New("the assertion is no JWT")
	}
	var header struct {
		Alg  string `json:"alg"`
		X5T  string `json:"x5t"`
		S256 string `json:"x5t#S256"`
	}
	var claims struct {
		Aud string `json:"aud"`
		Iss string `json:"iss"`
		Exp int64  `json:"exp"`
	}
	if err := errors.Join(segment(parts[0], &header), segment(parts[1], &claims)); err != nil {
		return err
	}
	sum1, sum256 := sha1.Sum(cert.Raw), sha256.Sum256(cert.Raw) //nolint:gosec // not for security
	if !sameThumb(header.X5T, sum1[:]) && !sameThumb(header.S256, sum256[:]) {
		return errors.New("thumbprint of another certificate")
	}
	if claims.Iss != p.ClientID || claims.Aud != endpoint || claims.Exp < time.Now().Unix() {
		return fmt.Errorf("claims iss %s, aud %s, exp %d", claims.Iss, claims.Aud, claims.Exp)
	}
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if header.Alg == "PS256" {
		return rsa.VerifyPSS(key, crypto.SHA256, digest[:], sig, nil)
	}
	return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], sig)
}

// sameThumb compares a thumbprint in either of the alphabets that are in use.
func sameThumb(given string, sum []byte) bool {
	g := strings.TrimRight(given, "=")
	return g != "" && (g == base64.RawURLEncoding.EncodeToString(sum) || g == base64.RawStdEncoding.EncodeToString(sum))
}

func segment(s string, v any) error {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

func loginError(status int, code, description string) answer {
	return answer{code: status, body: map[string]any{
		"error": code, "error_description": description + " Trace ID: " + uuid(), "error_codes": []int{}, "timestamp": "",
	}}
}

// withoutSecrets is a form for the journal.
func withoutSecrets(body []byte) string {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "(no form)"
	}
	for _, k := range []string{"client_secret", "client_assertion"} {
		if form.Has(k) {
			form.Set(k, "***")
		}
	}
	return form.Encode()
}
