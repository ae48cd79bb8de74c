package gateway

import (
	"fmt"
	"strings"
)

// maxReturnTo bounds the place that a sign-in returns to.
const maxReturnTo = 2048

// CleanReturnTo returns the path and query to which somebody goes after signing
// in, or "/" for anything that is not one on this very site: what the WHATWG
// URL standard resolves to another origin ("//host", "/\host", tabs and line
// breaks that browsers leave out), dot segments under any decoding, broken
// escapes, fragments, and pages below the prefix other than prefix + "/", by
// which a link could press a button of the gateway. The result is ASCII, as a
// Location header has to be: other bytes, and a backslash in the query, are
// percent-encoded.
func CleanReturnTo(s, prefix string) string {
	const home = "/"
	if len(s) > maxReturnTo || !strings.HasPrefix(s, "/") || !hasSoundBytes(s) {
		return home
	}
	path, query, hasQuery := strings.Cut(s, "?")
	if strings.Contains(path, `\`) || pathFlaws(path)&(flawDots|flawControl|flawTooDeep) != 0 || !hasSoundEscapes(s) {
		return home
	}
	plain := plainestPath(path)
	if strings.HasPrefix(plain, "//") || BelowPrefix(plain, prefix) && s != prefix+"/" {
		return home
	}
	s = escapeBytes(path)
	if hasQuery {
		s += "?" + escapeBytes(query)
	}
	if len(s) > maxReturnTo {
		return home
	}
	return s
}

// hasSoundBytes reports whether there is nothing in s that a browser drops or
// cuts off at: control characters, blanks, a fragment.
func hasSoundBytes(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f || c == '#' {
			return false
		}
	}
	return true
}

func hasSoundEscapes(s string) bool {
	for i := range len(s) {
		if s[i] == '%' {
			if _, ok := hexValue(s[i:], "%", 2); !ok {
				return false
			}
		}
	}
	return true
}

// plainestPath decodes a path as long as there is anything to decode, takes
// every kind of slash for a slash, and leaves out the parameters of segments,
// so that nothing below the prefix hides from a comparison.
func plainestPath(path string) string {
	for range maxDecodings {
		path = decodeOnce(path)
	}
	var plain strings.Builder
	inParameters := false
	for i := 0; i < len(path); {
		c, size := pathChar(path[i:])
		i += size
		if c == '\\' {
			c = '/'
		}
		inParameters = c == ';' || inParameters && c != '/'
		if !inParameters {
			plain.WriteRune(c)
		}
	}
	return plain.String()
}

// escapeBytes percent-encodes what must not stand in a Location header as it
// is.
func escapeBytes(s string) string {
	if isASCII(s) && !strings.Contains(s, `\`) {
		return s
	}
	var out strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= 0x80 || c == '\\' {
			fmt.Fprintf(&out, "%%%02X", c)
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}
