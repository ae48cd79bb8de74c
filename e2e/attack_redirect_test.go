package e2e_test

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/postern-auth/postern/e2e/postern"
)

// hostileTargets are places that somebody may want a sign-in to lead to. Some
// are paths of the site after all, which is well.
var hostileTargets = func() []string {
	targets := []string{
		evil, "//" + evil, "///" + evil, "////" + evil, "//" + evil + "/%2e%2e", "//" + evil + "/.auth/", "//" + evil + ":443/", "//" + evil + "#", "//" + evil + "?x",
		"https://" + evil, "https:/" + evil, "https:" + evil, "https:///" + evil, "HTTPS://" + evil, "hTTp:" + evil, "http:\\\\" + evil, "https:\t//" + evil, "https://localhost@" + evil,
		"//localhost@" + evil, "//localhost:80@" + evil, "/@" + evil, "@" + evil, ":80", "/:80@" + evil, "//" + evil + "@localhost", "//localhost." + evil, "//localhost%2f@" + evil, "//" + evil + "%2f@localhost",
		"javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "\x01javascript:alert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:x", "file:///etc/passwd", "blob:x", "about:blank", "ftp://" + evil, "ws://" + evil,
		"mailto:a@" + evil, "intent://" + evil, "x:y", "?//" + evil, "#//" + evil, "..//" + evil, "./" + evil, " /x", " //" + evil, "/ /" + evil, "/x y", "\u00a0//" + evil, "\u3000//" + evil, "\ufeff//" + evil, "/\u2028/" + evil, "/\u0085/" + evil,
		"/.auth", "/.auth/../", "/.auth/../.auth/sign-out", "/.auth/sign-out", "/.auth/sign-in", "/.auth/sign-in?return_to=//" + evil, "/.auth/link?token=x", "/.auth/code?request=x", "/.auth/verify", "/.auth/me", "/.auth/?x", "/.auth/#", "/.auth//", "/.auth/.",
		"/%2eauth/sign-out", "/%2Eauth/sign-out", "/.%61uth/sign-out", "/.auth%2fsign-out", "/.auth%252fsign-out", "/.auth;/sign-out", "/.auth;x=y/sign-out", "/./.auth/sign-out", "/x/../.auth/sign-out", "/x/%2e%2e/.auth/sign-out", "//.auth/sign-out", "/%2f.auth/sign-out",
		"/.AUTH/sign-out", "/.auth/sign-out/", "/.auth\\sign-out", "\\.auth\\sign-out", "/．auth/sign-out", "/.auth／sign-out", "/.authx", "/.auth-x/sign-out",
		"/a\r\nSet-Cookie: postern_session=x", "/a\nX-Injected: yes", "/a\rX-Injected: yes", "/a%0d%0aX-Injected:%20yes", "/a%0aX-Injected: yes", "/a\u560d\u560aX-Injected: yes", "/a%E5%98%8D%E5%98%8AX-Injected:yes", "/a\x00b", "/%00//" + evil, "/a\x7f",
		"/a#b", "/#//" + evil, "/a?b#c", "/%", "/%2", "/%zz", "/%u002f%u002f" + evil, "/%c0%af" + evil, "/%e0%80%af" + evil, "/\xc0\xaf" + evil, "/\xff\xfe",
		"/<script>alert(1)</script>", `/"><img src=x onerror=alert(1)>`, "/';alert(1)//", "/{{.Email}}", "/{env.HOME}", "/" + strings.Repeat("a", 2047), "/" + strings.Repeat("a", 2048), "//" + strings.Repeat("a", 3000) + "." + evil, "/" + strings.Repeat("../", 600), "/" + strings.Repeat("é", 1000),
		"", "/", "/report", "/report?a=b&c=%2F%2F" + evil, "/a//b", "/a/https://" + evil,
	}
	// What browsers and parsers take for a slash, or drop, in every place.
	for _, odd := range []string{`\`, "\t", "\n", "\r", "%09", "%0a", "%0d", "%00", "%2f", "%5c", "%20", "%252f", "%255c", ";", ".", "..", "%2e", "%2e%2e", "／", "＼", "⁄", "∕", "∖", "\u200b", "%ef%bc%8f"} {
		targets = append(targets, "/"+odd+evil, "/"+odd+"/"+evil, odd+"//"+evil, odd+"/"+evil, "/x/"+odd+"//"+evil)
	}
	return targets
}()

var placesInPage = regexp.MustCompile(`(?:name="return_to" value|href|action|data-poll)="([^"]*)"`)

