package pages_test

import (
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/pages"
)

// TestForms holds the pages to the addresses and fields that the gateway reads.
func TestForms(t *testing.T) {
	waiting := pages.CheckMail{Common: around, Request: "r 1", Email: "ann@example.com", HasCode: true, HasLink: true,
		CodeLength: 6, ResendAfter: 24 * time.Second, ExpiresIn: 10 * time.Minute}
	with := func(change func(*pages.CheckMail)) pages.CheckMail {
		v := waiting
		change(&v)
		return v
	}
	for name, test := range map[string]struct {
		view       pages.View
		want, lack []string
	}{
		"sign in": {pages.SignIn{Common: around, ReturnTo: "/a?b=c&d"},
			[]string{`action="/.auth/sign-in"`, `name="email"`, `name="return_to" value="/a?b=c&amp;d"`, " autofocus"}, []string{"aria-invalid"}},
		"problem with the address": {pages.SignIn{Common: around, Problem: "No."},
			[]string{`aria-invalid="true"`, `aria-describedby="problem"`, `role="alert">No.<`}, []string{"return_to"}},
		"both ways": {waiting,
			[]string{`action="/.auth/verify"`, `action="/.auth/resend"`, `name="request" value="r 1"`, `name="code"`, `autocomplete="one-time-code"`,
				`inputmode="numeric"`, `data-poll="/.auth/code?request=r&#43;1"`, `data-expires="600"`, `data-wait="24"`, "24 seconds", "10 minutes",
				`href="/.auth/sign-in?prompt=login"`, "link"},
			[]string{`name="return_to"`, "aria-invalid"}},
		"a destination of its own": {with(func(v *pages.CheckMail) { v.ReturnTo, v.LeadsTo = "/a?b=c&d", "/a?b=c&d" }),
			[]string{`data-poll="/.auth/code?request=r&#43;1&amp;return_to=%2Fa%3Fb%3Dc%26d"`, `prompt=login&amp;return_to=%2Fa%3Fb%3Dc%26d`, `name="return_to" value="/a?b=c&amp;d"`}, nil},
		"the request's destination": {with(func(v *pages.CheckMail) { v.LeadsTo = "/a?b=c&d" }),
			[]string{`data-poll="/.auth/code?request=r&#43;1"`, `prompt=login&amp;return_to=%2Fa%3Fb%3Dc%26d"`}, []string{`name="return_to"`}},
		"letters": {with(func(v *pages.CheckMail) { v.CodeLetters = true }),
			[]string{`inputmode="text"`, `autocapitalize="characters"`, "6 letters"}, []string{"numeric"}},
		"code alone": {with(func(v *pages.CheckMail) { v.HasLink = false }), []string{`name="code"`}, []string{"the link", "its link"}},
		"link alone": {with(func(v *pages.CheckMail) { v.HasCode = false }), []string{"its link"}, []string{`name="code"`, "/verify", "the code"}},
		"no attempts": {with(func(v *pages.CheckMail) { v.NoAttempts, v.RetryAfter = true, 9*time.Minute }),
			[]string{"9 minutes", `data-wait="540"`, "The link in the mail still works"}, []string{`name="code"`, "/verify"}},
		"no attempts, no link": {with(func(v *pages.CheckMail) { v.NoAttempts, v.HasLink = true, false }), []string{"too many"}, []string{"link in"}},
		"wrong code": {with(func(v *pages.CheckMail) { v.Problem = "Wrong. 3 left." }),
			[]string{`role="alert">Wrong. 3 left.<`, `aria-invalid="true"`, `aria-describedby="problem"`}, nil},
		"other browser":      {pages.OtherBrowser{Common: around}, []string{`href="/.auth/sign-in"`}, []string{"the code"}},
		"other browser, too": {pages.OtherBrowser{Common: around, HasCode: true}, []string{"type the code from the mail there"}, nil},
		"other browser, on":  {pages.OtherBrowser{Common: around, ReturnTo: "/a?b=c&d"}, []string{`href="/.auth/sign-in?return_to=%2Fa%3Fb%3Dc%26d"`}, nil},
		"confirm": {pages.ConfirmLink{Common: around, Email: "ann@example.com", Token: "tok"},
			[]string{`action="/.auth/link"`, `name="token" value="tok"`, "ann@example.com"}, []string{"which ends"}},
		"replace":     {pages.ConfirmLink{Common: around, Replaces: "bob@example.com"}, []string{"<b>bob@example.com</b>, which ends"}, nil},
		"refused":     {pages.Refused{Common: around, Email: "ann@example.com", ReturnTo: "/x"}, []string{"ann@example.com", `prompt=login&amp;return_to=%2Fx`, `action="/.auth/sign-out"`}, nil},
		"expired":     {pages.Expired{Common: around, Email: "ann@example.com", ReturnTo: "/x"}, []string{`action="/.auth/sign-in"`, `value="ann@example.com"`, `value="/x"`}, []string{" autofocus"}},
		"signed out":  {pages.SignedOut{Common: around}, []string{`href="/.auth/sign-in"`}, []string{"<form"}},
		"limited":     {pages.Limited{Common: around, Message: "Too often.", RetryAfter: 40 * time.Second}, []string{"Too often.", "40 seconds"}, []string{`class="actions"`}},
		"back":        {pages.Limited{Common: around, BackTo: "/x?y", BackLabel: "Back to it"}, []string{`href="/x?y">Back to it`}, []string{"data-wait="}},
		"unsent":      {pages.UnsentForm{Common: around}, []string{`href="/.auth/sign-in" target="_blank" rel="noopener"`, "nothing was passed on"}, nil},
		"unsent, old": {pages.UnsentForm{Common: around, StepUp: true}, []string{`href="/.auth/sign-in?prompt=login" target="_blank" rel="noopener"`}, nil},
		"failure":     {pages.Failure{Common: around, Status: 404, Title: "T", Message: "M"}, []string{"<h1>T</h1>", "M", "404", `href="/"`}, nil},
		"account": {pages.Account{Common: around, Email: "ann@example.com", Groups: []string{"a", "b"}, Method: "link", SignedIn: time.Unix(0, 0)},
			[]string{`action="/.auth/sign-out"`, "a, b", "Link in a mail", `<time datetime="1970-01-01T00:00:00Z">1 January 1970, 00:00 UTC</time>`}, []string{"Valid until"}},
		"one session": {pages.Account{Common: around, Sessions: []pages.AccountSession{{ID: "own", Device: "Firefox on Linux", Network: "192.0.2.1", This: true}}},
			[]string{"<b>Firefox on Linux</b>", "this browser", "192.0.2.1"}, []string{`action="/.auth/sessions"`, "Last seen", "more"}},
		"sessions": {pages.Account{Common: around, More: 3, Sessions: []pages.AccountSession{{ID: "own", This: true}, {ID: "an<other", Device: "Safari on iOS"}}},
			[]string{`<form method="post" action="/.auth/sessions"><input type="hidden" name="end" value="an&lt;other">`, "Last seen", "And 3 more.", `value="others"`, `value="all"`}, []string{`value="own"`}},
	} {
		t.Run(name, func(t *testing.T) {
			// The constant blocks hold words of their own.
			page := block.ReplaceAllString(draw(t, test.view), "")
			for _, s := range test.want {
				if !strings.Contains(page, s) {
					t.Errorf("missing %q in\n%s", s, page)
				}
			}
			for _, s := range test.lack {
				if strings.Contains(page, s) {
					t.Errorf("there is %q", s)
				}
			}
		})
	}
}
