package gateway_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/gatewaytest"
)

// TestClockSetBack sets the clock back while somebody is signed in and somebody
// else has asked for a mail: both get in, strangers do not, and nothing that was
// used up works again.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{time.Second, 5 * time.Minute, time.Hour, 30 * 24 * time.Hour, 20 * 365 * 24 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			t.Parallel()
			site := gatewaytest.New(t, gatewaytest.Options{})
			signedIn, waiting := site.Browser(), site.Browser()
			signedIn.Start(ann)
			used := site.LastMail(ann)
			signedIn.Code(used.Code).WantLocation(t, "/")
			waiting.Start(bob)
			right := site.LastMail(bob).Code

			site.Clock.Step(-jump)
			wantShut(t, site)
			signedIn.Fetch("/").Want(t, http.StatusOK)
			wantSpent(t, site, signedIn, used)
			waiting.Code(right).WantLocation(t, "/")
			site.Browser().SignIn("cid@example.com")

			site.Clock.Step(jump) // and it is mended
			wantShut(t, site)
			if signedIn.SignedIn() != ann {
				t.Error("who was signed in before was thrown out")
			}
			// A session that was begun so long ago, by the clock, is over.
			if in := waiting.SignedIn() == bob; in != (jump < 3*24*time.Hour) {
				t.Errorf("who signed in meanwhile is in: %t", in)
			}
			wantSpent(t, site, signedIn, used)
		})
	}
}

// TestClockSetForward sets the clock forward by more than everything lives, and
// back: what is over is refused, what was used up stays so, and who comes next
// gets in.
func TestClockSetForward(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	signedIn, waiting := site.Browser(), site.Browser()
	signedIn.Start(ann)
	used := site.LastMail(ann)
	signedIn.Code(used.Code).WantLocation(t, "/")
	waiting.Start(bob)
	right := site.LastMail(bob).Code

	const jump = 10 * 365 * 24 * time.Hour
	site.Clock.Step(jump)
	wantShut(t, site)
	if signedIn.SignedIn() != "" {
		t.Error("the session goes on")
	}
	wantSpent(t, site, signedIn, used)
	waiting.Code(right).Want(t, http.StatusGone)
	next := site.Browser()
	next.SignIn("cid@example.com")

	site.Clock.Step(-jump)
	wantShut(t, site)
	if next.SignedIn() != "cid@example.com" {
		t.Error("who signed in meanwhile was thrown out")
	}
	wantSpent(t, site, signedIn, used)
	site.Browser().SignIn("dan@example.com")
}

// TestClockSetBackAndLimits uses limits up before the clock is set back: they
// hold, but lock nobody out for as long as the clock was wrong.
func TestClockSetBackAndLimits(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{5 * time.Minute, 24 * time.Hour, 365 * 24 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			t.Parallel()
			site := gatewaytest.New(t, gatewaytest.Options{})
			b := site.Browser()
			b.Start(ann)
			right := site.LastMail(ann).Code
			for _, code := range wrongCodes(right, 5) {
				b.Code(code)
			}
			b.Code(right).Want(t, http.StatusTooManyRequests)
			for i := range 40 {
				site.Browser().Start(fmt.Sprintf("u%d@example.com", i))
			}
			site.Browser().Start(bob).Want(t, http.StatusTooManyRequests)

			site.Clock.Step(-jump)
			site.Advance(20 * time.Minute) // two windows
			fresh := site.Browser()
			fresh.SignIn(ann)
			if fresh.SignedIn() != ann {
				t.Error("locked out since the clock was set back")
			}
		})
	}
}

// TestClockSetBackAndMail sets the clock back while the mail server is down: what
// is queued goes out when it is back, within the limits, and not when the clock
// has caught up.
func TestClockSetBackAndMail(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{time.Second, time.Hour, 365 * 24 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			t.Parallel()
			site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{Limits: gateway.Limits{
				Mails: gateway.Limit{Count: 2, Window: time.Minute}, Attempts: gateway.Limit{Count: 19, Window: time.Hour},
			}}})
			site.Mails.Break(gatewaytest.Temporary)
			var all []*gatewaytest.Browser
			for range 3 { // the third is over the limit
				b := site.Browser()
				b.Start(ann).Want(t, http.StatusSeeOther)
				all = append(all, b)
			}
			eventually(t, "it was tried", func() bool { return site.Mails.Tries() > 0 })
			site.Clock.Step(-jump)
			site.Restart() // a process that goes on counts by a clock that is never set
			site.Mails.Break(gatewaytest.Healthy)
			eventually(t, "the queued mails came", func() bool {
				site.Wake()
				return len(site.Mails.To(ann)) >= 2
			})
			site.Advance(2 * time.Minute)
			eventually(t, "the postponed mail came", func() bool { return len(site.Mails.To(ann)) == 3 })
			right := map[string]bool{}
			for _, mail := range site.Mails.To(ann) {
				right[mail.Code] = true
			}
			for _, b := range all {
				entered := false
				for code := range right {
					entered = entered || b.Code(code).Status == http.StatusSeeOther
				}
				if !entered {
					t.Error("no code works in a browser that asked")
				}
			}
		})
	}
}

// wantShut wants strangers to be kept out.
func wantShut(t *testing.T, site *gatewaytest.Site) {
	t.Helper()
	before := site.Reached()
	stranger := site.Browser()
	stranger.Fetch("/").Want(t, http.StatusUnauthorized)
	stranger.Open("/").Want(t, http.StatusSeeOther)
	stranger.SetCookie(gateway.SessionCookie, "made-up")
	stranger.Fetch("/").Want(t, http.StatusUnauthorized)
	if site.Reached() != before {
		t.Error("a stranger reached the upstream")
	}
}

// wantSpent tries credentials that were used, in a browser with the binding of
// the one that used them.
func wantSpent(t *testing.T, site *gatewaytest.Site, b *gatewaytest.Browser, mail gatewaytest.Mail) {
	t.Helper()
	again := b.On(site)
	again.SetCookie(gateway.SessionCookie, "")
	again.Code(mail.Code).Want(t, http.StatusGone)
	again.OpenLink(mail.Link).Want(t, http.StatusGone)
}

// TestClockSetBackAndAssertion: an assertion that was signed before the clock was
// set back is not of now, and is not used again.
func TestClockSetBackAndAssertion(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	b.SignIn(ann)
	b.Fetch("/").Upstream(t)
	site.Clock.Step(-2 * time.Hour)
	got := claimsOf(t, b.Fetch("/").Upstream(t).Header.Get(gateway.HeaderAssertion))
	now := site.Clock.Now().Unix()
	if got.IssuedAt > now || got.Expires > now+300 {
		t.Errorf("issued %d s and expiring %d s from now", got.IssuedAt-now, got.Expires-now)
	}
}
