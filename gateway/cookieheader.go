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
	var values []string
	for _, line := range h["Cookie"] {
		if !strings.Contains(line, name) {
			continue
		}
		for pair := range strings.SplitSeq(line, ";") {
			if len(values) >= max {
				return values
			}
			if value, ok := strings.CutPrefix(trimBlanks(pair), name+"="); ok && value != "" {
				values = append(values, value)
			}
		}
	}
	return values
}

// stripOwnCookies removes the gateway's cookies from what goes to an upstream,
// and leaves the others byte for byte. A line on which nothing is left is
// dropped, and the header with its last line.
func stripOwnCookies(h http.Header) {
	lines := h["Cookie"]
	if !slices.ContainsFunc(lines, holdsOwnCookie) {
		return
	}
	kept := make([]string, 0, len(lines))
	for _, line := range lines {
		if !holdsOwnCookie(line) {
			kept = append(kept, line)
		} else if line = withoutOwnCookies(line); strings.Trim(line, "; \t") != "" {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}

func holdsOwnCookie(line string) bool {
	if !mayHoldOwnName(line) {
		return false
	}
	for pair := range strings.SplitSeq(line, ";") {
		if isOwnCookie(pair) {
			return true
		}
	}
	return false
}

func withoutOwnCookies(line string) string {
	var kept []string
	for pair := range strings.SplitSeq(line, ";") {
		if !isOwnCookie(pair) {
			kept = append(kept, pair)
		}
	}
	// What led a pair away from its neighbour means nothing at the beginning.
	return strings.TrimLeft(strings.Join(kept, ";"), " \t")
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
	name := strings.TrimLeftFunc(pair, func(c rune) bool { return c == '=' || isCookieBlank(c) })
	if end := strings.IndexByte(name, '='); end >= 0 {
		name = name[:end]
	}
	name = strings.TrimRightFunc(name, isCookieBlank)
	for _, own := range [...]string{SessionCookie, BrowserCookie, LoopbackSessionCookie, LoopbackBrowserCookie} {
		if equalFoldASCII(name, own) {
			return true
		}
	}
	return false
}

// isCookieBlank is true for control characters too: net/http writes a space for
// a line break in a header.
func isCookieBlank(c rune) bool { return c <= ' ' || c == 0x7f }

// mayHoldOwnName looks for what all four names have in common, which most lines
// have not.
func mayHoldOwnName(line string) bool {
	const common = "postern_"
	for i := 0; i+len(common) <= len(line); i++ {
		if lowerByte(line[i]) == common[0] && equalFoldASCII(line[i:i+len(common)], common) {
			return true
		}
	}
	return false
}
