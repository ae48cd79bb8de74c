package e2e_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
)

// Each test here is a row of the table of requests and answers.

const ann = "ann@example.com"

func TestNavigationWithoutSession(t *testing.T) {
	t.Parallel()
	server, upstream := plainSite(t, "")
	fetch := "Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: document\nSec-Fetch-Site: none\n"
	for name, head := range map[string]string{
		"GET with Fetch metadata":        "GET /report?year=2026&q=a+b HTTP/1.1\n" + fetch,
		"HEAD with Fetch metadata":       "HEAD /report?year=2026&q=a+b HTTP/1.1\n" + fetch,
		"GET that accepts HTML":          "GET /report?year=2026&q=a+b HTTP/1.1\nAccept: text/html,*/*;q=0.8\n",
		"HEAD that accepts HTML":         "HEAD /report?year=2026&q=a+b HTTP/1.1\nAccept: text/html\n",
		"with a session that is unknown": "GET /report?year=2026&q=a+b HTTP/1.1\nAccept: text/html\nCookie: postern_session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
	} {
		answer := server.Raw(t, head+"Host: "+hostOf(server)+"\nConnection: close\n\n")
		if answer.Status != http.StatusSeeOther || answer.Location() != "/.auth/sign-in?return_to=%2Freport%3Fyear%3D2026%26q%3Da%2Bb" {
			t.Errorf("%s: %d %q", name, answer.Status, answer.Location())
		}
		wantPageHeaders(t, answer)
	}
	if n := len(upstream.Seen()); n != 0 {
		t.Errorf("the upstream saw %d requests", n)
	}
}

func TestFormWithoutSession(t *testing.T) {
	t.Parallel()
	server, upstream := plainSite(t, "")
	answer := visitor(t, server).Submit("/save", url.Values{"text": {"much work"}}).Want(t, http.StatusUnauthorized)
	wantPage(t, answer)
	answer.WantText(t, "/.auth/sign-in")
	upstream.WantNone(t, "/save")
}

func TestProgramWithoutSession(t *testing.T) {
	t.Parallel()
	server, upstream := plainSite(t, "")
	for name, head := range map[string]string{
		"any client":              "GET /api HTTP/1.1\n",
		"that accepts anything":   "GET /api HTTP/1.1\nAccept: */*\n",
		"JSON":                    "GET /api HTTP/1.1\nAccept: application/json\n",
		"a script's request":      "GET /api HTTP/1.1\nAccept: text/html\nX-Requested-With: XMLHttpRequest\n",
		"fetch of a page":         "GET /api HTTP/1.1\nAccept: text/html\nSec-Fetch-Mode: cors\nSec-Fetch-Dest: empty\nSec-Fetch-Site: same-origin\n",
		"a navigation in a frame": "GET /api HTTP/1.1\nAccept: text/html\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: iframe\nSec-Fetch-Site: cross-site\n",
		"PUT of a page":           "PUT /api HTTP/1.1\nAccept: text/html\nContent-Length: 0\n",
		"a POST of a script":      "POST /api HTTP/1.1\nSec-Fetch-Mode: cors\nContent-Length: 0\n",
	} {
		answer := server.Raw(t, head+"Host: "+hostOf(server)+"\nConnection: close\n\n")
		if answer.Status != http.StatusUnauthorized {
			t.Errorf("%s: status %d, want 401", name, answer.Status)
			continue
		}
		wantProblem(t, answer, server.Plain("localhost")+"/.auth/sign-in")
		if got := answer.Header.Get("WWW-Authenticate"); got != `Bearer realm="localhost"` {
			t.Errorf("%s: WWW-Authenticate: %s", name, got)
		}
	}
	upstream.WantNone(t, "/api")
}

func TestGRPCWithoutSession(t *testing.T) {
	t.Parallel()
	server, upstream := plainSite(t, "")
	answer := server.Raw(t, "POST /grpc HTTP/1.1\nHost: "+hostOf(server)+"\nContent-Type: application/grpc+proto\nTE: trailers\nContent-Length: 0\nConnection: close\n\n").Want(t, http.StatusOK)
	if got := answer.Header.Get("Grpc-Status"); got != "16" {
		t.Errorf("grpc-status %q, want 16", got)
	}
	if got := answer.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/grpc") {
		t.Errorf("Content-Type %q", got)
	}
	upstream.WantNone(t, "/grpc")
}

func TestUpgradeWithoutSession(t *testing.T) {
	t.Parallel()
	server, upstream := plainSite(t, "")
	socket, answer := visitor(t, server).OpenWebSocket("/ws")
	if socket != nil {
		t.Fatal("the WebSocket was opened")
	}
	answer.Want(t, http.StatusUnauthorized)
	upstream.WantNone(t, "/ws")
}

