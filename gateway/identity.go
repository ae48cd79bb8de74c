package gateway

import (
	"crypto/ed25519"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
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
	Email  string
	Groups []string
	// Method is how they signed in: "code" or "link".
	Method string
}

// setIdentity sets the identity headers of a request for the session. Values of
// further header fields are expanded by expand.
func (e *Engine) setIdentity(r *http.Request, site *Site, s *Session, groups []string, rules []*Rule, expand func(string) string) error {
	assertion, err := e.assertion(site, s, groups)
	if err != nil {
		return err
	}
	r.Header[HeaderUser] = []string{s.Email}
	r.Header[HeaderEmail] = []string{s.Email}
	r.Header[HeaderAssertion] = []string{assertion}
	if len(groups) > 0 {
		r.Header[HeaderGroups] = []string{strings.Join(groups, ",")}
	}
	for _, rule := range rules {
		for _, field := range rule.Header {
			r.Header.Set(field.Name, expand(field.Value))
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

// authenticationMethods are the amr values of ways to sign in: "otp" is of RFC
// 8176, which has none for a mailed link.
var authenticationMethods = map[string][]string{"code": {"otp"}, "link": {"email"}}

// assertion returns a signed statement of who the session belongs to, for the
// site's upstream.
func (e *Engine) assertion(site *Site, s *Session, groups []string) (string, error) {
	now := e.now()
	key := assertionKey{session: s.hash, origin: site.Origin, groups: strings.Join(groups, ",")}
	if token := e.memo.get(key, now); token != "" {
		return token, nil
	}
	expires := earlier(now.Add(assertionLife), s.Expires)
	ring := e.keys.current.Load()
	active := ring.active(now)
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: ring.signers[active], KeyID: ring.Roots[active].ID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	if groups == nil {
		groups = []string{}
	}
	token, err := jwt.Signed(signer).Claims(claims{
		Issuer: site.Origin, Audience: site.Origin, Subject: s.Subject, Email: s.Email, Groups: groups,
		AuthTime: s.SignedIn.Unix(), Methods: authenticationMethods[s.Method],
		IssuedAt: now.Unix(), Expires: expires.Unix(),
	}).Serialize()
	if err != nil {
		return "", err
	}
	e.memo.put(key, token, expires.Add(-assertionReuse))
	return token, nil
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
		set.Keys = append(set.Keys, jose.JSONWebKey{
			Key: signer.Public().(ed25519.PublicKey), KeyID: ring.Roots[i].ID,
			Algorithm: string(jose.EdDSA), Use: "sig",
		})
	}
	return set
}

// assertionMemo keeps signed assertions for the requests to come. Its zero value
// is empty.
type assertionMemo struct {
	mu     sync.RWMutex
	tokens map[assertionKey]memoised
}

type assertionKey struct{ session, origin, groups string }

type memoised struct {
	token string
	until time.Time
}

// maxMemo bounds the memo; beyond it is emptied, and fills with what is in use.
const maxMemo = 20_000

func (m *assertionMemo) get(key assertionKey, now time.Time) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if memo, ok := m.tokens[key]; ok && now.Before(memo.until) {
		return memo.token
	}
	return ""
}

func (m *assertionMemo) put(key assertionKey, token string, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tokens == nil || len(m.tokens) >= maxMemo {
		m.tokens = make(map[assertionKey]memoised)
	}
	m.tokens[key] = memoised{token, until}
}

// identity is what the server learns of an admitted request.
func (s *Session) identity(groups []string) Identity {
	return Identity{Email: s.Email, Groups: slices.Clone(groups), Method: s.Method}
}
