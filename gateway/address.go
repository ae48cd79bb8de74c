package gateway

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// ErrAddress says that a text is not one plain email address. It is shown to
// people as it is.
var ErrAddress = errors.New("not an email address that can sign in here: write one plain address, such as ann@example.com")

// The limits of RFC 5321, section 4.5.3.1 (an address of 254 characters is what
// fits a path of 256 with its angle brackets), and of RFC 1035.
const (
	maxAddress   = 254
	maxLocalPart = 64
	maxDomain    = 253
	maxLabel     = 63
)

// An internationalised label has up to four bytes a character, and this much is
// handed to the IDNA tables at most.
const maxAddressInput = 4 * maxAddress

// Registration is the profile of RFC 5891 that maps nothing: a label that would
// have to be changed first (a full-width letter, a Kelvin sign) is refused, since
// what a person sees would not be what decides. Capitals and decomposed letters
// are smallLetters' business.
var idnLabels = idna.New(
	idna.ValidateForRegistration(),
	idna.VerifyDNSLength(true),
	idna.StrictDomainName(true),
	idna.ValidateLabels(true),
	idna.CheckHyphens(true),
	idna.CheckJoiners(true),
	idna.BidiRule(),
)

// ParseAddress returns the one ASCII spelling of an email address that policy,
// limits, storage and RCPT TO all use: blanks around it trimmed, letters in
// lower case, the local part a dot-atom of RFC 5321, the domain of two labels
// or more, in A-labels (RFC 5890) where it is internationalised, whatever its case
// and whether its letters are composed. Anything else,
// quoted local parts, address literals, display names, comments, lists and
// trailing dots among it, is ErrAddress.
func ParseAddress(s string) (string, error) {
	s = trimBlanks(s)
	if len(s) > maxAddressInput || strings.Count(s, "@") != 1 {
		return "", ErrAddress
	}
	local, domain := SplitAddress(s)
	if !isDotAtom(local) || len(local) > maxLocalPart {
		return "", ErrAddress
	}
	domain, err := parseDomain(domain)
	if err != nil || len(local)+1+len(domain) > maxAddress {
		return "", ErrAddress
	}
	return lowerASCII(local) + "@" + domain, nil
}

// ParseDomain returns the one ASCII spelling of the domain of an address, by
// the same rules as ParseAddress.
func ParseDomain(s string) (string, error) {
	s = trimBlanks(s)
	if len(s) > maxAddressInput {
		return "", ErrAddress
	}
	return parseDomain(s)
}

// SplitAddress cuts an address that ParseAddress returned into its local part
// and its domain.
func SplitAddress(addr string) (local, domain string) {
	local, domain, _ = strings.Cut(addr, "@")
	return local, domain
}

// LimitKey returns an address that ParseAddress returned without the +suffix of
// its local part (RFC 5233), so that one mailbox has one set of limits. Nothing
// but limits may use it: two such addresses are two people to policy and
// storage.
func LimitKey(addr string) string {
	local, domain := SplitAddress(addr)
	plus := strings.IndexByte(local, '+')
	if plus <= 0 { // a local part that begins with + would become empty
		return addr
	}
	return local[:plus] + "@" + domain
}

func parseDomain(s string) (string, error) {
	parts := strings.Split(s, ".")
	if len(parts) < 2 {
		return "", ErrAddress
	}
	for i, part := range parts {
		label, ok := parseLabel(part)
		if !ok {
			return "", ErrAddress
		}
		parts[i] = label
	}
	domain := strings.Join(parts, ".")
	if len(domain) > maxDomain || looksNumeric(parts[len(parts)-1]) {
		return "", ErrAddress
	}
	return domain, nil
}

// parseLabel works label by label, so that dots are split here, as ASCII, and
// never by a table that knows other dots.
func parseLabel(s string) (string, bool) {
	if isASCII(s) {
		s = lowerASCII(s)
		if !strings.HasPrefix(s, "xn--") {
			return s, isLDH(s)
		}
	}
	// An A-label has to be what its own Unicode form encodes to, or two spellings
	// would mean one domain.
	ascii, err := idnLabels.ToASCII(s)
	if err != nil {
		ascii, err = idnLabels.ToASCII(smallLetters(s))
	}
	if err != nil || !isLDH(ascii) {
		return "", false
	}
	unicode, err := idnLabels.ToUnicode(ascii)
	if err != nil || isASCII(unicode) {
		return "", false
	}
	return ascii, true
}

// smallLetters writes an internationalised label in lower case and composed (NFC),
// since telephones begin words with a capital and some systems type letters and
// their accents apart. No other mapping is done: "" is the answer then.
func smallLetters(label string) string {
	for _, r := range label {
		if isDouble(r) {
			return ""
		}
	}
	var small strings.Builder
	for _, r := range norm.NFC.String(label) {
		if unicode.ToLower(r) != r && !hasOneSmallLetter(r) {
			return ""
		}
		small.WriteRune(unicode.ToLower(r))
	}
	return norm.NFC.String(small.String())
}

// isDouble reports whether a character is another one's second code, which NFC
// replaces: the Kelvin and Angstrom signs, compatibility ideographs.
func isDouble(r rune) bool {
	composed := norm.NFC.String(string(r))
	return composed != string(r) && utf8.RuneCountInString(composed) == 1
}

// hasOneSmallLetter reports whether a capital is that of its small letter and of
// no other: a sigma is that of two, a dotted I that of i, and a sharp S is read as
// two letters by some.
func hasOneSmallLetter(r rune) bool {
	return r != 'Σ' && r != 'ẞ' && unicode.ToUpper(unicode.ToLower(r)) == r
}

// isLDH reports whether a label has letters, digits and inner hyphens alone
// (RFC 5890, section 2.3.1).
func isLDH(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && s[i] != '-' {
			return false
		}
	}
	return true
}

// looksNumeric reports whether a last label makes the whole domain an IPv4
// address to one parser or another: no top-level domain begins with a digit
// (RFC 1123, section 2.1), and the WHATWG URL standard reads 127.0.0.0x1 as a
// number too.
func looksNumeric(label string) bool {
	return label[0] >= '0' && label[0] <= '9'
}

// isDotAtom reports whether s is a Dot-string of RFC 5321, section 4.1.2.
func isDotAtom(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && strings.IndexByte(".!#$%&'*+-/=?^_`{|}~", c) < 0 {
			return false
		}
	}
	return true
}

func trimBlanks(s string) string { return strings.Trim(s, " \t") }

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func lowerByte(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// equalFoldASCII compares as HTTP does, without the letters beyond ASCII that
// strings.EqualFold takes for k and s.
func equalFoldASCII(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := len(a) - 1; i >= 0; i-- { // what is compared here differs at the end, if at all
		if a[i] != b[i] && lowerByte(a[i]) != lowerByte(b[i]) {
			return false
		}
	}
	return true
}
