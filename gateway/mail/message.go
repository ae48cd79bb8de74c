package mail

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Message is one mail, ready to be composed.
type Message struct {
	// ID is the Message-ID without angle brackets, the same on each try, so
	// that a mail that comes twice is known to be one. Required.
	ID string
	// From is an RFC 5322 mailbox, with or without a display name; its bare
	// address is the envelope sender. Required.
	From string
	// To is one plain ASCII address without a display name. Required.
	To string
	// Subject may hold any Unicode text. Control characters and line breaks
	// become blanks.
	Subject string
	// Text is the plain text part. Required, unless HTML is given.
	Text string
	// HTML is the other rendering of the same text. Default: none.
	HTML string
	// Date is the time that the mail states. Default: the time of composing.
	Date time.Time
}

// Transport delivers one mail at a time. Its methods are safe for concurrent
// use.
type Transport interface {
	// Deliver returns nil when the mail was taken over for good. Any other
	// result is an *Error, which says whether another try makes sense. It
	// returns soon after ctx ends.
	Deliver(ctx context.Context, m Message) error
	// Close ends what is idle. Deliveries under way end by themselves or by
	// their context, and later ones fail with ErrClosed.
	Close() error
}

// NewMessageID returns a fresh Message-ID for Message.ID, 128 random bits at
// the given domain. It should be the sender's own domain, since the name of
// the host is nobody's business.
func NewMessageID(domain string) string {
	return strings.ToLower(rand.Text()) + "@" + domain
}

// envelope is what of a message the SMTP commands carry.
type envelope struct {
	from   mailbox
	to     string
	domain string // of the sender
}

// check refuses a message that could not be sent as it is, or that would put
// something else on the wire than it says.
func (m Message) check() (envelope, error) {
	from, err := parseMailbox(m.From)
	if err != nil {
		return envelope{}, fmt.Errorf("sender: %w", err)
	}
	if err := checkAddress(m.To); err != nil {
		return envelope{}, fmt.Errorf("recipient: %w", err)
	}
	if err := checkAddress(m.ID); err != nil {
		return envelope{}, fmt.Errorf("Message-ID: %w", err)
	}
	if m.Text == "" && m.HTML == "" {
		return envelope{}, errors.New("there is no text")
	}
	domain := from.address[strings.LastIndexByte(from.address, '@')+1:]
	return envelope{from: from, to: m.To, domain: domain}, nil
}
