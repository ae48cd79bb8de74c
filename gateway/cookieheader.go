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

// CookieValues returns the values that a request sends under exactly this name,
// in order, at most max of them. There may be several: a cookie that a
// neighbouring host set stands beside one's own, in either order, and only its
// value tells them apart. Empty values are left out, values are not unquoted,
// and whatever else the lines hold is passed over.
func CookieValues(h http.Header, name string, max int) []string {
	return appendCookieValues(nil, h, name, max)
}

// appendCookieValues appends to values, up to a length of max.
func appendCookieValues(values []string, h http.Header, name string, max int) []string {
	for _, line := range h["Cookie"] {
		for at := 0; len(values) < max; {
			found := strings.Index(line[at:], name)
			if found < 0 {
				break
			}
			start := at + found
			at = start + len(name)
			if value := cookieValue(line, start, at); value != "" {
				values = append(values, value)
			}
		}
	}
	return values
}

// cookieValue returns the value of the cookie whose name may be at line[start:end],
// or "" where that is another thing.
func cookieValue(line string, start, end int) string {
	before := strings.TrimRight(line[:start], " \t")
	if before != "" && before[len(before)-1] != ';' || end == len(line) || line[end] != '=' {
		return ""
	}
	value, _, _ := strings.Cut(line[end+1:], ";")
	return strings.TrimRight(value, " \t")
}

// stripOwnCookies removes the gateway's cookies from what goes to an upstream,
// and leaves the others byte for byte. A line on which nothing is left is
// dropped, and the header with its last line.
func stripOwnCookies(h http.Header) {
	lines := h["Cookie"]
	kept := lines[:0]
	for _, line := range lines {
		if rest, changed := withoutOwnCookies(line); !changed || strings.Trim(rest, "; \t") != "" {
			kept = append(kept, rest)
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
	} else if len(kept) < len(lines) {
		h["Cookie"] = kept
	}
}

// withoutOwnCookies returns the line without them. Browsers send them side by
// side, mostly, and then what is left needs no memory of its own.
func withoutOwnCookies(line string) (rest string, changed bool) {
	var kept cookieRuns
	from := 0 // of the pairs that are kept, up to the one that is looked at
	for start := 0; start <= len(line); {
		end := start + len(line[start:])
		if i := strings.IndexByte(line[start:], ';'); i >= 0 {
			end = start + i
		}
		if isOwnCookie(line[start:end]) {
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
	return strings.TrimLeft(kept.String(), " \t"), true
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
	if end := strings.IndexByte(pair, '='); end >= 0 {
		pair = pair[:end]
	}
	for pair != "" && isCookieBlank(pair[len(pair)-1]) {
		pair = pair[:len(pair)-1]
	}
	if len(pair) < len(LoopbackSessionCookie) {
		return false // the shortest of them
	}
	for _, own := range [...]string{SessionCookie, BrowserCookie, LoopbackSessionCookie, LoopbackBrowserCookie} {
		if len(pair) == len(own) && equalFoldASCII(pair, own) {
			return true
		}
	}
	return false
}

// isCookieBlank is true for control characters too: net/http writes a space for
// a line break in a header.
func isCookieBlank(c byte) bool { return c <= ' ' || c == 0x7f }
