package gateway_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/gatewaytest"
)

// shape is what an attacker can compare of two answers: everything but values
// that are random.
type shape struct {
	status  int
	headers string
	cookies string
	body    string
}

func shapeOf(a *gatewaytest.Answer, b *gatewaytest.Browser, email string) shape {
	s := shape{status: a.Status}
	clean := strings.NewReplacer(b.Request, "ID", email, "EMAIL", "%40", "@")
	var fields []string
	for field, values := range a.Header {
		switch field {
		case "Date":
			continue
		case "Set-Cookie":
			for _, cookie := range (&http.Response{Header: a.Header}).Cookies() {
				s.cookies += fmt.Sprintln(cookie.Name, len(cookie.Value), cookie.MaxAge, cookie.SameSite, cookie.Secure, cookie.HttpOnly)
			}
			continue
		}
		fields = append(fields, field+": "+clean.Replace(strings.Join(values, "|")))
	}
	slices.Sort(fields)
	s.headers, s.body = strings.Join(fields, "\n"), clean.Replace(a.Body)
	return s
}

// TestRefusedAddressLooksLikeAnyOther plays the same script for an address that
// may enter and for one that may not, of the same length, and compares.
func TestRefusedAddressLooksLikeAnyOther(t *testing.T) {
	t.Parallel()
	const may, mayNot = "someone@example.com", "someone@example.org"
	for _, method := range []gateway.Method{gateway.MethodBoth, gateway.MethodCode, gateway.MethodLink} {
		for _, renew := range []bool{false, true} {
			t.Run(fmt.Sprint(method, renew), func(t *testing.T) {
				t.Parallel()
				config := gateway.Config{Method: method, RenewOnResend: renew}
				one, kinds := play(t, config, may)
				other, otherKinds := play(t, config, mayNot)
				for i := range one {
					if one[i] != other[i] {
						t.Errorf("step %d:\n%+v\n%+v", i, one[i], other[i])
					}
				}
				for i := range kinds {
					if !slices.Equal(kinds[i], otherKinds[i]) {
						t.Errorf("step %d writes %v for one and %v for the other", i, kinds[i], otherKinds[i])
					}
				}
			})
		}
	}
}

// play goes through what somebody without the mail can do, and returns what they
// see, and what was written meanwhile.
func play(t *testing.T, config gateway.Config, email string) (seen []shape, kinds [][]string) {
	t.Helper()
	site := gatewaytest.New(t, gatewaytest.Options{Config: config})
	b := site.Browser()
	b.Open("/.auth/sign-in")
	step := func(do func() *gatewaytest.Answer) {
		t.Helper()
		site.HoldMail()
		site.Store.Reset(nil, nil)
		a := do()
		kinds = append(kinds, site.Store.Kinds())
		seen = append(seen, shapeOf(a, b, email))
		site.ReleaseMail()
		site.Settle()
	}
	codePage := func() *gatewaytest.Answer { return b.Open("/.auth/code?request=" + b.Request) }
	step(func() *gatewaytest.Answer { return b.StartFor(email, "/x") })
	step(codePage)
	step(func() *gatewaytest.Answer { return b.StartFor(email, "/y") })
	for i := range 7 {
		step(func() *gatewaytest.Answer { return b.Code(fmt.Sprintf("00000%d", i)) })
		step(func() *gatewaytest.Answer { return b.Code("000000") })
	}
	step(codePage)
	for range 3 {
		step(b.Resend)
		step(codePage)
	}
	site.Advance(time.Minute)
	step(codePage)
	step(b.Resend)
	other := site.Browser()
	step(func() *gatewaytest.Answer { return other.Open("/.auth/code?request=" + b.Request) })
	site.Advance(9 * time.Minute)
	step(codePage)
	step(func() *gatewaytest.Answer { return b.Code("123456") })
	site.Advance(time.Minute)
	step(codePage)
	step(func() *gatewaytest.Answer { return b.Code("123456") })
	return seen, kinds
}

