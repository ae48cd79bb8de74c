package e2e_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
)

func TestParallelGuesses(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "limit attempts 7 10m")
	v := visitor(t, server)
	pending := v.Ask(ann, "/")
	code := pending.Mail().Code
	guesses := times(300, 1000)
	statuses := inParallel(wrongCodes(code, guesses), func(guess string) int { return answerIn(v.Clone(), pending, guess) })
	if statuses[http.StatusUnprocessableEntity] != 7 || statuses[http.StatusTooManyRequests] != guesses-7 {
		t.Errorf("%d guesses got %v, want 7 compared", guesses, statuses)
	}
	pending.Answer(code).Want(t, http.StatusTooManyRequests)
}

func TestParallelRightAnswers(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	pending := v.Ask(ann, "/")
	code := pending.Mail().Code
	answers := times(200, 1000)
	binding := v.Cookie(postern.LoopbackBrowserCookie)
	tabs := make(chan *postern.Visitor, answers)
	statuses := inParallel(make([]string, answers), func(string) int {
		tab := v.Fresh()
		tab.SetCookie(postern.LoopbackBrowserCookie, binding)
		tabs <- tab
		return answerIn(tab, pending, code)
	})
	close(tabs)
	sessions := 0
	for tab := range tabs {
		if tab.Cookie(postern.LoopbackSessionCookie) != "" && tab.Me() == ann {
			sessions++
		}
	}
	if sessions != 1 || statuses[http.StatusSeeOther] != 1 {
		t.Errorf("%d sessions of one code; statuses %v", sessions, statuses)
	}
}

// answerIn sends a code in a tab, and returns the status.
func answerIn(tab *postern.Visitor, pending *postern.Pending, code string) int {
	answer, err := tab.TryDo(tab.Form("/.auth/verify", url.Values{"request": {pending.ID}, "code": {code}}))
	if err != nil {
		return 0
	}
	return answer.Status
}

// inParallel calls fn for all values, some dozens at a time, and counts the
// results.
func inParallel(values []string, fn func(string) int) map[int]int {
	counts := make(map[int]int)
	var mu sync.Mutex
	var group sync.WaitGroup
	slots := make(chan struct{}, 40)
	for _, value := range values {
		slots <- struct{}{}
		group.Go(func() {
			result := fn(value)
			<-slots
			mu.Lock()
			defer mu.Unlock()
			counts[result]++
		})
	}
	group.Wait()
	return counts
}

// A browser that signed in before has attempts of its own: strangers cannot
// lock it out. They share theirs, over all their sign-in requests.
func TestTwoLanes(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "limit attempts 3 10m\nlimit mails 50 1m")
	known := visitor(t, server)
	known.SignIn(ann)
	known.SignOut()
	for range 3 {
		asked := visitor(t, server).Ask(ann, "/")
		asked.Mail()
		asked.Answer("000000")
	}
	stranger := visitor(t, server)
	pending := stranger.Ask(ann, "/")
	pending.Answer(pending.Mail().Code).Want(t, http.StatusTooManyRequests)
	// Sub-addresses do not give more.
	tagged := visitor(t, server).Ask("ann+tag@example.com", "/")
	tagged.Answer("111111").Want(t, http.StatusTooManyRequests)

	mine := known.Ask(ann, "/")
	mine.Answer(wrongCodes(mine.Mail().Code, 1)[0]).Want(t, http.StatusUnprocessableEntity).WantText(t, "2 attempt")
	mine.Answer(mine.Mail().Code).WantRedirect(t, "/")
	// A right link is not blocked either.
	stranger.OpenLink(pending.Mail().Link).WantRedirect(t, "/")
}

func TestDailyCapOfWrongCodes(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "limit attempts 100 10m\nlimit mails 50 1m")
	v := visitor(t, server)
	pending := v.Ask(ann, "/")
	for _, code := range wrongCodes(pending.Mail().Code, 20) {
		pending.Answer(code).Want(t, http.StatusUnprocessableEntity)
	}
	answer := pending.Answer(pending.Mail().Code).Want(t, http.StatusTooManyRequests)
	if answer.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	other := visitor(t, server)
	fresh := other.Ask(ann, "/")
	fresh.Answer("123123").Want(t, http.StatusTooManyRequests)
	other.OpenLink(fresh.Mail().Link).WantRedirect(t, "/")
}

