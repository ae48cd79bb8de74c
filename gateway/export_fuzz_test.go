package gateway

import (
	"context"
	"slices"
	"time"

	"github.com/postern-auth/postern/gateway/mail"
)

// Credentials are those of one sign-in request of an installation of its own.
type Credentials struct {
	ring    *keyring
	request *challenge
}

// NewCredentials makes some with a code of so many digits or letters.
func NewCredentials(length int, letters bool) *Credentials {
	return &Credentials{
		ring:    &keyring{Roots: []keyRoot{newRoot(time.Unix(2e9, 0)), newRoot(time.Unix(1e9, 0))}},
		request: &challenge{ID: newRequestID(), Method: MethodBoth, CodeLength: length, CodeLetters: letters, Generation: 1},
	}
}

// Code is the right one.
func (c *Credentials) Code() string { return c.ring.Roots[0].code(c.request) }

// Token is the right one.
func (c *Credentials) Token() string {
	token, err := c.ring.Roots[0].token(c.request)
	if err != nil {
		panic(err)
	}
	return token
}

// TakesCode says whether what was typed is right.
func (c *Credentials) TakesCode(typed string) bool {
	code, ok := c.request.cleanCode(typed)
	return ok && c.ring.Roots[0].rightCode(c.request, code)
}

// TakesToken says which requests the token may name, and whether it is the right
// one of this.
func (c *Credentials) TakesToken(token string) (right bool, requests []string) {
	requests = c.ring.requestsOfToken(token)
	return slices.Contains(requests, c.request.ID) && c.ring.Roots[0].rightToken(c.request, token), requests
}

// SealBrowser makes the value of a browser cookie.
func (e *Engine) SealBrowser(site *Site, name string, b *Browser) (string, error) {
	return e.sealBrowser(site, name, b)
}

// OpenBrowser reads the value of a browser cookie.
func (e *Engine) OpenBrowser(site *Site, name, value string) *Browser {
	return e.openBrowser(site, name, value)
}

// DeliverOnce tries the queued mail under the key.
func (e *Engine) DeliverOnce(ctx context.Context, transport mail.Transport, key string) (done bool, wait time.Duration) {
	return e.deliver(ctx, transport, &delivery{key: key})
}