// stepUp needs a sign-in of the last seconds for /danger.
const stepUp = `
http://localhost:$HTTP {
	email_auth *@example.com
	email_auth /danger* *@example.com {
		max_age 2s
	}
	reverse_proxy $UPSTREAM
}`

func TestStepUp(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, stepUp, "")
	v := visitor(t, server)
	v.SignIn(ann)
	time.Sleep(2100 * time.Millisecond)

	v.Navigate("/danger?x=1").WantRedirect(t, "/.auth/sign-in?prompt=login&return_to=%2Fdanger%3Fx%3D1")
	answer := v.Fetch("/danger").Want(t, http.StatusUnauthorized)
	wantProblem(t, answer, server.Plain("localhost")+"/.auth/sign-in?prompt=login")
	challenge := answer.Header.Get("WWW-Authenticate")
	if !strings.HasPrefix(challenge, `Bearer realm="localhost"`) || !strings.Contains(challenge, `error="insufficient_user_authentication"`) {
		t.Errorf("WWW-Authenticate: %s", challenge)
	}
	upstream.WantNone(t, "/danger")
	v.Submit("/danger", url.Values{"a": {"b"}}).Want(t, http.StatusUnauthorized)

	// The old session stays until the step-up succeeds.
	v.Navigate("/calm").Want(t, http.StatusOK)
	old := v.Cookie(postern.LoopbackSessionCookie)
	pending := v.Ask(ann, "/danger?x=1")
	v.Navigate("/calm").Want(t, http.StatusOK)
	pending.Answer(pending.Mail().Code).WantRedirect(t, "/danger?x=1")
	v.Navigate("/danger?x=1").Want(t, http.StatusOK)

	stale := visitor(t, server)
	stale.SetCookie(postern.LoopbackSessionCookie, old)
	stale.Fetch("/calm").Want(t, http.StatusUnauthorized)
}

const twoRules = `
http://localhost:$HTTP {
	email_auth *@example.com
	email_auth /admin* boss@example.com
	reverse_proxy $UPSTREAM
}`

func TestAddressThatMayNotEnter(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, twoRules, "")
	v := visitor(t, server)
	v.SignIn(ann)
	answer := v.Navigate("/admin").Want(t, http.StatusForbidden)
	wantPage(t, answer)
	answer.WantText(t, ann, "prompt=login")
	problem := v.Fetch("/admin").Want(t, http.StatusForbidden)
	if kind := problem.Header.Get("Content-Type"); kind != "application/problem+json" {
		t.Errorf("Content-Type %q", kind)
	}
	problem.WantText(t, ann, "prompt=login")
	call := v.NewRequest(http.MethodPost, "/admin", strings.NewReader(""))
	call.Header.Set("Content-Type", "application/grpc")
	if answer := v.Do(call).Want(t, http.StatusOK); answer.Header.Get("Grpc-Status") != "7" {
		t.Errorf("grpc-status %q, want 7", answer.Header.Get("Grpc-Status"))
	}
	upstream.WantNone(t, "/admin")
	v.Navigate("/").Want(t, http.StatusOK)
}

func TestSignInForm(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	answer := v.Navigate("/.auth/sign-in?return_to=%2Freport").Want(t, http.StatusOK)
	wantPage(t, answer)
	answer.WantText(t, `name="email"`, `value="/report"`)
	v.SignIn(ann)
	v.Navigate("/.auth/sign-in?return_to=%2Freport%3Fa%3Db").WantRedirect(t, "/report?a=b")
	v.Navigate("/.auth/sign-in?return_to=%2Freport&prompt=login").Want(t, http.StatusOK).WantText(t, `name="email"`)
}

func TestReturnTo(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	v.SignIn(ann)
	for given, want := range map[string]string{
		"/a/b?c=d&e=%2F":                "/a/b?c=d&e=%2F",
		"":                              "/",
		"//evil.example":                "/",
		"///evil.example":               "/",
		`/\evil.example`:                "/",
		"/.//evil.example":              "/",
		"https://evil.example/":         "/",
		"https:evil.example":            "/",
		"javascript:alert(1)":           "/",
		"report":                        "/",
		"/\tevil":                       "/",
		"/a\r\nSet-Cookie: x=y":         "/",
		"/.auth/sign-out":               "/",
		"/.auth/":                       "/.auth/",
		"/" + strings.Repeat("a", 2047): "/" + strings.Repeat("a", 2047),
		"/" + strings.Repeat("a", 2048): "/",
	} {
		answer := v.Navigate("/.auth/sign-in?return_to="+url.QueryEscape(given)).Want(t, http.StatusSeeOther)
		if answer.Location() != want {
			t.Errorf("return_to %q leads to %q, want %q", given, answer.Location(), want)
		}
	}
}

