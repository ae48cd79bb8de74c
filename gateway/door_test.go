package gateway_test

import (
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

const (
	ann = "ann@example.com"
	bob = "bob@example.com"
	eve = "eve@elsewhere.example" // whom no rule admits
)

// wrongCodes are n distinct codes of as many digits, none of which is right.
func wrongCodes(right string, n int) []string {
	var codes []string
	for i := 0; len(codes) < n; i++ {
		if code := fmt.Sprintf("%0*d", max(6, len(right)), i); code != right {
			codes = append(codes, code)
		}
	}
	return codes
}

// wantPage checks what every page of ours has to have.
func wantPage(t *testing.T, a *gatewaytest.Answer) {
	t.Helper()
	for field, value := range map[string]string{
		"Cache-Control": "no-store", "Referrer-Policy": "strict-origin", "X-Frame-Options": "DENY",
		"X-Content-Type-Options": "nosniff", "X-Robots-Tag": "noindex",
	} {
		if got := a.Header[field]; len(got) != 1 || got[0] != value {
			t.Errorf("%s: %s is %q, want %q", a.Asked, field, got, value)
		}
	}
	policy := a.Header.Get("Content-Security-Policy")
	for _, must := range []string{"frame-ancestors 'none'", "default-src 'none'"} {
		if !strings.Contains(policy, must) {
			t.Errorf("%s: no %s in the policy %q", a.Asked, must, policy)
		}
	}
	for _, not := range []string{"unsafe-inline", "unsafe-eval", "form-action"} {
		if strings.Contains(policy, not) {
			t.Errorf("%s: %s in the policy %q", a.Asked, not, policy)
		}
	}
	if len(a.Body) > 20_000 {
		t.Errorf("%s: %d bytes", a.Asked, len(a.Body))
	}
	if to := a.Location(); to != "" && (!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//")) {
		t.Errorf("%s: leads to %q, which is no path", a.Asked, to)
	}
}

// frame is the Fetch metadata of a page within another one.
var frame = map[string]string{
	"Accept": "text/html", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe",
}

func TestWithoutSession(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	html := map[string]string{"Accept": "text/html"}
	top := map[string]string{"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
	tests := map[string]struct {
		sent gatewaytest.Sent
		want func(*testing.T, *gatewaytest.Answer)
	}{
		"navigation":                  {gatewaytest.Sent{Method: "GET", Path: "/a?b=c&d", Header: top}, leadsToSignIn("/a?b=c&d")},
		"navigation by HEAD":          {gatewaytest.Sent{Method: "HEAD", Path: "/a", Header: top}, leadsToSignIn("/a")},
		"an old browser":              {gatewaytest.Sent{Method: "GET", Path: "/a", Header: html}, leadsToSignIn("/a")},
		"two slashes":                 {gatewaytest.Sent{Method: "GET", Path: "//evil.example/", Header: html}, leadsToSignIn("/")},
		"too long a path":             {gatewaytest.Sent{Method: "GET", Path: "/" + strings.Repeat("a", 2048), Header: html}, leadsToSignIn("/")},
		"as long a path as can be":    {gatewaytest.Sent{Method: "GET", Path: "/" + strings.Repeat("a", 2047), Header: html}, leadsToSignIn("/" + strings.Repeat("a", 2047))},
		"an old script":               {gatewaytest.Sent{Method: "GET", Path: "/", Header: map[string]string{"Accept": "text/html", "X-Requested-With": "XMLHttpRequest"}}, isRefusedProgram},
		"a script":                    {gatewaytest.Sent{Method: "GET", Path: "/", Header: map[string]string{"Accept": "text/html", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}}, isRefusedProgram},
		"curl":                        {gatewaytest.Sent{Method: "GET", Path: "/", Header: map[string]string{"Accept": "*/*"}}, isRefusedProgram},
		"no Accept":                   {gatewaytest.Sent{Method: "GET", Path: "/"}, isRefusedProgram},
		"a frame":                     {gatewaytest.Sent{Method: "GET", Path: "/", Header: frame}, isRefusedProgram},
		"an image":                    {gatewaytest.Sent{Method: "GET", Path: "/x.png", Header: map[string]string{"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", "Sec-Fetch-Site": "same-origin"}}, isRefusedProgram},
		"another method":              {gatewaytest.Sent{Method: "PUT", Path: "/", Header: html}, isRefusedProgram},
		"a program's POST":            {gatewaytest.Sent{Method: "POST", Path: "/", Body: "{}", ContentType: "application/json"}, isRefusedProgram},
		"a form":                      {gatewaytest.Sent{Method: "POST", Path: "/a", Form: url.Values{"a": {"b"}}, Header: top}, isUnsentForm},
		"a form of an old browser":    {gatewaytest.Sent{Method: "POST", Path: "/a", Form: url.Values{"a": {"b"}}, Header: html}, isUnsentForm},
		"gRPC":                        {gatewaytest.Sent{Method: "POST", Path: "/pkg.Service/Call", Body: "x", ContentType: "application/grpc+proto"}, isRefusedCall("16")},
		"an upgrade":                  {gatewaytest.Sent{Method: "GET", Path: "/ws", Header: map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Accept": "text/html"}}, isRefusedProgram},
		"TRACE":                       {gatewaytest.Sent{Method: "TRACE", Path: "/"}, func(t *testing.T, a *gatewaytest.Answer) { a.Want(t, 405) }},
		"a cookie that is none":       {gatewaytest.Sent{Method: "GET", Path: "/", Header: map[string]string{"Cookie": gateway.SessionCookie + "=" + strings.Repeat("A", 43)}}, isRefusedProgram},
		"a cookie of the other name":  {gatewaytest.Sent{Method: "GET", Path: "/", Header: map[string]string{"Cookie": gateway.LoopbackSessionCookie + "=" + strings.Repeat("A", 43)}}, isRefusedProgram},
		"a service token that is not": {gatewaytest.Sent{Method: "GET", Path: "/", Header: map[string]string{"Authorization": "Bearer pst_x"}}, isRefusedProgram},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := b.Do(test.sent)
			wantPage(t, a)
			test.want(t, a)
		})
	}
	if site.Reached() != 0 {
		t.Errorf("%d requests reached the upstream", site.Reached())
	}
}

func leadsToSignIn(returnTo string) func(*testing.T, *gatewaytest.Answer) {
	return func(t *testing.T, a *gatewaytest.Answer) {
		t.Helper()
		a.WantLocation(t, "/.auth/sign-in?return_to="+url.QueryEscape(returnTo))
	}
}

func isRefusedProgram(t *testing.T, a *gatewaytest.Answer) {
	t.Helper()
	a.Want(t, http.StatusUnauthorized)
	if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("type %q", got)
	}
	if got := a.Header.Get("Www-Authenticate"); got != `Bearer realm="`+gatewaytest.Host+`"` {
		t.Errorf("challenge %q", got)
	}
	if got := a.JSON(t)["sign_in_url"]; got != "https://"+gatewaytest.Host+"/.auth/sign-in" {
		t.Errorf("sign_in_url %v", got)
	}
}

func isUnsentForm(t *testing.T, a *gatewaytest.Answer) {
	t.Helper()
	a.Want(t, http.StatusUnauthorized).WantText(t, "nothing was passed on", "/.auth/sign-in")
	if got := a.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/html") {
		t.Errorf("type %q", got)
	}
}

