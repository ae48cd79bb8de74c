// Package pages draws what a visitor sees: the pages below the prefix and the
// mail. It knows views, plain structs of what is to be shown, and nothing of
// where they come from.
package pages

import (
	"io"
	"time"
)

// Common is what every page shows around its own content.
type Common struct {
	// Site is the name a visitor knows the site by: its host, without a port.
	// Required.
	Site string
	// Prefix is the path all pages are below, without a slash at the end, such
	// as "/.auth". Required.
	Prefix string
	// RequestID is shown in small print, for a word with the operator, who finds
	// it in the log. Empty: not shown.
	RequestID string
}

// View is one page. The types below implement it, and only they.
type View interface {
	template() string
	common() *Common
}

// SignIn is the form that asks for an address.
type SignIn struct {
	Common
	// Email prefills the field.
	Email string
	// ReturnTo is where the sign-in leads: a path with query.
	ReturnTo string
	// Problem is one plain sentence on what was wrong with the last try, shown
	// beside the field. Empty: nothing was.
	Problem string
	// StepUp says that the visitor is signed in, as Email, and is asked to do so again.
	StepUp bool
}

// CheckMail tells the visitor to look at their mail, and takes the code.
type CheckMail struct {
	Common
	// Request is the auth_request_id.
	Request string
	// Email is the address that was typed.
	Email string
	// ReturnTo is set where this tab has a destination of its own, which the
	// forms must carry on. Empty: that of the request.
	ReturnTo string
	// LeadsTo is where this tab leads in the end, its own destination or that of
	// the request, for a sign-in that is begun anew.
	LeadsTo string
	// HasCode and HasLink say what the mail contains.
	HasCode, HasLink bool
	// CodeLength is the number of characters, and CodeLetters says that they are
	// letters (consonants, case ignored) and not digits.
	CodeLength  int
	CodeLetters bool
	// Problem is one plain sentence on what was wrong with the code. Empty: nothing was.
	Problem string
	// NoAttempts says that no code is taken before RetryAfter has passed: the
	// code form is not shown.
	NoAttempts bool
	RetryAfter time.Duration
	// ResendAfter is how long the resend button still has to wait.
	ResendAfter time.Duration
	// ExpiresIn is how long the mail's credentials still live.
	ExpiresIn time.Duration
}

// OtherBrowser tells that a link works only in the browser that asked for it.
type OtherBrowser struct {
	Common
	// HasCode says that the mail has a code, which can be typed there instead.
	HasCode bool
	// ReturnTo is where the link leads, for a sign-in that is begun anew.
	ReturnTo string
}

// ConfirmLink asks, in a browser that did not ask for the link, whether to sign
// in there: one button, so that a mail scanner does not do it.
type ConfirmLink struct {
	Common
	Email string
	Token string
	// Replaces is the address this browser is signed in as now, if it is another.
	Replaces string
}

// Refused tells that the visitor is signed in but may not enter.
type Refused struct {
	Common
	Email string
	// ReturnTo is what they wanted.
	ReturnTo string
}

// Limited tells that something was asked for too often.
type Limited struct {
	Common
	// Message is one plain sentence.
	Message    string
	RetryAfter time.Duration
	// BackTo is a path to go on from, with BackLabel as its text. Empty: none.
	BackTo, BackLabel string
}

// Expired tells that a code or link is used, expired or unknown, and offers a
// fresh start.
type Expired struct {
	Common
	// Email prefills the form; only in the browser that asked.
	Email    string
	ReturnTo string
}

// SignedOut confirms a sign-out.
type SignedOut struct{ Common }

// UnsentForm answers a form that was sent without a session: nothing was passed
// on; the visitor signs in in another tab, comes back, and sends it again.
type UnsentForm struct {
	Common
	// StepUp says that there is a session, but an older one than is needed.
	StepUp bool
}

// Failure is any other error.
type Failure struct {
	Common
	// Status is the HTTP status. Title and Message are plain sentences; Message
	// says the next step.
	Status         int
	Title, Message string
}

// Account shows who is signed in.
type Account struct {
	Common
	Email  string
	Groups []string
	// Method is how this session was signed in: "code" or "link".
	Method            string
	SignedIn, Expires time.Time
	// Sessions are those of the address at this site, the one that asks among them.
	Sessions []AccountSession
	// More is how many there are beside them.
	More int
	// AtLeast says that there may be still more.
	AtLeast bool
}

// AccountSession is one of them.
type AccountSession struct {
	// ID is what its form ends it by.
	ID string
	// Device and Network say which browser it is.
	Device, Network    string
	SignedIn, LastSeen time.Time
	// This marks the one that asks.
	This bool
}

// Render writes the page of view to w, in the plain look. It fails only where w
// does, or where a template and its view do not fit.
func Render(w io.Writer, view View) error { return plain.Render(w, view) }

// Render is as the function of that name, in this look.
func (l *Look) Render(w io.Writer, view View) error { return render(w, view, l) }

// TypicalSize is about that of a page, in bytes, for who collects one.
const TypicalSize = 12 << 10

// ContentSecurityPolicy is that of the plain look.
func ContentSecurityPolicy() string { return plain.policy }

// Mail is what a sign-in mail says.
type Mail struct {
	// Site is the name of the site as Common has it, which autofill needs too.
	Site  string
	Email string
	// Code is the one-time code; Link is the whole link. One of them may be
	// empty, not both.
	Code, Link string
	// Browser and Network describe who asked, such as "Firefox on Linux" and
	// "192.0.2.7". Empty: not known.
	Browser, Network string
	// Requested is when, and ExpiresIn how long the credentials live from now.
	Requested time.Time
	ExpiresIn time.Duration
	// SameBrowser says that the link works only in the browser that asked.
	SameBrowser bool
	// RequestID is shown in small print.
	RequestID string
}

// RenderMail returns the subject, the plain text and the HTML of a mail. The
// last line of the text is "@<site> #<code>" where there is a code, so that
// telephones and browsers offer it to fill in.
func RenderMail(m Mail) (subject, text, html string, err error) { return plain.RenderMail(m) }

// RenderMail is as the function of that name, in this look.
func (l *Look) RenderMail(m Mail) (subject, text, html string, err error) { return renderMail(m, l) }