func TestAskingForAMail(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	// Without the form first: a browser with no cookie at all.
	answer := v.Submit("/.auth/sign-in", url.Values{"email": {"  Ann@Example.COM "}, "return_to": {"/report"}}).Want(t, http.StatusSeeOther)
	if !strings.HasPrefix(answer.Location(), "/.auth/code?request=") {
		t.Errorf("Location %q", answer.Location())
	}
	cookie := answer.Cookie(postern.LoopbackBrowserCookie)
	if cookie == nil || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.MaxAge != 400*24*3600 {
		t.Errorf("browser cookie: %v", cookie)
	}
	if strings.Contains(answer.Location(), "example.com") {
		t.Errorf("an address is in a URL: %q", answer.Location())
	}
	server.WaitMails(t, ann, 1)
	wantPage(t, v.Navigate(answer.Location()).Want(t, http.StatusOK))
}

func TestRefusedAddressLooksTheSame(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	known, stranger := visitor(t, server), visitor(t, server)
	yes, no := known.Ask(ann, "/"), stranger.Ask("eve@elsewhere.example", "/")
	if len(yes.ID) != len(no.ID) {
		t.Errorf("ids of different lengths: %q, %q", yes.ID, no.ID)
	}
	anonymous := func(p *postern.Pending, page string) string {
		page = strings.ReplaceAll(page, p.Email, "ADDRESS")
		return strings.ReplaceAll(page, p.ID, "REQUEST")
	}
	admitted := anonymous(yes, known.Navigate(yes.Page).Want(t, http.StatusOK).Body)
	refused := anonymous(no, stranger.Navigate(no.Page).Want(t, http.StatusOK).Body)
	if countless(admitted) != countless(refused) {
		t.Errorf("the pages differ:\n%s\n%s", admitted, refused)
	}
	for attempt, code := range wrongCodes(yes.Mail().Code, 6) {
		a, b := yes.Answer(code), no.Answer(code)
		if a.Status != b.Status || countless(anonymous(yes, a.Body)) != countless(anonymous(no, b.Body)) {
			t.Errorf("attempt %d: %d and %d", attempt+1, a.Status, b.Status)
		}
	}
	if mails := server.Mails("eve@elsewhere.example"); len(mails) != 0 {
		t.Error("a refused address got a mail")
	}
}

// countless takes countdowns out of a page: seconds may pass between two.
func countless(page string) string {
	var out strings.Builder
	for word := range strings.FieldsFuncSeq(page, func(r rune) bool { return r == ' ' || r == '"' || r == '<' || r == '>' || r == '\n' }) {
		if _, err := strconv.Atoi(word); err != nil {
			out.WriteString(word + " ")
		}
	}
	return out.String()
}

func TestBadAddress(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	for _, address := range []string{
		"", "ann", "ann@", "@example.com", "ann@example", `"a@evil.com"@example.com`, "Ann <ann@example.com>",
		"ann@example.com,eve@evil.com", "ann@example.com\r\nBcc: eve@evil.com", "ann＠example.com", "ann@exa\u200bmple.com",
		"ann@\u212aexample.com", strings.Repeat("a", 65) + "@example.com", "a@" + strings.Repeat("a.", 130) + "com",
		"ann@example.com.", "ann@.example.com", "ann@[127.0.0.1]",
	} {
		answer := v.Submit("/.auth/sign-in", url.Values{"email": {address}})
		if answer.Status < 400 || answer.Status >= 500 {
			t.Errorf("address %q: status %d", address, answer.Status)
		}
		wantPage(t, answer)
	}
}

func TestRightCode(t *testing.T) {
	t.Parallel()
	server, upstream := plainSite(t, "")
	v := visitor(t, server)
	pending := v.Ask(ann, "/report?year=2026")
	answer := pending.Answer(pending.Mail().Code).WantRedirect(t, "/report?year=2026")
	cookie := answer.Cookie(postern.LoopbackSessionCookie)
	if cookie == nil || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" || len(cookie.Value) < 43 {
		t.Errorf("session cookie: %v", cookie)
	}
	v.Navigate("/report?year=2026").Want(t, http.StatusOK).WantText(t, ann)
	if seen := upstream.Last(t, "/report?year=2026"); seen.Get(t, "Remote-User") != ann {
		t.Errorf("Remote-User %q", seen.Get(t, "Remote-User"))
	}
}