func TestRefusedAddressGetsNothing(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{AnyBrowser: true}})
	b := site.Browser()
	b.Start(eve).Want(t, 303)
	site.Settle()
	if site.Mails.Tries() != 0 {
		t.Error("a mail")
	}
	if strings.Contains(site.Log(), eve) {
		t.Error("the log says whom it refused")
	}
	// A request stays what it was, whatever becomes of the policy.
	site.Reload(func(o *gatewaytest.Options) { o.Rules = []*gateway.Rule{gatewaytest.Rule(t, "anyone")} })
	b.Resend().Want(t, 303)
	site.Settle()
	if site.Mails.Tries() != 0 {
		t.Error("a request for a refused address came to life")
	}
}

// The code that a refused address's request would have is never right: not even
// who has the keys could sign in by it.
func TestRefusedAddressHasNoRightCode(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{Rules: []*gateway.Rule{gatewaytest.Rule(t, ann)}})
	b := site.Browser()
	b.Start(bob)
	site.Settle()
	// In a copy of this world the request is made into one like any other.
	database := site.CopyDatabase()
	err := database.Update(t.Context(), "signin/"+b.Request, 0, func(old []byte) ([]byte, error) {
		return []byte(strings.Replace(string(old), `"decoy":true`, `"decoy":false`, 1)), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	fork := gatewaytest.New(t, gatewaytest.Options{Database: database, KeyFile: site.KeyFile, Clock: site.Clock})
	there := b.On(fork)
	there.Resend().Want(t, 303)
	mail := fork.LastMail(bob)
	b.Code(mail.Code).Want(t, 422).WantText(t, "4 attempts left")
	b.OpenLink(mail.Link).Want(t, 410)
	there.Code(mail.Code).WantLocation(t, "/")
}

// Who was let in meanwhile must not be left waiting for a mail that never comes.
func TestAddressIsLetInMeanwhile(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	b.Start(eve).Want(t, 303)
	site.Settle()
	site.Reload(func(o *gatewaytest.Options) { o.Rules = []*gateway.Rule{gatewaytest.Rule(t, "anyone")} })
	b.Start(eve).Want(t, 303)
	site.Settle()
	if len(site.Mails.To(eve)) != 1 {
		t.Errorf("%d mails", len(site.Mails.To(eve)))
	}
}

func TestSessionIsReplaced(t *testing.T) {
	t.Parallel()
	const blog = "blog.example.com"
	site := gatewaytest.New(t, gatewaytest.Options{Others: []gateway.SiteConfig{{Host: blog, Origin: "https://" + blog}}})
	b := site.Browser()
	b.SignIn(ann)
	first := b.Cookie(gateway.SessionCookie)
	elsewhere := b.At(blog)
	elsewhere.Open("/.auth/sign-in").Want(t, 200)
	elsewhere.Do(gatewaytest.Sent{Method: "POST", Path: "/.auth/sign-in", Form: map[string][]string{"email": {ann}}, Header: map[string]string{"Sec-Fetch-Site": "same-origin"}}).Want(t, 303)
	elsewhere.OpenLink(site.LastMail(ann).Link).Want(t, 303)

	b.SignIn(bob)
	second := b.Cookie(gateway.SessionCookie)
	if first == second {
		t.Fatal("one secret for two sessions")
	}
	wantDead(t, site, first)
	b.StartFor(bob, "/")
	b.OpenLink(site.LastMail(bob).Link).Want(t, 303)
	wantDead(t, site, second)
	if b.SignedIn() != bob || elsewhere.SignedIn() != ann {
		t.Error("the other site's session is concerned")
	}
	// A session of one site is none at the other.
	thief := site.Browser().At(blog)
	thief.SetCookie(gateway.SessionCookie, b.Cookie(gateway.SessionCookie))
	if thief.SignedIn() != "" {
		t.Error("a session of another site counts")
	}
	thief.SignOut()
	if b.SignedIn() != bob {
		t.Error("another site ended the session")
	}
	b.SignOut()
	if elsewhere.SignedIn() != ann {
		t.Error("signing out here signed out there")
	}
}

func TestCredentialsBelongToOneSite(t *testing.T) {
	t.Parallel()
	const blog = "blog.example.com"
	site := gatewaytest.New(t, gatewaytest.Options{Others: []gateway.SiteConfig{{Host: blog, Origin: "https://" + blog}}})
	b := site.Browser()
	b.Start(ann)
	mail := site.LastMail(ann)
	there := b.At(blog)
	// The browser cookie of one site is none at the other either.
	there.SetCookie(gateway.BrowserCookie, b.Cookie(gateway.BrowserCookie))
	there.OpenLink(mail.Link).Want(t, 410).WantNoText(t, ann)
	own := map[string]string{"Sec-Fetch-Site": "same-origin"}
	there.Do(gatewaytest.Sent{Method: "POST", Path: "/.auth/verify", Form: map[string][]string{"request": {b.Request}, "code": {mail.Code}}, Header: own}).Want(t, 403)
	there.Open("/.auth/code?request="+b.Request).Want(t, 410).WantNoText(t, ann)
	there.SetCookie(gateway.BrowserCookie, "")
	there.Open("/.auth/sign-in")
	there.Do(gatewaytest.Sent{Method: "POST", Path: "/.auth/verify", Form: map[string][]string{"request": {b.Request}, "code": {mail.Code}}, Header: own}).Want(t, 410)
	there.Do(gatewaytest.Sent{Method: "POST", Path: "/.auth/resend", Form: map[string][]string{"request": {b.Request}}, Header: own}).Want(t, 410)
	if there.SignedIn() != "" {
		t.Error("signed in elsewhere")
	}
	b.Code(mail.Code).WantLocation(t, "/")
}

func TestTamperedCookies(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	b.Start(ann)
	mail := site.LastMail(ann)
	sealed := b.Cookie(gateway.BrowserCookie)
	for i := 0; i < len(sealed); i += 7 {
		changed := []byte(sealed)
		changed[i] ^= 1
		forged := site.Browser()
		forged.SetCookie(gateway.BrowserCookie, string(changed))
		forged.CodeFor(b.Request, mail.Code).Want(t, 403)
	}
	for _, value := range []string{"x", sealed[:len(sealed)-4], sealed + "A", sealed + sealed, `"` + sealed + `"`, strings.Repeat("A", 20_000), "e30=", "null"} {
		forged := site.Browser()
		forged.SetCookie(gateway.BrowserCookie, value)
		forged.CodeFor(b.Request, mail.Code).Want(t, 403)
		forged.Start(bob).Want(t, 303) // such a browser is a new one
	}
	// Sealed for another cookie name.
	forged := site.Browser()
	forged.SetCookie(gateway.LoopbackBrowserCookie, sealed)
	forged.SetCookie(gateway.SessionCookie, sealed)
	forged.CodeFor(b.Request, mail.Code).Want(t, 403)
	// Planted beside the real one, before and after it.
	for _, line := range []string{gateway.BrowserCookie + "=x; " + gateway.BrowserCookie + "=" + sealed, gateway.BrowserCookie + "=" + sealed + "; " + gateway.BrowserCookie + "=x"} {
		raw := site.Browser()
		raw.Header = http.Header{"Cookie": {line}}
		raw.Open("/.auth/code?request="+b.Request).Want(t, 200)
	}

	b.Code(mail.Code).WantLocation(t, "/")
	secret := b.Cookie(gateway.SessionCookie)
	for i := range len(secret) {
		changed := []byte(secret)
		changed[i] = "AB"[boolInt(changed[i] == 'A')]
		wantDead(t, site, string(changed))
	}
	for _, value := range []string{secret[:42], secret + "A", secret + "=", strings.ToLower(secret), " " + secret[1:], strings.Repeat("A", 100_000)} {
		if value != secret {
			wantDead(t, site, value)
		}
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestTokensThatAreNone(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{AnyBrowser: true}})
	b := site.Browser()
	b.Start(ann)
	link := site.LastMail(ann).Link
	token := gatewaytest.Token(link)
	forged := []string{"", "x", token[:len(token)-1], token + "A", token + "=", strings.ToUpper(token), b.Request, strings.Repeat("A", len(token)), strings.Repeat("A", 10_000), token + "%00"}
	for i := 0; i < len(token); i += 3 {
		changed := []byte(token)
		changed[i] = "AB"[boolInt(changed[i] == 'A')]
		forged = append(forged, string(changed))
	}
	// The spare bits of the last character must not make a second spelling.
	for _, last := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		if other := token[:len(token)-1] + string(last); other != token {
			forged = append(forged, other)
		}
	}
	for _, f := range forged {
		b.Open("/.auth/link?token="+f).Want(t, 410)
		b.Submit("/.auth/link", "token", f).Want(t, 410)
	}
	for _, lineBreak := range []string{"\r", "\n", "\r\n"} {
		b.Submit("/.auth/link", "token", token+lineBreak).Want(t, 410)
		b.Open("/.auth/link?token="+url.QueryEscape(token[:20]+lineBreak+token[20:])).Want(t, 410)
	}
	b.Open("/.auth/link").Want(t, 410)
	if b.SignedIn() != "" {
		t.Fatal("signed in")
	}
	b.OpenLink(link).WantLocation(t, "/")
}

