package mail

import (
	"errors"
	"net/mail"
	"strings"
)

// RFC 5321, section 4.5.3.1: more is refused by servers.
const (
	maxLocalPart = 64
	maxAddress   = 254
)

// mailbox is a parsed sender.
type mailbox struct {
	name    string // any Unicode text, without control characters
	address string // plain ASCII
}

// parseMailbox takes apart an RFC 5322 mailbox. Line breaks are refused before
// the standard library sees them, as it would take them for folding, and its
// result is checked again, since it unquotes local parts.
func parseMailbox(s string) (mailbox, error) {
	if strings.ContainsFunc(s, isControl) {
		return mailbox{}, errors.New("the address holds a control character")
	}
	a, err := mail.ParseAddress(s)
	if err != nil {
		return mailbox{}, errors.New("the address cannot be read")
	}
	if err := checkAddress(a.Address); err != nil {
		return mailbox{}, err
	}
	return mailbox{name: oneLine(a.Name), address: a.Address}, nil
}

// checkAddress allows local-part@domain in the form that needs no quoting and
// means the same in an SMTP command, a header field and a DKIM signature. This
// is the last fence before the wire: who may receive mail is decided long
// before, by stricter rules.
func checkAddress(s string) error {
	if s == "" {
		return errors.New("the address is missing")
	}
	local, domain, found := strings.Cut(s, "@")
	switch {
	case !found:
		return errors.New("the address has no @")
	case len(local) > maxLocalPart || len(s) > maxAddress:
		return errors.New("the address is too long")
	case !dotted(local, isAtext):
		return errors.New("the part before the @ needs quoting or is not plain ASCII")
	case !isDomain(domain):
		return errors.New("the domain is not one plain ASCII name")
	}
	return nil
}

// isDomain tells whether s is a DNS name in A-label form.
func isDomain(s string) bool {
	return len(s) <= 253 && dotted(s, isLDH)
}

// dotted tells whether s is one or more words of allowed bytes, joined by dots.
func dotted(s string, allowed func(c byte) bool) bool {
	for word := range strings.SplitSeq(s, ".") {
		if word == "" {
			return false
		}
		for i := range len(word) {
			if !allowed(word[i]) {
				return false
			}
		}
	}
	return true
}

func isAtext(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func isLDH(c byte) bool { return isAlphanumeric(c) || c == '-' }

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