func isRefusedCall(status string) func(*testing.T, *gatewaytest.Answer) {
	return func(t *testing.T, a *gatewaytest.Answer) {
		t.Helper()
		a.Want(t, http.StatusOK)
		if got := a.Header.Get("Grpc-Status"); got != status {
			t.Errorf("grpc-status %q, want %s", got, status)
		}
		if got := a.Header.Get("Content-Type"); got != "application/grpc" {
			t.Errorf("type %q", got)
		}
	}
}

func TestSignInByCode(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	form := b.Follow("/report?year=2026").Want(t, 200).WantText(t, `name="email"`, `value="/report?year=2026"`)
	wantPage(t, form)

	started := b.StartFor(ann, "/report?year=2026")
	wantPage(t, started)
	started.WantLocation(t, "/.auth/code?request="+b.Request)
	if cookie := started.Cookie(gateway.BrowserCookie); cookie == nil || !cookie.HttpOnly || !cookie.Secure || cookie.SameSite != http.SameSiteLaxMode || cookie.MaxAge != 400*24*3600 {
		t.Errorf("browser cookie %v", cookie)
	}
	wantPage(t, b.Open(started.Location()).Want(t, 200).WantText(t, "one-time-code", "Send it again", "Use another address", b.Request))

	mail := site.LastMail(ann)
	if mail.Subject != mail.Code+" is your sign-in code for "+gatewaytest.Host {
		t.Errorf("subject %q", mail.Subject)
	}
	right := b.Code(mail.Code).WantLocation(t, "/report?year=2026")
	wantPage(t, right)
	cookie := right.Cookie(gateway.SessionCookie)
	if cookie == nil || !cookie.HttpOnly || !cookie.Secure || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" || cookie.MaxAge != 7*24*3600 || len(cookie.Value) != 43 {
		t.Fatalf("session cookie %v", cookie)
	}

	sent := b.Open("/report?year=2026").Upstream(t)
	if sent.URI != "/report?year=2026" || sent.Header.Get(gateway.HeaderUser) != ann || sent.Header.Get(gateway.HeaderEmail) != ann || sent.Header.Get("Cookie") != "" {
		t.Errorf("upstream was sent %+v", sent)
	}
	b.Open("/.auth/sign-in?return_to=/x").WantLocation(t, "/x")
	wantNoSecrets(t, site, mail, cookie.Value)
}

// wantNoSecrets looks for what must never be stored or logged.
func wantNoSecrets(t *testing.T, site *gatewaytest.Site, mail gatewaytest.Mail, more ...string) {
	t.Helper()
	secrets := append(more, gatewaytest.Token(mail.Link), mail.Code)
	for where, text := range map[string]string{"log": site.Log(), "store": site.Dump()} {
		for _, secret := range secrets {
			if secret == "" || strings.Contains(text, secret) {
				t.Errorf("%q is in the %s", secret, where)
			}
		}
	}
}