func TestDailyCapWithCodesAlone(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "method code\nlimit attempts 100 10m\nlimit mails 50 1m")
	v := visitor(t, server)
	pending := v.Ask(ann, "/")
	for _, code := range wrongCodes(pending.Mail().Code, 20) {
		pending.Answer(code).Want(t, http.StatusUnprocessableEntity)
	}
	other := visitor(t, server)
	mail := other.Ask(ann, "/in").Mail()
	if mail.Link == "" {
		t.Fatalf("no link is mailed:\n%s", mail.Text)
	}
	other.OpenLink(mail.Link).WantRedirect(t, "/in")
}

func TestMailLimit(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "limit mails 2 5s")
	for i := range 3 {
		visitor(t, server).Submit("/.auth/sign-in", url.Values{"email": {ann}, "return_to": {"/" + fmt.Sprint(i)}}).Want(t, http.StatusSeeOther)
	}
	server.WaitMails(t, ann, 2)
	time.Sleep(postern.Quiet)
	if n := len(server.Mails(ann)); n != 2 {
		t.Errorf("%d mails at once, want 2", n)
	}
	server.WaitMails(t, ann, 3) // postponed, not dropped
}

func TestTotalLimit(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "limit total 3 1h")
	for i := range 5 {
		visitor(t, server).Submit("/.auth/sign-in", url.Values{"email": {fmt.Sprintf("u%d@example.com", i)}})
	}
	time.Sleep(2 * postern.Quiet)
	files, _ := filepath.Glob(filepath.Join(server.MailDir(), "*.eml"))
	if len(files) != 3 {
		t.Errorf("%d mails, want 3", len(files))
	}
}

func TestTenPendingPerBrowser(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	first := v.Ask("u0@example.com", "/0")
	for i := 1; i < 10; i++ {
		v.Ask(fmt.Sprintf("u%d@example.com", i), "/x")
	}
	// The cookie stays small, and all ten still work.
	if n := len(v.Cookies()); n > 4000 {
		t.Errorf("%d bytes of cookies", n)
	}
	first.Answer(first.Mail().Code).WantRedirect(t, "/0")
}

// Nobody's Host header, forwarded header or request line gets into a mail.
func TestPoisonedLinks(t *testing.T) {
	t.Parallel()
	server, _ := start(t, `
:$HTTP {
	bind 127.0.0.1
	email_auth *@example.com
	reverse_proxy $UPSTREAM
}`, "")
	body := "email=ann%40example.com"
	for i, head := range []string{
		"POST /.auth/sign-in HTTP/1.1\nHost: evil.example\n",
		"POST /.auth/sign-in HTTP/1.1\nHost: " + hostOf(server) + "\nX-Forwarded-Host: evil.example\nX-Forwarded-Proto: https\nForwarded: host=evil.example;proto=https\n",
		"POST http://evil.example/.auth/sign-in HTTP/1.1\nHost: " + hostOf(server) + "\n",
		"POST /.auth/sign-in HTTP/1.1\nHost: localhost:1\n",
		"POST /.auth/sign-in HTTP/1.1\nHost: LOCALHOST.\n",
		"POST /.auth/sign-in HTTP/1.1\nHost: user@localhost\n",
	} {
		answer := server.Raw(t, fmt.Sprintf("%sContent-Type: application/x-www-form-urlencoded\nSec-Fetch-Site: same-origin\nContent-Length: %d\nConnection: close\n\n%s", head, len(body), body))
		t.Logf("%d: status %d", i, answer.Status)
	}
	time.Sleep(postern.Quiet)
	for _, mail := range server.Mails(ann) {
		if !strings.HasPrefix(mail.Link, server.Plain("localhost")+"/") || strings.Contains(mail.Text+mail.HTML, "evil") {
			t.Errorf("a mail has the link %s", mail.Link)
		}
	}
}

func TestSessionsBelongToOneSite(t *testing.T) {
	t.Parallel()
	server, _ := start(t, strings.ReplaceAll(secure, "wiki.localhost", "a.localhost")+strings.ReplaceAll(secure, "wiki.localhost", "b.localhost"), "")
	a := server.Visitor(t, server.TLS("a.localhost"))
	a.SignIn(ann)
	b := server.Visitor(t, server.TLS("b.localhost"))
	b.SetCookie(postern.SessionCookie, a.Cookie(postern.SessionCookie))
	b.SetCookie(postern.BrowserCookie, a.Cookie(postern.BrowserCookie))
	if b.Me() != "" {
		t.Error("a session counts at another site")
	}
	link := a.Ask("bob@example.com", "/").Mail().Link
	b.OpenLink(strings.Replace(link, "a.localhost", "b.localhost", 1)).Want(t, http.StatusGone)
	plainVisitor := server.Visitor(t, server.TLS("a.localhost"))
	plainVisitor.SetCookie(postern.LoopbackSessionCookie, a.Cookie(postern.SessionCookie))
	if plainVisitor.Me() != "" {
		t.Error("the cookie of plain loopback counts with TLS")
	}
}

