package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// identityFields are the names under which Postern, or a gateway that an
// application knew before, says who somebody is.
var identityFields = []string{"Remote-User", "Remote-Email", "Remote-Groups", "Remote-Name"}

// identityPrefix is the folded beginning of every name that is Postern's own,
// X-Postern-.
const identityPrefix = "xpostern"

// maxField bounds the name of an identity header, so that names can be folded
// without allocating.
const maxField = 128

// HeaderGuard knows which header fields say who somebody is, and removes them
// from what a client sent. Names are compared with case folded and every other
// character than a letter or digit left out: CGI, WSGI and others make one
// variable of Remote-User, remote_user and Remote.User. A HeaderGuard is safe
// for concurrent use, since nothing changes it.
type HeaderGuard struct {
	names map[string]bool // folded
	// shortest is, by their first byte, the length of the shortest such field, by
	// which most headers are told apart at once. 0: none begins with it.
	shortest [256]uint8
}

// NewHeaderGuard returns a guard of Remote-User, Remote-Email, Remote-Groups,
// Remote-Name, everything that begins with X-Postern-, and extraFields.
func NewHeaderGuard(extraFields []string) *HeaderGuard {
	g := &HeaderGuard{names: make(map[string]bool)}
	for c := range g.shortest {
		if !isAlphanumeric(byte(c)) {
			g.shortest[c] = 1 // left out: what follows decides
		}
	}
	g.beginsWith(identityPrefix)
	for _, fields := range [][]string{identityFields, extraFields} {
		for _, field := range fields {
			if name := foldField(make([]byte, 0, maxField), field); len(name) > 0 {
				g.names[string(name)] = true
				g.beginsWith(string(name))
			}
		}
	}
	return g
}

// beginsWith notes the beginning of guarded names, folded.
func (g *HeaderGuard) beginsWith(folded string) {
	first := folded[0]
	if known := g.shortest[first]; known == 0 || len(folded) < int(known) {
		g.shortest[first] = uint8(min(len(folded), maxField))
	}
	if first >= 'a' && first <= 'z' {
		g.shortest[first-'a'+'A'] = g.shortest[first]
	}
}

// Guards reports whether a field of this name is kept from clients.
func (g *HeaderGuard) Guards(field string) bool {
	if field == "" {
		return false
	}
	if shortest := g.shortest[field[0]]; shortest == 0 || len(field) < int(shortest) {
		return false
	}
	var room [maxField]byte
	name := foldField(room[:0], field)
	return g.names[string(name)] || strings.HasPrefix(string(name), identityPrefix)
}

// Scrub removes from a request what its client must not say: guarded headers
// and trailers, Postern's own cookies, and every option of Connection (RFC
// 9110, section 7.6.1) by which a proxy behind would drop a header that is set
// after this. It must be called before identity headers are set.
func (g *HeaderGuard) Scrub(r *http.Request) { g.scrub(r, nil) }

// scrub is Scrub; taken gets the cookies that it removes.
func (g *HeaderGuard) scrub(r *http.Request, taken *ownCookies) {
	g.scrubHeader(r.Header, taken)
	bodiless := usuallyLacksBody(r.Method)
	if bodiless {
		r.Trailer = nil
	}
	g.scrubFields(r.Trailer)
	if mayHaveTrailers(r) {
		r.Body = &scrubbedBody{ReadCloser: r.Body, request: r, guard: g, dropAll: bodiless}
	}
}

// usuallyLacksBody knows the methods for which net/http's client reads the
// beginning of a body of unknown length beside writing the header. Caddy 2.11.9
// fills in trailers while they are announced there, and two such uses of one map
// at once end the whole process. Trailers mean nothing with these methods.
func usuallyLacksBody(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodOptions, "PROPFIND", "SEARCH":
		return true
	}
	return false
}

// scrubHeader finds all that matters in one pass: to look for each field would
// take longer than all else here.
func (g *HeaderGuard) scrubHeader(h http.Header, taken *ownCookies) {
	var cookie, upgrade, connection, proxyConnection []string
	for field, values := range h {
		switch field {
		case "Cookie":
			cookie = values
		case "Upgrade":
			upgrade = values
		case "Connection":
			connection = values
		case "Proxy-Connection":
			proxyConnection = values
		case "Http2-Settings":
			delete(h, field) // of an Upgrade to h2c, which is refused
		default:
			if g.Guards(field) {
				delete(h, field)
			}
		}
	}
	if cookie != nil {
		takeOwnCookies(h, cookie, taken)
	}
	refuseHTTPUpgrade(h, upgrade)
	reduceConnection(h, "Connection", connection)
	reduceConnection(h, "Proxy-Connection", proxyConnection)
}

func (g *HeaderGuard) scrubFields(h http.Header) {
	for field := range h {
		if g.Guards(field) {
			delete(h, field)
		}
	}
}

// mayHaveTrailers reports whether fields may still appear in r.Trailer when the
// body ends. HTTP/1.1 with chunks and HTTP/3 add whatever was sent there,
// declared or not; HTTP/2 fills in only what was declared, and a declared name
// that was removed stays out.
func mayHaveTrailers(r *http.Request) bool {
	if r.Body == nil || r.Body == http.NoBody {
		return false
	}
	return r.Trailer != nil || len(r.TransferEncoding) > 0 || r.ContentLength < 0 && r.ProtoMajor != 2
}

