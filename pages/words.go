package pages

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// span says a duration the way people do, rounded up: who waits that long has
// waited long enough. The script has the same in small.
func span(d time.Duration) string {
	s := seconds(d)
	switch {
	case s <= 90:
		return plural(s, "second")
	case s <= 90*60:
		return plural((s+59)/60, "minute")
	default:
		return plural((s+3599)/3600, "hour")
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// seconds are the whole seconds of a duration, rounded up, never below zero.
func seconds(d time.Duration) int {
	if d <= 0 {
		return 0
	}
	return int((d-1)/time.Second) + 1
}

// stamp is a time to read, machine the same for programs. Both are UTC, since
// nobody has told the visitor's zone; the script puts in the local time.
func stamp(t time.Time) string   { return t.UTC().Format("2 January 2006, 15:04 UTC") }
func machine(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// signInPage is the form that asks for an address.
func signInPage(prefix, returnTo string) string {
	if returnTo == "" {
		return prefix + "/sign-in"
	}
	return prefix + "/sign-in?" + url.Values{"return_to": {returnTo}}.Encode()
}

// signInAgain is the form for somebody who may be signed in already.
func signInAgain(prefix, returnTo string) string {
	query := url.Values{"prompt": {"login"}}
	if returnTo != "" {
		query.Set("return_to", returnTo)
	}
	return prefix + "/sign-in?" + query.Encode()
}

// codePage is the page that waits for a request to be answered.
func codePage(prefix, request, returnTo string) string {
	query := url.Values{"request": {request}}
	if returnTo != "" {
		query.Set("return_to", returnTo)
	}
	return prefix + "/code?" + query.Encode()
}

// localPath lets through nothing but a path of this site: a link on a sign-in
// page that leads elsewhere is what phishing is made of. Browsers read a
// backslash as a slash, and drop control characters within an address.
func localPath(s string) string {
	if !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") ||
		strings.ContainsFunc(s, func(r rune) bool { return r == '\\' || r < ' ' }) {
		return "/"
	}
	return s
}

// startForm is the form that asks for an address, as two pages have it.
type startForm struct {
	Prefix, Email, ReturnTo, Problem string
	// Focus puts the cursor into the field, where the form is what the page is for.
	Focus bool
}

func newStartForm(prefix, email, returnTo, problem string, focus bool) startForm {
	return startForm{prefix, email, returnTo, problem, focus}
}