func TestSessionIsNewAtEverySignIn(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	v.SetCookie(postern.LoopbackSessionCookie, strings.Repeat("A", 43))
	v.SignIn(ann)
	first := v.Cookie(postern.LoopbackSessionCookie)
	v.SignIn("bob@example.com")
	second := v.Cookie(postern.LoopbackSessionCookie)
	if first == strings.Repeat("A", 43) || first == second {
		t.Error("a session secret was kept")
	}
	old := visitor(t, server)
	old.SetCookie(postern.LoopbackSessionCookie, first)
	if old.Me() != "" {
		t.Error("the session before still lives")
	}
}

func TestForwardedHeadersOfStrangers(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "limit network 3 10m")
	for i := range 3 {
		request := visitor(t, server).Form("/.auth/sign-in", url.Values{"email": {fmt.Sprintf("u%d@example.com", i)}})
		request.Header.Set("X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i))
		visitor(t, server).Do(request).Want(t, http.StatusSeeOther)
	}
	request := visitor(t, server).Form("/.auth/sign-in", url.Values{"email": {"u9@example.com"}})
	request.Header.Set("X-Forwarded-For", "198.51.100.99")
	visitor(t, server).Do(request).Want(t, http.StatusTooManyRequests)
}

func TestTrustedProxyWithTLS(t *testing.T) {
	t.Parallel()
	upstream := postern.StartUpstream(t)
	server := postern.Start(t, postern.Config{Upstream: upstream, Global: "servers {\n\t\ttrusted_proxies static 127.0.0.1/32\n\t}", Sites: `
http://wiki.example.test:$HTTP {
	email_auth *@example.com {
		origin https://wiki.example.test
	}
	reverse_proxy $UPSTREAM
}`})
	body := "email=ann%40example.com"
	send := func(forwarded string) *postern.Answer {
		return server.Raw(t, fmt.Sprintf("POST /.auth/sign-in HTTP/1.1\nHost: wiki.example.test\n%sContent-Type: application/x-www-form-urlencoded\nSec-Fetch-Site: same-origin\nContent-Length: %d\nConnection: close\n\n%s", forwarded, len(body), body))
	}
	answer := send("X-Forwarded-Proto: https\nX-Forwarded-For: 198.51.100.7\n").Want(t, http.StatusSeeOther)
	if cookie := answer.Cookie(postern.BrowserCookie); cookie == nil || !cookie.Secure {
		t.Errorf("cookie: %v", cookie)
	}
	mail := server.WaitMails(t, ann, 1)[0]
	if !strings.HasPrefix(mail.Link, "https://wiki.example.test/.auth/link?") || !strings.Contains(mail.Text, "198.51.100.7") {
		t.Errorf("link %s in\n%s", mail.Link, mail.Text)
	}
	if answer := send(""); answer.Status < 400 || answer.Cookie(postern.BrowserCookie) != nil {
		t.Errorf("without TLS anywhere: status %d", answer.Status)
	}
}

func TestMatchersAndRewrites(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, `
http://localhost:$HTTP {
	rewrite /open/door /secret/inside
	uri strip_prefix /v1
	rewrite /secret/out /public
	rewrite /.auth/* /elsewhere
	email_auth /secret/* *@example.com
	reverse_proxy $UPSTREAM
}`, "")
	v := visitor(t, server)
	v.Fetch("/open/door").Want(t, http.StatusUnauthorized)   // as the rewrite left it
	v.Fetch("/v1/secret/x").Want(t, http.StatusUnauthorized) // likewise
	v.Fetch("/secret/out").Want(t, http.StatusUnauthorized)  // as it came
	v.Fetch("/SECRET/x").Want(t, http.StatusUnauthorized)    // Caddy's paths know no case
	v.Fetch("/public").Want(t, http.StatusOK)
	v.Navigate("/.auth/sign-in").Want(t, http.StatusOK)
	v.Navigate("/open/door?a=b").WantRedirect(t, "/.auth/sign-in?return_to=%2Fopen%2Fdoor%3Fa%3Db")
	v.SignIn(ann)
	v.Fetch("/open/door").Want(t, http.StatusOK)
	for _, seen := range upstream.Seen() {
		if strings.HasPrefix(seen.URI, "/.auth") || seen.URI == "/elsewhere" {
			t.Errorf("the upstream saw %s", seen.URI)
		}
	}
}