func TestWrongCode(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	pending := v.Ask(ann, "/")
	code := pending.Mail().Code
	for i, wrong := range wrongCodes(code, 5) {
		answer := pending.Answer(wrong).Want(t, http.StatusUnprocessableEntity)
		wantPage(t, answer)
		left := 4 - i
		if left > 0 {
			answer.WantText(t, strconv.Itoa(left)+" attempt")
		}
		if last := answer.Header.Get("Retry-After") != ""; last != (left == 0) {
			t.Errorf("%d left: Retry-After %q", left, answer.Header.Get("Retry-After"))
		}
		// An equal wrong code counts once.
		if again := pending.Answer(wrong); left > 0 && again.Status != http.StatusUnprocessableEntity {
			t.Errorf("the same wrong code again: %d", again.Status)
		} else if left > 0 {
			again.WantText(t, strconv.Itoa(left)+" attempt")
		}
	}
	for _, guess := range []string{wrongCodes(code, 6)[5], code} {
		answer := pending.Answer(guess).Want(t, http.StatusTooManyRequests)
		if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err != nil || seconds < 1 || seconds > 600 {
			t.Errorf("Retry-After %q", answer.Header.Get("Retry-After"))
		}
		wantPage(t, answer)
	}
	// Nothing was used up, and a right link is never blocked by wrong codes.
	v.OpenLink(pending.Mail().Link).WantRedirect(t, "/")
	if v.Me() != ann {
		t.Error("the link did not sign in")
	}
}

// wrongCodes returns n different codes that are not the right one.
func wrongCodes(right string, n int) []string {
	var codes []string
	for i := 100000; len(codes) < n; i++ {
		if code := strconv.Itoa(i); code != right {
			codes = append(codes, code)
		}
	}
	return codes
}

func TestWhatIsNoAttempt(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	pending := v.Ask(ann, "/")
	code := pending.Mail().Code
	for _, malformed := range []string{"", " ", "12345", "1234567", "abcdef", "12345x", strings.Repeat("1", 200)} {
		wantPage(t, pending.Answer(malformed).Want(t, http.StatusUnprocessableEntity))
	}
	other := visitor(t, server)
	form := url.Values{"request": {pending.ID}, "code": {code}}
	other.Submit("/.auth/verify", form).Want(t, http.StatusForbidden) // no binding
	other.Ask("bob@example.com", "/")
	other.Submit("/.auth/verify", form).Want(t, http.StatusForbidden) // another browser's
	v.Submit("/.auth/verify", url.Values{"request": {"AAAAAAAAAAAAAAAAAAAAAAAAAA"}, "code": {code}}).Want(t, http.StatusGone)
	// None of them counted.
	pending.Answer(wrongCodes(code, 1)[0]).Want(t, http.StatusUnprocessableEntity).WantText(t, "4 attempt")
	// Blanks and dashes are no mistake.
	pending.Answer(" "+code[:3]+" "+code[3:]+" ").WantRedirect(t, "/")
}

func TestResend(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "limit mails 2 3s")
	v := visitor(t, server)
	pending := v.Ask(ann, "/")
	first := pending.Mail()
	early := pending.Resend()
	if early.Status != http.StatusTooManyRequests && early.Status != http.StatusSeeOther {
		t.Fatalf("resend: %d", early.Status)
	}
	if early.Status == http.StatusTooManyRequests {
		wantPage(t, early)
		if early.Header.Get("Retry-After") == "" {
			t.Error("too early, but no Retry-After")
		}
	}
	var again *postern.Answer
	postern.Eventually(t, 20*time.Second, "a resend", func() bool {
		again = pending.Resend()
		if again.Status == http.StatusTooManyRequests {
			time.Sleep(300 * time.Millisecond)
		}
		return again.Status == http.StatusSeeOther
	})
	if !strings.HasPrefix(again.Location(), "/.auth/code?request="+pending.ID) {
		t.Errorf("resend leads to %q", again.Location())
	}
	second := server.WaitMails(t, ann, 2)[1]
	if second.Code != first.Code || second.Link != first.Link {
		t.Error("resend keep: the credentials changed")
	}
	// Another browser may not have it sent again.
	visitor(t, server).Submit("/.auth/resend", url.Values{"request": {pending.ID}}).Want(t, http.StatusForbidden)
}

