package gateway

import (
	"encoding/json"
	"slices"
	"time"
)

const (
	// browserCookieLife is as long as browsers keep a cookie at most.
	browserCookieLife = 400 * day
	// maxBrowserCookie is what browsers keep of a cookie's name and value.
	maxBrowserCookie = 4000
	// maxRemembered is how many addresses a browser is known to have signed in as.
	maxRemembered = 16
)

// Browser is what the browser cookie says, authenticated and encrypted: which
// browser this is, and which addresses it signed in as before.
type Browser struct {
	// Binding is the secret that ties sign-in requests to the browser.
	Binding string `json:"b"`
	// Remembered holds keyed hashes of addresses, the latest first.
	Remembered []string `json:"r,omitempty"`
}

func newBrowser() *Browser { return &Browser{Binding: newSecret()} }

// knows says whether the browser signed in as the address with the hash before.
func (b *Browser) knows(hash string) bool { return b != nil && slices.Contains(b.Remembered, hash) }

// remember returns the browser after a sign-in as the address with the hash.
func (b *Browser) remember(hash string) *Browser {
	rest := slices.DeleteFunc(slices.Clone(b.Remembered), func(h string) bool { return h == hash })
	known := append([]string{hash}, rest...)
	return &Browser{Binding: b.Binding, Remembered: known[:min(len(known), maxRemembered)]}
}

// Remember returns the browser after a sign-in as the address.
func (e *Engine) Remember(b *Browser, email string) *Browser {
	if b == nil {
		b = newBrowser()
	}
	return b.remember(e.keys.hash("remembered", email))
}

// sealBrowser is the value of the browser cookie with the name at the site. It
// opens under no other name, and at no other site.
func (e *Engine) sealBrowser(site *Site, name string, b *Browser) (string, error) {
	plain, err := json.Marshal(b)
	if err != nil {
		return "", err
	}
	ring := e.keys.current.Load()
	// securecookie encrypts plain in place; nobody else has it.
	return ring.codecs[ring.active(e.now())].Encode(name+"@"+site.Host, plain)
}

// openBrowser returns what a browser cookie says, or nil where it is not one of
// ours: then the browser is a new one.
func (e *Engine) openBrowser(site *Site, name, value string) *Browser {
	for _, codec := range e.keys.current.Load().codecs {
		var plain []byte
		if codec.Decode(name+"@"+site.Host, value, &plain) != nil {
			continue
		}
		b := new(Browser)
		if json.Unmarshal(plain, b) == nil && b.Binding != "" {
			return b
		}
	}
	return nil
}

// cookieMaxAge is the Max-Age of the browser cookie, in seconds.
const cookieMaxAge = int(browserCookieLife / time.Second)