func TestSessionTerms(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	new := func() (*gatewaytest.Site, *gatewaytest.Browser) {
		site := gatewaytest.New(t, gatewaytest.Options{})
		b := site.Browser()
		b.SignIn(ann)
		return site, b
	}
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		site, b := new()
		site.Advance(3*day - time.Minute)
		if b.SignedIn() != ann {
			t.Error("out too early")
		}
		site.Advance(3*day + 6*time.Minute)
		if b.SignedIn() != "" {
			t.Error("in too long")
		}
	})
	t.Run("lifetime", func(t *testing.T) {
		t.Parallel()
		site, b := new()
		for range 7 {
			if b.SignedIn() != ann {
				t.Error("out too early")
			}
			site.Advance(day - time.Second)
		}
		if b.SignedIn() != ann {
			t.Error("out too early")
		}
		site.Advance(7 * time.Second)
		if b.SignedIn() != "" {
			t.Error("in too long")
		}
		b.Open("/").Want(t, 303)
	})
	t.Run("of the site", func(t *testing.T) {
		t.Parallel()
		long, short := gatewaytest.Rule(t, "*@example.com"), gatewaytest.Rule(t, ann)
		long.Session.Lifetime, short.Session.Lifetime = 30*day, time.Hour
		site := gatewaytest.New(t, gatewaytest.Options{Rules: []*gateway.Rule{long, short}})
		b := site.Browser()
		if cookie := b.SignIn(ann).Cookie(gateway.SessionCookie); cookie.MaxAge != 3600 {
			t.Errorf("ann: %d", cookie.MaxAge)
		}
		if cookie := b.SignIn(bob).Cookie(gateway.SessionCookie); cookie.MaxAge != 30*24*3600 {
			t.Errorf("bob: %d", cookie.MaxAge)
		}
		site.Advance(time.Hour)
		if b.SignedIn() != bob {
			t.Error("bob is out")
		}
	})
}

