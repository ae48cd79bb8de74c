package e2e_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/postern-auth/postern/e2e/postern"
	"github.com/postern-auth/postern/gateway/mail/eximtest"
)

// delivery is how long a mail may take, retries after an outage included.
const delivery = 90 * time.Second

// byExim is a configuration that sends by a real Exim. more are further lines of
// smtp.
func byExim(exim *eximtest.Server, upstream *postern.Upstream, addr, more, auth string) postern.Config {
	return postern.Config{
		Sites: plain, Upstream: upstream, Env: []string{"SSL_CERT_FILE=" + exim.CAFile(), "SMTP_PASSWORD=" + eximtest.Password},
		Auth: fmt.Sprintf(`
		from "Example sign-in <signin@example.com>"
		smtp %s {
			username %s
			password {env.SMTP_PASSWORD}
			%s
		}
		%s`, addr, eximtest.Username, more, auth),
	}
}

func TestMailByRealServer(t *testing.T) {
	t.Parallel()
	exim := eximtest.Start(t, eximtest.Options{})
	for name, c := range map[string]struct{ addr, more string }{
		"STARTTLS":     {exim.Addr(), "tls starttls"},
		"by default":   {exim.Addr(), ""},
		"implicit TLS": {exim.ImplicitAddr(), "tls implicit"},
		"LOGIN":        {exim.Addr(), "auth login"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			server := postern.Start(t, byExim(exim, postern.StartUpstream(t), c.addr, c.more, ""))
			v := visitor(t, server)
			email := strings.ToLower(strings.ReplaceAll(name, " ", "-")) + "@example.com"
			pending := v.Ask(email, "/report")
			mail := postern.ParseMail(t, exim.WaitMail(t, email, 1, delivery)[0])
			wantMail(t, mail, v, email)
			pending.Answer(mail.Code).WantRedirect(t, "/report")
		})
	}
}

// wantMail checks a mail of both a code and a link to the site plain.
func wantMail(t *testing.T, m *postern.Mail, v *postern.Visitor, email string) {
	t.Helper()
	if m.To != email || !strings.HasPrefix(m.Subject, m.Code+" is your sign-in code for localhost") || len(m.Code) != 6 {
		t.Errorf("To %q, Subject %q, code %q", m.To, m.Subject, m.Code)
	}
	if from := m.Header.Get("From"); !strings.Contains(from, "signin@example.com") || !strings.Contains(from, "Example sign-in") {
		t.Errorf("From %q", from)
	}
	if date, err := m.Header.Date(); err != nil || time.Since(date).Abs() > 10*time.Minute {
		t.Errorf("Date %v, %v", date, err)
	}
	if !strings.HasSuffix(m.MessageID, "@example.com") || m.Header.Get("Auto-Submitted") != "auto-generated" {
		t.Errorf("Message-ID %q, Auto-Submitted %q", m.MessageID, m.Header.Get("Auto-Submitted"))
	}
	if kind, _, _ := m.Header.ContentType(); kind != "multipart/alternative" || m.Text == "" || m.HTML == "" {
		t.Errorf("Content-Type %q", kind)
	}
	lines := strings.Split(strings.TrimRight(m.Text, "\n"), "\n")
	if last := lines[len(lines)-1]; last != "@localhost #"+m.Code {
		t.Errorf("the last line is %q", last)
	}
	for _, text := range []string{"localhost", "Firefox", "127.0.0.1", "10 minutes", "not you"} {
		if !strings.Contains(m.Text, text) || !strings.Contains(m.HTML, text) {
			t.Errorf("the mail lacks %q:\n%s", text, m.Text)
		}
	}
	if !strings.HasPrefix(m.Link, v.Origin+"/.auth/link?token=") || !strings.Contains(m.HTML, m.Link) {
		t.Errorf("link %q", m.Link)
	}
}

