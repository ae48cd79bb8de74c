package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp/kb"

	"github.com/postern-auth/postern/e2e/postern"
)

// chromiumSite runs the site secure, and opens a browser.
func chromiumSite(t *testing.T, auth string) (*postern.Server, string, *postern.Browser) {
	t.Helper()
	server, _ := start(t, secure, auth)
	return server, server.TLS("wiki.localhost"), postern.NewBrowser(t)
}

// ask opens a page and asks for a mail to get there.
func ask(t *testing.T, server *postern.Server, tab *postern.Tab, address, email string) *postern.Mail {
	t.Helper()
	before := len(server.Mails(email))
	tab.Go(address)
	tab.WaitAddress("/.auth/sign-in")
	submitAddress(tab, email)
	mails := server.WaitMails(t, email, before+1)
	return mails[len(mails)-1]
}

func submitAddress(tab *postern.Tab, email string) {
	tab.Fill("#email", email)
	tab.Click("main form button")
	tab.WaitAddress("/.auth/code")
}

func submitCode(tab *postern.Tab, code string) {
	tab.Fill("#code", code)
	tab.Click("form[action$=verify] button")
}

func TestChromiumSignInByCode(t *testing.T) {
	server, origin, browser := chromiumSite(t, "")
	tab := browser.Tab()
	mail := ask(t, server, tab, origin+"/report?year=2026#part", ann)
	submitCode(tab, mail.Code)
	tab.WaitAddress("/report?year=2026")
	tab.WaitText("Hello " + ann)
	tab.WantQuiet()

	cookies := tab.Cookies(origin)
	for _, name := range []string{postern.SessionCookie, postern.BrowserCookie} {
		c := cookies[name]
		if c == nil || !c.Secure || !c.HTTPOnly || c.SameSite != network.CookieSameSiteLax || c.Path != "/" || c.Domain != "wiki.localhost" {
			t.Errorf("cookie %s: %+v", name, c)
		}
	}
	if c := cookies[postern.BrowserCookie]; c != nil {
		if days := time.Until(time.Unix(int64(c.Expires), 0)).Hours() / 24; days < 398 || days > 401 {
			t.Errorf("the browser cookie lives %.1f days, want 400", days)
		}
	}
	if tab.Eval("document.cookie") != "" {
		t.Error("a script can read a cookie")
	}
}

func TestChromiumSignInByLink(t *testing.T) {
	server, origin, browser := chromiumSite(t, "")
	waiting := browser.Tab()
	mail := ask(t, server, waiting, origin+"/report", ann)
	opened := browser.Tab()
	opened.Go(mail.Link)
	opened.WaitAddress("/report")
	opened.WaitText("Hello " + ann)
	// The tab that waited goes on by itself.
	waiting.WaitAddress("/report")
	waiting.WaitText("Hello " + ann)
	waiting.WantQuiet()
	opened.WantQuiet()
	// The link again, and the back button.
	opened.Go(mail.Link)
	opened.WaitAddress("/report")
}

func TestChromiumLinkInAnotherBrowser(t *testing.T) {
	server, origin, browser := chromiumSite(t, "")
	waiting := browser.Tab()
	mail := ask(t, server, waiting, origin+"/report", ann)
	other := postern.NewBrowser(t).Tab()
	other.Go(mail.Link)
	other.WaitAddress("/.auth/link")
	other.WaitText("where you asked")
	if strings.Contains(other.Text(), ann) || other.Has("main form") {
		t.Error("the other browser's page shows the address or a form")
	}
	if other.Cookies(origin)[postern.SessionCookie] != nil {
		t.Error("the other browser got a session")
	}
	other.WantQuiet()
	opened := browser.Tab()
	opened.Go(mail.Link)
	opened.WaitAddress("/report")
}

