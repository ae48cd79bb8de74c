package e2e_test

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
)

// In these, HOST is the site's name with its port, NAME the name alone, and
// UPPER the name in capitals.
var (
	// poisonedHosts are values of the Host header.
	poisonedHosts = []string{
		"HOST", "evil.example", "NAME:1", "NAME:evil.example", "NAME:", "NAME.", "NAME..", "UPPER", "UPPER.:80", "NAME:443@evil.example", "evil.example@NAME", "NAME@evil.example", "NAME.evil.example",
		"evil.NAME", "NAME/evil.example", "NAME#evil.example", "NAME?evil.example", `NAME\evil.example`, "NAME%2eevil.example", "NAME,evil.example", "NAME evil.example", "NAME\tevil.example", "NAME\n evil.example", `"NAME"`, "<evil.example>",
		"[::1]", "[::1]:evil.example", "[::1%25evil.example]", "[evil.example]", "127.0.0.1", "2130706433", "0x7f000001", "", "xn--evil-example", "ｌocalhost", "{http.request.header.X-Evil}\nX-Evil: evil.example", "{env.HOME}",
		"HOST\nHost: evil.example", "evil.example\nHost: HOST", "HOST\n Host: evil.example", "HOST\nHost : evil.example", "HOST\rHost: evil.example", "HOST\x00evil.example",
	}
	// poisonedLines are what proxies and browsers write beside the right Host.
	poisonedLines = []string{
		"X-Forwarded-Host: evil.example", "X-Forwarded-Host: HOST, evil.example", "X-Forwarded-Host: evil.example\nX-Forwarded-Host: HOST", "Forwarded: host=evil.example;proto=https;for=127.0.0.1", `Forwarded: host="evil.example:443"`,
		"X-Original-Host: evil.example", "X-Host: evil.example", "X-Forwarded-Server: evil.example", "X-Forwarded-Proto: evil", "X-Forwarded-Proto: javascript", "X-Forwarded-Port: 666", "X-Forwarded-Prefix: //evil.example",
		"X-Forwarded-Scheme: evil\nX-Scheme: evil\nFront-End-Https: evil", "X-HTTP-Host-Override: evil.example", "X-Original-URL: http://evil.example/\nX-Rewrite-URL: http://evil.example/", "X-Forwarded-Uri: http://evil.example/",
		"Referer: http://evil.example/", "Origin: http://evil.example", "Via: 1.1 evil.example", "X-Real-Host: evil.example\nCF-Connecting-Host: evil.example", "Base-Url: http://evil.example", "Connection: Host, close",
		"X-Forwarded_Host: evil.example\nX_Forwarded_Host: evil.example", "X-Forwarded-Host: {env.HOME}", "Host-: evil.example", "X-Forwarded-For: evil.example\nX-Real-IP: evil.example",
	}
	// poisonedTargets are those of the request line, beside the right Host.
	poisonedTargets = []string{
		"http://evil.example/.auth/sign-in", "https://evil.example/.auth/sign-in", "http://evil.example@HOST/.auth/sign-in", "http://HOST@evil.example/.auth/sign-in", "//evil.example/.auth/sign-in", "x://evil.example/.auth/sign-in",
		"http:/.auth/sign-in", "http://NAME:1/.auth/sign-in", "http://UPPER./.auth/sign-in", "/.auth/sign-in?host=evil.example#evil.example", "http:///.auth/sign-in", "http://[evil.example]/.auth/sign-in", "http://HOST:1/.auth/sign-in",
	}
)

// poisonedHeads are the heads of requests by which a client may try to have
// another host mailed.
func poisonedHeads() (heads []string) {
	for _, host := range poisonedHosts {
		heads = append(heads, "METHOD /.auth/sign-in HTTP/1.1\nHost: "+host+"\n")
	}
	for _, lines := range poisonedLines {
		heads = append(heads, "METHOD /.auth/sign-in HTTP/1.1\nHost: HOST\n"+lines+"\n")
	}
	for _, target := range poisonedTargets {
		heads = append(heads, "METHOD "+target+" HTTP/1.1\nHost: HOST\n", "METHOD "+target+" HTTP/1.1\nHost: evil.example\n")
	}
	return append(heads, "METHOD /.auth/sign-in HTTP/1.1\n", "METHOD /.auth/sign-in HTTP/1.0\n", "METHOD /.auth/sign-in HTTP/1.0\nHost: evil.example\n")
}