func TestDKIM(t *testing.T) {
	t.Parallel()
	exim := eximtest.Start(t, eximtest.Options{})
	keys := t.TempDir()
	records := map[string]string{
		"new._domainkey.example.com": ed25519Key(t, filepath.Join(keys, "new.pem")),
		"old._domainkey.example.com": rsaKey(t, filepath.Join(keys, "old.pem")),
	}
	more := fmt.Sprintf("dkim example.com new %[1]s/new.pem\ndkim example.com old %[1]s/old.pem", keys)
	server := postern.Start(t, byExim(exim, postern.StartUpstream(t), exim.Addr(), more, ""))
	visitor(t, server).Ask(ann, "/")
	raw := exim.WaitMail(t, ann, 1, delivery)[0]
	found, err := dkim.VerifyWithOptions(bytes.NewReader(raw), &dkim.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) { return []string{records[name]}, nil },
	})
	if err != nil || len(found) != 2 {
		t.Fatalf("%d signatures, %v\n%s", len(found), err, raw)
	}
	for _, signature := range found {
		if signature.Err != nil || signature.Domain != "example.com" {
			t.Errorf("a signature of %s does not verify: %v", signature.Domain, signature.Err)
		}
	}
}

func ed25519Key(t *testing.T, path string) (record string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	writeKey(t, path, private)
	return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)
}

func rsaKey(t *testing.T, path string) (record string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	writeKey(t, path, private)
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public)
}

func writeKey(t *testing.T, path string, key any) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestMailsOfAnOutage(t *testing.T) {
	t.Parallel()
	exim := eximtest.Start(t, eximtest.Options{})
	server := postern.Start(t, byExim(exim, postern.StartUpstream(t), exim.Addr(), "", ""))
	if err := exim.Stop(); err != nil {
		t.Fatal(err)
	}
	pending := make(map[string]*postern.Pending)
	for i := range 5 {
		email := fmt.Sprintf("u%d@example.com", i)
		begin := time.Now()
		pending[email] = visitor(t, server).Ask(email, "/")
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("a dead mail server slows the page: %v", took)
		}
	}
	time.Sleep(2 * postern.Quiet)
	if err := exim.Restart(); err != nil {
		t.Fatal(err)
	}
	wantEachOnce(t, exim, pending)
}

func TestKillWithQueuedMails(t *testing.T) {
	t.Parallel()
	exim := eximtest.Start(t, eximtest.Options{})
	server := postern.Start(t, byExim(exim, postern.StartUpstream(t), exim.Addr(), "", ""))
	if err := exim.Stop(); err != nil {
		t.Fatal(err)
	}
	pending := make(map[string]*postern.Pending)
	for i := range 5 {
		email := fmt.Sprintf("u%d@example.com", i)
		pending[email] = visitor(t, server).Ask(email, "/")
	}
	server.Kill() // at once: what was confirmed is safe
	if err := exim.Restart(); err != nil {
		t.Fatal(err)
	}
	server.Run()
	wantEachOnce(t, exim, pending)
	server.Restart()
	time.Sleep(postern.Quiet)
	wantEachOnce(t, exim, nil)
}

// wantEachOnce checks that everybody got one mail, whose code works.
func wantEachOnce(t *testing.T, exim *eximtest.Server, pending map[string]*postern.Pending) {
	t.Helper()
	for email, p := range pending {
		mail := postern.ParseMail(t, exim.WaitMail(t, email, 1, delivery)[0])
		p.Answer(mail.Code).WantRedirect(t, "/")
	}
	time.Sleep(postern.Quiet)
	seen := make(map[string]bool)
	for _, raw := range exim.Mails(t, "") {
		mail := postern.ParseMail(t, raw)
		if seen[mail.To] {
			t.Errorf("%s got two mails", mail.To)
		}
		seen[mail.To] = true
	}
}

func TestTroubleOfTheMailServer(t *testing.T) {
	t.Parallel()
	exim := eximtest.Start(t, eximtest.Options{Reject: []string{"gone"}, Defer: []string{"later"}})
	server := postern.Start(t, byExim(exim, postern.StartUpstream(t), exim.Addr(), "", ""))
	gone := visitor(t, server).Ask("gone@example.com", "/")
	later := visitor(t, server).Ask("later@example.com", "/")
	for _, p := range []*postern.Pending{gone, later} {
		postern.Eventually(t, delivery, "a line about "+p.Email+" under its request's id", func() bool {
			for _, entry := range server.Logs.Entries("email_auth") {
				if strings.Contains(fmt.Sprint(entry), p.ID) && entry.Field("level") != "info" {
					return true
				}
			}
			return false
		})
	}
	if err := exim.SetDefer(); err != nil {
		t.Fatal(err)
	}
	mail := postern.ParseMail(t, exim.WaitMail(t, "later@example.com", 1, delivery)[0])
	later.Answer(mail.Code).WantRedirect(t, "/")
	if n := len(exim.Mails(t, "gone@example.com")); n != 0 {
		t.Errorf("%d mails to a rejected address", n)
	}
}

