package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"regexp"
	"time"
)

// step names a part of a delivery, as it stands in a reason.
type step string

const (
	stepConnect step = "connecting"
	stepGreet   step = "greeting"
	stepTLS     step = "TLS"
	stepStart   step = "STARTTLS"
	stepHello   step = "EHLO"
	stepAuth    step = "AUTH"
	stepMail    step = "MAIL FROM"
	stepRcpt    step = "RCPT TO"
	stepData    step = "DATA"
	stepEnd     step = "end of DATA"
)

var (
	errNoStartTLS    = errors.New("the server does not offer STARTTLS")
	errPlainPassword = errors.New("refusing to send the password without TLS to another machine; use tls starttls or tls implicit")
)

// failure makes the *Error of a step.
func (s *SMTP) failure(ctx context.Context, at step, err error) *Error {
	cause := scrub(s.cause(ctx, err))
	words, code := describe(cause)
	return &Error{
		Permanent: permanent(at, code, words),
		Code:      code,
		Reason:    s.config.Addr + ": " + string(at) + ": " + words + remedy(at, cause),
		Err:       cause,
	}
}

// cause puts the end of the context in the place of what it caused, such as
// "use of closed network connection". An answer of the server stays.
func (s *SMTP) cause(ctx context.Context, err error) error {
	if _, code := describe(err); code != 0 {
		return err
	}
	if end := ended(ctx); end != nil {
		return end
	}
	return err
}

// ended is ctx.Err, but knows that a deadline passed before the context's own
// timer does: a connection has the same deadline and may be quicker.
func ended(ctx context.Context) error {
	if end, ok := ctx.Deadline(); ok && !time.Now().Before(end) {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

// relaying finds the refusal of a server that would take the mail from somebody
// who signed in. Most say so with the code of an unknown recipient.
var relaying = regexp.MustCompile(`(?i)relay|authenticat`)

// permanent tells whether a reply condemns this one mail: only a refusal of
// its recipient or content does. Everything before is between the operator and
// the server, and so is a server that asks for authentication late.
func permanent(at step, code int, words string) bool {
	switch code {
	case 530, 534, 535, 538:
		return false
	}
	if code < 500 || code > 599 {
		return false
	}
	return at == stepData || at == stepEnd || at == stepRcpt && !relaying.MatchString(words)
}

// refused tells whether the server answered, so that it can still be talked to.
func refused(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code != 0 && e.Code != 421
}

// remedy says what an operator can do about a failure that a wrong option
// explains.
func remedy(at step, err error) string {
	var header tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var network net.Error
	switch {
	case errors.Is(err, errNoStartTLS):
		return " (use tls implicit if it speaks TLS from the start, mostly on port 465, or tls none for a server on this machine)"
	case errors.As(err, &header):
		return " (the server does not speak TLS from the start; use tls starttls)"
	case errors.As(err, &unknown):
		return " (add its authority to the system's, or name a file with it in SSL_CERT_FILE)"
	case errors.As(err, &name):
		return " (use the name that the certificate is for)"
	case at == stepGreet && errors.As(err, &network) && network.Timeout():
		return " (if the server speaks TLS from the start, mostly on port 465, use tls implicit)"
	}
	return ""
}
