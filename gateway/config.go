package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/postern-auth/postern/pages"
)

// Method says what a sign-in mail carries.
type Method string

const (
	MethodBoth Method = "both"
	MethodCode Method = "code"
	MethodLink Method = "link"
)

func (m Method) hasCode() bool { return m != MethodLink }
func (m Method) hasLink() bool { return m != MethodCode }

// Limit is a number of events in a fixed window of time, which begins with the
// first of them.
type Limit struct {
	Count  int           `json:"count"`
	Window time.Duration `json:"window"`
}

// Limits bound what strangers, and those who mistype, can do. A zero Limit
// takes its default.
type Limits struct {
	// Mails is for each address and lane. Default: 2 in 1 minute.
	Mails Limit
	// Attempts is wrong codes for each address and lane. Default: 5 in 10 minutes.
	Attempts Limit
	// Network is sign-in requests for each client network. Default: 30 in 10 minutes.
	Network Limit
	// Total is mails of the whole server. Default: 1000 in 1 hour.
	Total Limit
}

// Bounds that are not for configuration.
const (
	// DailyWrongCodes and DailyMails cap the lane that unknown browsers share
	// for one address.
	DailyWrongCodes = 20
	DailyMails      = 20
	// MaxPendingPerBrowser is how many sign-in requests one browser can have open.
	MaxPendingPerBrowser = 10
	// MaxStartsPerHour bounds the pending state of the whole server.
	MaxStartsPerHour = 50_000
	// MaxLife is how long after the first mail the credentials of a request can
	// live, however often they are sent again.
	MaxLife = time.Hour

	day = 24 * time.Hour
)

// SessionTerms say how long a session lives.
type SessionTerms struct {
	// Lifetime is the time after the sign-in. Default: 7 days.
	Lifetime time.Duration
	// Idle is the time without any request. Default: 3 days, or Lifetime where
	// that is shorter.
	Idle time.Duration
}

// Config is what an Engine and a Door are made of. All fields have a usable
// zero value.
type Config struct {
	// Method is what a mail carries. Default: MethodBoth.
	Method Method
	// CodeLength is the number of characters of a code, 6 to 12. Default: 6.
	CodeLength int
	// CodeLetters makes codes of 20 consonants instead of digits.
	CodeLetters bool
	// Expires is how long credentials live, 60 s to 1 h. Default: 10 minutes.
	Expires time.Duration
	// AnyBrowser lets a link sign in in a browser that did not ask for it
	// (same_browser off). A code never does.
	AnyBrowser bool
	// RenewOnResend makes a resend carry fresh credentials and ends the old.
	RenewOnResend bool
	// Session are the terms of sites that set none of their own.
	Session SessionTerms
	Limits  Limits
	// Prefix is the path of the pages. Default: "/.auth".
	Prefix string
	// Groups are the named groups of addresses. Default: none.
	Groups *Groups
	// Clients are the applications of the headless API, by their id. Default: none.
	Clients map[string]*Client
	// Brand is what pages and mails show of the installation. Default: nothing.
	Brand Brand
	// Templates take the place of those built in that have their names. Default: none.
	Templates fs.FS
	// From is the mailbox that mails come from. Default: one at localhost.
	From string
	// Clock tells the time. Default: time.Now.
	Clock func() time.Time
	// Log takes what operators need to know. Default: discarded.
	Log *slog.Logger

	look *pages.Look // of Brand
}

// Brand is what an installation adds to the look of its pages and mails.
type Brand = pages.Brand

// WithDefaults returns the configuration with every default filled in, or an
// error that says which value cannot be and what to write instead.
func (c Config) WithDefaults() (Config, error) {
	setDefault(&c.Method, MethodBoth)
	setDefault(&c.CodeLength, 6)
	setDefault(&c.Expires, 10*time.Minute)
	setDefault(&c.Prefix, "/.auth")
	setDefault(&c.From, "Postern <postern@localhost>")
	c.Session = c.Session.orElse(SessionTerms{Lifetime: 7 * day, Idle: 3 * day})
	setDefault(&c.Limits.Mails, Limit{2, time.Minute})
	setDefault(&c.Limits.Attempts, Limit{5, 10 * time.Minute})
	setDefault(&c.Limits.Network, Limit{30, 10 * time.Minute})
	setDefault(&c.Limits.Total, Limit{1000, time.Hour})
	if c.Groups == nil {
		c.Groups = &Groups{}
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var err error
	if c.look, err = pages.NewLook(c.Brand, c.Templates); err != nil {
		return c, err
	}
	return c, c.validate()
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// orElse fills what t leaves open from other. Idle is never longer than
// Lifetime.
func (t SessionTerms) orElse(other SessionTerms) SessionTerms {
	setDefault(&t.Lifetime, other.Lifetime)
	setDefault(&t.Idle, other.Idle)
	t.Idle = min(t.Idle, t.Lifetime)
	return t
}

func (c Config) validate() error {
	switch {
	case c.Method != MethodBoth && c.Method != MethodCode && c.Method != MethodLink:
		return fmt.Errorf("method %q: write both, code or link", c.Method)
	case c.CodeLength < 6 || c.CodeLength > 12:
		return fmt.Errorf("code %d: write a length of 6 to 12", c.CodeLength)
	case c.Expires < time.Minute || c.Expires > time.Hour:
		return fmt.Errorf("expires %s: write a duration of 60s to 1h", c.Expires)
	}
	if err := c.Session.validate(); err != nil {
		return err
	}
	if err := c.Limits.validate(); err != nil {
		return err
	}
	if c.Limits.Attempts.Count > maxAttempts {
		return fmt.Errorf("limit attempts %d: write at most %d", c.Limits.Attempts.Count, maxAttempts)
	}
	return ValidatePrefix(c.Prefix)
}

func (t SessionTerms) validate() error {
	if t.Lifetime < time.Second || t.Idle < time.Second {
		return fmt.Errorf("session %s idle %s: write durations of 1s or more", t.Lifetime, t.Idle)
	}
	if t.Lifetime > 400*day {
		return fmt.Errorf("session %s: write at most 400d, longer than which browsers keep no cookie", t.Lifetime)
	}
	return nil
}

// Validate says whether the terms of a site, where zero means not set, can be.
func (t SessionTerms) Validate() error {
	return t.orElse(SessionTerms{Lifetime: 7 * day, Idle: 3 * day}).validate()
}

func (l Limits) validate() error {
	for name, limit := range map[string]Limit{
		"mails": l.Mails, "attempts": l.Attempts, "network": l.Network, "total": l.Total,
	} {
		if limit.Count < 1 || limit.Window < time.Second || limit.Window > 30*day {
			return fmt.Errorf("limit %s %d %s: write a count of 1 or more and a window of 1s to 30d", name, limit.Count, limit.Window)
		}
	}
	return nil
}

// ValidatePrefix says whether all pages can be below the path: an absolute
// path of plain segments, without a slash at its end.
func ValidatePrefix(prefix string) error {
	const remedy = `: write a path such as "/.auth": letters, digits, "-", "_" and ".", no slash at the end`
	if len(prefix) < 2 || len(prefix) > 64 || prefix[0] != '/' {
		return errors.New("prefix " + prefix + remedy)
	}
	for segment := range strings.SplitSeq(prefix[1:], "/") {
		if strings.Trim(segment, ".") == "" || strings.Trim(segment, prefixChars) != "" {
			return errors.New("prefix " + prefix + remedy)
		}
	}
	return nil
}

const prefixChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
