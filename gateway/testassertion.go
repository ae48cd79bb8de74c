package gateway

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postern-auth/postern/store"
)

// BrokenAssertions are the ways in which a test assertion can be wrong, each of
// which an upstream must refuse.
var BrokenAssertions = []string{"signature", "key", "algorithm", "issuer", "audience", "expired"}

// TestAssertion makes an assertion such as the site's upstream gets for the address,
// to test that upstream with: a right one where broken is "", or one that is wrong in
// that way. It opens no session.
func (e *Engine) TestAssertion(ctx context.Context, site *Site, address, broken string) (string, error) {
	if broken != "" && !slices.Contains(BrokenAssertions, broken) {
		return "", fmt.Errorf("broken %q: write %s", broken, strings.Join(BrokenAssertions, ", "))
	}
	known, err := store.Load[user](ctx, e.store, "user/"+address)
	if errors.Is(err, store.ErrNotFound) {
		known.Subject = base64.RawURLEncoding.EncodeToString(make([]byte, 16)) // nobody's
	} else if err != nil {
		return "", fmt.Errorf("loading the subject of an address: %w", err)
	}
	now := e.now()
	session := &Session{Subject: known.Subject, Email: address, Method: "code", SignedIn: now}
	groups := append([]string{}, site.groups.Of(address)...) // not null in JSON
	c := newClaims(site, session, groups, now, now.Add(assertionLife))
	switch broken {
	case "issuer":
		c.Issuer = "https://elsewhere.example"
	case "audience":
		c.Audience = "https://elsewhere.example"
	case "expired":
		c.AuthTime, c.IssuedAt, c.Expires = c.AuthTime-3600, c.IssuedAt-3600, c.Expires-3600
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	ring := e.keys.current.Load()
	signer := ring.signers[ring.active(now)]
	switch broken {
	case "algorithm":
		return unsigned(payload), nil
	case "key": // the same name, another key
		signer.key = ed25519.NewKeyFromSeed(randomBytes(ed25519.SeedSize))
	}
	token := signer.sign(payload)
	if broken == "signature" {
		token = flipped(token)
	}
	return token, nil
}

// unsigned is a JWT of algorithm none (RFC 7519, section 6).
func unsigned(payload []byte) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + encode(payload) + "."
}

// flipped changes a character within the signature.
func flipped(token string) string {
	at := strings.LastIndexByte(token, '.') + 1
	other := byte('A')
	if token[at] == other {
		other = 'B'
	}
	return token[:at] + string(other) + token[at+1:]
}