// TestPolicyAtEveryRequest: a session does not outlive the policy that let it in.
func TestPolicyAtEveryRequest(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	b.SignIn(ann)
	b.Open("/").Upstream(t)
	denied := gatewaytest.Rule(t, "*@example.com")
	denied.Deny = gatewaytest.Who(t, ann)
	site.Reload(func(o *gatewaytest.Options) { o.Rules = []*gateway.Rule{denied} })
	b.Open("/").Want(t, 403)
	b.Fetch("/").Want(t, 403)
	site.Reload(func(o *gatewaytest.Options) { o.Rules = []*gateway.Rule{gatewaytest.Rule(t, ann)} })
	b.Open("/").Upstream(t)
}

func TestReloadKeepsEverything(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	in, waiting := site.Browser(), site.Browser()
	in.SignIn(ann)
	waiting.Start(bob)
	waiting.Code("000000")
	for _, renew := range []func(){func() { site.Reload(func(*gatewaytest.Options) {}) }, site.Restart, site.KillAndRestart} {
		renew()
		if in.SignedIn() != ann {
			t.Fatal("the session is lost")
		}
		waiting.Open("/.auth/code?request="+waiting.Request).Want(t, 200)
	}
	waiting.Code("000001").WantText(t, "3 attempts left")
	waiting.Code(site.LastMail(bob).Code).WantLocation(t, "/")
}

