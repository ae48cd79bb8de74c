package gateway

import (
	"errors"
	"fmt"
	"time"
)

// Results of the engine that are no failure of it: each is one row of the
// table in answer.go. Everything else is a failure, is logged, and is never
// shown.
var (
	// ErrUnknown says that a sign-in request or link is used, expired,
	// superseded or was never made: which of them is nobody's business.
	ErrUnknown = errors.New("sign-in request is used, expired or unknown")
	// ErrOtherBrowser says that this browser is not the one that asked.
	ErrOtherBrowser = errors.New("sign-in request belongs to another browser")
	// ErrMalformed says that what was typed cannot be a code of the request.
	ErrMalformed = errors.New("not a code of this sign-in request")
	// ErrNoSession says that the secret names no live session of the site.
	ErrNoSession = errors.New("no session")
)

// WrongCodeError says that a code was compared and is not the right one.
type WrongCodeError struct {
	// Left is how many more codes would be compared now.
	Left int
	// RetryAfter is how long none will be, where Left is 0.
	RetryAfter time.Duration
	// Again says that the same code was compared before: nothing was counted.
	Again bool
}

func (e *WrongCodeError) Error() string {
	return fmt.Sprintf("wrong code, %d attempts left", e.Left)
}

// Limits that a LimitError can name.
const (
	limitAttempts = "attempts"
	limitMails    = "mails"
	limitNetwork  = "network"
	limitPending  = "pending"
	limitStarts   = "starts"
)

// LimitError says that something was asked for too often. Nothing was done.
type LimitError struct {
	// Limit is the name of the limit.
	Limit string
	// RetryAfter is when it will be worth asking again.
	RetryAfter time.Duration
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("over the limit of %s, again in %s", e.Limit, e.RetryAfter)
}
