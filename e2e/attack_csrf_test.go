package e2e_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
)

// foreignHeaders are what browsers send with a form of another origin, or what
// may be taken for one of this.
func foreignHeaders(origin string) map[string]string {
	lines := []string{
		"", "Sec-Fetch-Site: cross-site\nOrigin: " + origin, "Sec-Fetch-Site: same-site\nOrigin: " + origin, "Sec-Fetch-Site: Same-Origin\nOrigin: " + origin, "Sec-Fetch-Site: same-origin, cross-site", "Sec-Fetch-Site:\nOrigin: " + origin,
		"Sec-Fetch-Site: same-origin\nSec-Fetch-Site: cross-site", "Sec-Fetch-Site: cross-site\nSec-Fetch-Site: same-origin", "Sec-Fetch-Site: none\nSec-Fetch-Site: none", "Sec-Fetch-Site: invented\nOrigin: " + origin, "Sec-Fetch-Site: none;x",
		"Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: document", "Referer: " + origin + "/.auth/", "Host-Origin: " + origin, "X-Requested-With: XMLHttpRequest", "Sec_Fetch_Site: same-origin",
	}
	host := strings.TrimPrefix(strings.TrimPrefix(origin, "https://"), "http://")
	name, port, _ := strings.Cut(host, ":")
	scheme, _, _ := strings.Cut(origin, "://")
	for _, other := range []string{
		"null", "", "NULL", "https://" + evil, "http://" + evil, scheme + "://" + name, scheme + "://" + name + ":1", "https://" + name + ":1", "x://" + host, origin + "/", origin + "." + evil, scheme + "://" + evil + ":" + port, scheme + "://sub." + host,
		scheme + "://" + evil + "@" + host, scheme + "://" + host + "@" + evil, strings.ToUpper(origin), origin + ", https://" + evil, "https://" + evil + ", " + origin, origin + " " + origin, origin + "\nOrigin: https://" + evil, origin + "\nOrigin: " + origin,
		scheme + "://" + name + ".:" + port, "*", origin + "\x00", host, "file://", "chrome-extension://x", origin + "#", "{http.request.scheme}://{http.request.hostport}",
	} {
		lines = append(lines, "Origin: "+other)
	}
	table := make(map[string]string)
	for _, line := range lines {
		table[fmt.Sprintf("%q", line)] = line + map[bool]string{true: "\n", false: ""}[line != ""]
	}
	return table
}

// TestForeignForms sends every form from every other origin, to both kinds of
// sites, and looks that nothing came of it.
func TestForeignForms(t *testing.T) {
	t.Parallel()
	server, _ := start(t, plain+secure, noLimits+"\nsame_browser off")
	for name, v := range map[string]*postern.Visitor{
		"plain": visitor(t, server), "TLS": server.Visitor(t, server.TLS("wiki.localhost")),
	} {
		email := strings.ToLower(name) + "@example.com"
		v.SignIn(email)
		pending := v.Ask("next@example.com", "/")
		mail := pending.Mail()
		sent := len(server.Mails("next@example.com"))
		forms := map[string]url.Values{
			"/.auth/sign-in": {"email": {"mailed@example.com"}, "return_to": {"/"}}, "/.auth/verify": {"request": {pending.ID}, "code": {mail.Code}}, "/.auth/resend": {"request": {pending.ID}},
			"/.auth/link": {"token": {tokenOf(t, mail.Link)}}, "/.auth/sign-out": nil,
		}
		for path, form := range forms {
			for what, lines := range foreignHeaders(v.Origin) {
				head := "POST " + path + " HTTP/1.1\nHost: " + v.Host() + "\nCookie: " + v.Cookies() + "\nAccept: text/html\n" + lines
				var answer *postern.Answer
				if name == "TLS" {
					answer = postern.RawOn(t, server.ConnectTLS(t, "wiki.localhost"), rawForm(head, form))
				} else {
					answer = server.Raw(t, rawForm(head, form))
				}
				if answer.Status != http.StatusForbidden && answer.Status != http.StatusBadRequest || len(answer.Header["Set-Cookie"]) > 0 {
					t.Errorf("%s %s with %s: status %d, cookies %q", name, path, what, answer.Status, answer.Header["Set-Cookie"])
				}
			}
			// Nothing changes by another method either.
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions} {
				if path == "/.auth/link" && method == http.MethodGet {
					continue // that is the link itself
				}
				answer := v.Do(v.AsNavigation(v.NewRequest(method, path+"?"+form.Encode(), nil), "cross-site"))
				if answer.Cookie(postern.SessionCookie) != nil || answer.Cookie(postern.LoopbackSessionCookie) != nil {
					t.Errorf("%s %s: a session cookie", method, path)
				}
			}
		}
		if who := v.Me(); who != email {
			t.Errorf("%s: signed in as %q", name, who)
		}
		time.Sleep(postern.Quiet)
		if n := len(server.Mails("next@example.com")); n != sent || len(server.Mails("mailed@example.com")) != 0 {
			t.Errorf("%s: a forged form sent a mail", name)
		}
		pending.Answer(mail.Code).WantRedirect(t, "/") // nothing was used up
	}
}