// scrubbedBody removes guarded trailers in the very Read that brings them,
// before a proxy that copies trailers at the end of the body sees it.
type scrubbedBody struct {
	io.ReadCloser
	request *http.Request
	guard   *HeaderGuard
	dropAll bool
}

func (b *scrubbedBody) scrub() {
	if b.dropAll {
		clear(b.request.Trailer)
	} else {
		b.guard.scrubFields(b.request.Trailer)
	}
}

func (b *scrubbedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.scrub()
	}
	return n, err
}

// Close scrubs too, as net/http reads an unread body to its end there, trailers
// included.
func (b *scrubbedBody) Close() error {
	err := b.ReadCloser.Close()
	b.scrub()
	return err
}

// fold appends a name in lower case, without anything but ASCII letters and
// digits.
func foldField(to []byte, name string) []byte {
	for i := range len(name) {
		if c := name[i]; isAlphanumeric(c) {
			to = append(to, lowerByte(c))
		}
	}
	return to
}

// refuseHTTPUpgrade removes an Upgrade to another version of HTTP, or to TLS: what
// followed on the connection would be requests that nobody here sees. RFC 9113
// has dropped h2c by Upgrade, and a server may always answer without it.
func refuseHTTPUpgrade(h http.Header, values []string) {
	for _, value := range values {
		for protocol := range strings.SplitSeq(value, ",") {
			name, _, _ := strings.Cut(trimBlanks(protocol), "/")
			for _, refused := range [...]string{"h2c", "h2", "h3", "http", "tls"} {
				if equalFoldASCII(trimBlanks(name), refused) {
					delete(h, "Upgrade")
					return
				}
			}
		}
	}
}

// reduceConnection leaves only the options that have a meaning of their own:
// every other one names a header to be dropped.
func reduceConnection(h http.Header, field string, values []string) {
	for _, value := range values {
		if onlyHarmless(value) {
			continue
		}
		if kept := harmlessOptions(values); len(kept) > 0 {
			h[field] = []string{strings.Join(kept, ", ")}
		} else {
			delete(h, field)
		}
		return
	}
}

func onlyHarmless(value string) bool {
	for option := range strings.SplitSeq(value, ",") {
		if option = trimBlanks(option); option != "" && !isHarmless(option) {
			return false
		}
	}
	return true
}

func harmlessOptions(values []string) (kept []string) {
	for _, value := range values {
		for option := range strings.SplitSeq(value, ",") {
			if option = trimBlanks(option); isHarmless(option) {
				kept = append(kept, option)
			}
		}
	}
	return kept
}

func isHarmless(option string) bool {
	for _, known := range [...]string{"close", "keep-alive", "upgrade", "te"} {
		if equalFoldASCII(option, known) {
			return true
		}
	}
	return false
}

// notIdentity are the names, folded, that the header option must not take:
// those of RFC 9110 that steer the connection or the message, the options of
// Connection that stay (a header named Close could be dropped by every client),
// and what Postern, Caddy or an upstream decides by.
var notIdentity = map[string]string{
	"cookie": "carries the visitor's cookies", "setcookie": "belongs to responses", "authorization": "belongs to the application",
	"host": "names the site", "connection": "is hop-by-hop", "close": "is an option of Connection", "keepalive": "is hop-by-hop",
	"te": "is hop-by-hop", "trailer": "is hop-by-hop", "transferencoding": "is hop-by-hop", "upgrade": "is hop-by-hop",
	"http2settings": "is hop-by-hop", "altsvc": "is hop-by-hop", "contentlength": "describes the body", "contenttype": "describes the body",
	"contentencoding": "describes the body", "contentrange": "describes the body", "expect": "steers the message", "range": "steers the message",
	"origin": "says where a request comes from", "referer": "says where a request comes from", "accept": "belongs to the visitor",
	"useragent": "belongs to the visitor", "xrequestedwith": "says where a request comes from", "forwarded": "is set by the proxy",
	"xforwardedfor": "is set by the proxy", "xforwardedhost": "is set by the proxy", "xforwardedproto": "is set by the proxy",
	"remoteuser": "is always set", "remoteemail": "is always set", "remotegroups": "is always set",
}

// ValidateHeaderField reports why a name cannot be an identity header of its
// own, or nil.
func ValidateHeaderField(name string) error {
	if !isToken(name) {
		return errors.New("not a header name: write letters, digits and hyphens, such as X-Webauth-User")
	}
	folded := string(foldField(nil, name))
	if folded == "" || len(name) > maxField {
		return errors.New("not a header name that can be told from others: write 1 to 128 letters, digits and hyphens, such as X-Webauth-User")
	}
	why, refused := notIdentity[folded]
	switch {
	case strings.HasPrefix(folded, "proxy"):
		why, refused = "is hop-by-hop", true
	case strings.HasPrefix(folded, "sec") && strings.HasPrefix(lowerASCII(name), "sec-"):
		why, refused = "belongs to the browser", true
	case strings.HasPrefix(folded, identityPrefix):
		why, refused = "is Postern's own", true
	}
	if refused {
		return fmt.Errorf("%s %s: write a name of its own, such as X-Webauth-User", name, why)
	}
	return nil
}

// isToken reports whether s is a token of RFC 9110, section 5.6.2, as field
// names are.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}
