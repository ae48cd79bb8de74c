package e2e_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/postern-auth/postern/e2e/postern"
)

// scans are requests of mail scanners, previews and browsers that look ahead.
// None is a person who opens the link.
var scans = func() map[string]string {
	scans := make(map[string]string)
	for _, method := range []string{"HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "PROPFIND", "get", "POST"} {
		scans["method "+method] = method + "|Content-Length: 0"
	}
	for _, line := range []string{
		"Sec-Purpose: prefetch", "Sec-Purpose: prefetch;prerender", "Sec-Purpose: prefetch;anonymous-client-ip", "Purpose: prefetch", "Purpose: preview", "X-Purpose: preview", "X-Moz: prefetch", "Sec-Purpose:",
		"Sec-Fetch-Mode: cors\nSec-Fetch-Dest: empty\nSec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors\nSec-Fetch-Dest: image\nSec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors\nSec-Fetch-Dest: script", "Sec-Fetch-Mode: no-cors\nSec-Fetch-Dest: style",
		"Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: iframe\nSec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: frame", "Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: embed", "Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: object", "Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: fencedframe",
		"Sec-Fetch-Mode: websocket\nSec-Fetch-Dest: websocket", "Sec-Fetch-Mode: same-origin\nSec-Fetch-Dest: empty\nSec-Fetch-Site: same-origin", "Sec-Fetch-Dest: document", "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: serviceworker",
		"Sec-Fetch-Mode: navigate\nSec-Fetch-Mode: cors\nSec-Fetch-Dest: document", "Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: document\nSec-Purpose: prefetch", "Sec-Fetch-Mode: NAVIGATE\nSec-Fetch-Dest: DOCUMENT", "Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: document\nSec-Fetch-Dest: image",
	} {
		scans[line] = "GET|" + line
	}
	return scans
}()

// TestScannersUseNothingUp has all scans come in the browser that asked, where
// they might count most, and as strangers.
func TestScannersUseNothingUp(t *testing.T) {
	t.Parallel()
	for _, setting := range []string{"on", "off"} {
		t.Run("same_browser "+setting, func(t *testing.T) {
			t.Parallel()
			server, _ := start(t, plain, noLimits+"\nsame_browser "+setting)
			v, stranger := visitor(t, server), visitor(t, server)
			stranger.SignIn("bob@example.com")
			pending := v.Ask(ann, "/report")
			link := pending.Mail().Link
			_, target, _ := strings.Cut(link, v.Host())
			for name, scan := range scans {
				method, lines, _ := strings.Cut(scan, "|")
				for who, cookies := range map[string]string{"nobody": "", "a stranger": stranger.Cookies(), "the browser that asked": v.Cookies()} {
					answer := server.Raw(t, fmt.Sprintf("%s %s HTTP/1.1\nHost: %s\nCookie: %s\nAccept: text/html\n%s\nConnection: close\n\n", method, target, hostOf(server), cookies, lines))
					if answer.Status >= 500 || answer.Status == http.StatusSeeOther || answer.Cookie(postern.LoopbackSessionCookie) != nil {
						t.Errorf("%s, as %s: status %d", name, who, answer.Status)
					}
				}
			}
			// What looks like a person, but elsewhere, and buttons that only this
			// site may press.
			for range 3 {
				for _, old := range []bool{false, true} {
					scanner := v.Fresh()
					scanner.OldBrowser = old
					scanner.OpenLink(link).Want(t, http.StatusOK)
					press := scanner.Form("/.auth/link", url.Values{"token": {tokenOf(t, link)}})
					press.Header.Set("Origin", "https://mail."+evil)
					if !old {
						press.Header.Set("Sec-Fetch-Site", "cross-site")
					}
					scanner.Do(press).Want(t, http.StatusForbidden)
					if setting == "on" {
						scanner.Submit("/.auth/link", url.Values{"token": {tokenOf(t, link)}}).Want(t, http.StatusOK)
					}
					if scanner.Me() != "" {
						t.Error("a scanner was signed in")
					}
				}
			}
			if stranger.Me() != "bob@example.com" {
				t.Error("the stranger's session changed")
			}
			v.OpenLink(link).WantRedirect(t, "/report")
			if v.Me() != ann {
				t.Error("the person's link did not sign in")
			}
		})
	}
}