func TestEngineErrors(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	a := ask(t, site, aBrowser("ann"), ann)
	code := site.LastMail(ann).Code
	if _, err := (asked{site, nil, a.id}).code(code); !errors.Is(err, gateway.ErrOtherBrowser) {
		t.Errorf("no browser: %v", err)
	}
	if _, err := (asked{site, &gateway.Browser{}, a.id}).code(code); !errors.Is(err, gateway.ErrOtherBrowser) {
		t.Errorf("no binding: %v", err)
	}
	if _, err := (asked{site, aBrowser("other"), a.id}).code(code); !errors.Is(err, gateway.ErrOtherBrowser) {
		t.Errorf("another browser: %v", err)
	}
	if _, err := a.code("x"); !errors.Is(err, gateway.ErrMalformed) {
		t.Errorf("malformed: %v", err)
	}
	if _, err := (asked{site, a.browser, "x"}).code(code); !errors.Is(err, gateway.ErrUnknown) {
		t.Errorf("unknown: %v", err)
	}
	verified, err := a.code(code)
	if err != nil || verified.Email != ann || verified.Session.Method != "code" || verified.Secret == "" {
		t.Fatalf("%+v, %v", verified, err)
	}
	if _, err := site.Engine.Identify(t.Context(), site.Site(site.Host), verified.Secret); err != nil {
		t.Errorf("identify: %v", err)
	}
	if err := site.Engine.End(t.Context(), site.Site(site.Host), verified.Secret); err != nil {
		t.Errorf("end: %v", err)
	}
	if _, err := site.Engine.Identify(t.Context(), site.Site(site.Host), verified.Secret); !errors.Is(err, gateway.ErrNoSession) {
		t.Errorf("identify after the end: %v", err)
	}
	if _, err := a.code(code); !errors.Is(err, gateway.ErrUnknown) {
		t.Errorf("again: %v", err)
	}
}

// A session of one site does not end because a sign-in at another one names it.
func TestOpenEndsNoForeignSession(t *testing.T) {
	t.Parallel()
	const blog = "blog.example.com"
	site := gatewaytest.New(t, gatewaytest.Options{Others: []gateway.SiteConfig{{Host: blog, Origin: "https://" + blog}}})
	b := site.Browser()
	b.SignIn(ann)
	for _, email := range []string{ann, bob} {
		_, err := site.Engine.Open(t.Context(), gateway.OpenSession{Site: site.Site(blog), Secret: strings.Repeat("x", 43), Email: email, Method: "code", Replaces: b.Cookie(gateway.SessionCookie)})
		if err != nil {
			t.Fatal(err)
		}
		if b.SignedIn() != ann {
			t.Errorf("signing in as %s elsewhere ended it", email)
		}
	}
}

// A session that is noted as used must not come back to life by that.
func TestEndWinsOverActivity(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	for range 20 {
		b := site.Browser()
		b.SignIn(ann)
		site.Advance(10 * time.Minute) // so that the next request is noted
		inParallel(8, func(i int) {
			if i == 0 {
				b.On(site).SignOut()
			} else {
				b.On(site).Fetch("/")
			}
		})
		wantDead(t, site, b.Cookie(gateway.SessionCookie))
	}
}

// Requests of many people at once never see each other's identity.
func TestIdentitiesDoNotMix(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	browsers := make([]*gatewaytest.Browser, 12)
	for i := range browsers {
		browsers[i] = site.Browser()
		browsers[i].SignIn(fmt.Sprintf("user%d@example.com", i))
	}
	inParallel(240, func(i int) {
		n := i % len(browsers)
		want := fmt.Sprintf("user%d@example.com", n)
		sent := browsers[n].Fetch("/").Upstream(t)
		if sent.Header.Get(gateway.HeaderUser) != want || claimsOf(t, sent.Header.Get(gateway.HeaderAssertion)).Email != want {
			t.Errorf("%s is %s upstream", want, sent.Header.Get(gateway.HeaderUser))
		}
	})
}