// wantOwnPlaces looks at every place that a page leads to.
func wantOwnPlaces(t *testing.T, what string, answer *postern.Answer) {
	t.Helper()
	for _, found := range placesInPage.FindAllStringSubmatch(answer.Body, -1) {
		place := html.UnescapeString(found[1])
		path, query, _ := strings.Cut(place, "?")
		switch path {
		case "/.auth/sign-in", "/.auth/code", "/.auth/verify", "/.auth/resend", "/.auth/link", "/.auth/sign-out":
			values, err := url.ParseQuery(query)
			if err != nil {
				t.Errorf("%s: the page leads to %q", what, place)
			}
			if to := values.Get("return_to"); to != "" {
				wantOwnPlace(t, what, to)
			}
		case "data:,":
		default:
			wantOwnPlace(t, what, place)
		}
	}
}

// wantOwnAnswer looks at the Location, at every place of the page, and at what a
// line break may have brought in.
func wantOwnAnswer(t *testing.T, what string, answer *postern.Answer) {
	t.Helper()
	if answer.Status >= 500 {
		t.Errorf("%s: status %d", what, answer.Status)
	}
	if answer.Header.Get("X-Injected") != "" || len(answer.Header["Location"]) > 1 {
		t.Errorf("%s: headers %v", what, answer.Header)
	}
	if cookie := answer.Cookie(postern.LoopbackSessionCookie); cookie != nil && cookie.Value == "x" {
		t.Errorf("%s: a cookie was brought in", what)
	}
	if location := answer.Location(); location != "" {
		path, query, _ := strings.Cut(location, "?")
		values, err := url.ParseQuery(query)
		if strings.HasPrefix(path, "/.auth/") && path != "/.auth/" {
			if err != nil || path != "/.auth/sign-in" && path != "/.auth/code" && path != "/.auth/signed-out" {
				t.Errorf("%s: leads to %q", what, location)
			}
			location = values.Get("return_to")
		}
		if location != "" {
			wantOwnPlace(t, what, location)
		}
	}
	wantOwnPlaces(t, what, answer)
}

// TestNoOpenRedirect hands every target to every page that takes one, before
// and after the sign-in.
func TestNoOpenRedirect(t *testing.T) {
	t.Parallel()
	server, _ := start(t, twoRules, noLimits)
	asking, signedIn, asked := visitor(t, server), visitor(t, server), visitor(t, server)
	pending := asked.Ask("bob@example.com", "/asked")
	done := signedIn.Ask(ann, "/done")
	code := done.Mail().Code
	done.Answer(code).WantRedirect(t, "/done")
	for _, target := range hostileTargets {
		what, escaped := fmt.Sprintf("%.80q", target), url.QueryEscape(target)
		for _, v := range []*postern.Visitor{asking, signedIn} {
			wantOwnAnswer(t, what+" at the form", v.Navigate("/.auth/sign-in?return_to="+escaped))
			wantOwnAnswer(t, what+" at the form again", v.Navigate("/.auth/sign-in?prompt=login&return_to="+escaped))
		}
		signedIn.Navigate("/.auth/sign-in?return_to="+escaped).Want(t, http.StatusSeeOther)
		wantOwnAnswer(t, what+" sent", asking.Submit("/.auth/sign-in", url.Values{"email": {"cid@example.com"}, "return_to": {target}}).Want(t, http.StatusSeeOther))
		wantOwnAnswer(t, what+" with a bad address", asking.Submit("/.auth/sign-in", url.Values{"email": {"none"}, "return_to": {target}}).Want(t, http.StatusUnprocessableEntity))
		wantOwnAnswer(t, what+" at the code page", asked.Navigate(pending.Page+"&return_to="+escaped).Want(t, http.StatusOK))
		wantOwnAnswer(t, what+" with no code", asked.Submit("/.auth/verify", url.Values{"request": {pending.ID}, "code": {"x"}, "return_to": {target}}).Want(t, http.StatusUnprocessableEntity))
		wantOwnAnswer(t, what+" at the resend", asked.Submit("/.auth/resend", url.Values{"request": {pending.ID}, "return_to": {target}}))
		wantOwnAnswer(t, what+" of an unknown request", asked.Submit("/.auth/verify", url.Values{"request": {target}, "code": {"123456"}, "return_to": {target}}).Want(t, http.StatusGone))
		wantOwnAnswer(t, what+" at the code page, done", signedIn.Navigate(done.Page+"&return_to="+escaped).Want(t, http.StatusSeeOther))
		wantOwnAnswer(t, what+" with the right code", signedIn.Submit("/.auth/verify", url.Values{"request": {done.ID}, "code": {code}, "return_to": {target}}).Want(t, http.StatusSeeOther))
		wantOwnAnswer(t, what+" after the sign-out", asking.Submit("/.auth/sign-out", url.Values{"return_to": {target}}).WantRedirect(t, "/.auth/signed-out"))
		told := signedIn.NewRequest(http.MethodGet, done.Page+"&return_to="+escaped, nil)
		told.Header.Set("Accept", "application/json")
		var script struct{ Location string }
		signedIn.Do(told).Want(t, http.StatusOK).JSON(t, &script)
		wantOwnPlace(t, what+" told to the script", script.Location)
	}
}

