package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
)

// TestSecretsInNoLog goes through all flows, with secrets sent in wrong places
// too, and reads all that the program wrote.
func TestSecretsInNoLog(t *testing.T) {
	t.Parallel()
	smtp := startSMTP(t)
	config := byScript(smtp, postern.StartUpstream(t), "code 12\nlimit attempts 100 10m\nsame_browser off")
	config.Sites = plain + secure
	server := postern.Start(t, config)
	secrets := make(map[string]string)
	mailTo := func(email string) *postern.Mail {
		postern.Eventually(t, delivery, "mail to "+email, func() bool { return len(smtp.to(email)) > 0 })
		mail := smtp.to(email)[0]
		secrets["the code of "+email], secrets["the link of "+email] = mail.Code, tokenOf(t, mail.Link)
		return mail
	}
	for i, v := range []*postern.Visitor{visitor(t, server), server.Visitor(t, server.TLS("wiki.localhost"))} {
		other := v.Fresh()
		email := fmt.Sprintf("u%d@example.com", i)
		pending := v.Ask(email, "/report")
		mail := mailTo(email)
		token, code := tokenOf(t, mail.Link), mail.Code
		// The link where it is opened, and mistyped.
		for _, target := range []string{
			"/.auth/link?token=" + token, "/.auth/link?Token=" + token, "/.auth/link?x=y&token=" + token, "/.auth/link/?token=" + token, "/.auth/link/" + token, "/.auth/link" + token, "/.auth/link&token=" + token, "/.auth/link%3Ftoken=" + token,
			"/.auth/links?token=" + token, "/.auth/?token=" + token, "/.auth?token=" + token, "/.auth/sign-in?token=" + token, "/.auth/code?token=" + token, "/.auth/link;token=" + token, "/.auth/l%69nk?token=" + token, "/.auth/link?token=" + token + "%0a", "/.auth/link?token=%20" + token + ".",
		} {
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodOptions} {
				other.Do(other.AsNavigation(other.NewRequest(method, target, nil), "cross-site"))
			}
			program := other.NewRequest(http.MethodGet, target, nil)
			other.Do(program)
		}
		foreign := other.Form("/.auth/link", url.Values{"token": {token}})
		foreign.Header.Set("Sec-Fetch-Site", "cross-site")
		other.Do(foreign).Want(t, http.StatusForbidden)
		large := other.Form("/.auth/link", url.Values{"token": {token + strings.Repeat("A", 20000)}})
		other.Do(large).Want(t, http.StatusRequestEntityTooLarge)
		// The code with mistakes, elsewhere, and as a wrong field.
		other.Submit("/.auth/verify", url.Values{"request": {pending.ID}, "code": {code}}).Want(t, http.StatusForbidden)
		v.Submit("/.auth/verify", url.Values{"request": {pending.ID}, "code": {code + "x"}})
		v.Submit("/.auth/verify", url.Values{"request": {pending.ID}, "kode": {code}})
		v.Submit("/.auth/verify", url.Values{"request": {code}, "code": {pending.ID}})
		v.Submit("/.auth/sign-in", url.Values{"email": {code}, "return_to": {code}})
		v.Submit("/.auth/resend", url.Values{"request": {pending.ID}})
		pending.Answer(code).WantRedirect(t, "/report")
		name := postern.LoopbackSessionCookie
		if i == 1 {
			name = postern.SessionCookie
		}
		session, browser := v.Cookie(name), v.Cookie(strings.Replace(name, "session", "browser", 1))
		secrets["the session of "+email], secrets["the browser cookie of "+email] = session, browser
		if session == "" || browser == "" {
			t.Fatal("no cookies")
		}
		// Sessions through all that Caddy logs.
		for _, path := range []string{"/x", "/cookies", "/.auth/me", "/.auth/", "/.auth/nothing", "/.auth/check"} {
			v.Fetch(path)
		}
		malformed := v.NewRequest(http.MethodGet, "/x", nil)
		malformed.Header["cookie"] = []string{name + "=" + session}
		v.Do(malformed)
		v.OpenLink(mail.Link).Want(t, http.StatusSeeOther)
		socket := openSocket(t, v)
		second := v.Ask("second"+email, "/")
		second.Answer(mailTo("second"+email).Code).WantRedirect(t, "/")
		socket.Close()
		secrets["the second session of "+email] = v.Cookie(name)
		v.SignOut()
		v.OpenLink(mail.Link).Want(t, http.StatusGone)
	}
	server.Restart()
	server.Stop()
	for line := range strings.SplitSeq(server.Logs.Text(), "\n") {
		for what, secret := range secrets {
			if i := strings.Index(line, secret); secret == "" || i >= 0 {
				t.Errorf("%s (%q) is in the log: …%s…", what, secret, line[max(0, i-200):min(len(line), i+100)])
			}
		}
	}
	if len(secrets) < 14 || len(server.Logs.Access()) < 30 {
		t.Errorf("%d secrets, %d lines of the access log: that is no test", len(secrets), len(server.Logs.Access()))
	}
	wantNotStored(t, server, secrets)
	server.Run()
}