func TestPasswordIsReadAnew(t *testing.T) {
	t.Parallel()
	exim := eximtest.Start(t, eximtest.Options{Users: map[string]string{eximtest.Username: "new password"}})
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("old password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := byExim(exim, postern.StartUpstream(t), exim.Addr(), "", "")
	config.Auth = strings.Replace(config.Auth, "{env.SMTP_PASSWORD}", "{file."+secret+"}", 1)
	server := postern.Start(t, config)
	pending := visitor(t, server).Ask(ann, "/")
	time.Sleep(postern.Quiet)
	if err := os.WriteFile(secret, []byte("new password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mail := postern.ParseMail(t, exim.WaitMail(t, ann, 1, delivery)[0])
	pending.Answer(mail.Code).WantRedirect(t, "/")
	for _, password := range []string{"old password", "new password"} {
		if strings.Contains(server.Logs.Text(), password) {
			t.Error("the password is in the log")
		}
	}
}

func TestNoSecretInLogs(t *testing.T) {
	t.Parallel()
	exim := eximtest.Start(t, eximtest.Options{Reject: []string{"gone"}})
	config := byExim(exim, postern.StartUpstream(t), exim.Addr(), "", "code 12 letters")
	config.Global = "debug"
	server := postern.Start(t, config)
	v, other := visitor(t, server), visitor(t, server)
	pending := v.Ask(ann, "/")
	mail := postern.ParseMail(t, exim.WaitMail(t, ann, 1, delivery)[0])
	other.OpenLink(mail.Link).Want(t, http.StatusOK)
	pending.Answer(strings.Repeat("B", 12))
	pending.Answer(mail.Code).WantRedirect(t, "/")
	session := v.Cookie(postern.LoopbackSessionCookie)
	v.OpenLink(mail.Link)
	v.Fetch("/x").Want(t, http.StatusOK)
	v.SignOut()
	v.OpenLink(mail.Link).Want(t, http.StatusGone)
	other.Ask("gone@example.com", "/")
	time.Sleep(postern.Quiet)
	server.Stop()
	server.Run()
	secrets := map[string]string{
		"the code": mail.Code, "the link's token": tokenOf(t, mail.Link), "the session": session,
		"the binding": v.Cookie(postern.LoopbackBrowserCookie), "the password": eximtest.Password,
	}
	text := server.Logs.Text()
	for what, secret := range secrets {
		if i := strings.Index(text, secret); secret == "" || i >= 0 {
			t.Errorf("%s (%q) is in the log: …%s…", what, secret, text[max(0, i-300):min(len(text), i+100)])
		}
	}
	wantNotStored(t, server, secrets)
}

// wantNotStored looks for secrets in all files of the store.
func wantNotStored(t *testing.T, server *postern.Server, secrets map[string]string) {
	t.Helper()
	root := filepath.Join(server.Dir, "data")
	err := filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		for what, secret := range secrets {
			if secret != "" && bytes.Contains(content, []byte(secret)) {
				t.Errorf("%s is in %s", what, path)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestLinkAlone(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "method link")
	v := visitor(t, server)
	pending := v.Ask(ann, "/report")
	mail := pending.Mail()
	if mail.Code != "" || mail.Subject != "Sign in to "+v.Host() && mail.Subject != "Sign in to localhost" {
		t.Errorf("code %q, Subject %q", mail.Code, mail.Subject)
	}
	pending.Answer("123456").Want(t, http.StatusUnprocessableEntity)
	v.OpenLink(mail.Link).WantRedirect(t, "/report")
}

func TestCodeAlone(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "method code\ncode 8 letters")
	v := visitor(t, server)
	pending := v.Ask(ann, "/report")
	mail := pending.Mail()
	if mail.Link != "" || len(mail.Code) != 8 || strings.ContainsAny(strings.ToUpper(mail.Code), "AEIOU0123456789") {
		t.Errorf("link %q, code %q", mail.Link, mail.Code)
	}
	pending.Answer(strings.ToLower(mail.Code)).WantRedirect(t, "/report")
}