func TestResendRenew(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "resend renew\nlimit mails 5 2s")
	v := visitor(t, server)
	pending := v.Ask(ann, "/")
	first := pending.Mail()
	postern.Eventually(t, 90*time.Second, "a resend", func() bool {
		if pending.Resend().Status == http.StatusSeeOther {
			return true
		}
		time.Sleep(500 * time.Millisecond)
		return false
	})
	second := server.WaitMails(t, ann, 2)[1]
	if second.Code == first.Code || second.Link == first.Link {
		t.Error("resend renew: the credentials are the old ones")
	}
	v.OpenLink(first.Link).Want(t, http.StatusGone)
	pending.Answer(first.Code).Want(t, http.StatusUnprocessableEntity)
	pending.Answer(second.Code).WantRedirect(t, "/")
}

func TestLinkInTheBrowserThatAsked(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	for _, old := range []bool{false, true} {
		v := visitor(t, server)
		v.OldBrowser = old
		email := fmt.Sprintf("ann%v@example.com", old)
		pending := v.Ask(email, "/report")
		link := pending.Mail().Link
		v.OpenLink(link).WantRedirect(t, "/report")
		if v.Me() != email {
			t.Error("the link did not sign in")
		}
		// A second click, while the browser holds that session.
		session := v.Cookie(postern.LoopbackSessionCookie)
		v.OpenLink(link).WantRedirect(t, "/report")
		if v.Cookie(postern.LoopbackSessionCookie) != session {
			t.Error("a second click changed the session")
		}
		pending.Answer(pending.Mail().Code).WantRedirect(t, "/report")
		v.SignOut()
		answer := v.OpenLink(link).Want(t, http.StatusGone)
		answer.WantText(t, email)
		visitor(t, server).OpenLink(link).Want(t, http.StatusGone)
	}
}

func TestLinkInAnotherBrowser(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v, other := visitor(t, server), visitor(t, server)
	pending := v.Ask(ann, "/report")
	link := pending.Mail().Link
	for range 2 {
		answer := other.OpenLink(link).Want(t, http.StatusOK)
		wantPage(t, answer)
		if strings.Contains(answer.Body, ann) || strings.Contains(answer.Body, "/.auth/link\"") {
			t.Error("the page of another browser shows the address or a button")
		}
	}
	if other.Me() != "" {
		t.Error("another browser was signed in")
	}
	// The button's request does not exist there either.
	token := tokenOf(t, link)
	forged := other.Submit("/.auth/link", url.Values{"token": {token}})
	if forged.Cookie(postern.LoopbackSessionCookie) != nil || other.Me() != "" {
		t.Error("same_browser on: a POST signed in another browser")
	}
	v.OpenLink(link).WantRedirect(t, "/report")
}

func TestLinkInAnotherBrowserWithoutBinding(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "same_browser off")
	v, other := visitor(t, server), visitor(t, server)
	other.SignIn("bob@example.com")
	before := other.Cookie(postern.LoopbackSessionCookie)
	pending := v.Ask(ann, "/report")
	link := pending.Mail().Link
	answer := other.OpenLink(link).Want(t, http.StatusOK)
	wantPage(t, answer)
	answer.WantText(t, ann, "localhost")
	if n := strings.Count(answer.Body, "<button"); n != 1 {
		t.Errorf("%d buttons, want one", n)
	}
	if other.Me() != "bob@example.com" {
		t.Error("looking at the page changed the session")
	}
	other.Submit("/.auth/link", url.Values{"token": {tokenOf(t, link)}}).WantRedirect(t, "/report")
	if other.Me() != ann {
		t.Error("the button did not sign in")
	}
	gone := visitor(t, server)
	gone.SetCookie(postern.LoopbackSessionCookie, before)
	if gone.Me() != "" {
		t.Error("the session that was replaced still lives")
	}
	if v.Me() != "" {
		t.Error("the browser that asked was signed in too")
	}
	// A code never works elsewhere.
	stranger := visitor(t, server)
	second := v.Ask(ann, "/")
	stranger.Submit("/.auth/verify", url.Values{"request": {second.ID}, "code": {second.Mail().Code}}).Want(t, http.StatusForbidden)
}

