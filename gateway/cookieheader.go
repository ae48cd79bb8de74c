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
	start, end := nextOwnCookie(line, 0)
	if start < 0 {
		return line, false
	}
	var before strings.Builder // what is kept, up to the run of pairs that is being read
	from, to := -1, -1         // that run in the line
	for done := 0; done <= len(line); {
		if start != done {
			addRun(&before, line, from, to)
			from, to = done, len(line)
			if start >= 0 {
				to = start - 1
			}
		}
		if start < 0 {
			break
		}
		done = end + 1
		start, end = nextOwnCookie(line, done)
	}
	switch {
	case from < 0:
	case before.Len() == 0:
		rest = line[from:to]
	default:
		addRun(&before, line, from, to)
		rest = strings.TrimSuffix(before.String(), ";")
	}
	// What led a pair away from its neighbour means nothing at the beginning.
	return strings.TrimLeft(rest, " \t"), true
}

// nextOwnCookie finds the first pair of the gateway's that begins at from or
// later, where a pair begins, or -1. All of their names have "postern_" in them.
func nextOwnCookie(line string, from int) (start, end int) {
	const common = "postern"
	for at := from; at < len(line); {
		found := strings.IndexByte(line[at:], '_')
		if found < 0 {
			break
		}
		at += found + 1
		if name := at - 1 - len(common); name < from || !equalFoldASCII(line[name:at-1], common) {
			continue
		}
		start = from + strings.LastIndexByte(line[from:at], ';') + 1
		if end = strings.IndexByte(line[at:], ';'); end < 0 {
			end = len(line)
		} else {
			end += at
		}
		if isOwnCookie(line[start:end]) {
			return start, end
		}
		at = end // however often this pair has the name in it
	}
	return -1, -1
}

// addRun adds a run of pairs, if there is one, and what separates it from the next.
func addRun(to *strings.Builder, line string, start, end int) {
	if start < 0 {
		return
	}
	if to.Cap() == 0 {
		to.Grow(len(line) + 1)
	}
	to.WriteString(line[start:end])
	to.WriteByte(';')
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