func TestSignInByLink(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	b.StartFor(ann, "/report")
	waiting := b.NewRequest(gatewaytest.Sent{Method: "GET", Path: "/.auth/code?request=" + b.Request}).URL.RequestURI()
	poll := func() *gatewaytest.Answer {
		return b.Do(gatewaytest.Sent{Method: "GET", Path: waiting, Header: map[string]string{"Accept": "application/json", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin"}})
	}
	if got := poll().Want(t, 200).JSON(t)["state"]; got != "pending" {
		t.Errorf("before: %v", got)
	}
	mail := site.LastMail(ann)
	if !strings.HasPrefix(mail.Link, "https://"+gatewaytest.Host+"/.auth/link?token=") {
		t.Errorf("link %q", mail.Link)
	}
	skipped := site.Skipped()
	wantPage(t, b.OpenLink(mail.Link).WantLocation(t, "/report"))
	if site.Skipped() != skipped+1 {
		t.Error("the link is in the access log")
	}
	if got := poll().Want(t, 200).JSON(t); got["state"] != "done" || got["location"] != "/report" {
		t.Errorf("after: %v", got)
	}
	b.Open(waiting).WantLocation(t, "/report")
	if b.SignedIn() != ann {
		t.Error("not signed in")
	}
	// The other tab's own destination wins.
	b.Open(waiting+"&return_to=/own").WantLocation(t, "/own")
	b.Open(waiting+"&return_to=//evil.example").WantLocation(t, "/")
}

// TestAnotherAddress begins anew from the page that waits, in a tab of its own
// destination and in one without, and from a link in another browser.
func TestAnotherAddress(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	b.StartFor(ann, "/deep?a=1")
	waiting := "/.auth/code?request=" + b.Request
	again := func(to string) string { return `href="/.auth/sign-in?prompt=login&amp;return_to=` + to + `"` }
	b.Open(waiting).WantText(t, again("%2Fdeep%3Fa%3D1"))
	b.Code("x").Want(t, 422).WantText(t, again("%2Fdeep%3Fa%3D1"))
	b.Open(waiting+"&return_to=/own").WantText(t, again("%2Fown"))
	b.Open(waiting+"&return_to=//evil.example").WantText(t, again("%2F"))
	b.Open("/.auth/sign-in?prompt=login&return_to=/deep?a%3D1").WantText(t, `name="return_to" value="/deep?a=1"`)

	site.Browser().OpenLink(site.LastMail(ann).Link).Want(t, 200).WantText(t, `href="/.auth/sign-in?return_to=%2Fdeep%3Fa%3D1"`)
}

func TestWrongCodes(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	b.Start(ann)
	code := site.LastMail(ann).Code
	for i, wrong := range wrongCodes(code, 5) {
		a := b.Code(wrong).Want(t, 422)
		wantPage(t, a)
		want := []string{"4 attempts left", "3 attempts left", "2 attempts left", "1 attempt left", "no attempts left"}[i]
		a.WantText(t, want)
		if got := a.Header.Get("Retry-After"); (got != "") != (i == 4) {
			t.Errorf("try %d: Retry-After %q", i, got)
		}
	}
	for what, code := range map[string]string{"another": "999999", "the right one": code} {
		a := b.Code(code).Want(t, 429)
		wantPage(t, a)
		if a.Header.Get("Retry-After") != "600" {
			t.Errorf("%s: Retry-After %q", what, a.Header.Get("Retry-After"))
		}
	}
	t.Run("none left, an equal one again", func(t *testing.T) { b.Code(wrongCodes(code, 1)[0]).Want(t, 429) })
	b.Open("/.auth/code?request="+b.Request).Want(t, 200).WantNoText(t, `name="code"`)
	// The window is over when the code is not, with the mail sent again.
	site.Advance(5 * time.Minute)
	b.Resend().Want(t, 303)
	b.Code(code).Want(t, 429)
	site.Advance(5 * time.Minute)
	b.Code(code).WantLocation(t, "/")
}

func TestCodesThatAreNone(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	b.Start(ann)
	code := site.LastMail(ann).Code
	for _, malformed := range []string{"", " ", "12345", "1234567", "12345a", "１２３４５６", "12345\x00", "+12345", "-----", "1.2345", strings.Repeat("1", 15_000)} {
		b.Code(malformed).Want(t, 422).WantText(t, "6 digits")
	}
	for _, broken := range []string{"%zz", "%", code + "%", code + "%0", code + ";x=1", "&code=" + code, "+%u0031"} {
		body := "request=" + b.Request + "&code=" + broken
		b.Do(gatewaytest.Sent{
			Method: "POST", Path: "/.auth/verify", Body: body, ContentType: "application/x-www-form-urlencoded",
			Header: map[string]string{"Sec-Fetch-Site": "same-origin"},
		}).Want(t, 422).WantText(t, "6 digits")
	}
	for _, request := range []string{"", "x", strings.Repeat("A", 22), b.Request + "A", b.Request + "/", "../" + b.Request, strings.Repeat("A", 10_000), b.Request + "\x00"} {
		b.CodeFor(request, code).Want(t, 410)
		b.Open("/.auth/code?request="+url.QueryEscape(request)).Want(t, 410)
		b.Submit("/.auth/resend", "request", request).Want(t, 410)
	}
	other := site.Browser()
	other.CodeFor(b.Request, code).Want(t, 403)
	other.Start(bob)
	other.CodeFor(b.Request, code).Want(t, 403)
	other.CodeFor(b.Request, "nonsense").Want(t, 403)
	other.Open("/.auth/code?request="+b.Request).Want(t, 403).WantNoText(t, ann)
	other.Submit("/.auth/resend", "request", b.Request).Want(t, 403)
	// None of them counted.
	b.Code(wrongCodes(code, 1)[0]).WantText(t, "4 attempts left")
	b.Code(" "+code[:3]+" - "+code[3:]+"\t").WantLocation(t, "/")
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	b.StartFor(ann, "/report")
	mail := site.LastMail(ann)
	site.Advance(10*time.Minute - time.Second)
	b.Open("/.auth/code?request="+b.Request).Want(t, 200)
	site.Advance(time.Second)
	for name, a := range map[string]*gatewaytest.Answer{
		"code": b.Code(mail.Code), "wrong code": b.Code(wrongCodes(mail.Code, 1)[0]), "link": b.OpenLink(mail.Link),
		"page": b.Open("/.auth/code?request=" + b.Request), "resend": b.Resend(),
	} {
		t.Run(name, func(t *testing.T) {
			wantPage(t, a.Want(t, 410).WantText(t, ann, "/report"))
		})
	}
	stranger := site.Browser()
	stranger.OpenLink(mail.Link).Want(t, 410).WantNoText(t, ann)
	stranger.Open("/.auth/code?request="+b.Request).Want(t, 410).WantNoText(t, ann)
	if stranger.SignedIn() != "" || b.SignedIn() != "" {
		t.Error("signed in")
	}
}

func TestResend(t *testing.T) {
	t.Parallel()
	for _, renew := range []bool{false, true} {
		t.Run(fmt.Sprintf("renew %v", renew), func(t *testing.T) {
			t.Parallel()
			site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{RenewOnResend: renew}})
			b := site.Browser()
			b.Start(ann)
			first := site.LastMail(ann)
			b.Resend().WantLocation(t, "/.auth/code?request="+b.Request)
			second := site.LastMail(ann)
			if kept := first.Code == second.Code && first.Link == second.Link; kept == renew {
				t.Errorf("%s and %s", first.Link, second.Link)
			}
			if first.ID == second.ID {
				t.Error("two mails have one Message-ID")
			}
			early := b.Resend().Want(t, 429)
			wantPage(t, early)
			if early.Header.Get("Retry-After") != "60" {
				t.Errorf("Retry-After %q", early.Header.Get("Retry-After"))
			}
			if renew {
				b.OpenLink(first.Link).Want(t, 410)
				b.Code(first.Code).Want(t, 422)
			}
			b.Code(second.Code).WantLocation(t, "/")
			b.Resend().Want(t, 410)
		})
	}
	t.Run("an hour at most", func(t *testing.T) {
		t.Parallel()
		site := gatewaytest.New(t, gatewaytest.Options{})
		b := site.Browser()
		b.Start(ann)
		mail := site.LastMail(ann)
		for range 6 {
			site.Advance(9*time.Minute + 55*time.Second)
			b.Resend().Want(t, 303)
		}
		site.Advance(29 * time.Second) // 59:59
		b.Open("/.auth/code?request="+b.Request).Want(t, 200)
		site.Advance(time.Second)
		b.Code(mail.Code).Want(t, 410)
		b.OpenLink(site.LastMail(ann).Link).Want(t, 410)
		b.Resend().Want(t, 410)
	})
}

func TestLinkElsewhere(t *testing.T) {
	t.Parallel()
	for _, method := range []gateway.Method{gateway.MethodBoth, gateway.MethodLink} {
		t.Run("same browser on, "+string(method), func(t *testing.T) {
			t.Parallel()
			site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{Method: method}})
			b, other := site.Browser(), site.Browser()
			b.Start(ann)
			mail := site.LastMail(ann)
			page := other.OpenLink(mail.Link).Want(t, 200).WantNoText(t, ann, gatewaytest.Token(mail.Link))
			wantPage(t, page)
			if strings.Contains(page.Body, "type the code") != (method == gateway.MethodBoth) {
				t.Error("what the page says of a code")
			}
			if page.Cookie(gateway.SessionCookie) != nil {
				t.Error("a session")
			}
			other.Submit("/.auth/link", "token", gatewaytest.Token(mail.Link)).Want(t, 200)
			if other.SignedIn() != "" {
				t.Fatal("a link signed in elsewhere")
			}
			b.OpenLink(mail.Link).WantLocation(t, "/")
			// Used, in any browser.
			other.OpenLink(mail.Link).Want(t, 410).WantNoText(t, ann)
		})
	}
	t.Run("same browser off", func(t *testing.T) {
		t.Parallel()
		site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{AnyBrowser: true}})
		b, other := site.Browser(), site.Browser()
		other.SignIn(bob)
		before := other.Cookie(gateway.SessionCookie)
		b.StartFor(ann, "/report")
		mail := site.LastMail(ann)
		wantPage(t, other.OpenLink(mail.Link).Want(t, 200).WantText(t, ann, gatewaytest.Host, "<button", bob))
		if other.SignedIn() != bob {
			t.Fatal("opening changed the session")
		}
		other.CodeFor(b.Request, mail.Code).Want(t, 403)
		other.Submit("/.auth/link", "token", gatewaytest.Token(mail.Link)).WantLocation(t, "/report")
		if other.SignedIn() != ann {
			t.Error("not signed in as the link's address")
		}
		wantDead(t, site, before)
		b.OpenLink(mail.Link).Want(t, 410)
		other.Submit("/.auth/link", "token", gatewaytest.Token(mail.Link)).WantLocation(t, "/report")
	})
}