func TestChromiumLinkInAnyBrowser(t *testing.T) {
	server, origin, browser := chromiumSite(t, "same_browser off")
	waiting := browser.Tab()
	mail := ask(t, server, waiting, origin+"/report", ann)
	other := postern.NewBrowser(t).Tab()
	other.Go(mail.Link)
	other.WaitText(ann)
	if n := other.Eval("String(document.querySelectorAll('button').length)"); n != "1" {
		t.Errorf("%s buttons, want 1", n)
	}
	other.Click("main form button")
	other.WaitAddress("/report")
	other.WaitText("Hello " + ann)
	other.WantQuiet()
}

func TestChromiumWithoutScripts(t *testing.T) {
	server, origin, browser := chromiumSite(t, "")
	tab := browser.Tab()
	tab.DisableScripts()
	mail := ask(t, server, tab, origin+"/report", ann)
	submitCode(tab, wrongCodes(mail.Code, 1)[0])
	tab.WaitText("4 attempts left")
	submitCode(tab, mail.Code)
	tab.WaitAddress("/report")
	tab.Go(origin + "/.auth/")
	tab.WaitText(ann)
	tab.Click("form[action$=sign-out] button")
	tab.WaitText("signed out")
	// And by the link.
	mail = ask(t, server, tab, origin+"/other", ann)
	tab.Go(mail.Link)
	tab.WaitAddress("/other")
}

func TestChromiumSeveralTabs(t *testing.T) {
	server, origin, browser := chromiumSite(t, "")
	tabs := make([]*postern.Tab, 4)
	for i := range tabs {
		tabs[i] = browser.Tab()
		tabs[i].Go(fmt.Sprintf("%s/tab/%d", origin, i))
		tabs[i].WaitAddress("/.auth/sign-in")
	}
	for _, tab := range tabs[:3] {
		submitAddress(tab, ann)
	}
	mail := server.WaitMails(t, ann, 1)[0]
	submitCode(tabs[1], mail.Code)
	for i, tab := range tabs[:3] {
		tab.WaitAddress(fmt.Sprintf("/tab/%d", i))
		tab.WantQuiet()
	}
	// The tab whose form was not sent yet goes there after a reload.
	tabs[3].Go(origin + tabs[3].Address())
	tabs[3].WaitAddress("/tab/3")
	if n := len(server.Mails(ann)); n != 1 {
		t.Errorf("%d mails, want 1", n)
	}
}

func TestChromiumSwitchAddress(t *testing.T) {
	server, origin, browser := chromiumSite(t, "")
	tab := browser.Tab()
	submitCode(tab, ask(t, server, tab, origin+"/", ann).Code)
	tab.WaitText("Hello " + ann)
	tab.Go(origin + "/.auth/sign-in?prompt=login&return_to=/report")
	tab.WaitText(ann)
	submitAddress(tab, "bob@example.com")
	tab.WaitText("Check your mail")
	submitCode(tab, server.WaitMails(t, "bob@example.com", 1)[0].Code)
	tab.WaitAddress("/report")
	tab.WaitText("Hello bob@example.com")
	tab.WantQuiet()
}

func TestChromiumSignOut(t *testing.T) {
	server, origin, browser := chromiumSite(t, "")
	tab := browser.Tab()
	submitCode(tab, ask(t, server, tab, origin+"/", ann).Code)
	tab.WaitText("Hello " + ann)
	tab.Go(origin + "/.auth/")
	tab.WaitText(ann)
	tab.Click("form[action$=sign-out] button")
	tab.WaitText("signed out")
	if tab.Cookies(origin)[postern.SessionCookie] != nil {
		t.Error("the session cookie is still there")
	}
	tab.Go(origin + "/")
	tab.WaitAddress("/.auth/sign-in")
	tab.WantQuiet()
}