// TestLogInjection sends line breaks and log lines of its own invention wherever
// something is logged: every line stays one of the program's.
func TestLogInjection(t *testing.T) {
	t.Parallel()
	server, _ := start(t, twoRules+"\n", noLimits)
	v := visitor(t, server)
	v.SignIn(ann)
	const forged = `{"level":"error","logger":"forged","msg":"forged"}`
	for _, lineBreak := range []string{"\n", "\r\n", "\r", "\u2028", "\u0085", "\x0b", "\\n", "%0a", "%0d%0a", "\x00", "\x1b[2K\r"} {
		payload := "x" + lineBreak + forged + lineBreak
		escaped := url.PathEscape(payload)
		v.Submit("/.auth/sign-in", url.Values{"email": {payload + "@example.com"}, "return_to": {"/" + payload}})
		v.Submit("/.auth/verify", url.Values{"request": {payload}, "code": {payload}})
		for _, path := range []string{"/admin/" + escaped, "/.auth/" + escaped, "/x/" + escaped, "/.auth/code?request=" + url.QueryEscape(payload), "/admin?" + url.QueryEscape(payload)} {
			for _, method := range []string{http.MethodGet, http.MethodPost, "X-FORGED"} {
				request := v.NewRequest(method, path, nil)
				request.Header.Set("User-Agent", strings.Map(func(r rune) rune {
					if r < ' ' {
						return '\t'
					}
					return r
				}, payload))
				request.Header.Set("X-Forwarded-For", "127.0.0.1\t"+forged)
				v.Do(request)
			}
		}
		server.Raw(t, "GET /x"+strings.NewReplacer("\n", "%0a", "\r", "%0d", "\x00", "%00", "\x0b", "%0b", "\x1b", "%1b").Replace(lineBreak)+" HTTP/1.1\nHost: localhost\nUser-Agent: x\n "+forged+"\nConnection: close\n\n")
	}
	time.Sleep(postern.Quiet / 3)
	for line := range strings.SplitSeq(server.Logs.Text(), "\n") {
		var entry postern.Entry
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("a line of the log is no JSON: %q", line)
		}
		if entry.Field("logger") == "forged" || strings.ContainsAny(line, "\r\x00\x1b\x0b") {
			t.Errorf("a line of the log was brought in: %q", line)
		}
	}
}

// TestAdminAPIIsForThisMachine asks the admin API as a page of another site
// would, and by other names.
func TestAdminAPIIsForThisMachine(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	_, before, err := server.Admin(http.MethodGet, "/config/", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	addr := server.AdminAddr()
	for _, head := range []string{
		"Host: ADDR\nOrigin: https://evil.example", "Host: ADDR\nOrigin: null", "Host: ADDR\nOrigin: http://localhost", "Host: ADDR\nOrigin: SITE", "Host: ADDR\nSec-Fetch-Mode: no-cors\nOrigin: https://evil.example", "Host: ADDR\nOrigin: https://ADDR.evil.example",
		"Host: evil.example", "Host: evil.example\nOrigin: http://ADDR", "Host: rebound.evil.example:2019", "Host: ADDR.evil.example", "Host: wiki.localhost", "Host: 0.0.0.0:2019",
	} {
		head = strings.NewReplacer("ADDR", addr, "SITE", server.Plain("localhost")).Replace(head)
		for _, line := range []string{"POST /load", "DELETE /config/", "POST /stop", "PATCH /config/admin", "GET /config/", "GET /config/apps/email_auth", "OPTIONS /load"} {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			answer := postern.RawOn(t, conn, line+" HTTP/1.1\n"+head+"\nContent-Type: application/json\nContent-Length: 2\nConnection: close\n\n{}")
			conn.Close()
			if answer.Status != http.StatusForbidden && answer.Status != http.StatusBadRequest || answer.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s with %q: status %d, %v", line, head, answer.Status, answer.Header)
			}
		}
	}
	if _, after, err := server.Admin(http.MethodGet, "/config/", "", nil); err != nil || after != before {
		t.Error("the configuration changed")
	}
	// No page of the sites is a door to it.
	v := visitor(t, server)
	for _, path := range []string{"/config/", "/load", "/stop", "/metrics", "/debug/pprof/", "/.auth/admin", "/.auth/admin/", "/.auth/metrics", "/.auth/debug/pprof/", "/.auth/config", "/.auth/api", "/email_auth/"} {
		if answer := v.Fetch(path); answer.Status != http.StatusUnauthorized && answer.Status != http.StatusNotFound {
			t.Errorf("%s: status %d", path, answer.Status)
		}
	}
}

// TestNothingElseListens reads from the kernel which ports the process listens
// on.
func TestNothingElseListens(t *testing.T) {
	t.Parallel()
	smtp := startSMTP(t)
	server := postern.Start(t, byScript(smtp, postern.StartUpstream(t), ""))
	visitor(t, server).Ask(ann, "/")
	postern.Eventually(t, delivery, "the mail", func() bool { return len(smtp.to(ann)) > 0 })
	_, admin, _ := net.SplitHostPort(server.AdminAddr())
	want := []string{admin, fmt.Sprint(server.HTTPPort)}
	slices.Sort(want)
	got := listening(t, server.PID())
	if !slices.Equal(got, want) {
		t.Errorf("the program listens on %q, want %q", got, want)
	}
}

// listening returns the ports on which a process accepts TCP, or takes UDP.
func listening(t *testing.T, pid int) (ports []string) {
	t.Helper()
	own := make(map[string]bool)
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		target, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, file.Name()))
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		file, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue // a kernel without IPv6
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			const listen, unconnected = "0A", "07"
			if len(fields) < 10 || !own[fields[9]] || fields[3] != listen && fields[3] != unconnected {
				continue
			}
			var port int
			_, hex, _ := strings.Cut(fields[1], ":")
			fmt.Sscanf(hex, "%X", &port)
			ports = append(ports, fmt.Sprint(port))
		}
		file.Close()
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}
