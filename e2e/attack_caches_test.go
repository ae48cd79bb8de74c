package e2e_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/postern-auth/postern/e2e/postern"
)

// cacheSites have a host that is no name of theirs, and a wrong one of TLS.
const cacheSites = `
http://:$HTTP {
	bind 127.0.0.1
	email_auth *@example.com
	email_auth /admin* boss@example.com
	email_auth /danger* *@example.com {
		max_age 1s
	}
	reverse_proxy $UPSTREAM
}
http://wiki.example.test:$HTTPS {
	email_auth *@example.com
	reverse_proxy $UPSTREAM
}`

// TestNoAnswerIsKept collects an answer of every page and status of the gateway,
// by all methods, and wants none of them kept or framed.
func TestNoAnswerIsKept(t *testing.T) {
	t.Parallel()
	server, _ := start(t, cacheSites, "limit network 100000 10m\nlimit attempts 2 10m\nlimit mails 1 1m\nsame_browser off")
	v, member := visitor(t, server), visitor(t, server)
	member.SignIn(ann)
	pending, spent := v.Ask("bob@example.com", "/"), v.Ask("cid@example.com", "/")
	link := spent.Mail().Link
	_, linkTarget, _ := strings.Cut(link, v.Host())
	statuses := make(map[int]int)
	check := func(what string, answer *postern.Answer) {
		t.Helper()
		statuses[answer.Status]++
		if got := answer.Header["Cache-Control"]; !slices.Equal(got, []string{"no-store"}) {
			t.Errorf("%s: status %d, Cache-Control %q", what, answer.Status, got)
		}
		for _, name := range []string{"Etag", "Last-Modified", "Expires", "Age", "Content-Range"} {
			if answer.Header.Get(name) != "" {
				t.Errorf("%s: %s: %s", what, name, answer.Header.Get(name))
			}
		}
		if answer.Status != http.StatusMisdirectedRequest {
			wantPageHeaders(t, answer)
		}
	}
	// Every page by every method, as everybody, for people and for programs.
	targets := []string{"/.auth", "/.auth/", "/.auth/sign-in", "/.auth/sign-in?prompt=login", "/.auth/code", pending.Page, "/.auth/verify", "/.auth/resend", "/.auth/link", "/.auth/link?token=x", linkTarget, "/.auth/sign-out", "/.auth/signed-out", "/.auth/me", "/.auth/jwks.json", "/.auth/nothing", "/.auth/me/x", "/.auth/%zz", "/admin/x", "/danger", "/x"}
	for _, target := range targets {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"} {
			for who, cookies := range map[string]string{"nobody": "", "the one who asks": v.Cookies(), "a member": member.Cookies()} {
				for _, accept := range []string{"text/html", "application/json\nIf-None-Match: *\nIf-Modified-Since: Sun, 06 Nov 2033 08:49:37 GMT\nRange: bytes=0-1"} {
					if who == "a member" && !strings.HasPrefix(target, "/.auth") || strings.Contains(target, "sign-out") && method == "POST" || target == linkTarget && method == "GET" && who == "the one who asks" || target == "/.auth/%zz" {
						continue // the upstream's, or ends what is needed here
					}
					what := fmt.Sprintf("%s %.40s by %s", method, target, who)
					check(what, server.Raw(t, rawForm(method+" "+target+" HTTP/1.1\nHost: "+hostOf(server)+"\nCookie: "+cookies+"\nSec-Fetch-Site: same-origin\nAccept: "+accept+"\n", url.Values{"request": {"x"}})))
				}
			}
		}
	}
	// Every status that there is.
	check("wrong code", pending.Answer("000000").Want(t, http.StatusUnprocessableEntity))
	check("last wrong code", pending.Answer("000001").Want(t, http.StatusUnprocessableEntity))
	check("no attempts", pending.Answer("000002").Want(t, http.StatusTooManyRequests))
	check("too early", pending.Resend().Want(t, http.StatusTooManyRequests))
	check("another browser", visitor(t, server).Submit("/.auth/verify", url.Values{"request": {pending.ID}, "code": {"000000"}}).Want(t, http.StatusForbidden))
	check("confirm", visitor(t, server).OpenLink(link).Want(t, http.StatusOK))
	check("link", v.OpenLink(link).Want(t, http.StatusSeeOther))
	check("done", v.Navigate(spent.Page).Want(t, http.StatusSeeOther))
	check("used", visitor(t, server).OpenLink(link).Want(t, http.StatusGone))
	check("may not enter", member.Navigate("/admin").Want(t, http.StatusForbidden))
	check("may not enter, program", member.Fetch("/admin").Want(t, http.StatusForbidden))
	check("too large", v.Submit("/.auth/sign-in", url.Values{"email": {strings.Repeat("a", 20000)}}).Want(t, http.StatusRequestEntityTooLarge))
	check("no form", server.Raw(t, "POST /.auth/sign-in HTTP/1.1\nHost: "+hostOf(server)+"\nSec-Fetch-Site: same-origin\nContent-Type: text/plain\nContent-Length: 1\nConnection: close\n\nx").Want(t, http.StatusUnsupportedMediaType))
	check("another host", server.Raw(t, "GET /x HTTP/1.1\nHost: evil.example\nConnection: close\n\n").Want(t, http.StatusMisdirectedRequest))
	check("no path", server.Raw(t, "GET x:y HTTP/1.1\nHost: "+hostOf(server)+"\nConnection: close\n\n").Want(t, http.StatusBadRequest))
	check("gRPC", server.Raw(t, "POST /x HTTP/1.1\nHost: "+hostOf(server)+"\nContent-Type: application/grpc\nContent-Length: 0\nConnection: close\n\n").Want(t, http.StatusOK))
	check("upgrade", server.Raw(t, "GET /ws HTTP/1.1\nHost: "+hostOf(server)+"\nConnection: Upgrade\nUpgrade: websocket\n\n").Want(t, http.StatusUnauthorized))
	insecure := server.Visitor(t, fmt.Sprintf("http://wiki.example.test:%d", server.HTTPSPort))
	check("no TLS", insecure.Navigate("/.auth/sign-in").Want(t, http.StatusForbidden))
	check("sign-out", member.SignOut())
	for _, want := range []int{200, 303, 400, 401, 403, 404, 405, 410, 413, 415, 421, 422, 429} {
		if statuses[want] == 0 {
			t.Errorf("no answer of status %d among %v", want, slices.Sorted(maps.Keys(statuses)))
		}
	}
}