func TestWhatUsesNoLinkUp(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	link := v.Ask(ann, "/report").Mail().Link
	head := v.AsNavigation(v.NewRequest(http.MethodHead, link, nil), "cross-site")
	prefetch := v.AsNavigation(v.NewRequest(http.MethodGet, link, nil), "none")
	prefetch.Header.Set("Sec-Purpose", "prefetch;prerender")
	frame := v.AsNavigation(v.NewRequest(http.MethodGet, link, nil), "cross-site")
	frame.Header.Set("Sec-Fetch-Dest", "iframe")
	fetch := v.NewRequest(http.MethodGet, link, nil)
	fetch.Header.Set("Sec-Fetch-Mode", "cors")
	fetch.Header.Set("Sec-Fetch-Dest", "empty")
	image := v.NewRequest(http.MethodGet, link, nil)
	image.Header.Set("Sec-Fetch-Mode", "no-cors")
	image.Header.Set("Sec-Fetch-Dest", "image")
	for name, request := range map[string]*http.Request{"HEAD": head, "prefetch": prefetch, "frame": frame, "fetch": fetch, "image": image} {
		answer := v.Do(request)
		if answer.Cookie(postern.LoopbackSessionCookie) != nil || v.Me() != "" {
			t.Errorf("%s signed in", name)
		}
		if answer.Status >= 500 {
			t.Errorf("%s: status %d", name, answer.Status)
		}
	}
	// A scanner without any cookie, with and without Fetch metadata.
	scanner := visitor(t, server)
	scanner.OpenLink(link)
	scanner.OldBrowser = true
	scanner.OpenLink(link)
	v.OpenLink(link).WantRedirect(t, "/report")
}

func TestUnknownLink(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	good := v.Ask(ann, "/").Mail().Link
	for _, link := range []string{
		v.Origin + "/.auth/link", v.Origin + "/.auth/link?token=", v.Origin + "/.auth/link?token=x",
		good + "x", good[:len(good)-1], strings.Replace(good, "token=", "token=A", 1),
	} {
		answer := v.OpenLink(link).Want(t, http.StatusGone)
		wantPage(t, answer)
		answer.WantText(t, `name="email"`)
	}
}

func TestAccountPage(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	v.Navigate("/.auth/").WantRedirect(t, "/.auth/sign-in?return_to=%2F.auth%2F")
	v.SignIn(ann)
	answer := v.Navigate("/.auth/").Want(t, http.StatusOK)
	wantPage(t, answer)
	answer.WantText(t, ann, "/.auth/sign-out")
}

func TestSignOut(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	v.SignIn(ann)
	session := v.Cookie(postern.LoopbackSessionCookie)
	page := v.SignOut().Location()
	if v.Cookie(postern.LoopbackSessionCookie) != "" {
		t.Error("the browser still has the cookie")
	}
	wantPage(t, v.Navigate(page).Want(t, http.StatusOK))
	v.SetCookie(postern.LoopbackSessionCookie, session)
	if v.Me() != "" {
		t.Error("the session still lives on the server")
	}
	v.Navigate("/").WantRedirect(t, "/.auth/sign-in?return_to=%2F")
}

func TestMe(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "group staff *@example.com\ngroup bosses bob@example.com")
	v := visitor(t, server)
	answer := v.Fetch("/.auth/me").Want(t, http.StatusUnauthorized)
	wantPageHeaders(t, answer)
	v.SignIn(ann)
	var me struct {
		Email, Method string
		Groups        []string
	}
	v.Fetch("/.auth/me").Want(t, http.StatusOK).JSON(t, &me)
	if me.Email != ann || me.Method != "code" || len(me.Groups) != 1 || me.Groups[0] != "staff" {
		t.Errorf("me: %+v", me)
	}
}

func TestUnknownPageMethodAndBody(t *testing.T) {
	t.Parallel()
	server, upstream := plainSite(t, "")
	v := visitor(t, server)
	for _, signedIn := range []bool{false, true} {
		if signedIn {
			v.SignIn(ann)
		}
		for _, path := range []string{"/.auth/nothing", "/.auth/sign-in/", "/.auth/sign-in/x", "/.auth/.", "/.auth/code.css"} {
			v.Navigate(path).Want(t, http.StatusNotFound)
		}
		v.Navigate("/.auth/verify").Want(t, http.StatusMethodNotAllowed)
		v.Navigate("/.auth/sign-out").Want(t, http.StatusMethodNotAllowed)
		v.Submit("/.auth/me", nil).Want(t, http.StatusMethodNotAllowed)
		v.Do(v.NewRequest(http.MethodPut, "/.auth/sign-in", strings.NewReader("x"))).Want(t, http.StatusMethodNotAllowed)
		v.Submit("/.auth/sign-in", url.Values{"email": {strings.Repeat("a", 17<<10)}}).Want(t, http.StatusRequestEntityTooLarge)
	}
	for _, seen := range upstream.Seen() {
		if strings.HasPrefix(seen.URI, "/.auth") {
			t.Errorf("the upstream saw %s", seen.URI)
		}
	}
	// A body whose length nobody told.
	request := v.Form("/.auth/sign-in", nil)
	request.Body = http.NoBody
	chunked := v.NewRequest(http.MethodPost, "/.auth/sign-in", strings.NewReader("email="+strings.Repeat("a", 17<<10)))
	chunked.Header = request.Header
	chunked.ContentLength = -1
	v.Do(chunked).Want(t, http.StatusRequestEntityTooLarge)
}