// The account page ends one session, all others, and all, with scripts and
// without.
func TestChromiumEndSessions(t *testing.T) {
	server, origin, browser := chromiumSite(t, "limit mails 20 1m")
	phone, desk := server.Visitor(t, origin), server.Visitor(t, origin)
	tab, plain := browser.Tab(), postern.NewBrowser(t).Tab()
	plain.DisableScripts()
	for _, one := range []*postern.Tab{tab, plain} {
		submitCode(one, ask(t, server, one, origin+"/", ann).Code)
		one.WaitText("Hello " + ann)
	}
	phone.SignIn(ann)
	desk.SignIn(ann)

	tab.Go(origin + "/.auth/")
	tab.WaitText("End all others")
	for _, width := range []int64{320, 1024} {
		tab.Width(width)
		if over := tab.Overflow(); over != "0" {
			t.Errorf("%s px too wide for %d px", over, width)
		}
		tab.Shoot(fmt.Sprintf("sessions-%d", width))
	}
	// The one that was used last is the first of the others.
	tab.Click("main li form button")
	postern.Eventually(t, 10*time.Second, "the session to end", func() bool { return desk.Me() == "" })
	if phone.Me() != ann {
		t.Error("another session ended too")
	}
	plain.Go(origin + "/.auth/")
	plain.WaitText("this browser")
	plain.Click("main .row form:first-child button")
	postern.Eventually(t, 10*time.Second, "the others to end", func() bool { return phone.Me() == "" })
	tab.Go(origin + "/.auth/")
	tab.WaitAddress("/.auth/sign-in")
	phone.SignIn(ann)
	plain.Go(origin + "/.auth/")
	plain.Click("main .row form:last-child button")
	plain.WaitText("signed out")
	if phone.Me() != "" {
		t.Error("a session lives on")
	}
	tab.WantQuiet()
	plain.WantQuiet()
}

func TestChromiumKeyboardAlone(t *testing.T) {
	server, origin, browser := chromiumSite(t, "")
	tab := browser.Tab()
	tab.Go(origin + "/report")
	tab.WaitAddress("/.auth/sign-in")
	// The field has the focus already.
	tab.Press(ann)
	tab.Press(kb.Tab)
	tab.Press(kb.Enter) // on the button
	tab.WaitAddress("/.auth/code")
	code := server.WaitMails(t, ann, 1)[0].Code
	tab.Press(code)
	tab.Press(kb.Enter) // in the field
	tab.WaitAddress("/report")
	tab.WantQuiet()
	tab.Go(origin + "/.auth/")
	tab.WaitText(ann)
	for range 10 {
		tab.Press(kb.Tab)
		if tab.Eval("document.activeElement.closest('form') ? document.activeElement.closest('form').action : ''") == origin+"/.auth/sign-out" {
			tab.Press(kb.Enter)
			tab.WaitText("signed out")
			return
		}
	}
	t.Error("the sign-out button cannot be reached by Tab")
}

func TestChromiumPlainLoopback(t *testing.T) {
	server, _ := plainSite(t, "")
	origin := server.Plain("localhost")
	tab := postern.NewBrowser(t).Tab()
	mail := ask(t, server, tab, origin+"/report", ann)
	submitCode(tab, mail.Code)
	tab.WaitAddress("/report")
	if tab.Cookies(origin)[postern.LoopbackSessionCookie] == nil {
		t.Error("no cookie on plain loopback")
	}
	tab.WantQuiet()
}

// A form that a person sends without a session is sent again by a reload, once
// they signed in elsewhere.
func TestChromiumUnsentForm(t *testing.T) {
	server, origin, browser := chromiumSite(t, "")
	tab := browser.Tab()
	submitCode(tab, ask(t, server, tab, origin+"/edit", ann).Code)
	tab.WaitText("Hello " + ann)
	other := browser.Tab()
	other.Go(origin + "/.auth/")
	other.Click("form[action$=sign-out] button")
	other.WaitText("signed out")
	tab.Eval(`(() => { const f = document.createElement('form'); f.method = 'post'; f.action = '/save'; f.innerHTML = '<input name=text value=work>'; document.body.append(f); f.submit(); return '' })()`)
	tab.WaitAddress("/save")
	tab.WaitText("not sent")
	tab.WantQuiet()
}