// TestNoOpenRedirectByPath asks for hostile paths themselves, as they are.
func TestNoOpenRedirectByPath(t *testing.T) {
	t.Parallel()
	server, _ := start(t, twoRules, noLimits)
	v := visitor(t, server)
	v.SignIn(ann) // who may not open /admin
	n := 0
	for _, target := range hostileTargets {
		if strings.ContainsAny(target, " \n\r\x00\x7f") || !strings.HasPrefix(target, "/") || len(target) > 4000 {
			continue // no request line
		}
		n++
		for _, path := range []string{target, "/admin" + target} {
			for name, cookies := range map[string]string{"a stranger": "", "a visitor": "Cookie: " + v.Cookies() + "\n"} {
				for _, method := range []string{"GET", "POST"} {
					answer := server.Raw(t, method+" "+path+" HTTP/1.1\nHost: "+hostOf(server)+"\n"+cookies+"Accept: text/html\nContent-Length: 0\nConnection: close\n\n")
					if answer.Status != http.StatusOK { // what is the upstream's is its affair
						wantOwnAnswer(t, fmt.Sprintf("%s %.80q by %s", method, path, name), answer)
					}
				}
			}
		}
	}
	if n < 60 {
		t.Errorf("%d paths", n)
	}
}

// TestChromiumIsNotLedAway has a real browser judge where it ends up.
func TestChromiumIsNotLedAway(t *testing.T) {
	server, origin, browser := chromiumSite(t, noLimits)
	tab := browser.Tab()
	submitCode(tab, ask(t, server, tab, origin+"/", ann).Code)
	tab.WaitText("Hello " + ann)
	for _, target := range []string{
		"//" + evil, `/\` + evil, `\\` + evil, "/\t/" + evil, "/\n/" + evil, "/\r\n/" + evil, "/%09/" + evil, "/.//" + evil, "/..//" + evil, "/%2e//" + evil, "/x/..//" + evil, "/;//" + evil, "/%2f" + evil, "/%5c" + evil, "https:" + evil,
		"https:/" + evil, "javascript:location='//" + evil + "'", "data:text/html,x", "/／" + evil, "/⁄" + evil, "/\u200b/" + evil, "/@" + evil, "//localhost@" + evil, "/.auth/sign-out", "/x/../.auth/sign-out", "/%00/" + evil, "/ /" + evil, "/#//" + evil,
	} {
		tab.Go(origin + "/.auth/sign-in?return_to=" + url.QueryEscape(target))
		if got := tab.Eval("location.origin"); got != origin {
			t.Errorf("%q: the browser ended up at %q, %s", target, got, tab.Eval("location.href"))
		}
	}
	tab.Go(origin + "/.auth/")
	tab.WaitText(ann)
	// As a whole sign-in of somebody else, whose form was opened by a hostile link.
	other := postern.NewBrowser(t).Tab()
	other.Go(origin + "/.auth/sign-in?return_to=" + url.QueryEscape(`/\`+evil))
	submitAddress(other, "bob@example.com")
	submitCode(other, server.WaitMails(t, "bob@example.com", 1)[0].Code)
	other.WaitText("Hello bob@example.com")
	if got := other.Eval("location.href"); got != origin+"/" {
		t.Errorf("the browser ended up at %q", got)
	}
}