func TestWildcardSite(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, `
*.apps.localhost:$HTTPS {
	tls internal
	@wiki host wiki.apps.localhost
	handle @wiki {
		email_auth *@example.com
		reverse_proxy $UPSTREAM
	}
	handle {
		respond "open" 200
	}
}`, "")
	v := server.Visitor(t, server.TLS("wiki.apps.localhost"))
	postern.Eventually(t, 30*time.Second, "the certificate", func() bool {
		_, err := v.TryDo(v.NewRequest(http.MethodGet, "/.auth/me", nil))
		return err == nil
	})
	v.SignIn(ann)
	v.Fetch("/x").Want(t, http.StatusOK)
	if upstream.Last(t, "/x").Get(t, "Remote-User") != ann {
		t.Error("no identity")
	}
	v.At(server.TLS("other.apps.localhost")).Fetch("/").Want(t, http.StatusOK).WantText(t, "open")
}

func TestGroupFileIsReadAgain(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "staff")
	if err := os.WriteFile(file, []byte("# staff\nann@example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server, _ := start(t, strings.Replace(plain, "*@example.com", "group:staff", 1), "group staff file "+file)
	v := visitor(t, server)
	v.SignIn(ann)
	v.Fetch("/").Want(t, http.StatusOK)
	if err := os.WriteFile(file, []byte("bob@example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	postern.Eventually(t, 30*time.Second, "the new list to count", func() bool { return v.Fetch("/").Status == http.StatusForbidden })
	bob := visitor(t, server)
	bob.SignIn("bob@example.com")
	bob.Fetch("/").Want(t, http.StatusOK)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * postern.Quiet)
	bob.Fetch("/").Want(t, http.StatusOK) // the last good one
}

func TestPlaceholdersInRequestsStayText(t *testing.T) {
	t.Parallel()
	upstream := postern.StartUpstream(t)
	server := postern.Start(t, postern.Config{
		Upstream: upstream, Env: []string{"SECRET_OF_SERVER=hunter2"},
		Sites: strings.Replace(plain, "*@example.com", "anyone {\n\t\theader X-Who {http.auth.user.email}\n\t\theader X-Agent {http.request.header.User-Agent}\n\t}", 1),
	})
	v := visitor(t, server)
	v.UserAgent = "{env.SECRET_OF_SERVER} {http.auth.user.id}"
	email := "{env.secret_of_server}@example.com"
	if answer := v.Submit("/.auth/sign-in", url.Values{"email": {email}, "return_to": {"/{env.SECRET_OF_SERVER}"}}); strings.Contains(answer.Body+answer.Location(), "hunter2") {
		t.Error("a placeholder was expanded")
	}
	v.SignIn(ann)
	v.Fetch("/x").Want(t, http.StatusOK)
	seen := upstream.Last(t, "/x")
	if seen.Get(t, "X-Who") != ann || strings.Contains(fmt.Sprint(seen.Header), "hunter2") {
		t.Errorf("headers: %v", seen.Header)
	}
	for _, mail := range server.Mails(ann) {
		if strings.Contains(string(mail.Raw), "hunter2") {
			t.Error("a placeholder was expanded in a mail")
		}
	}
}

func TestManyCookiesAndLongHeaders(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	v.SignIn(ann)
	for name, cookies := range map[string]string{
		"many":           strings.Repeat("a=b; ", 3000) + v.Cookies(),
		"many of ours":   strings.Repeat("postern_session=AAAA; ", 500),
		"a long one":     "postern_session=" + strings.Repeat("A", 20000),
		"a quoted one":   `postern_session="` + v.Cookie(postern.LoopbackSessionCookie) + `"`,
		"a broken one":   "postern_session=%zz\x01; postern_browser=\xff",
		"the other kind": "__Host-postern_session=" + v.Cookie(postern.LoopbackSessionCookie),
	} {
		answer := server.Raw(t, "GET /x HTTP/1.1\nHost: "+hostOf(server)+"\nCookie: "+cookies+"\nConnection: close\n\n")
		if answer.Status >= 500 {
			t.Errorf("%s: status %d", name, answer.Status)
		}
		if name == "the other kind" && answer.Status == http.StatusOK {
			t.Error("the cookie of sites with TLS counts on plain loopback")
		}
	}
}