// The console is really watched: a page that breaks its policy is noticed.
func TestChromiumConsoleIsWatched(t *testing.T) {
	_, origin, browser := chromiumSite(t, "")
	tab := browser.Tab()
	tab.Go(origin + "/.auth/sign-in")
	tab.WaitText("Sign in")
	tab.WantQuiet()
	tab.Eval(`(() => { const s = document.createElement('style'); s.textContent = 'p { color: red }'; document.head.append(s); return '' })()`)
	postern.Eventually(t, 10*time.Second, "a line about the policy in the console", func() bool { return len(tab.Problems()) > 0 })
}

// What is at stake in width: an address and a host that are as long as they
// come in life.
const longAddress = "maximiliane.von.und.zu.hohenlohe-langenburg@department-of-redundancy-department.example.com"

const manyPages = `
https://the-wiki-of-a-department-with-a-long-name.localhost:$HTTPS {
	tls internal
	email_auth *@department-of-redundancy-department.example.com
	email_auth /admin* boss@example.com
	email_auth /danger* anyone {
		max_age 10s
	}
	reverse_proxy $UPSTREAM
}`

// TestChromiumAllPages walks through all pages: none may scroll sideways on a
// small phone, nor say anything in the console.
func TestChromiumAllPages(t *testing.T) {
	server, _ := start(t, manyPages, "")
	origin := server.TLS("the-wiki-of-a-department-with-a-long-name.localhost")
	browser := postern.NewBrowser(t)
	tab := browser.Tab()
	look := func(name, text string) {
		t.Helper()
		tab.WaitText(text)
		for _, width := range []int64{320, 1024} {
			tab.Width(width)
			if over := tab.Overflow(); over != "0" {
				t.Errorf("%s is %s px too wide for %d px", name, over, width)
			}
			tab.Shoot(fmt.Sprintf("%s-%d", name, width))
		}
		tab.WantQuiet()
	}

	tab.Go(origin + "/report")
	look("sign-in", "Email address")
	tab.Eval("document.querySelector('main form').noValidate = true, ''")
	tab.Fill("#email", "max@localhost")
	tab.Click("main form button")
	look("sign-in-problem", "not an address")

	mail := ask(t, server, tab, origin+"/report", longAddress)
	waiting := tab.Address()
	look("check-mail", "Check your mail")
	wrong := wrongCodes(mail.Code, 5)
	submitCode(tab, wrong[0])
	look("wrong-code", "4 attempts left")
	for i, code := range wrong[1:] {
		submitCode(tab, code)
		if i < 3 {
			tab.WaitText(fmt.Sprintf("%d attempt", 3-i))
		}
	}
	look("no-attempts", "try again in")

	other := postern.NewBrowser(t)
	tab = other.Tab()
	tab.Go(mail.Link)
	look("other-browser", "where you asked")

	tab = browser.Tab()
	tab.Go(mail.Link)
	tab.WaitAddress("/report")
	tab.Go(origin + "/.auth/")
	look("account", longAddress)
	tab.Go(origin + "/admin")
	look("refused", "may not open")
	tab.Go(origin + "/.auth/nothing")
	look("failure", "no such page")
	tab.Go(origin + "/.auth/sign-in?prompt=login")
	look("step-up", "Sign in again")
	tab.Go(origin + "/.auth/")
	tab.Click("form[action$=sign-out] button")
	look("signed-out", "signed out")
	tab.Go(mail.Link)
	look("expired", "no longer works")
	tab.Go(origin + waiting)
	look("expired-code", "no longer works")

	tab.Go(origin + "/.auth/signed-out")
	tab.Eval(`(() => { const f = document.createElement('form'); f.method = 'post'; f.action = '/save'; document.body.append(f); f.submit(); return '' })()`)
	look("unsent-form", "not sent")
}