// wantDead checks that a session's secret opens nothing.
func wantDead(t *testing.T, site *gatewaytest.Site, secret string) {
	t.Helper()
	thief := site.Browser()
	thief.SetCookie(gateway.SessionCookie, secret)
	if secret == "" || thief.SignedIn() != "" {
		t.Errorf("the session lives on")
	}
	thief.Fetch("/").Want(t, 401)
}

// quiet are requests for a link that are no person's click.
var quiet = map[string]gatewaytest.Sent{
	"HEAD":                {Method: "HEAD", Header: map[string]string{"Accept": "text/html"}},
	"prefetch":            {Method: "GET", Header: map[string]string{"Sec-Purpose": "prefetch", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "none"}},
	"prerender":           {Method: "GET", Header: map[string]string{"Sec-Purpose": "prefetch;prerender", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "none"}},
	"an old prefetch":     {Method: "GET", Header: map[string]string{"Purpose": "prefetch", "Accept": "text/html"}},
	"Firefox prefetch":    {Method: "GET", Header: map[string]string{"X-Moz": "prefetch", "Accept": "text/html"}},
	"an image":            {Method: "GET", Header: map[string]string{"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", "Sec-Fetch-Site": "cross-site"}},
	"a script":            {Method: "GET", Header: map[string]string{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin"}},
	"a frame":             {Method: "GET", Header: frame},
	"half the metadata":   {Method: "GET", Header: map[string]string{"Sec-Fetch-Site": "none", "Accept": "text/html"}},
	"a bot":               {Method: "GET", NoCookies: true, Header: map[string]string{"Accept": "text/html", "User-Agent": "linkscanner/1.0"}},
	"a bot with metadata": {Method: "GET", NoCookies: true, Header: map[string]string{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "none", "Sec-Fetch-User": "?1"}},
}

func TestScannersUseNothingUp(t *testing.T) {
	t.Parallel()
	for _, anyBrowser := range []bool{false, true} {
		site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{AnyBrowser: anyBrowser}})
		b := site.Browser()
		b.Start(ann)
		mail := site.LastMail(ann)
		for name, sent := range quiet {
			sent.Path = gatewaytest.LinkPath(mail.Link)
			before := site.Dump()
			a := b.Do(sent).Want(t, 200)
			if a.Cookie(gateway.SessionCookie) != nil || site.Dump() != before {
				t.Errorf("%s did something", name)
			}
		}
		b.OpenLink(mail.Link).WantLocation(t, "/")
	}
}

