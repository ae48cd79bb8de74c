package gateway

import (
	"net/http"
	"slices"
	"strings"
)

// The cookies of the gateway. The first two are bound to one host and to TLS by
// their prefix (RFC 6265bis, section 4.1.3.2); the others take their place on
// plain-HTTP loopback and count nowhere else.
const (
	SessionCookie         = "__Host-postern_session"
	BrowserCookie         = "__Host-postern_browser"
	LoopbackSessionCookie = "postern_session"
	LoopbackBrowserCookie = "postern_browser"
)

// ownCookies takes the values of the gateway's cookies out of a request. There may
// be several of a name: a cookie that a neighbouring host set stands beside one's
// own, in either order, and only its value tells them apart. Empty values are left
// out, and values are not unquoted.
type ownCookies struct {
	// sessionName and browserName are those that count, "" for none. Of each,
	// maxCookies are taken.
	sessionName, browserName string
	sessions, browsers       cookieValues
}

// maxCookies is how many cookies of one name are tried: a browser sends one.
const maxCookies = 3

// cookieValues are in the order of the request; those that are not there are "".
type cookieValues [maxCookies]string

func (v *cookieValues) add(value string) {
	for i := range v {
		if v[i] == "" {
			v[i] = value
			return
		}
	}
}

// take takes the value of a pair, where its name is exactly one that counts.
func (c *ownCookies) take(pair string) {
	pair = trimLeadingBlanks(pair)
	c.sessions.add(valueOf(pair, c.sessionName))
	c.browsers.add(valueOf(pair, c.browserName))
}

// valueOf is the value of a pair of that very name, or "".
func valueOf(pair, name string) string {
	if name == "" || len(pair) <= len(name) || pair[len(name)] != '=' || pair[:len(name)] != name {
		return ""
	}
	value := pair[len(name)+1:]
	for value != "" && isBlank(value[len(value)-1]) {
		value = value[:len(value)-1]
	}
	return value
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func trimLeadingBlanks(s string) string {
	for s != "" && isBlank(s[0]) {
		s = s[1:]
	}
	return s
}

// takeOwnCookies removes the gateway's cookies from what goes to an upstream, of
// which lines are the Cookie header, and leaves the others byte for byte. A line
// on which nothing is left is dropped, and the header with its last line. taken,
// which may be nil, gets them.
func takeOwnCookies(h http.Header, lines []string, taken *ownCookies) {
	kept := lines[:0]
	for _, line := range lines {
		if rest, changed := withoutOwnCookies(line, taken); !changed || hasPair(rest) {
			kept = append(kept, rest)
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
	} else if len(kept) < len(lines) {
		h["Cookie"] = kept
	}
}

func hasPair(line string) bool {
	for i := range len(line) {
		if line[i] != ';' && !isBlank(line[i]) {
			return true
		}
	}
	return false
}

// withoutOwnCookies returns the line without them. Browsers send them side by
// side, mostly, and then what is left needs no memory of its own.
func withoutOwnCookies(line string, taken *ownCookies) (rest string, changed bool) {
	var kept cookieRuns
	from := 0 // of the pairs that are kept, up to the one that is looked at
	for start := 0; start <= len(line); {
		end := start + len(line[start:])
		if i := strings.IndexByte(line[start:], ';'); i >= 0 {
			end = start + i
		}
		if isOwnCookie(line[start:end]) {
			if taken != nil {
				taken.take(line[start:end])
			}
			if from < start {
				kept.add(line[from : start-1])
			}
			from = end + 1
		}
		start = end + 1
	}
	if from == 0 {
		return line, false
	}
	if from < len(line) {
		kept.add(line[from:])
	}
	// What led a pair away from its neighbour means nothing at the beginning.
	return trimLeadingBlanks(kept.String()), true
}

// cookieRuns joins what is kept of a line.
type cookieRuns struct {
	first string
	all   []byte // from the second on
}

func (r *cookieRuns) add(run string) {
	switch {
	case r.all != nil:
		r.all = append(append(r.all, ';'), run...)
	case r.first != "":
		r.all = append(append([]byte(r.first), ';'), run...)
	default:
		r.first = run
	}
}

func (r *cookieRuns) String() string {
	if r.all != nil {
		return string(r.all)
	}
	return r.first
}

// StripOwnSetCookies removes from a response every Set-Cookie that a browser
// would file, or send back, under one of the gateway's names, so that an
// upstream can neither end a session nor plant one. Other cookies are left
// untouched.
func StripOwnSetCookies(h http.Header) {
	for field, lines := range h {
		// A handler may have written the name in another case, which goes out as it
		// is.
		if len(field) != len("Set-Cookie") || !equalFoldASCII(field, "Set-Cookie") || !slices.ContainsFunc(lines, setsOwnCookie) {
			continue
		}
		kept := make([]string, 0, len(lines))
		for _, line := range lines {
			if !setsOwnCookie(line) {
				kept = append(kept, line)
			}
		}
		if len(kept) == 0 {
			delete(h, field)
		} else {
			h[field] = kept
		}
	}
}

func setsOwnCookie(line string) bool {
	pair, _, _ := strings.Cut(line, ";")
	return isOwnCookie(pair)
}

// isOwnCookie reports whether a name-value pair is one of the gateway's cookies
// as any party may read it: case and blanks around the name do not count, and
// neither does a leading = sign, since a browser sends a cookie without a name
// as its value alone (RFC 6265bis, section 5.8.3), where "=postern_session=x"
// has become "postern_session=x".
func isOwnCookie(pair string) bool {
	for pair != "" && (pair[0] == '=' || isCookieBlank(pair[0])) {
		pair = pair[1:]
	}
	if pair == "" {
		return false
	}
	switch pair[0] { // tells most others at once
	case '_':
		if !strings.HasPrefix(pair, "__") {
			return false
		}
		return isNamed(pair, SessionCookie) || isNamed(pair, BrowserCookie)
	case 'p', 'P':
		return isNamed(pair, LoopbackSessionCookie) || isNamed(pair, LoopbackBrowserCookie)
	}
	return false
}

// isNamed reports whether a pair has the name, with blanks behind it or not.
func isNamed(pair, name string) bool {
	if len(pair) < len(name) || pair[:len(name)] != name && !equalFoldASCII(pair[:len(name)], name) {
		return false
	}
	for i := len(name); i < len(pair); i++ {
		if pair[i] == '=' {
			return true
		}
		if !isCookieBlank(pair[i]) {
			return false
		}
	}
	return true
}

// isCookieBlank is true for control characters too: net/http writes a space for
// a line break in a header.
func isCookieBlank(c byte) bool { return c <= ' ' || c == 0x7f }