// poisonedSites are a site of its own name with TLS, and one of every loopback
// name.
const poisonedSites = `
https://wiki.localhost:$HTTPS {
	tls internal
	email_auth *@example.com
	reverse_proxy $UPSTREAM
}
http://:$HTTP {
	bind 127.0.0.1
	email_auth *@example.com
	reverse_proxy $UPSTREAM
}`

// TestNoPoisonedLinks sends every head to both sites, and reads every mail and
// every address in an answer.
func TestNoPoisonedLinks(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, poisonedSites, noLimits)
	tls := fmt.Sprintf("https://wiki.localhost:%d", server.HTTPSPort)
	wanted := make(map[string][]string) // address to origins, none where there must be no mail
	send := func(i int, head, name string, port int, dial func() net.Conn, origins ...string) {
		head = strings.NewReplacer("HOST", fmt.Sprintf("%s:%d", name, port), "NAME", name, "UPPER", strings.ToUpper(name)).Replace(head)
		email := fmt.Sprintf("u%d.%s@example.com", i, name)
		answer := postern.RawOn(t, dial(), rawForm(strings.Replace(head, "METHOD", "POST", 1)+"Sec-Fetch-Site: same-origin\n", url.Values{"email": {email}}))
		switch {
		case answer.Status == http.StatusSeeOther:
			wanted[email] = origins
		case isCaddysOwn(answer):
			wanted[email] = nil
		case answer.Status < 400 || answer.Status >= 500:
			t.Errorf("%q: status %d", head, answer.Status)
		default:
			wanted[email] = nil
		}
		get := postern.RawOn(t, dial(), strings.NewReplacer("METHOD", "GET", "/.auth/sign-in", "/x").Replace(head)+"Connection: close\n\n")
		for _, answer := range []*postern.Answer{answer, get} {
			if location := answer.Location(); location != "" && !strings.HasPrefix(location, "/.auth/") {
				t.Errorf("%q: leads to %q", head, location)
			}
			if strings.Contains(answer.Header.Get("Location")+answer.Header.Get("WWW-Authenticate")+answer.Body, evil) {
				t.Errorf("%q: the answer names %s:\n%s", head, evil, answer.Brief())
			}
		}
		if get.Status == http.StatusUnauthorized {
			var problem struct {
				SignIn string `json:"sign_in_url"`
			}
			get.JSON(t, &problem)
			wantOneOf(t, head, problem.SignIn, origins)
		} else if get.Status < 400 && !isCaddysOwn(get) {
			t.Errorf("%q: status %d without a session", head, get.Status)
		}
	}
	for i, head := range poisonedHeads() {
		send(i, head, "wiki.localhost", server.HTTPSPort, func() net.Conn { return server.ConnectTLS(t, "wiki.localhost") }, tls)
		send(i, head, "localhost", server.HTTPPort, func() net.Conn { return server.Connect(t) },
			server.Plain("localhost"), server.Plain("127.0.0.1"), server.Plain("[::1]"), server.Plain("wiki.localhost"), server.Plain("evil.localhost"))
	}
	mailed, box := 0, newPostbox(server.MailDir())
	for email, origins := range wanted {
		if origins != nil {
			mailed++
			postern.Eventually(t, delivery, "mail to "+email, func() bool { return len(box.to(t, email)) > 0 })
		}
	}
	time.Sleep(postern.Quiet)
	box.refresh(t)
	for email, origins := range wanted {
		mails := box.to(t, email)
		if origins == nil && len(mails) != 0 {
			t.Errorf("%s got a mail by a request that was refused", email)
		}
		for _, mail := range mails {
			wantOneOf(t, "the link to "+email, mail.Link, origins)
			if strings.Contains(string(mail.Raw)+mail.Text+mail.HTML, evil) {
				t.Errorf("the mail to %s names %s:\n%s", email, evil, mail.Text)
			}
		}
	}
	if seen := upstream.Seen(); len(seen) != 0 {
		t.Errorf("the upstream saw %s %s", seen[0].Method, seen[0].URI)
	}
	if mailed < 30 || len(wanted)-mailed < 30 {
		t.Errorf("%d of %d heads sent a mail: the table tests too little", mailed, len(wanted))
	}
}

// isCaddysOwn knows the empty answer of Caddy for a host that no site has.
func isCaddysOwn(answer *postern.Answer) bool {
	return answer.Status == http.StatusOK && answer.Body == "" && answer.Header.Get("Cache-Control") == ""
}

func wantOneOf(t *testing.T, what, address string, origins []string) {
	t.Helper()
	for _, origin := range origins {
		if strings.HasPrefix(address, origin+"/.auth/") {
			return
		}
	}
	t.Errorf("%s: the address is %q, want one of %q", what, address, origins)
}
