package gateway

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Identity headers that an admitted request carries.
const (
	HeaderUser      = "Remote-User"
	HeaderEmail     = "Remote-Email"
	HeaderGroups    = "Remote-Groups"
	HeaderAssertion = "X-Postern-Jwt-Assertion"
)

const (
	// assertionLife is how long an assertion is valid at most.
	assertionLife = 5 * time.Minute
	// assertionReuse is how much of it must be left for it to be used again.
	assertionReuse = 2 * time.Minute
)

// Identity is who an admitted request comes from.
type Identity struct {
	Email string
	// Groups are the names of the address's groups, separated by commas.
	Groups string
	// Method is how they signed in: "code" or "link".
	Method string
}

// membership is what groups an address is in.
type membership struct {
	groups  *Groups
	changes uint64   // of the groups, when this was found out
	names   []string // not nil
	// identity is what the server is told.
	identity Identity
}

// memberOf returns what groups the session's address is in now.
func (s *liveSession) memberOf(groups *Groups) *membership {
	changes := groups.refresh()
	if known := s.member.Load(); known != nil && known.groups == groups && known.changes == changes {
		return known
	}
	found := &membership{groups: groups, changes: changes, names: append([]string{}, groups.Of(s.Email)...)}
	found.identity = Identity{Email: s.Email, Groups: strings.Join(found.names, ","), Method: s.Method}
	s.member.Store(found)
	return found
}

// setIdentity sets the identity headers of a visit in the header of a request, or
// of the answer to a proxy. Values of further fields are expanded by the server.
func (d *Door) setIdentity(header http.Header, v *Visit, groups *membership, rules []*Rule, server Server) error {
	assertion, err := d.engine.assertion(v.Site, v.session, groups, v.now)
	if err != nil {
		return err
	}
	values := v.values[:0]
	if v.named {
		values = nil
	}
	v.named = true
	set := func(field, value string) {
		if len(values) == cap(values) {
			values = make([]string, 0, len(v.values))
		}
		values = append(values, value)
		// Handlers that follow may change values in place, and append to them.
		header[field] = values[len(values)-1 : len(values) : len(values)]
	}
	set(HeaderUser, v.session.Email)
	set(HeaderEmail, v.session.Email)
	set(HeaderAssertion, assertion)
	if groups.identity.Groups != "" {
		set(HeaderGroups, groups.identity.Groups)
	}
	for _, rule := range rules {
		for _, field := range rule.Header {
			set(field.Name, server.Expand(field.Value))
		}
	}
	return nil
}

// claims of an assertion (RFC 7519; amr: RFC 8176).
type claims struct {
	Issuer   string   `json:"iss"`
	Audience string   `json:"aud"`
	Subject  string   `json:"sub"`
	Email    string   `json:"email"`
	Groups   []string `json:"groups"`
	AuthTime int64    `json:"auth_time"`
	Methods  []string `json:"amr"`
	IssuedAt int64    `json:"iat"`
	Expires  int64    `json:"exp"`
}

func newClaims(site *Site, s *Session, groups []string, now, expires time.Time) claims {
	return claims{
		Issuer: site.Origin, Audience: site.Origin, Subject: s.Subject, Email: s.Email,
		Groups: groups, AuthTime: s.SignedIn.Unix(),
		Methods: authenticationMethods[s.Method], IssuedAt: now.Unix(), Expires: expires.Unix(),
	}
}

// authenticationMethods are the amr values of ways to sign in: "otp" is of RFC
// 8176, which has none for a mailed link.
var authenticationMethods = map[string][]string{"code": {"otp"}, "link": {"email"}}

// signedAssertion is one that is used again for the requests to come.
type signedAssertion struct {
	origin, groups string
	token          string
	issued, until  time.Time
}

// assertion returns a signed statement of who the session belongs to, for the
// site's upstream.
func (e *Engine) assertion(site *Site, s *liveSession, groups *membership, now time.Time) (string, error) {
	if known := s.assertion.Load(); known != nil && now.Before(known.until) && !now.Before(known.issued) && known.origin == site.Origin && known.groups == groups.identity.Groups {
		return known.token, nil
	}
	expires := earlier(now.Add(assertionLife), s.Expires)
	token, err := e.keys.current.Load().sign(now, newClaims(site, &s.Session, groups.names, now, expires))
	if err != nil {
		return "", fmt.Errorf("signing an assertion: %w", err)
	}
	s.assertion.Store(&signedAssertion{site.Origin, groups.identity.Groups, token, now, expires.Add(-assertionReuse)})
	return token, nil
}

// sign signs the claims with the key that is in use at the time.
func (k *keyring) sign(now time.Time, c claims) (string, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	return k.signers[k.active(now)].sign(payload), nil
}

// assertionSigner signs with the key of a root.
type assertionSigner struct {
	key    ed25519.PrivateKey
	header string // the protected header, encoded, with the dot that follows
	public jose.JSONWebKey
}

func newAssertionSigner(root keyRoot) (assertionSigner, error) {
	key := ed25519.NewKeyFromSeed(root.key("assertion", ed25519.SeedSize))
	header, err := json.Marshal(map[string]string{"alg": string(jose.EdDSA), "kid": root.ID, "typ": "JWT"})
	return assertionSigner{
		key:    key,
		header: base64.RawURLEncoding.EncodeToString(header) + ".",
		public: jose.JSONWebKey{Key: key.Public(), KeyID: root.ID, Algorithm: string(jose.EdDSA), Use: "sig"},
	}, err
}

// sign makes a JWS in the compact serialization (RFC 7515, section 7.1). The
// library takes a quarter longer, and makes 50 allocations, for the same bytes.
func (s *assertionSigner) sign(payload []byte) string {
	const signatureText = (ed25519.SignatureSize*8 + 5) / 6
	token := make([]byte, 0, len(s.header)+base64.RawURLEncoding.EncodedLen(len(payload))+1+signatureText)
	token = base64.RawURLEncoding.AppendEncode(append(token, s.header...), payload)
	signature := ed25519.Sign(s.key, token)
	return string(base64.RawURLEncoding.AppendEncode(append(token, '.'), signature))
}

// publishedFor is how long the public key of a root stays published after
// another one signs: far longer than an assertion lives, for upstreams that keep
// the key set.
const publishedFor = 30 * day

// keySet returns the public keys of assertions: those that are announced, that
// sign, and that did so lately.
func (e *Engine) keySet() jose.JSONWebKeySet {
	var set jose.JSONWebKeySet
	ring := e.keys.current.Load()
	for i, signer := range ring.signers {
		if i > 0 && e.now().After(ring.Roots[i-1].ActiveFrom.Add(publishedFor)) {
			break // its successor has signed for that long, and those before it are older
		}
		set.Keys = append(set.Keys, signer.public)
	}
	return set
}