// TestTossedCookies sends cookies that a neighbour or an attacker planted, beside
// the right one.
func TestTossedCookies(t *testing.T) {
	t.Parallel()
	server, _ := start(t, plain+secure, noLimits)
	v, eve := server.Visitor(t, server.TLS("wiki.localhost")), server.Visitor(t, server.TLS("wiki.localhost"))
	v.SignIn(ann)
	eve.SignIn("eve@example.com")
	good, evils := v.Cookie(postern.SessionCookie), eve.Cookie(postern.SessionCookie)
	browser := eve.Cookie(postern.BrowserCookie)
	name := postern.SessionCookie
	me := func(cookies string) string {
		answer := postern.RawOn(t, server.ConnectTLS(t, "wiki.localhost"), "GET /.auth/me HTTP/1.1\nHost: "+v.Host()+"\nCookie: "+cookies+"\nConnection: close\n\n")
		var who struct{ Email string }
		if answer.Status == http.StatusOK {
			answer.JSON(t, &who)
		}
		return who.Email
	}
	for cookies, want := range map[string]string{
		// The right one counts beside others, in any order.
		name + "=" + good: ann, name + "=x; " + name + "=" + good: ann, name + "=" + good + "; " + name + "=x": ann, name + "=; " + name + "=" + good: ann, name + "=\nCookie: " + name + "=" + good: ann, "a=b;" + name + "=" + good + ";c=d": ann,
		"postern_session=" + evils + "; " + name + "=" + good: ann, "__host-postern_session=" + evils + "; " + name + "=" + good: ann, "__Secure-postern_session=" + evils + "; " + name + "=" + good: ann, `postern="; ` + name + "=" + good: ann,
		// What another host, or a page without TLS, can set is none.
		"postern_session=" + good: "", "__host-postern_session=" + good: "", "__HOST-POSTERN_SESSION=" + good: "", "__Secure-postern_session=" + good: "", "=" + name + "=" + good: "", name + ".x=" + good: "", "x" + name + "=" + good: "", name + " =" + good: "",
		name + `="` + good + `"`: "", name + "=" + good + "x": "", name + "=" + good[1:]: "", name + "=" + strings.ToUpper(good): "", name + "=" + good + "=": "", name + "=%" + good: "", name + "=" + url.QueryEscape(good+"\n"): "", name + ":" + good: "", "$Version=1; " + name + "=" + good + "x; $Path=/": "",
		name: "", name + "=": "", name + "=" + browser: "", name + "=null": "", name + "=0": "", name + "=" + strings.Repeat("A", len(good)): "", name + "=../" + good: "", "Cookie: " + name + "=" + good: "", name + "=" + good + "\x00": "", postern.BrowserCookie + "=" + good: "",
	} {
		if got := me(cookies); got != want {
			t.Errorf("Cookie: %s: signed in as %q, want %q", strings.ReplaceAll(cookies, good, "GOOD"), got, want)
		}
	}
	// On plain loopback the cookies with the prefix count nothing.
	local := visitor(t, server)
	local.SignIn(ann)
	answer := server.Raw(t, "GET /.auth/me HTTP/1.1\nHost: "+hostOf(server)+"\nCookie: "+name+"="+local.Cookie(postern.LoopbackSessionCookie)+"\nConnection: close\n\n")
	answer.Want(t, http.StatusUnauthorized)
}