// TestAnotherBrowsersButton is the button of same_browser off: what it needs, and
// that nobody is signed in by somebody else's link without pressing it.
func TestAnotherBrowsersButton(t *testing.T) {
	t.Parallel()
	server, _ := start(t, plain, noLimits+"\nsame_browser off")
	eve, victim := visitor(t, server), visitor(t, server)
	victim.SignIn("victim@example.com")
	session := victim.Cookie(postern.LoopbackSessionCookie)
	link := eve.Ask("eve@example.com", "/").Mail().Link
	token := tokenOf(t, link)
	for range 2 {
		wantPage(t, victim.OpenLink(link).Want(t, http.StatusOK).WantText(t, "eve@example.com", "victim@example.com"))
	}
	for name, lines := range foreignHeaders(server.Plain("localhost")) {
		answer := server.Raw(t, rawForm("POST /.auth/link HTTP/1.1\nHost: "+hostOf(server)+"\nCookie: "+victim.Cookies()+"\nAccept: text/html\n"+lines, url.Values{"token": {token}}))
		if answer.Status != http.StatusForbidden && answer.Status != http.StatusBadRequest || len(answer.Header["Set-Cookie"]) != 0 {
			t.Errorf("%s: status %d", name, answer.Status)
		}
	}
	for _, target := range []string{"/.auth/link?token=" + token + "&confirm=1", "/.auth/link?_method=POST&token=" + token, "/.auth/link?token=" + token + "#"} {
		victim.Navigate(target).Want(t, http.StatusOK)
	}
	override := victim.AsNavigation(victim.NewRequest(http.MethodGet, link, nil), "cross-site")
	override.Header.Set("X-HTTP-Method-Override", "POST")
	victim.Do(override).Want(t, http.StatusOK)
	if victim.Cookie(postern.LoopbackSessionCookie) != session || victim.Me() != "victim@example.com" {
		t.Fatal("the victim was signed in as somebody else")
	}
	// Pressed, it signs in here, once.
	victim.Submit("/.auth/link", url.Values{"token": {token}}).WantRedirect(t, "/")
	if victim.Me() != "eve@example.com" || eve.Me() != "" {
		t.Error("the button did not sign in, or in two browsers")
	}
	eve.OpenLink(link).Want(t, http.StatusGone)
	victim.Fresh().Submit("/.auth/link", url.Values{"token": {token}}).Want(t, http.StatusGone)
}

// TestChromiumScanner is a scanner that runs scripts, follows every link of the
// page and presses every button, in a browser of its own.
func TestChromiumScanner(t *testing.T) {
	server, origin, browser := chromiumSite(t, noLimits)
	waiting := browser.Tab()
	mail := ask(t, server, waiting, origin+"/report", ann)
	scanner := postern.NewBrowser(t).Tab()
	const clickable = "document.querySelectorAll('a, button, input, form')"
	scanner.Go(mail.Link)
	scanner.WaitText("where you asked")
	if scanner.Eval("String("+clickable+".length)") == "0" {
		t.Error("there is nothing to press")
	}
	for i := range 6 {
		scanner.Go(mail.Link)
		scanner.WaitText("where you asked")
		scanner.Eval(fmt.Sprintf("(() => { const e = %s[%d]; if (!e) return 'none'; e.requestSubmit ? e.requestSubmit() : e.click(); return e.tagName })()", clickable, i))
		scanner.WaitText("") // whatever comes of it
	}
	token := tokenOf(t, mail.Link)
	for _, script := range []string{
		"fetch('/.auth/link', {method: 'POST', body: new URLSearchParams({token: '" + token + "'})}).then(r => r.status).then(String)",
		"fetch('/.auth/link?token=" + token + "').then(r => r.status).then(String)",
		"(() => { const f = document.createElement('form'); f.method = 'POST'; f.action = '/.auth/link'; f.innerHTML = '<input name=token value=\"" + token + "\">'; document.body.append(f); f.submit(); return '' })()",
	} {
		scanner.Eval(script)
		scanner.WaitText("")
	}
	if scanner.Cookies(origin)[postern.SessionCookie] != nil {
		t.Error("the scanner was signed in")
	}
	opened := browser.Tab()
	opened.Go(mail.Link)
	opened.WaitAddress("/report")
	opened.WaitText("Hello " + ann)
}
