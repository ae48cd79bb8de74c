package caddymodule_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// mailServer is a mail server that tells which passwords it was given, and takes
// every mail.
type mailServer struct {
	address   string
	passwords chan string
	mails     chan string
}

func startMailServer(t *testing.T) *mailServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mailServer{address: listener.Addr().String(), passwords: make(chan string, 10), mails: make(chan string, 10)}
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &mailSession{m, c}, nil }))
	server.AllowInsecureAuth = true
	server.Domain = "mail.test"
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return m
}

type mailSession struct {
	*mailServer
	connection *smtp.Conn
}

func (s *mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error {
		s.passwords <- password
		if username != "signin@example.com" {
			return errors.New("unknown username")
		}
		return nil
	}), nil
}

func (s *mailSession) Mail(string, *smtp.MailOptions) error { return nil }
func (s *mailSession) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (s *mailSession) Reset()                               {}
func (s *mailSession) Logout() error                        { return nil }

// Data ends the connection after the mail, so that the next one needs a new one.
func (s *mailSession) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	s.mails <- string(content)
	time.AfterFunc(50*time.Millisecond, func() { s.connection.Close() })
	return err
}

func next(t *testing.T, what <-chan string) string {
	t.Helper()
	select {
	case got := <-what:
		return got
	case <-time.After(15 * time.Second):
		t.Fatal("nothing reached the mail server")
		return ""
	}
}

// TestSecrets shows that a password comes from the environment or a file, and is
// read anew for each connection.
func TestSecrets(t *testing.T) {
	w, server := newWorld(t), startMailServer(t)
	secret := filepath.Join(w.folder, "password")
	write := func(password string) {
		if err := os.WriteFile(secret, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const site = "http://localhost:$PORT {\nemail_auth anyone\n}"
	config := func(password string) string {
		return "from \"Wiki sign-in <signin@example.com>\"\nlimit mails 100 1m\nsmtp " + server.address +
			" {\ntls none\nusername {env.POSTERN_TEST_USER}\npassword " + password + "\n}"
	}
	t.Setenv("POSTERN_TEST_USER", "signin@example.com")
	t.Setenv("POSTERN_TEST_PASSWORD", "from the environment")

	w.load(site, config("{env.POSTERN_TEST_PASSWORD}"))
	v := w.visit("http://localhost:" + w.port)
	v.ask("ann@example.com")
	if got := next(t, server.passwords); got != "from the environment" {
		t.Errorf("password %q", got)
	}
	if mail := next(t, server.mails); !strings.Contains(mail, "Wiki sign-in") || !strings.Contains(mail, "To: ann@example.com") {
		t.Errorf("mail: %s", mail)
	}

	write("first")
	w.load(site, config("{file."+secret+"}"))
	for i, password := range []string{"first", "second"} {
		write(password)
		time.Sleep(100 * time.Millisecond) // for the server to end the connection before
		w.visit("http://localhost:" + w.port).ask([]string{"bob@example.com", "sue@example.com"}[i])
		if got := next(t, server.passwords); got != password {
			t.Errorf("password %q, want %q", got, password)
		}
		next(t, server.mails)
	}

	// A reload with an empty secret is refused, and mails go on.
	t.Setenv("POSTERN_TEST_PASSWORD", "")
	if err := w.try(site, config("{env.POSTERN_TEST_PASSWORD}")); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("an empty secret: %v", err)
	}
	time.Sleep(100 * time.Millisecond)
	v.ask("tom@example.com")
	if got := next(t, server.passwords); got != "second" {
		t.Errorf("password %q", got)
	}
	v.get("/").want(t, http.StatusSeeOther)
}

// TestDKIMOption has a key of its own, since keys do not belong into a repository.
func TestDKIMOption(t *testing.T) {
	key := filepath.Join(t.TempDir(), "dkim.pem")
	if err := os.WriteFile(key, newKey(t), 0o600); err != nil {
		t.Fatal(err)
	}
	config, _, err := adapt("{\n\temail_auth {\n\t\tfrom signin@example.com\n\t\tsmtp mail.example.com:587 {\n\t\t\tdkim example.com mail2026 " + key +
		"\n\t\t\tdkim example.com second " + key + "\n\t\t}\n\t}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	if want := `"dkim":[{"domain":"example.com","selector":"mail2026","key_file":"` + key + `","source":"Caddyfile:5"},{"domain":"example.com","selector":"second"`; !strings.Contains(string(config), want) {
		t.Errorf("%s is missing in %s", want, config)
	}
	if err := validate(config); err != nil {
		t.Error(err)
	}
}

func newKey(t *testing.T) []byte {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