// TestFixation plants cookies in a browser before its person signs in, and looks
// for a secret that stays.
func TestFixation(t *testing.T) {
	t.Parallel()
	server, _ := start(t, plain, noLimits)
	eve := visitor(t, server)
	eve.SignIn("eve@example.com")
	planted, browser := eve.Cookie(postern.LoopbackSessionCookie), eve.Cookie(postern.LoopbackBrowserCookie)
	for name, session := range map[string]string{"eve's": planted, "invented": strings.Repeat("A", 43), "none": ""} {
		for _, by := range []string{"code", "link"} {
			victim := visitor(t, server)
			if session != "" {
				victim.SetCookie(postern.LoopbackSessionCookie, session)
			}
			pending := victim.Ask("victim@example.com", "/")
			if by == "code" {
				pending.Answer(pending.Mail().Code).WantRedirect(t, "/")
			} else {
				victim.OpenLink(pending.Mail().Link).WantRedirect(t, "/")
			}
			if got := victim.Cookie(postern.LoopbackSessionCookie); got == session || victim.Me() != "victim@example.com" {
				t.Errorf("%s session, by %s: kept, or signed in as %q", name, by, victim.Me())
			}
		}
	}
	// The session that the victim held, though it was eve's, is over.
	if eve.Me() != "" {
		t.Error("the session that was replaced lives on")
	}
	// A browser cookie of somebody else signs nobody in, and no session comes of it.
	thief := visitor(t, server)
	thief.SetCookie(postern.LoopbackBrowserCookie, browser)
	if thief.Me() != "" {
		t.Error("a browser cookie signs in")
	}
	for _, forged := range []string{browser[:len(browser)-1], browser + "A", strings.ToUpper(browser), "A" + browser[1:], strings.Repeat("A", len(browser)), browser[:40], "e30", `{"b":"x"}`, strings.Repeat("A", 8000)} {
		thief.SetCookie(postern.LoopbackBrowserCookie, forged)
		pending := thief.Ask("thief@example.com", "/")
		if pending.ID == "" || thief.Cookie(postern.LoopbackBrowserCookie) == forged {
			t.Error("a forged browser cookie was kept")
		}
	}
}

// TestManyRememberedAddresses signs one browser in as more addresses than it can
// be known by: the cookie stays small, and the latest are known.
func TestManyRememberedAddresses(t *testing.T) {
	t.Parallel()
	server, _ := start(t, plain, "limit network 100000 10m\nlimit attempts 1 10m\nlimit mails 100 1m")
	v := visitor(t, server)
	const n = 20
	for i := range n {
		v.SignIn(fmt.Sprintf("u%d@example.com", i))
	}
	if size := len(postern.LoopbackBrowserCookie + v.Cookie(postern.LoopbackBrowserCookie)); size > 4000 {
		t.Errorf("the browser cookie has %d bytes", size)
	}
	for i, want := range map[int]int{0: http.StatusTooManyRequests, 2: http.StatusTooManyRequests, n - 16: http.StatusUnprocessableEntity, n - 1: http.StatusUnprocessableEntity} {
		email := fmt.Sprintf("u%d@example.com", i)
		stranger := visitor(t, server).Ask(email, "/")
		stranger.Answer(wrongCodes(stranger.Mail().Code, 1)[0]).Want(t, http.StatusUnprocessableEntity)
		mine := v.Ask(email, "/")
		if answer := mine.Answer(wrongCodes(mine.Mail().Code, 2)[1]); answer.Status != want {
			t.Errorf("address %d of %d: status %d, want %d", i+1, n, answer.Status, want)
		}
	}
}