func TestDoubleClick(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	for name, again := range map[string]func(*gatewaytest.Browser, gatewaytest.Mail) *gatewaytest.Answer{
		"code": func(b *gatewaytest.Browser, m gatewaytest.Mail) *gatewaytest.Answer { return b.Code(m.Code) },
		"link": func(b *gatewaytest.Browser, m gatewaytest.Mail) *gatewaytest.Answer { return b.OpenLink(m.Link) },
	} {
		t.Run(name, func(t *testing.T) {
			address := name + "@example.com"
			b := site.Browser()
			b.StartFor(address, "/x")
			mail := site.LastMail(address)
			again(b, mail).WantLocation(t, "/x")
			secret := b.Cookie(gateway.SessionCookie)
			if a := again(b, mail).WantLocation(t, "/x"); a.Cookie(gateway.SessionCookie) != nil {
				t.Error("a second session")
			}
			b.Code(wrongCodes(mail.Code, 1)[0]).Want(t, 410)
			thief := site.Browser()
			thief.OpenLink(mail.Link).Want(t, 410)
			thief.SetCookie(gateway.SessionCookie, secret) // holds the session, and may go on
			thief.OpenLink(mail.Link).WantLocation(t, "/x")
			b.SignOut().WantLocation(t, "/.auth/signed-out")
			again(b, mail).Want(t, 410)
			if b.SignedIn() != "" {
				t.Error("signed in again by what was used")
			}
		})
	}
}

func TestDoubleClickAfterExpiry(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	b.StartFor(ann, "/x")
	mail := site.LastMail(ann)
	b.OpenLink(mail.Link).WantLocation(t, "/x")
	site.Advance(11 * time.Minute)
	b.OpenLink(mail.Link).WantLocation(t, "/x")
}

func TestOtherPages(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	b.Open("/.auth/").WantLocation(t, "/.auth/sign-in?return_to=%2F.auth%2F")
	b.Fetch("/.auth/me").Want(t, 401)
	b.SignIn(ann)
	wantPage(t, b.Open("/.auth/").Want(t, 200).WantText(t, ann, `action="/.auth/sign-out"`))
	me := b.Fetch("/.auth/me").Want(t, 200).JSON(t)
	if me["email"] != ann || me["method"] != "code" {
		t.Errorf("me: %v", me)
	}
	for _, field := range []string{"signed_in", "last_seen", "expires"} {
		text, _ := me[field].(string)
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			t.Errorf("me: %s: %v", field, err)
		}
	}
	secret := b.Cookie(gateway.SessionCookie)
	out := b.SignOut().WantLocation(t, "/.auth/signed-out")
	wantPage(t, out)
	if cookie := out.Cookie(gateway.SessionCookie); cookie == nil || cookie.MaxAge >= 0 {
		t.Errorf("cookie %v", cookie)
	}
	wantPage(t, b.Open("/.auth/signed-out").Want(t, 200))
	wantDead(t, site, secret)
	b.SignOut().WantLocation(t, "/.auth/signed-out")
}

func TestUnknownPages(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	b.SignIn(ann) // nothing below the prefix goes upstream, for nobody
	for _, path := range []string{"/.auth/x", "/.auth/sign-in/", "/.auth/../", "/.auth/..%2freport", "/.auth//", "/.auth/admin", "/.auth/%73ign-in/x", "/%2eauth/nothing", "/.auth/link/"} {
		wantPage(t, b.Open(path).Want(t, 404))
		b.Submit(path).Want(t, 404)
	}
	for path, allow := range map[string]string{
		"/.auth/": "GET, HEAD", "/.auth/sign-in": "GET, HEAD, POST", "/.auth/code": "GET, HEAD", "/.auth/link": "GET, HEAD, POST",
		"/.auth/verify": "POST", "/.auth/resend": "POST", "/.auth/sign-out": "POST", "/.auth/me": "GET, HEAD", "/.auth/jwks.json": "GET, HEAD",
	} {
		for _, method := range []string{"PUT", "DELETE", "OPTIONS", "PATCH", "POST", "GET", "HEAD", "PROPFIND", "get"} {
			if slices.Contains(strings.Split(allow, ", "), method) {
				continue
			}
			a := b.Do(gatewaytest.Sent{Method: method, Path: path, Header: map[string]string{"Sec-Fetch-Site": "same-origin"}}).Want(t, 405)
			if a.Header.Get("Allow") != allow {
				t.Errorf("%s %s: Allow %q, want %q", method, path, a.Header.Get("Allow"), allow)
			}
		}
	}
	b.Open("/.auth").WantLocation(t, "/.auth/")
	b.Open("/%2eauth/me").Want(t, 200)
	if b.SignedIn() != ann {
		t.Error("signed out")
	}
	if site.Reached() != 0 {
		t.Errorf("%d requests went upstream", site.Reached())
	}
	b.Open("/.authx").Upstream(t)
	b.Open("/.AUTH/me").Upstream(t)
}