func TestForgedForms(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	v.SignIn(ann)
	for name, change := range map[string]func(http.Header){
		"cross-site":                     func(h http.Header) { h.Set("Sec-Fetch-Site", "cross-site") },
		"same-site":                      func(h http.Header) { h.Set("Sec-Fetch-Site", "same-site") },
		"another origin":                 func(h http.Header) { h.Del("Sec-Fetch-Site"); h.Set("Origin", "https://evil.example") },
		"null origin":                    func(h http.Header) { h.Del("Sec-Fetch-Site"); h.Set("Origin", "null") },
		"neither header":                 func(h http.Header) { h.Del("Sec-Fetch-Site"); h.Del("Origin") },
		"another port":                   func(h http.Header) { h.Del("Sec-Fetch-Site"); h.Set("Origin", "http://localhost:1") },
		"another origin as well":         func(h http.Header) { h.Del("Sec-Fetch-Site"); h.Add("Origin", "https://evil.example") },
		"another Sec-Fetch-Site as well": func(h http.Header) { h.Add("Sec-Fetch-Site", "cross-site") },
	} {
		for _, path := range []string{"/.auth/sign-out", "/.auth/sign-in", "/.auth/verify", "/.auth/resend", "/.auth/link"} {
			request := v.Form(path, url.Values{"email": {ann}, "token": {"x"}})
			change(request.Header)
			if answer := v.Do(request); answer.Status != http.StatusForbidden {
				t.Errorf("%s, %s: status %d, want 403", path, name, answer.Status)
			}
		}
	}
	if v.Me() != ann {
		t.Fatal("a forged form signed out")
	}
	// Without Fetch metadata, the right origin does.
	request := v.Form("/.auth/sign-out", nil)
	request.Header.Del("Sec-Fetch-Site")
	v.Do(request).Want(t, http.StatusSeeOther)
}

func TestTabsThatSignInAtOnce(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	v.Navigate("/.auth/sign-in")
	pages := make([]string, 10)
	for i := range pages {
		answer := v.Submit("/.auth/sign-in", url.Values{"email": {ann}, "return_to": {fmt.Sprintf("/tab/%d", i)}}).Want(t, http.StatusSeeOther)
		pages[i] = answer.Location()
	}
	first, _ := url.Parse(pages[0])
	id := first.Query().Get("request")
	for i, page := range pages {
		location, _ := url.Parse(page)
		if location.Query().Get("request") != id {
			t.Fatalf("tab %d has a request of its own", i)
		}
	}
	mail := server.WaitMails(t, ann, 1)[0]
	// Tab 7 types the code, as its page's form says.
	form := url.Values{"request": {id}, "code": {mail.Code}}
	location, _ := url.Parse(pages[7])
	if own := location.Query().Get("return_to"); own != "" {
		form.Set("return_to", own)
	}
	v.Submit("/.auth/verify", form).WantRedirect(t, "/tab/7")
	// All others go on to where they started.
	for i, page := range pages {
		v.Navigate(page).WantRedirect(t, fmt.Sprintf("/tab/%d", i))
	}
	time.Sleep(postern.Quiet)
	if n := len(server.Mails(ann)); n != 1 {
		t.Errorf("%d mails, want 1", n)
	}
}

func TestNetworkLimit(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "limit network 3 10m")
	for i := range 3 {
		visitor(t, server).Ask(fmt.Sprintf("u%d@example.com", i), "/")
	}
	answer := visitor(t, server).Submit("/.auth/sign-in", url.Values{"email": {"u9@example.com"}}).Want(t, http.StatusTooManyRequests)
	if answer.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	wantPage(t, answer)
}

func TestRefusedMethods(t *testing.T) {
	t.Parallel()
	server, upstream := plainSite(t, "")
	v := visitor(t, server)
	v.SignIn(ann)
	for _, line := range []string{"TRACE /x HTTP/1.1", "CONNECT " + hostOf(server) + " HTTP/1.1", "TRACE /.auth/me HTTP/1.1", "trace /x HTTP/1.1"} {
		answer := server.Raw(t, line+"\nHost: "+hostOf(server)+"\nCookie: "+v.Cookies()+"\nConnection: close\n\n")
		if answer.Status != http.StatusMethodNotAllowed {
			t.Errorf("%s: status %d, want 405", line, answer.Status)
		}
	}
	upstream.WantNone(t, "/x")
}