func TestChromiumConfirmPage(t *testing.T) {
	server, _ := start(t, manyPages, "same_browser off\nlimit network 2 10m")
	origin := server.TLS("the-wiki-of-a-department-with-a-long-name.localhost")
	tab := postern.NewBrowser(t).Tab()
	mail := ask(t, server, tab, origin+"/report", longAddress)
	tab = postern.NewBrowser(t).Tab()
	tab.Width(320)
	tab.Go(mail.Link)
	tab.WaitText(longAddress)
	if over := tab.Overflow(); over != "0" {
		t.Errorf("the page is %s px too wide", over)
	}
	tab.Shoot("confirm-link-320")
	tab.WantQuiet()
	for i := range 2 {
		tab.Go(origin + "/.auth/sign-in")
		tab.Fill("#email", fmt.Sprintf("u%d@department-of-redundancy-department.example.com", i))
		tab.Click("main form button")
		time.Sleep(300 * time.Millisecond)
	}
	tab.WaitText("too many")
	if over := tab.Overflow(); over != "0" {
		t.Errorf("the page is %s px too wide", over)
	}
	tab.Shoot("limited-320")
	tab.WantQuiet()
}

// A brand is on the pages and in the mail, within their policy.
func TestChromiumBrand(t *testing.T) {
	const logo = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 32"><rect width="96" height="32" rx="6" fill="#c2410c"/><circle cx="16" cy="16" r="8" fill="#fff"/></svg>`
	server := postern.New(t, postern.Config{Sites: secure, Upstream: postern.StartUpstream(t), Auth: "brand {\n\tname \"Example & Sons\"\n\tlogo $DIR/logo.svg\n\taccent \"#c2410c\"\n\tsupport help@example.com\n}"})
	if err := os.WriteFile(filepath.Join(server.Dir, "logo.svg"), []byte(logo), 0o600); err != nil {
		t.Fatal(err)
	}
	server.Run()
	origin := server.TLS("wiki.localhost")
	tab := postern.NewBrowser(t).Tab()
	mail := ask(t, server, tab, origin+"/", ann)
	if !strings.HasPrefix(mail.Text, "Example & Sons\n") || !strings.Contains(mail.Text, "Help: help@example.com") || !strings.Contains(mail.HTML, "#c2410c") {
		t.Errorf("the mail: %s\n%s", mail.Text, mail.HTML)
	}
	tab.WaitText("Example & Sons")
	if width := tab.Eval("String(document.querySelector('header img').naturalWidth)"); width == "0" {
		t.Error("the logo is not shown")
	}
	if colour := tab.Eval("getComputedStyle(document.querySelector('form[action$=verify] button')).backgroundColor"); colour != "rgb(194, 65, 12)" {
		t.Errorf("the button is %s", colour)
	}
	for _, width := range []int64{320, 1024} {
		tab.Width(width)
		if over := tab.Overflow(); over != "0" {
			t.Errorf("%s px too wide for %d px", over, width)
		}
		tab.Shoot(fmt.Sprintf("brand-%d", width))
	}
	submitCode(tab, mail.Code)
	tab.WaitText("Hello " + ann)
	tab.WantQuiet()
}

// An operator's template is in the place of the one that is built in.
func TestTemplates(t *testing.T) {
	t.Parallel()
	const signedOut = `{{define "title"}}Bye{{end}}{{define "main"}}<h1>Bye from {{.Site}}</h1>{{end}}`
	config := postern.Config{Sites: plain, Upstream: postern.StartUpstream(t), Auth: "templates $DIR/templates"}
	server := postern.New(t, config)
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(server.Dir, "templates", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("pages/signed-out.html", signedOut)
	server.Run()
	v := visitor(t, server)
	v.SignIn(ann)
	page := v.SignOut().Location()
	wantPage(t, v.Navigate(page).Want(t, 200).WantText(t, "<h1>Bye from localhost</h1>"))
	// A mistake is refused at a reload, and what was there stays.
	write("pages/sign-in.html", "{{define \"title\"}}T{{end}}{{define \"main\"}}\n{{.Nothing}}{{end}}")
	if status, body := server.TryReload(config); status == 200 || !strings.Contains(body, "pages/sign-in.html:2") {
		t.Errorf("status %d: %s", status, body)
	}
	v.Navigate(page).WantText(t, "Bye from")
	v.SignIn(ann)
}