func TestRewritesBelowThePrefix(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{Rewrite: func(r *http.Request) {
		switch r.URL.Path {
		case "/trap":
			r.URL.Path = "/.auth/secret"
		case "/.auth/sign-in":
			r.URL.Path = "/index.html"
		}
	}})
	b := site.Browser()
	b.Open("/.auth/sign-in").Want(t, 200).WantText(t, `name="email"`)
	b.SignIn(ann)
	b.Open("/trap").Want(t, 404)
	if site.Reached() != 0 {
		t.Error("a page of ours went upstream")
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	b.Open("/.auth/sign-in")
	own := map[string]string{"Sec-Fetch-Site": "same-origin"}
	form := "application/x-www-form-urlencoded"
	for name, test := range map[string]struct {
		body, kind string
		status     int
	}{
		"16 kB":          {"email=" + strings.Repeat("a", 16<<10-6), form, 422},
		"more":           {"email=" + strings.Repeat("a", 16<<10-5), form, 413},
		"10 MB":          {strings.Repeat("a", 10<<20), form, 413},
		"JSON":           {`{"email":"ann@example.com"}`, "application/json", 415},
		"multipart":      {"--x\r\n", "multipart/form-data; boundary=x", 415},
		"no type":        {"email=ann@example.com", "", 415},
		"broken":         {"email=%zz", form, 422},
		"half an escape": {"email=ann@example.com%4", form, 422},
		"semicolons":     {"email=ann@example.com;return_to=/x", form, 422},
		"another escape": {"email=%u0061nn@example.com", form, 422},
		"no UTF-8":       {"email=ann@example.com%ff", form, 422},
		"no names":       {"=&&=ann@example.com&;", form, 422},
		"a charset":      {"email=%zz", form + "; charset=UTF-8", 422},
		"empty":          {"", form, 422},
		"NUL":            {"email=ann%00@example.com", form, 422},
		"many fields":    {strings.Repeat("a=b&", 4000), form, 422},
		"two addresses":  {"email=ann@example.com,eve@evil.example", form, 422},
		"a line break":   {"email=ann@example.com%0d%0aBcc:eve@evil.example", form, 422},
		"quoted":         {"email=%22ann@evil.example%22@example.com", form, 422},
		"Kelvin":         {"email=ann@example.com%E2%84%AA", form, 422},
		"angle brackets": {"email=Ann+%3Cann@example.com%3E", form, 422},
	} {
		t.Run(name, func(t *testing.T) {
			a := b.Do(gatewaytest.Sent{Method: "POST", Path: "/.auth/sign-in", Body: test.body, ContentType: test.kind, Header: own})
			wantPage(t, a.Want(t, test.status))
		})
	}
	site.Settle()
	if mails := site.Mails.All(); len(mails) != 0 {
		t.Errorf("mails: %v", mails)
	}
	// The second of two addresses is not asked about.
	b.Do(gatewaytest.Sent{Method: "POST", Path: "/.auth/sign-in", Body: "email=ann@example.com&email=eve@elsewhere.example", ContentType: form, Header: own}).Want(t, 303)
	site.LastMail(ann)
	if len(site.Mails.All()) != 1 {
		t.Error("not one mail")
	}
}