func TestNoSessionOverPlainHTTP(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, `
http://wiki.example.test:$HTTP {
	email_auth *@example.com
	reverse_proxy $UPSTREAM
}`, "")
	v := server.Visitor(t, server.Plain("wiki.example.test"))
	answer := v.Navigate("/.auth/sign-in")
	if answer.Status < 400 || answer.Status >= 500 {
		t.Errorf("the form over plain HTTP: status %d", answer.Status)
	}
	answer.WantText(t, "https")
	v.Submit("/.auth/sign-in", url.Values{"email": {ann}})
	if v.Cookies() != "" {
		t.Errorf("cookies over plain HTTP: %s", v.Cookies())
	}
	if len(upstream.Seen()) != 0 || len(server.Mails(ann)) != 0 {
		t.Error("the upstream or the mail saw something")
	}
}

func TestPublicPaths(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, `
http://localhost:$HTTP {
	email_auth /admin* *@example.com
	reverse_proxy $UPSTREAM
}`, "")
	v := visitor(t, server)
	v.Fetch("/public").Want(t, http.StatusOK)
	v.Navigate("/.auth/sign-in").Want(t, http.StatusOK)
	v.Fetch("/admin").Want(t, http.StatusUnauthorized)
	for _, path := range []string{
		"/public/../admin", "/public/%2e%2e/admin", "/public/%2e%2e%2fadmin", "/public/..%2fadmin", "/public/..%5cadmin", `/public\..\admin`,
		"/public/%252e%252e/admin", "/public;x/admin", "/public%3bx", "/public%00", "/public/%0aadmin", "/./public", "/public/.", "/public/%2e",
	} {
		answer := server.Raw(t, "GET "+path+" HTTP/1.1\nHost: "+hostOf(server)+"\nConnection: close\n\n")
		// A path that the matcher itself reads as the protected one is protected.
		if answer.Status != http.StatusBadRequest && answer.Status != http.StatusUnauthorized {
			t.Errorf("%s: status %d, want 400", path, answer.Status)
		}
		upstream.WantNone(t, path)
	}
	// No identity on public paths, whoever asks.
	v.SignIn(ann)
	v.Fetch("/public?signed-in").Want(t, http.StatusOK)
	seen := upstream.Last(t, "/public?signed-in")
	for _, name := range identityHeaders {
		if seen.Get(t, name) != "" {
			t.Errorf("a public path gets %s", name)
		}
	}
}

func hostOf(s *postern.Server) string { return strings.TrimPrefix(s.Plain("localhost"), "http://") }

func tokenOf(t *testing.T, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get("token")
}

// wantPage checks what is true of all pages.
func wantPage(t *testing.T, answer *postern.Answer) {
	t.Helper()
	wantPageHeaders(t, answer)
	if kind := answer.Header.Get("Content-Type"); kind != "text/html; charset=utf-8" {
		t.Errorf("%s: Content-Type %q", answer.URL, kind)
	}
	if len(answer.Body) >= 20<<10 {
		t.Errorf("%s: %d bytes, want less than 20 kB", answer.URL, len(answer.Body))
	}
	if strings.Contains(answer.Body, "http://") || strings.Contains(answer.Body, "src=\"http") {
		t.Errorf("%s: the page names something outside", answer.URL)
	}
}

// wantPageHeaders checks what is true of all answers below the prefix.
func wantPageHeaders(t *testing.T, answer *postern.Answer) {
	t.Helper()
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "Referrer-Policy": "strict-origin", "X-Frame-Options": "DENY",
		"X-Content-Type-Options": "nosniff", "X-Robots-Tag": "noindex",
	} {
		if got := answer.Header.Get(name); got != want {
			t.Errorf("%s: %s: %q, want %q", answer.URL, name, got, want)
		}
	}
	policy := answer.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") ||
		strings.Contains(policy, "unsafe-inline") || strings.Contains(policy, "form-action") {
		t.Errorf("%s: Content-Security-Policy %q", answer.URL, policy)
	}
}

// wantProblem checks an answer for programs.
func wantProblem(t *testing.T, answer *postern.Answer, signIn string) {
	t.Helper()
	wantPageHeaders(t, answer)
	if kind := answer.Header.Get("Content-Type"); kind != "application/problem+json" {
		t.Errorf("%s: Content-Type %q", answer.URL, kind)
	}
	var problem struct {
		SignIn string `json:"sign_in_url"`
		Status int
	}
	answer.JSON(t, &problem)
	if !strings.HasPrefix(problem.SignIn, signIn) || problem.Status != answer.Status {
		t.Errorf("%s: problem %+v, want the status and %s", answer.URL, problem, signIn)
	}
}
