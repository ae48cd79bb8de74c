package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/gatewaytest"
	"github.com/postern-auth/postern/store"
)

// ends are what the account page's forms say of sessions, in its order.
func ends(page string) (all []string) {
	for _, found := range regexp.MustCompile(`name="end" value="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		all = append(all, found[1])
	}
	return all
}

// family is ann in three browsers, one after the other, beside bob and beside ann
// at another site.
type family struct {
	*gatewaytest.Site
	first, second, third, bob, elsewhere *gatewaytest.Browser
}

func newFamily(t *testing.T) *family {
	t.Helper()
	const git = "git.example.com"
	site := gatewaytest.New(t, gatewaytest.Options{Others: []gateway.SiteConfig{{
		Host: git, Origin: "https://" + git, Rules: []*gateway.Rule{gatewaytest.Rule(t, "*@example.com")},
	}}})
	f := &family{Site: site, first: site.Browser(), second: site.Browser(), third: site.Browser(), bob: site.Browser()}
	f.second.UserAgent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0"
	f.second.IP = "198.51.100.7"
	f.elsewhere = f.bob.At(git)
	for _, b := range []*gatewaytest.Browser{f.first, f.second, f.third, f.elsewhere} {
		b.SignIn(ann)
		f.Advance(time.Minute) // the limit of mails
	}
	f.bob.SignIn(bob)
	return f
}

func (f *family) wantIn(t *testing.T, first, second, third bool) {
	t.Helper()
	for i, want := range []bool{first, second, third} {
		if got := []*gatewaytest.Browser{f.first, f.second, f.third}[i].SignedIn() == ann; got != want {
			t.Errorf("browser %d: signed in %v, want %v", i+1, got, want)
		}
	}
	if f.bob.SignedIn() != bob || f.elsewhere.SignedIn() != ann {
		t.Error("somebody else, or another site, was signed out")
	}
}

// The account page shows one's own sessions at this site, and no others.
func TestAccountShowsSessions(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	page := f.first.Open("/.auth/").Want(t, 200)
	wantPage(t, page)
	page.WantText(t, "Firefox on Windows", "198.51.100.7", "this browser", "End all others", "End all")
	page.WantNoText(t, bob, "git.example.com")
	if all := ends(page.Body); len(all) != 4 || all[2] != "others" || all[3] != "all" {
		t.Errorf("the forms end %v", all)
	}
	for _, secret := range []string{f.first.Cookie(gateway.SessionCookie), f.second.Cookie(gateway.SessionCookie)} {
		if strings.Contains(page.Body, secret) {
			t.Error("the page shows a secret")
		}
	}
	if all := ends(f.bob.Open("/.auth/").Want(t, 200).Body); len(all) != 0 {
		t.Errorf("whoever has one session can end %v", all)
	}
}

func TestEndOneSession(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	// Those of others are seen first: the third browser was used last.
	second := ends(f.first.Open("/.auth/").Body)[1]
	f.bob.Submit("/.auth/sessions", "end", second).WantLocation(t, "/.auth/")
	f.elsewhere.Submit("/.auth/sessions", "end", second).WantLocation(t, "/.auth/")
	f.wantIn(t, true, true, true)
	secret := f.second.Cookie(gateway.SessionCookie)
	f.first.Submit("/.auth/sessions", "end", second).WantLocation(t, "/.auth/")
	f.wantIn(t, true, false, true)
	wantDead(t, f.Site, secret)
	f.first.Submit("/.auth/sessions", "end", second).WantLocation(t, "/.auth/") // once more
	f.Restart()
	f.wantIn(t, true, false, true)
}

func TestEndOtherSessions(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	f.second.Submit("/.auth/sessions", "end", "others").WantLocation(t, "/.auth/")
	f.wantIn(t, false, true, false)
	f.second.Open("/.auth/").WantNoText(t, "others")
}

func TestEndAllSessions(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	answer := f.second.Submit("/.auth/sessions", "end", "all").WantLocation(t, "/.auth/signed-out")
	if cookie := answer.Cookie(gateway.SessionCookie); cookie == nil || cookie.MaxAge >= 0 {
		t.Errorf("the cookie stays: %v", cookie)
	}
	f.wantIn(t, false, false, false)
}

// One's own session is ended as by signing out.
func TestEndOwnSession(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	sessions, _, err := f.Engine.Sessions(t.Context(), f.Site.Site(f.Host), f.first.Cookie(gateway.SessionCookie))
	if err != nil || len(sessions) != 3 || !sessions[0].This {
		t.Fatalf("%v, %d sessions", err, len(sessions))
	}
	f.first.Submit("/.auth/sessions", "end", sessions[0].ID).WantLocation(t, "/.auth/signed-out")
	f.wantIn(t, false, true, true)
}

func TestEndSessionsNeedsOne(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	f.Browser().Submit("/.auth/sessions", "end", "all").WantLocation(t, "/.auth/sign-in?return_to=%2F.auth%2F")
	f.first.Submit("/.auth/sessions").Want(t, 415)
	f.first.Do(gatewaytest.Sent{Method: "POST", Path: "/.auth/sessions", Form: map[string][]string{"end": {"all"}},
		Header: map[string]string{"Sec-Fetch-Site": "cross-site"}}).Want(t, 403)
	f.first.Do(gatewaytest.Sent{Method: "GET", Path: "/.auth/sessions"}).Want(t, 405)
	f.wantIn(t, true, true, true)
}

// Sessions that are over or were replaced are not shown, and what is there beside
// those that are shown is ended with all.
func TestAccountShowsLiveSessions(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{Session: gateway.SessionTerms{Lifetime: time.Hour, Idle: time.Hour}}})
	b := site.Browser()
	b.SignIn(ann)
	site.Advance(time.Minute)
	b.SignIn(ann)
	if all := ends(b.Open("/.auth/").Body); len(all) != 0 {
		t.Errorf("a session that was replaced is shown: %v", all)
	}
	var opening sync.WaitGroup
	secrets := make([]string, 40)
	for i := range secrets {
		secrets[i] = fmt.Sprintf("%043d", i)
		opening.Go(func() {
			_, err := site.Engine.Open(context.Background(), gateway.OpenSession{Site: site.Site(site.Host), Secret: secrets[i], Email: ann, Method: "code"})
			if err != nil {
				t.Error(err)
			}
		})
	}
	opening.Wait()
	page := b.Open("/.auth/").Want(t, 200)
	wantPage(t, page)
	page.WantText(t, "And 33 more.")
	b.Submit("/.auth/sessions", "end", "others").WantLocation(t, "/.auth/")
	for _, secret := range secrets {
		if _, err := site.Engine.Identify(t.Context(), site.Site(site.Host), secret); !errors.Is(err, gateway.ErrNoSession) {
			t.Errorf("after all others were ended: %v", err)
		}
	}
	site.Advance(2 * time.Hour)
	b.Open("/.auth/").WantLocation(t, "/.auth/sign-in?return_to=%2F.auth%2F")
}

// Where sessions cannot be ended, the answer says so, and they can be ended later.
func TestEndSessionsFails(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	f.Store.Reset(func(gatewaytest.Write) error { return store.ErrFull }, nil)
	for _, which := range []string{"others", "all"} {
		f.first.Submit("/.auth/sessions", "end", which).Want(t, 503).WantText(t, "You are still signed in")
	}
	f.Store.Reset(nil, nil)
	f.wantIn(t, true, true, true)
	f.first.Submit("/.auth/sessions", "end", "all").WantLocation(t, "/.auth/signed-out")
	f.wantIn(t, false, false, false)
}