func TestForeignForms(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	b.SignIn(ann)
	b.StartFor(bob, "/")
	mail := site.LastMail(bob)
	forms := map[string]url.Values{
		"/.auth/sign-in":  {"email": {ann}},
		"/.auth/verify":   {"request": {b.Request}, "code": {mail.Code}},
		"/.auth/resend":   {"request": {b.Request}},
		"/.auth/link":     {"token": {gatewaytest.Token(mail.Link)}},
		"/.auth/sign-out": {},
	}
	for name, header := range map[string]map[string]string{
		"another site":      {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
		"a sibling":         {"Sec-Fetch-Site": "same-site", "Origin": "https://evil.example.com"},
		"a liar":            {"Sec-Fetch-Site": "cross-site", "Origin": site.Origin},
		"an old browser":    {"Origin": "https://evil.example"},
		"null":              {"Origin": "null"},
		"another port":      {"Origin": site.Origin + ":8443"},
		"plain HTTP":        {"Origin": "http://" + site.Host},
		"nothing said":      {},
		"an empty one":      {"Sec-Fetch-Site": " ", "Origin": site.Origin},
		"two values":        {"Sec-Fetch-Site": "same-origin, cross-site"},
		"a Referer instead": {"Referer": site.Origin + "/.auth/sign-in"},
	} {
		before := site.Dump()
		for path, form := range forms {
			b.Do(gatewaytest.Sent{Method: "POST", Path: path, Form: form, Header: header}).Want(t, 403)
		}
		if site.Dump() != before {
			t.Errorf("%s changed something", name)
		}
	}
	if b.SignedIn() != ann {
		t.Error("signed out, or in as somebody else")
	}
	b.Do(gatewaytest.Sent{Method: "POST", Path: "/.auth/sign-out", Form: url.Values{}, Header: map[string]string{"Origin": site.Origin}}).Want(t, 303)
}

func TestRefusedByPolicy(t *testing.T) {
	t.Parallel()
	private := gatewaytest.Rule(t, ann)
	private.Matches = func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/private") }
	site := gatewaytest.New(t, gatewaytest.Options{Rules: []*gateway.Rule{gatewaytest.Rule(t, "*@example.com"), private}})
	b := site.Browser()
	b.SignIn(bob)
	b.Open("/").Upstream(t)
	reached := site.Reached()
	page := b.Open("/private/x").Want(t, 403).WantText(t, bob, "prompt=login&amp;return_to=%2Fprivate%2Fx")
	wantPage(t, page)
	b.Submit("/private/x", "a", "b").Want(t, 403).WantText(t, bob)
	refused := b.Fetch("/private/x").Want(t, 403)
	if got := refused.JSON(t); got["email"] != bob || got["sign_in_url"] != site.Origin+"/.auth/sign-in?prompt=login" {
		t.Errorf("problem %v", got)
	}
	call := b.Do(gatewaytest.Sent{Method: "POST", Path: "/private/x", Body: "x", ContentType: "application/grpc"})
	isRefusedCall("7")(t, call)
	if site.Reached() != reached {
		t.Error("it reached the upstream")
	}
	// The way out: another address.
	b.Open("/.auth/sign-in?prompt=login&return_to=/private/x").Want(t, 200).WantText(t, `name="email"`)
	b.SignIn(ann)
	b.Open("/private/x").Upstream(t)
}

func TestStepUp(t *testing.T) {
	t.Parallel()
	sensitive := gatewaytest.Rule(t, "*@example.com")
	sensitive.MaxAge = 5 * time.Minute
	sensitive.Matches = func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/admin") }
	site := gatewaytest.New(t, gatewaytest.Options{Rules: []*gateway.Rule{gatewaytest.Rule(t, "*@example.com"), sensitive}})
	b := site.Browser()
	b.SignIn(ann)
	b.Open("/admin").Upstream(t)
	site.Advance(5 * time.Minute)
	b.Open("/admin").Upstream(t)
	site.Advance(time.Second)
	b.Open("/admin?x=y").WantLocation(t, "/.auth/sign-in?prompt=login&return_to=%2Fadmin%3Fx%3Dy")
	program := b.Fetch("/admin").Want(t, 401)
	if got := program.Header.Get("Www-Authenticate"); !strings.HasPrefix(got, `Bearer realm="`+site.Host+`"`) || !strings.Contains(got, `error="insufficient_user_authentication"`) || !strings.Contains(got, `max_age="300"`) {
		t.Errorf("challenge %q", got)
	}
	if got := program.JSON(t)["sign_in_url"]; got != site.Origin+"/.auth/sign-in?prompt=login" {
		t.Errorf("sign_in_url %v", got)
	}
	isUnsentForm(t, b.Submit("/admin", "a", "b"))
	isRefusedCall("16")(t, b.Do(gatewaytest.Sent{Method: "POST", Path: "/admin", Body: "x", ContentType: "application/grpc"}))
	b.Open("/").Upstream(t) // the old session stays

	old := b.Cookie(gateway.SessionCookie)
	b.Follow("/admin").Want(t, 200).WantText(t, ann)
	b.StartFor(ann, "/admin")
	b.Open("/").Upstream(t)
	b.Code(site.LastMail(ann).Code).WantLocation(t, "/admin")
	b.Open("/admin").Upstream(t)
	if b.Cookie(gateway.SessionCookie) == old {
		t.Error("the session is not a new one")
	}
	wantDead(t, site, old)
}

func TestPublicPaths(t *testing.T) {
	t.Parallel()
	rule := gatewaytest.Rule(t, "*@example.com")
	rule.Header = []gateway.HeaderField{{Name: "X-Webauth-User", Value: "{http.auth.user.email}"}}
	rule.Matches = func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/private") }
	site := gatewaytest.New(t, gatewaytest.Options{
		Rules: []*gateway.Rule{rule},
		Rewrite: func(r *http.Request) {
			switch r.URL.Path {
			case "/alias":
				r.URL.Path = "/private/x"
			case "/private/open":
				r.URL.Path = "/open"
			}
		},
	})
	stranger := site.Browser()
	spoofed := map[string]string{
		"Remote-User": ann, "Remote-Email": ann, "Remote-Groups": "admins", "Remote-Name": "Ann", "X-Postern-Jwt-Assertion": "x",
		"X-Postern-Anything": "x", "X-Webauth-User": ann, "Remote_user": ann, "Connection": "close, X-Webauth-User",
	}
	sent := stranger.Do(gatewaytest.Sent{Method: "GET", Path: "/open", Header: spoofed}).Upstream(t)
	for field := range spoofed {
		if field != "Connection" && sent.Header.Get(field) != "" {
			t.Errorf("%s reached the upstream: %q", field, sent.Header.Get(field))
		}
	}
	for _, path := range []string{"/private", "/private/x", "/alias", "/private/open"} {
		stranger.Open(path).Want(t, 303)
	}
	for _, path := range []string{"/open/../private", "/open/%2e%2e/private", "/open/%252e%252e/private", `/open\..\private`, "/%2570rivate", "/%252570rivate/x", "/%EF%BD%90rivate", "/.%2fprivate", "/open;x", "/open/%5c", "/a%00", "/./x", "/x%0a"} {
		stranger.Do(gatewaytest.Sent{Method: "GET", Path: strings.ReplaceAll(path, `\`, "%5C")}).Want(t, 400)
	}
	if site.Reached() != 1 {
		t.Errorf("%d requests reached the upstream, want 1", site.Reached())
	}
	for _, path := range []string{"/100%2525", "/b%C3%BCcher", "/a%20b/", "/x./y.", "/a%EF%BD%90", "/opening"} {
		stranger.Do(gatewaytest.Sent{Method: "GET", Path: path}).Upstream(t)
	}

	stranger.SignIn(ann)
	spoofed["Remote-User"], spoofed["X-Webauth-User"] = bob, bob
	sent = stranger.Do(gatewaytest.Sent{Method: "GET", Path: "/private/x", Header: spoofed}).Upstream(t)
	for _, field := range []string{"Remote-User", "Remote-Email", "X-Webauth-User"} {
		if got := sent.Header[field]; len(got) != 1 || got[0] != ann {
			t.Errorf("%s: %q", field, got)
		}
	}
	if sent.Header.Get("Remote-Groups") != "" || sent.Header.Get("X-Postern-Anything") != "" || strings.Contains(sent.Header.Get("Connection"), "Webauth") {
		t.Errorf("upstream was sent %v", sent.Header)
	}
	// Signed in, a public path still gets no identity.
	if sent = stranger.Open("/open").Upstream(t); sent.Header.Get("Remote-User") != "" || sent.Header.Get(gateway.HeaderAssertion) != "" || sent.Header.Get("Cookie") != "" {
		t.Errorf("a public path got %v", sent.Header)
	}
}

func TestUpstreamCookies(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(http.ResponseWriter){
		"a status":    func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) },
		"a body":      func(w http.ResponseWriter) { fmt.Fprint(w, "hello") },
		"early hints": func(w http.ResponseWriter) { w.WriteHeader(http.StatusEarlyHints); w.WriteHeader(http.StatusOK) },
		"a flush":     func(w http.ResponseWriter) { http.NewResponseController(w).Flush() },
		"nothing":     func(w http.ResponseWriter) {}, // the server answers 200 by itself
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site := gatewaytest.New(t, gatewaytest.Options{Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for _, name := range []string{gateway.SessionCookie, gateway.BrowserCookie, gateway.LoopbackSessionCookie, gateway.LoopbackBrowserCookie, "app"} {
					http.SetCookie(w, &http.Cookie{Name: name, Value: "planted", Path: "/", Secure: true})
				}
				answer(w)
			})})
			b := site.Browser()
			b.SignIn(ann)
			a := b.Open("/").Want(t, 200)
			if got := a.Header["Set-Cookie"]; len(got) != 1 || !strings.HasPrefix(got[0], "app=") {
				t.Errorf("an upstream set %q", got)
			}
			if b.SignedIn() != ann {
				t.Error("an upstream ended a session")
			}
		})
	}
}

func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	b.SignIn(ann)
	plainly := b.At(site.Host)
	plainly.Header = http.Header{"Test-Plain": {"1"}}
	plainly.Fetch("/").Want(t, 401) // a session counts by TLS alone
	for _, path := range []string{"/.auth/sign-in", "/.auth/", "/.auth/code?request=x", "/.auth/link?token=x"} {
		wantPage(t, plainly.Open(path).Want(t, 403).WantText(t, "https://"+site.Host))
	}
	plainly.Submit("/.auth/sign-in", "email", ann).Want(t, 403)
	plainly.Submit("/.auth/sign-out").Want(t, 403)
	for name, header := range map[string]http.Header{
		"a client that lies":    {"Test-Plain": {"1"}, "X-Forwarded-Proto": {"https"}},
		"a proxy that says no":  {"Test-Plain": {"1"}, "Test-Trusted": {"1"}, "X-Forwarded-Proto": {"http"}},
		"a proxy, in doubt":     {"Test-Plain": {"1"}, "Test-Trusted": {"1"}, "X-Forwarded-Proto": {"https", "http"}},
		"a proxy, in a list":    {"Test-Plain": {"1"}, "Test-Trusted": {"1"}, "X-Forwarded-Proto": {"https, http"}},
		"a proxy, not a word":   {"Test-Plain": {"1"}, "Test-Trusted": {"1"}},
		"from this machine too": {"Test-Plain": {"1"}, "Test-Peer": {"127.0.0.1:1234"}},
	} {
		plainly.Header = header
		if plainly.SignedIn() != "" {
			t.Errorf("%s: a session counts", name)
		}
	}
	plainly.Header = http.Header{"Test-Plain": {"1"}, "Test-Trusted": {"1"}, "X-Forwarded-Proto": {"https"}}
	if plainly.SignedIn() != ann {
		t.Error("a trusted proxy is not believed")
	}
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{Host: "localhost", Origin: "http://localhost:8080"})
	b := site.Browser()
	b.Header = http.Header{"Test-Plain": {"1"}}
	b.Open("/.auth/sign-in").Want(t, 200).WantText(t, "<b>localhost</b>").WantNoText(t, ":8080")
	b.Submit("/.auth/sign-in", "email", ann).Want(t, 303)
	mail := site.LastMail(ann)
	if !strings.HasPrefix(mail.Link, "http://localhost:8080/") || mail.Subject != mail.Code+" is your sign-in code for localhost" {
		t.Errorf("link %q, subject %q", mail.Link, mail.Subject)
	}
	if text := strings.ReplaceAll(mail.Text, mail.Link, ""); strings.Contains(text, ":8080") || !strings.HasSuffix(text, "@localhost #"+mail.Code+"\n") {
		t.Errorf("text %q", mail.Text)
	}
	a := b.OpenLink(mail.Link).WantLocation(t, "/")
	if cookie := a.Cookie(gateway.LoopbackSessionCookie); cookie == nil || cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode {
		t.Errorf("cookie %v", cookie)
	}
	if b.SignedIn() != ann {
		t.Error("not signed in on loopback")
	}
	b.Header.Set("Test-Peer", "192.0.2.1:1234")
	if b.SignedIn() != "" {
		t.Error("a loopback session counts for another machine")
	}
	b.Header = nil
	if b.SignedIn() != "" {
		t.Error("a loopback cookie counts by TLS")
	}
}

func TestFailsClosed(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b, known := site.Browser(), site.Browser()
	b.SignIn(ann)
	known.SignIn(bob)
	known.Open("/").Upstream(t)
	site.Store.Kill()
	reached := site.Reached()
	b.Open("/").Want(t, 500)
	b.Fetch("/").Want(t, 500)
	b.Open("/.auth/sign-in").Want(t, 500)
	b.Start(ann).Want(t, 500)
	b.SignOut().Want(t, 503).WantText(t, "still signed in")
	b.Open("/.auth/").Want(t, 500).WantNoText(t, "gatewaytest")
	if site.Reached() != reached {
		t.Error("a request passed without a decision")
	}
	if b.Cookie(gateway.SessionCookie) == "" {
		t.Error("a sign-out that failed took the cookie")
	}
	// Whose session is in memory needs no store to be decided on.
	known.Open("/").Upstream(t)
	known.SignOut().Want(t, 503).WantText(t, "still signed in")
}
