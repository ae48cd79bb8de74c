package gateway

import (
	"strings"
	"unicode/utf8"
)

// pathFlaw is a set of things in a path that two parties may read differently.
type pathFlaw uint8

const (
	flawDots pathFlaw = 1 << iota
	flawBackslash
	flawSemicolon
	flawControl
	flawTooDeep // encoded more often than anybody would decode

	anyFlaw = flawDots | flawBackslash | flawSemicolon | flawControl | flawTooDeep
)

// maxDecodings bounds how often a path is decoded: what is encoded more often
// than this has no honest reason.
const maxDecodings = 8

// AmbiguousPath reports whether an upstream may take a path for another one
// than the gateway does: it holds a dot segment, a backslash, a semicolon or a
// control character as it is or under any decoding: percent-encoding (RFC 3986)
// again and again, the %uXXXX of old servers, overlong UTF-8 (which RFC 3629
// forbids) and full-width dots and slashes. It takes the path as it came, still
// escaped, without the query.
func AmbiguousPath(rawPath string) bool { return pathFlaws(rawPath)&anyFlaw != 0 }

// credulousPaths are what the most credulous readers make of an escaped path: they
// decode as often as there is anything to decode, take letters of full width for
// ASCII and several slashes for one, and drop blanks and dots at the end of a
// segment; some end it at what was an encoded question mark or number sign.
func credulousPaths(rawPath string) []string {
	path := strings.Map(narrow, plainestPath(rawPath))
	whole := credulousSegments(path)
	if end := strings.IndexAny(path, "?#"); end >= 0 {
		return []string{whole, credulousSegments(path[:end])}
	}
	return []string{whole}
}

func credulousSegments(path string) string {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		segments[i] = strings.TrimRight(segment, " .\u00a0")
	}
	first, last := 1, len(segments)-1
	kept := segments[:min(first, len(segments))]
	for i := first; i <= last; i++ {
		if segments[i] != "" || i == last {
			kept = append(kept, segments[i])
		}
	}
	return strings.Join(kept, "/")
}

// PlainPath says whether all readers make the same of an escaped path.
func PlainPath(rawPath string) bool { return isPlain(rawPath) }

// isPlain says whether all readers make the same of a path.
func isPlain(rawPath string) bool {
	return isOrdinary(rawPath) && !strings.Contains(rawPath, "./") && !strings.Contains(rawPath, "//") && !strings.HasSuffix(rawPath, ".")
}

// narrow returns the ASCII character that one of full width stands for.
func narrow(c rune) rune {
	if c >= '！' && c <= '～' {
		return c - '！' + '!'
	}
	return c
}

// BelowPrefix reports whether a decoded path is the gateway's own: the prefix
// itself or anything below it.
func BelowPrefix(path, prefix string) bool {
	return strings.HasPrefix(path, prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/')
}

func pathFlaws(path string) pathFlaw {
	if isOrdinary(path) {
		return 0
	}
	flaws := scanPath(path)
	for range maxDecodings {
		decoded := decodeOnce(path)
		if decoded == path {
			return flaws
		}
		path = decoded
		flaws |= scanPath(path)
	}
	if decodeOnce(path) != path {
		flaws |= flawTooDeep
	}
	return flaws
}

// isOrdinary is the quick way: nothing to decode, and no dot that begins or
// follows a segment of dots.
func isOrdinary(path string) bool {
	for i := range len(path) {
		switch c := path[i]; {
		case c <= ' ' || c >= 0x7f || c == '%' || c == '\\' || c == ';':
			return false
		case c == '.' && (i == 0 || path[i-1] == '/'):
			if i+1 == len(path) || path[i+1] == '/' || path[i+1] == '.' {
				return false
			}
		}
	}
	return true
}

// scanPath looks for flaws in a path without decoding percent signs.
func scanPath(path string) (flaws pathFlaw) {
	dots, others := 0, false
	end := func() {
		if !others && (dots == 1 || dots == 2) {
			flaws |= flawDots
		}
		dots, others = 0, false
	}
	for i := 0; i < len(path); {
		c, size := pathChar(path[i:])
		i += size
		switch {
		case c == '/':
			end()
		case c == '\\':
			flaws |= flawBackslash
			end()
		case c == ';': // what follows are parameters of the segment to some servers: "..;x" is ".."
			flaws |= flawSemicolon
			end()
			others = true
		case c < ' ' || c >= 0x7f && c <= 0x9f:
			flaws |= flawControl
		case c == '.':
			dots++
		case c == '‥': // TWO DOT LEADER, .. by compatibility
			dots += 2
		case c != ' ' && c != utf8.RuneError: // what some servers drop or trim
			others = true
		}
	}
	end()
	return flaws
}

// pathChar reads one character of a path as the most credulous reader would:
// overlong UTF-8 is taken for what it encodes, compatibility forms of the dot
// and the slash for these. Bytes that are no UTF-8 are utf8.RuneError, one at a
// time.
func pathChar(s string) (rune, int) {
	if s[0] < utf8.RuneSelf {
		return rune(s[0]), 1
	}
	if c, size := overlong(s); size > 0 {
		return c, size
	}
	c, size := utf8.DecodeRuneInString(s)
	switch c {
	case '．', '․', '﹒', '。', '｡':
		return '.', size
	case '／', '＼', '∕', '∖', '⁄', '﹨':
		return '/', size
	}
	return c, size
}

// overlong reads an ASCII character that was encoded in two to six bytes, or
// returns size 0.
func overlong(s string) (c rune, size int) {
	switch b := s[0]; {
	case b == 0xc0 || b == 0xc1:
		c, size = rune(b&0x1f), 2
	case b == 0xe0:
		size = 3
	case b == 0xf0:
		size = 4
	case b == 0xf8:
		size = 5
	case b == 0xfc:
		size = 6
	}
	if len(s) < size {
		return 0, 0
	}
	for i := 1; i < size; i++ {
		if s[i]&0xc0 != 0x80 {
			return 0, 0
		}
		c = c<<6 | rune(s[i]&0x3f)
	}
	if c >= utf8.RuneSelf {
		return 0, 0
	}
	return c, size
}

// decodeOnce decodes %XX, %uXXXX and overlong UTF-8, and leaves a percent sign
// that begins no escape.
func decodeOnce(s string) string {
	if strings.IndexByte(s, '%') < 0 && isASCII(s) {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		if c, ok := hexValue(s[i:], "%", 2); ok {
			out = append(out, byte(c))
			i += 3
		} else if c, ok := unicodeEscape(s[i:]); ok {
			out = utf8.AppendRune(out, c)
			i += 6
		} else if c, size := overlong(s[i:]); size > 0 {
			out = append(out, byte(c))
			i += size
		} else {
			out = append(out, s[i])
			i++
		}
	}
	return string(out)
}

// unicodeEscape reads the %uXXXX that IIS took, with its best-fit mapping of
// full-width forms to ASCII.
func unicodeEscape(s string) (rune, bool) {
	c, ok := hexValue(s, "%u", 4)
	if !ok {
		c, ok = hexValue(s, "%U", 4)
	}
	if c >= '！' && c <= '～' {
		c -= '！' - '!'
	}
	return c, ok
}

func hexValue(s, lead string, digits int) (value rune, ok bool) {
	if len(s) < len(lead)+digits || s[:len(lead)] != lead {
		return 0, false
	}
	for _, c := range []byte(s[len(lead) : len(lead)+digits]) {
		switch c = lowerByte(c); {
		case c >= '0' && c <= '9':
			value = value<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			value = value<<4 | rune(c-'a'+10)
		default:
			return 0, false
		}
	}
	return value, true
}
