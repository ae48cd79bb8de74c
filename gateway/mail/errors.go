package mail

import (
	"errors"
	"fmt"
	"net/textproto"
	"regexp"
	"strings"

	"github.com/emersion/go-smtp"
)

// ErrClosed is within the error of a delivery that a closed transport was
// asked for.
var ErrClosed = errors.New("the mail transport is closed")

// ErrUnconfirmed is within the error of a delivery that failed after the whole
// mail was sent and before the server answered. The server may have taken it
// over, so that another try may deliver it a second time, under the same
// Message-ID.
var ErrUnconfirmed = errors.New("no answer after the end of the mail: it may have been taken over")

// Error is why a mail was not delivered.
type Error struct {
	// Permanent tells that another try is of no use for this mail.
	Permanent bool
	// Code is the server's SMTP reply code, 0 if it gave none.
	Code int
	// Reason names the server, the step and the server's words, on one line,
	// fit for a log. The words are cut to 200 characters and what looks like
	// a code or a token is taken out of them: see [Clean].
	Reason string
	// Err is the cause, for errors.Is and errors.As. A reply in it is cleaned
	// as well.
	Err error
}

// Error returns the reason.
func (e *Error) Error() string { return e.Reason }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// maxWords is how much of a server's words is kept, in characters.
const maxWords = 200

const (
	redacted   = "[...]"
	consonants = `(?i:[0-9bcdfghj-np-tv-z]{6,})`
)

// secrets finds what may be a secret of a mail within a server's words. Servers
// like to quote what they refuse, such as the subject with its code. A code is
// digits or consonants alone, while words have vowels; a token is long.
var secrets = regexp.MustCompile(`=\?\S*` + // an encoded word of a header
	`|\d(?:[ -]?\d){5,}` + // a code in digits, also in groups
	`|` + consonants + // a code in letters
	`|[0-9A-Za-z_-]{20,}`) // a token

var letterCode = regexp.MustCompile(consonants)

// Clean makes a server's words fit for a log: one line of at most 200
// characters without control characters, in which every run of six or more
// digits or consonants, every run of twenty or more letters and digits that is
// not a plain word, and every encoded word is replaced by "[...]". That takes
// queue ids and large numbers too, the price for never logging a code.
func Clean(words string) string {
	words = secrets.ReplaceAllStringFunc(oneLine(words), func(run string) string {
		if isWord(run) {
			return run
		}
		return redacted
	})
	if r := []rune(words); len(r) > maxWords {
		words = string(r[:maxWords]) + "..."
	}
	return words
}

// isWord tells whether a long run is a word or words after all, such as
// "authentication-required": in one case, without digits.
func isWord(run string) bool {
	return len(run) >= 20 && !strings.ContainsAny(run, "0123456789=") && !letterCode.MatchString(run) &&
		(run == strings.ToLower(run) || run == strings.ToUpper(run))
}

// scrub returns err without anything in it that a server wrote uncleaned.
func scrub(err error) error {
	var reply *smtp.SMTPError
	var plain *textproto.Error
	var broken textproto.ProtocolError
	switch {
	case errors.As(err, &reply):
		return &smtp.SMTPError{Code: reply.Code, EnhancedCode: reply.EnhancedCode, Message: Clean(reply.Message)}
	case errors.As(err, &plain):
		return &smtp.SMTPError{Code: plain.Code, Message: Clean(plain.Msg)}
	case errors.As(err, &broken):
		return textproto.ProtocolError(Clean(string(broken)))
	}
	return err
}

// describe returns the words of a scrubbed error, and its reply code.
func describe(err error) (string, int) {
	var reply *smtp.SMTPError
	if !errors.As(err, &reply) {
		return Clean(err.Error()), 0
	}
	words := fmt.Sprint(reply.Code)
	if e := reply.EnhancedCode; e[0] > 0 {
		words += fmt.Sprintf(" %d.%d.%d", e[0], e[1], e[2])
	}
	return strings.TrimSpace(words + " " + reply.Message), reply.Code
}
