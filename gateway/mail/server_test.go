package mail_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const (
	username = "postern"
	password = "correct horse"
)

// testServer is go-smtp's server with switches for what goes wrong.
type testServer struct {
	addr string
	pool *x509.CertPool

	mechanisms []string
	prompts    []string // of LOGIN
	plain      bool     // offers AUTH without TLS
	noTLS      bool
	implicit   bool
	maxTLS     uint16
	mailError  error
	rcptError  error
	dataError  error
	dataDelay  time.Duration

	mu          sync.Mutex
	connections int
	live        int
	mostLive    int
	used        []string // mechanisms
	hellos      []string
	froms, tos  []string
	mails       [][]byte
}

func (s *testServer) start(t *testing.T) *testServer {
	t.Helper()
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	s.pool = x509.NewCertPool()
	s.pool.AddCert(certificate.Certificate())
	config := certificate.TLS.Clone()
	config.NextProtos = nil
	config.MinVersion, config.MaxVersion = tls.VersionTLS10, s.maxTLS
	certificate.Close()

	server := smtp.NewServer(s)
	server.Domain, server.ErrorLog = "mx.example.net", log.New(io.Discard, "", 0)
	server.AllowInsecureAuth = s.plain
	if !s.noTLS && !s.implicit {
		server.TLSConfig = config
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	if s.implicit {
		l = tls.NewListener(l, config)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		_ = server.Close()
		_ = l.Close() // if the server did not come to know it yet
		serving.Wait()
	})
	return s
}

// NewSession starts the session of one connection.
func (s *testServer) NewSession(c *smtp.Conn) (smtp.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connections++
	s.live++
	s.mostLive = max(s.mostLive, s.live)
	s.hellos = append(s.hellos, c.Hostname())
	return &testSession{testServer: s}, nil
}

func (s *testServer) note(list *[]string, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*list = append(*list, value)
}

func (s *testServer) counts() (connections, mails int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connections, len(s.mails)
}

type testSession struct {
	*testServer
	authenticated bool
}

func (s *testSession) Reset() {}

func (s *testSession) Logout() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live--
	return nil
}

func (s *testSession) AuthMechanisms() []string { return s.mechanisms }

func (s *testSession) Auth(mechanism string) (sasl.Server, error) {
	s.note(&s.used, mechanism)
	check := func(_, user, pass string) error {
		if user != username || pass != password {
			// A careless server quotes what it got.
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "no such user " + user + " with " + pass}
		}
		s.authenticated = true
		return nil
	}
	switch mechanism {
	case "PLAIN":
		return sasl.NewPlainServer(check), nil
	case "LOGIN":
		return &loginServer{prompts: s.prompts, check: check}, nil
	case "OAUTHBEARER":
		return sasl.NewOAuthBearerServer(func(o sasl.OAuthBearerOptions) *sasl.OAuthBearerError {
			if check("", o.Username, o.Token) != nil {
				return &sasl.OAuthBearerError{Status: "invalid_token", Schemes: "bearer"}
			}
			return nil
		}), nil
	case "XOAUTH2":
		return &xoauth2Server{check: check}, nil
	}
	return nil, smtp.ErrAuthUnknownMechanism
}

func (s *testSession) Mail(from string, _ *smtp.MailOptions) error {
	if len(s.mechanisms) > 0 && !s.authenticated {
		return smtp.ErrAuthRequired
	}
	s.note(&s.froms, from)
	return s.mailError
}

func (s *testSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.note(&s.tos, to)
	return s.rcptError
}

func (s *testSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	time.Sleep(s.dataDelay)
	if s.dataError != nil {
		return s.dataError
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails = append(s.mails, text)
	return nil
}

type loginServer struct {
	prompts []string
	answers []string
	check   func(_, user, pass string) error
}

func (s *loginServer) Next(response []byte) ([]byte, bool, error) {
	if response != nil {
		s.answers = append(s.answers, string(response))
	}
	if n := len(s.answers); n < 2 {
		return []byte(s.prompts[n]), false, nil
	}
	return nil, true, s.check("", s.answers[0], s.answers[1])
}

type xoauth2Server struct {
	failed error
	check  func(_, user, pass string) error
}

func (s *xoauth2Server) Next(response []byte) ([]byte, bool, error) {
	if s.failed != nil {
		if len(response) != 0 {
			return nil, true, errors.New("the error must be answered by nothing")
		}
		return nil, true, s.failed
	}
	user, rest, _ := strings.Cut(strings.TrimPrefix(string(response), "user="), "\x01auth=Bearer ")
	token, found := strings.CutSuffix(rest, "\x01\x01")
	if !found {
		return nil, true, errors.New("malformed")
	}
	if s.failed = s.check("", user, token); s.failed != nil {
		details, err := json.Marshal(map[string]string{"status": "401", "schemes": "bearer", "scope": "https://mail.example/"})
		return details, false, err
	}
	return nil, true, nil
}

// script is a server that plays one connection after the other by hand.
func script(t *testing.T, play ...func(c net.Conn, line func() string)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var playing sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		playing.Wait()
	})
	playing.Go(func() {
		for _, scene := range play {
			c, err := l.Accept()
			if err != nil {
				return
			}
			playing.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				scene(c, func() string { return readLine(c) })
			})
		}
	})
	return l.Addr().String()
}

// cut stands for the end of the connection.
const cut = "\x00"

func readLine(c net.Conn) string {
	var line bytes.Buffer
	one := make([]byte, 1)
	for {
		if _, err := c.Read(one); err != nil {
			return cut
		}
		if one[0] == '\n' {
			return strings.TrimSuffix(line.String(), "\r")
		}
		line.WriteByte(one[0])
	}
}

// upTo plays a good server up to a command, which is left to the scene.
func upTo(c net.Conn, line func() string, command string) bool {
	io.WriteString(c, "220 hello\r\n")
	for {
		got := line()
		switch {
		case got == cut:
			return false
		case strings.HasPrefix(got, command):
			return true
		case got == "DATA":
			io.WriteString(c, "354 go on\r\n")
			for got = line(); got != "."; got = line() {
				if got == cut {
					return false
				}
			}
			if command == "." {
				return true
			}
			io.WriteString(c, "250 taken\r\n")
		default:
			io.WriteString(c, "250 fine\r\n")
		}
	}
}
