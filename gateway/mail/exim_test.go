package mail_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset"
	gomail "github.com/emersion/go-message/mail"
	"github.com/emersion/go-msgauth/dkim"

	"github.com/postern-auth/postern/gateway/mail"
	"github.com/postern-auth/postern/gateway/mail/eximtest"
)

const wait = 15 * time.Second

func eximConfig(s *eximtest.Server) mail.SMTPConfig {
	config := eximConfigAt(s.Addr())
	config.RootCAs = s.CAPool()
	return config
}

func eximConfigAt(addr string) mail.SMTPConfig {
	return mail.SMTPConfig{
		Addr: addr, Username: eximtest.Username,
		Password: func() (string, error) { return eximtest.Password, nil },
	}
}

func newSMTP(t *testing.T, config mail.SMTPConfig) *mail.SMTP {
	t.Helper()
	s, err := mail.NewSMTP(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestEximTakesMail(t *testing.T) {
	server := eximtest.Start(t, eximtest.Options{})
	for _, test := range []struct{ auth, tls, addr string }{
		{"auto", "starttls", server.Addr()},
		{"plain", "implicit", server.ImplicitAddr()},
		{"login", "starttls", server.Addr()},
		{"login", "implicit", server.ImplicitAddr()},
	} {
		t.Run(test.auth+"-"+test.tls, func(t *testing.T) {
			config := eximConfig(server)
			config.Auth, config.TLS, config.Addr = test.auth, test.tls, test.addr
			m := example()
			m.To = test.auth + "-" + test.tls + "@example.com"
			if err := newSMTP(t, config).Deliver(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			checkContent(t, server.WaitMail(t, m.To, 1, wait)[0], m)
		})
	}
	mechanisms := strings.Count(server.Log(), "A=login:"+eximtest.Username)
	if mechanisms != 2 {
		t.Errorf("Exim saw LOGIN %d times, want 2:\n%s", mechanisms, server.Log())
	}
}

// TestEximSignatures verifies what a receiver would: both signatures, after
// Exim added its own fields, and that a second From breaks them.
func TestEximSignatures(t *testing.T) {
	server := eximtest.Start(t, eximtest.Options{})
	signers, lookup := exampleSigners(t)
	config := eximConfig(server)
	config.Signers = signers
	m := example()
	if err := newSMTP(t, config).Deliver(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	got := server.WaitMail(t, m.To, 1, wait)[0]
	checkContent(t, got, m)
	if n := verified(t, got, lookup); n != len(signers) {
		t.Errorf("%d good signatures, want %d:\n%s", n, len(signers), got)
	}
	for _, forged := range []string{"From: <boss@example.com>\r\n", "Subject: pay\r\n", "Reply-To: a@evil.example\r\n"} {
		if n := verified(t, append([]byte(forged), got...), lookup); n != 0 {
			t.Errorf("%d signatures stay good under %q", n, forged)
		}
	}
}

func verified(t *testing.T, text []byte, lookup func(string) ([]string, error)) int {
	t.Helper()
	results, err := dkim.VerifyWithOptions(bytes.NewReader(text), &dkim.VerifyOptions{LookupTXT: lookup})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, r := range results {
		if r.Err == nil {
			n++
		} else {
			t.Log(r.Err)
		}
	}
	return n
}

func TestEximRefuses(t *testing.T) {
	server := eximtest.Start(t, eximtest.Options{
		Reject: []string{"nobody"}, Defer: []string{"later"}, RejectData: []string{"picky"},
	})
	transport := newSMTP(t, eximConfig(server))
	for to, want := range map[string]mail.Error{
		"nobody@example.com": {Permanent: true, Code: 550, Reason: "RCPT TO: 550 no such user here"},
		"later@example.com":  {Code: 451, Reason: "RCPT TO: 451 try again later"},
		"picky@example.com":  {Permanent: true, Code: 550, Reason: "end of DATA: 550 this content is not wanted"},
	} {
		m := example()
		m.To = to
		checkError(t, transport.Deliver(t.Context(), m), want)
	}
	m := example()
	if err := transport.Deliver(t.Context(), m); err != nil {
		t.Errorf("after the refusals: %v", err)
	}
	server.WaitMail(t, m.To, 1, wait)
	if n := len(server.Mails(t, "")); n != 1 {
		t.Errorf("%d mails came, want 1", n)
	}
}

// TestEximOperatorErrors checks that what an operator can mend keeps the mail.
func TestEximOperatorErrors(t *testing.T) {
	server := eximtest.Start(t, eximtest.Options{NoSTARTTLS: true, AuthWithoutTLS: true})
	secure := eximtest.Start(t, eximtest.Options{})
	for name, test := range map[string]struct {
		change func(*mail.SMTPConfig)
		want   mail.Error
	}{
		"no STARTTLS": {func(c *mail.SMTPConfig) { c.Addr = server.Addr() },
			mail.Error{Reason: "STARTTLS: the server does not offer STARTTLS (use tls implicit"}},
		"password": {func(c *mail.SMTPConfig) { c.Password = func() (string, error) { return "wrong horse", nil } },
			mail.Error{Code: 535, Reason: "AUTH: 535 Incorrect authentication data"}},
		"authority": {func(c *mail.SMTPConfig) { c.RootCAs = x509.NewCertPool() },
			mail.Error{Reason: "TLS: tls: failed to verify certificate: x509: certificate signed by unknown authority (add"}},
		"implicit on the wrong port": {func(c *mail.SMTPConfig) { c.TLS = "implicit" },
			mail.Error{Reason: "tls: first record does not look like a TLS handshake (the server does not speak TLS from the start; use tls starttls)"}},
		"starttls on the wrong port": {func(c *mail.SMTPConfig) { c.Addr, c.CommandTimeout = secure.ImplicitAddr(), 300*time.Millisecond },
			mail.Error{Reason: "timeout (if the server speaks TLS from the start, mostly on port 465, use tls implicit)"}},
	} {
		t.Run(name, func(t *testing.T) {
			config := eximConfig(secure)
			test.change(&config)
			if name == "no STARTTLS" {
				config.RootCAs = server.CAPool()
			}
			checkError(t, newSMTP(t, config).Deliver(t.Context(), example()), test.want)
		})
	}
	t.Run("without TLS on loopback", func(t *testing.T) {
		config := eximConfig(server)
		config.Addr, config.TLS = strings.Replace(server.Addr(), "127.0.0.1", "localhost", 1), "none"
		if err := newSMTP(t, config).Deliver(t.Context(), example()); err != nil {
			t.Fatal(err)
		}
		server.WaitMail(t, example().To, 1, wait)
	})
	t.Run("without authentication", func(t *testing.T) {
		config := eximConfig(secure)
		config.Auth, config.Username, config.Password = "none", "", nil
		// Exim says 550 at RCPT here, as it does for an unknown user.
		checkError(t, newSMTP(t, config).Deliver(t.Context(), example()),
			mail.Error{Code: 550, Reason: "relay not permitted, authentication required"})
	})
}

// TestEximSystemAuthority trusts the certificate by SSL_CERT_FILE, which Go
// reads once, so another process has to.
func TestEximSystemAuthority(t *testing.T) {
	if addr := os.Getenv("POSTERN_TEST_SMTP"); addr != "" {
		config := eximConfigAt(addr)
		if err := newSMTP(t, config).Deliver(t.Context(), example()); err != nil {
			t.Fatal(err)
		}
		return
	}
	server := eximtest.Start(t, eximtest.Options{})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	helper := exec.CommandContext(t.Context(), self, "-test.run=^TestEximSystemAuthority$")
	helper.Env = append(os.Environ(), "POSTERN_TEST_SMTP="+server.Addr(), "SSL_CERT_FILE="+server.CAFile(), "SSL_CERT_DIR=/nonexistent")
	if output, err := helper.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	server.WaitMail(t, example().To, 1, wait)
}

// TestEximPasswordChanges changes the password at the server and in the file
// behind the callback.
func TestEximPasswordChanges(t *testing.T) {
	server := eximtest.Start(t, eximtest.Options{})
	config := eximConfig(server)
	var password = eximtest.Password
	config.Password = func() (string, error) { return password, nil }
	if err := server.SetUsers(map[string]string{eximtest.Username: "battery staple"}); err != nil {
		t.Fatal(err)
	}
	transport := newSMTP(t, config)
	checkError(t, transport.Deliver(t.Context(), example()), mail.Error{Code: 535, Reason: "AUTH: 535"})
	password = "battery staple"
	if err := transport.Deliver(t.Context(), example()); err != nil {
		t.Fatal(err)
	}
}

// TestEximOutage sends over a kept connection that died with its server, and
// while the server is away.
func TestEximOutage(t *testing.T) {
	server := eximtest.Start(t, eximtest.Options{})
	transport := newSMTP(t, eximConfig(server))
	m := example()
	deliver := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		return transport.Deliver(ctx, m)
	}
	if err := deliver(); err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := deliver(); err != nil {
		t.Errorf("on a dead connection: %v", err)
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	checkError(t, deliver(), mail.Error{Reason: "connecting:"})
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := deliver(); err != nil {
		t.Errorf("after the outage: %v", err)
	}
	server.WaitMail(t, m.To, 3, wait)
	if n := len(server.Mails(t, m.To)); n != 3 {
		t.Errorf("%d mails, want 3", n)
	}
}

func TestEximConcurrent(t *testing.T) {
	server := eximtest.Start(t, eximtest.Options{})
	config := eximConfig(server)
	config.Auth = "plain"
	transport := newSMTP(t, config)
	const mails = 40
	var sending sync.WaitGroup
	for i := range mails {
		sending.Go(func() {
			m := example()
			m.ID, m.To = mail.NewMessageID("example.com"), fmt.Sprintf("user%d@example.com", i)
			if err := transport.Deliver(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
	sending.Wait()
	for i, text := range server.WaitMail(t, "", mails, wait) {
		if n := bytes.Count(text, []byte("\r\nEnvelope-to: ")); n != 1 {
			t.Errorf("mail %d has %d recipients", i, n)
		}
	}
	if n := len(server.Mails(t, "")); n != mails {
		t.Errorf("%d mails, want %d", n, mails)
	}
}

// checkContent decodes a received mail with another library than the one that
// composed it.
func checkContent(t *testing.T, text []byte, want mail.Message) {
	t.Helper()
	for line := range bytes.SplitSeq(text, []byte("\r\n")) {
		if len(line) > 998 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	r, err := gomail.CreateReader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := r.Header.Subject()
	if err != nil || subject != want.Subject {
		t.Errorf("subject %q, %v, want %q", subject, err, want.Subject)
	}
	if id, err := r.Header.MessageID(); err != nil || id != want.ID {
		t.Errorf("Message-ID %q, %v, want %q", id, err, want.ID)
	}
	if date, err := r.Header.Date(); err != nil || !date.Equal(want.Date.Truncate(time.Second)) {
		t.Errorf("date %v, %v, want %v", date, err, want.Date)
	}
	from, err := r.Header.AddressList("From")
	if err != nil || len(from) != 1 || from[0].Name != "Zoë “Ops” Müller" || from[0].Address != "signin@example.com" {
		t.Errorf("from %v, %v", from, err)
	}
	for name, value := range map[string]string{
		"To": want.To, "Auto-Submitted": "auto-generated", "X-Auto-Response-Suppress": "All", "Mime-Version": "1.0",
	} {
		if got := r.Header.Values(name); len(got) != 1 || got[0] != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
	kind, _, err := r.Header.ContentType()
	if err != nil || kind != "multipart/alternative" {
		t.Errorf("content type %q, %v", kind, err)
	}
	checkParts(t, r, map[string]string{"text/plain": want.Text, "text/html": want.HTML})
}

func checkParts(t *testing.T, r *gomail.Reader, want map[string]string) {
	t.Helper()
	for {
		part, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !message.IsUnknownCharset(err) {
			t.Fatal(err)
		}
		kind, params, _ := part.Header.(*gomail.InlineHeader).ContentType()
		body, err := io.ReadAll(part.Body)
		if err != nil {
			t.Fatal(err)
		}
		if params["charset"] != "utf-8" {
			t.Errorf("%s has the charset %q", kind, params["charset"])
		}
		// The wire has CRLF line ends.
		if got := strings.ReplaceAll(string(body), "\r\n", "\n"); got != want[kind] {
			t.Errorf("%s:\n%q\nwant\n%q", kind, got, want[kind])
		}
		delete(want, kind)
	}
	if len(want) != 0 {
		t.Errorf("parts are missing: %v", want)
	}
}
