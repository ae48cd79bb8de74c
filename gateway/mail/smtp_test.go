package mail_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/postern-auth/postern/gateway/mail"
)

func (s *testServer) config() mail.SMTPConfig {
	c := mail.SMTPConfig{Addr: s.addr, RootCAs: s.pool}
	if len(s.mechanisms) > 0 {
		c.Username, c.Password = username, func() (string, error) { return password, nil }
	}
	return c
}

// plainConfig is for scripted servers.
func plainConfig(addr string) mail.SMTPConfig {
	return mail.SMTPConfig{Addr: addr, TLS: "none", CommandTimeout: 5 * time.Second, SubmissionTimeout: 5 * time.Second}
}

func TestMechanisms(t *testing.T) {
	prompts := []string{"Username:", "Password:"}
	for _, test := range []struct {
		auth    string
		offered []string
		prompts []string
		want    string
	}{
		{"auto", []string{"XOAUTH2", "LOGIN", "PLAIN"}, prompts, "PLAIN"},
		{"auto", []string{"XOAUTH2", "LOGIN"}, prompts, "LOGIN"},
		{"auto", []string{"LOGIN"}, []string{"User Name\x00", "Password\x00"}, "LOGIN"},
		{"auto", []string{"LOGIN"}, []string{"", ""}, "LOGIN"},
		{"auto", []string{"XOAUTH2", "OAUTHBEARER"}, prompts, "OAUTHBEARER"},
		{"auto", []string{"XOAUTH2"}, prompts, "XOAUTH2"},
		{"plain", []string{"LOGIN", "PLAIN"}, prompts, "PLAIN"},
		{"login", []string{"PLAIN", "LOGIN"}, prompts, "LOGIN"},
		{"oauthbearer", []string{"PLAIN", "OAUTHBEARER"}, prompts, "OAUTHBEARER"},
		{"xoauth2", []string{"PLAIN", "XOAUTH2"}, prompts, "XOAUTH2"},
	} {
		t.Run(test.auth+"-"+strings.Join(test.offered, "-"), func(t *testing.T) {
			s := (&testServer{mechanisms: test.offered, prompts: test.prompts}).start(t)
			config := s.config()
			config.Auth = test.auth
			if err := newSMTP(t, config).Deliver(t.Context(), example()); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(s.used, []string{test.want}) {
				t.Errorf("used %q, want %q", s.used, test.want)
			}
			checkContent(t, s.mails[0], example())
		})
	}
}

func TestWrongPassword(t *testing.T) {
	for mechanism, want := range map[string]string{
		"PLAIN":       "AUTH: 535 5.7.8 no such user postern with [...]",
		"LOGIN":       "AUTH: 535 5.7.8 no such user postern with [...]",
		"XOAUTH2":     "with [...] (status 401 https://mail.example/)",
		"OAUTHBEARER": "invalid_token",
	} {
		t.Run(mechanism, func(t *testing.T) {
			s := (&testServer{mechanisms: []string{mechanism}, prompts: []string{"Username:", "Password:"}}).start(t)
			config := s.config()
			config.Password = func() (string, error) { return "lame horse", nil }
			code := 535
			if mechanism == "OAUTHBEARER" {
				code = 0 // go-sasl ends the exchange by itself
			}
			checkError(t, newSMTP(t, config).Deliver(t.Context(), example()), mail.Error{Code: code, Reason: want})
		})
	}
}

func TestAuthIsNotPossible(t *testing.T) {
	broken := func() (string, error) { return "", errors.New("no such file") }
	for name, test := range map[string]struct {
		offered []string
		change  func(*mail.SMTPConfig)
		want    string
	}{
		"none offered":   {nil, func(c *mail.SMTPConfig) {}, "AUTH: the server offers no authentication here"},
		"other offered":  {[]string{"PLAIN"}, func(c *mail.SMTPConfig) { c.Auth = "xoauth2" }, "AUTH: the server offers PLAIN, which auth xoauth2 does not allow"},
		"unreadable":     {[]string{"PLAIN"}, func(c *mail.SMTPConfig) { c.Password = broken }, "reading the password: no such file"},
		"empty":          {[]string{"PLAIN"}, func(c *mail.SMTPConfig) { c.Password = func() (string, error) { return "", nil } }, "the password is empty"},
		"line break":     {[]string{"PLAIN"}, func(c *mail.SMTPConfig) { c.Password = func() (string, error) { return "horse\n", nil } }, "line break"},
		"wanted, absent": {[]string{"PLAIN"}, func(c *mail.SMTPConfig) { c.Auth, c.Username, c.Password = "none", "", nil }, "MAIL FROM: 502"},
	} {
		t.Run(name, func(t *testing.T) {
			s := (&testServer{mechanisms: test.offered}).start(t)
			config := s.config()
			config.Username, config.Password = username, func() (string, error) { return password, nil }
			test.change(&config)
			code := 0
			if config.Auth == "none" {
				code = 502
			}
			checkError(t, newSMTP(t, config).Deliver(t.Context(), example()), mail.Error{Code: code, Reason: test.want})
		})
	}
}

func TestTLSModes(t *testing.T) {
	for _, test := range []struct {
		server *testServer
		tls    string
		want   string // "" for success
	}{
		{&testServer{}, "", ""},
		{&testServer{}, "starttls", ""},
		{&testServer{implicit: true}, "implicit", ""},
		{&testServer{noTLS: true}, "none", ""},
		{&testServer{maxTLS: tls.VersionTLS12}, "starttls", ""},
		{&testServer{maxTLS: tls.VersionTLS11}, "starttls", "TLS: "},
		{&testServer{noTLS: true}, "starttls", "STARTTLS: the server does not offer STARTTLS"},
		{&testServer{noTLS: true}, "implicit", "use tls starttls"},
		{&testServer{plain: true, mechanisms: []string{"PLAIN"}}, "none", ""},
	} {
		t.Run(fmt.Sprintf("%s %v", test.tls, test.server.noTLS), func(t *testing.T) {
			s := test.server.start(t)
			config := s.config()
			config.TLS = test.tls
			err := newSMTP(t, config).Deliver(t.Context(), example())
			if test.want != "" {
				checkError(t, err, mail.Error{Reason: test.want})
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCertificateName(t *testing.T) {
	s := (&testServer{}).start(t)
	config := s.config()
	config.Addr = "mail.wrong.example:587"
	config.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.addr)
	}
	checkError(t, newSMTP(t, config).Deliver(t.Context(), example()),
		mail.Error{Reason: "not mail.wrong.example (use the name that the certificate is for)"})
}

// farAway is a connection that says it leads to another machine.
type farAway struct{ net.Conn }

func (farAway) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25} }

// TestNoPasswordWithoutTLS has a name that looks harmless lead elsewhere, and one
// of another machine: the address that was reached decides.
func TestNoPasswordWithoutTLS(t *testing.T) {
	for _, addr := range []string{"localhost:25", "mail.example.com:25"} {
		t.Run(addr, func(t *testing.T) { noPasswordWithoutTLS(t, addr) })
	}
}

func noPasswordWithoutTLS(t *testing.T, addr string) {
	s := (&testServer{plain: true, mechanisms: []string{"PLAIN"}}).start(t)
	config := s.config()
	config.Addr, config.TLS = addr, "none"
	config.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, s.addr)
		return farAway{conn}, err
	}
	read := false
	config.Password = func() (string, error) { read = true; return password, nil }
	checkError(t, newSMTP(t, config).Deliver(t.Context(), example()), mail.Error{Reason: "refusing to send the password without TLS"})
	if read || len(s.used) != 0 {
		t.Error("the password was read or AUTH begun")
	}
	config.Auth, config.Username, config.Password = "none", "", nil
	s.mechanisms = nil
	if err := newSMTP(t, config).Deliver(t.Context(), example()); err != nil {
		t.Errorf("without a password: %v", err)
	}
}

// TestInjectionBeforeTLS puts an answer behind that to STARTTLS, as somebody on
// the way could.
func TestInjectionBeforeTLS(t *testing.T) {
	addr := script(t, func(c net.Conn, line func() string) {
		io.WriteString(c, "220 hello\r\n")
		line()
		io.WriteString(c, "250-hi\r\n250 STARTTLS\r\n")
		line()
		io.WriteString(c, "220 go\r\n250 injected\r\n")
		line()
	})
	config := plainConfig(addr)
	config.TLS = "starttls"
	checkError(t, newSMTP(t, config).Deliver(t.Context(), example()), mail.Error{Reason: "STARTTLS: something was put into the connection before TLS"})
}

func TestRefusals(t *testing.T) {
	reply := func(code int, words string) error {
		return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 1, 1}, Message: words}
	}
	for _, test := range []struct {
		server *testServer
		want   mail.Error
	}{
		{&testServer{mailError: reply(451, "busy")}, mail.Error{Code: 451, Reason: "MAIL FROM: 451 4.1.1 busy"}},
		{&testServer{mailError: reply(550, "who are you")}, mail.Error{Code: 550, Reason: "MAIL FROM: 550 5.1.1 who are you"}},
		{&testServer{rcptError: reply(450, "greylisted")}, mail.Error{Code: 450, Reason: "RCPT TO: 450"}},
		{&testServer{rcptError: reply(550, "unknown")}, mail.Error{Permanent: true, Code: 550, Reason: "RCPT TO: 550 5.1.1 unknown"}},
		{&testServer{rcptError: reply(554, "Relay access denied")}, mail.Error{Code: 554, Reason: "RCPT TO: 554"}},
		{&testServer{dataError: reply(554, "relay says spam")}, mail.Error{Permanent: true, Code: 554, Reason: "end of DATA: 554"}},
		{&testServer{rcptError: reply(530, "log in")}, mail.Error{Code: 530, Reason: "RCPT TO: 530"}},
		{&testServer{dataError: reply(452, "disk")}, mail.Error{Code: 452, Reason: "end of DATA: 452"}},
		{&testServer{dataError: reply(554, "spam: "+example().Subject)}, mail.Error{Permanent: true, Code: 554, Reason: "end of DATA: 554 5.1.1 spam: [...] is your sign-in code for Caf"}},
		{&testServer{dataError: reply(554, "bad\x07link "+link+"\nsecond line")}, mail.Error{Permanent: true, Code: 554, Reason: "bad link https://app.example.com/.auth/link?token=[...]&lang=de 5.1.1 second line"}},
	} {
		t.Run(test.want.Reason, func(t *testing.T) {
			s := test.server.start(t)
			var log bytes.Buffer
			config := s.config()
			config.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			transport := newSMTP(t, config)
			err := transport.Deliver(t.Context(), example())
			checkError(t, err, test.want)
			if !strings.HasPrefix(err.Error(), s.addr+": ") || strings.ContainsAny(err.Error(), "\r\n\a") {
				t.Errorf("the reason is %q", err)
			}
			if strings.Contains(log.String(), secretCode) || strings.Contains(log.String(), "horse") {
				t.Errorf("a secret was logged: %s", log.String())
			}
		})
	}
}

// TestBrokenServers has servers that cut the connection or say nonsense.
func TestBrokenServers(t *testing.T) {
	type scene = func(c net.Conn, line func() string)
	say := func(words string) scene {
		return func(c net.Conn, line func() string) { io.WriteString(c, words); line() }
	}
	at := func(command, words string) scene {
		return func(c net.Conn, line func() string) {
			if upTo(c, line, command) {
				io.WriteString(c, words)
			}
		}
	}
	for name, test := range map[string]struct {
		play        scene
		want        mail.Error
		unconfirmed bool
	}{
		"busy":             {say("421 too many\r\n"), mail.Error{Code: 421, Reason: "EHLO: 421 too many"}, false},
		"blocked":          {say("554 go away\r\n"), mail.Error{Code: 554, Reason: "EHLO: 554 go away"}, false},
		"nonsense":         {say("HTTP/1.1 400 Bad Request\r\n"), mail.Error{Reason: "EHLO: "}, false},
		"endless line":     {say("220 " + strings.Repeat("x", 5000)), mail.Error{Reason: "EHLO: "}, false},
		"cut in greeting":  {say(""), mail.Error{Reason: "EHLO: "}, false},
		"refused EHLO":     {at("EHLO", "550 bad name\r\n"), mail.Error{Code: 550, Reason: "EHLO: 550 bad name"}, false},
		"cut at MAIL":      {at("MAIL", ""), mail.Error{Reason: "MAIL FROM: EOF"}, false},
		"cut at RCPT":      {at("RCPT", ""), mail.Error{Reason: "RCPT TO: EOF"}, false},
		"cut at DATA":      {at("DATA", ""), mail.Error{Reason: "DATA: EOF"}, false},
		"refused DATA":     {at("DATA", "554 no\r\n"), mail.Error{Permanent: true, Code: 554, Reason: "DATA: 554 no"}, false},
		"odd DATA":         {at("DATA", "250 what\r\n"), mail.Error{Code: 250, Reason: "DATA: 250"}, false},
		"cut after end":    {at(".", ""), mail.Error{Reason: "end of DATA: EOF"}, true},
		"nonsense at end":  {at(".", "what?\r\n"), mail.Error{Reason: "end of DATA: "}, true},
		"shut down at end": {at(".", "421 bye\r\n"), mail.Error{Code: 421, Reason: "end of DATA: 421 bye"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			play := test.play
			if name == "cut in greeting" {
				play = func(net.Conn, func() string) {}
			}
			err := newSMTP(t, plainConfig(script(t, play))).Deliver(t.Context(), example())
			checkError(t, err, test.want)
			if got := errors.Is(err, mail.ErrUnconfirmed); got != test.unconfirmed {
				t.Errorf("unconfirmed: %v, want %v", got, test.unconfirmed)
			}
		})
	}
}

// TestDeathWithinData cuts the connection while a large mail is written.
func TestDeathWithinData(t *testing.T) {
	addr := script(t, func(c net.Conn, line func() string) {
		if upTo(c, line, "DATA") {
			io.WriteString(c, "354 go on\r\n")
			line()
			_ = c.(*net.TCPConn).SetLinger(0)
		}
	})
	m := example()
	m.Text = strings.Repeat("many words ", 4<<20/11)
	err := newSMTP(t, plainConfig(addr)).Deliver(t.Context(), m)
	checkError(t, err, mail.Error{Reason: ": DATA: "})
	if errors.Is(err, mail.ErrUnconfirmed) {
		t.Error("the end was not sent, so the mail cannot have been taken over")
	}
}

func TestOtherSuccess(t *testing.T) {
	addr := script(t, func(c net.Conn, line func() string) {
		upTo(c, line, ".")
		io.WriteString(c, "252 taken\r\n")
	})
	if err := newSMTP(t, plainConfig(addr)).Deliver(t.Context(), example()); err != nil {
		t.Error(err)
	}
}

// TestSlowServer checks that each wait ends, by its timeout and by the context.
func TestSlowServer(t *testing.T) {
	stuck := func(command string, reached func()) func(net.Conn, func() string) {
		return func(c net.Conn, line func() string) {
			if command == "greeting" || upTo(c, line, command) {
				reached()
				_, _ = io.Copy(io.Discard, c) // until the other side closes
			}
		}
	}
	for step, reason := range map[string]string{
		"greeting": "EHLO: ", "EHLO": "EHLO: ", "MAIL": "MAIL FROM: ", "RCPT": "RCPT TO: ", "DATA": "DATA: ", ".": "end of DATA: ",
	} {
		t.Run("timeout at "+step, func(t *testing.T) {
			config := plainConfig(script(t, stuck(step, func() {})))
			config.CommandTimeout, config.SubmissionTimeout = 50*time.Millisecond, 50*time.Millisecond
			err := newSMTP(t, config).Deliver(t.Context(), example())
			checkError(t, err, mail.Error{Reason: reason})
			var network net.Error
			if !errors.As(err, &network) || !network.Timeout() {
				t.Errorf("%v is no timeout", err)
			}
		})
		t.Run("cancel at "+step, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			start := time.Now()
			err := newSMTP(t, plainConfig(script(t, stuck(step, cancel)))).Deliver(ctx, example())
			if step == "greeting" {
				reason = "" // reached as soon as the connection is
			}
			checkError(t, err, mail.Error{Reason: reason + "context canceled"})
			if !errors.Is(err, context.Canceled) || time.Since(start) > 4*time.Second {
				t.Errorf("%v after %v", err, time.Since(start))
			}
			if got := errors.Is(err, mail.ErrUnconfirmed); got != (step == ".") {
				t.Errorf("unconfirmed: %v", got)
			}
		})
	}
}

// TestServerThatDoesNotRead fills every buffer with a large mail.
func TestServerThatDoesNotRead(t *testing.T) {
	release := make(chan struct{})
	addr := script(t, func(c net.Conn, line func() string) {
		upTo(c, line, "DATA")
		io.WriteString(c, "354 go on\r\n")
		<-release
	})
	t.Cleanup(func() { close(release) })
	config := plainConfig(addr)
	config.SubmissionTimeout = 200 * time.Millisecond
	m := example()
	m.Text = strings.Repeat("many words ", 16<<20/11)
	checkError(t, newSMTP(t, config).Deliver(t.Context(), m), mail.Error{Reason: "DATA: "})
}

func TestStuckTLS(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	addr := script(t, func(c net.Conn, _ func() string) {
		_, _ = c.Read(make([]byte, 1))
		cancel()
		_, _ = io.Copy(io.Discard, c)
	})
	config := plainConfig(addr)
	config.TLS = "implicit"
	checkError(t, newSMTP(t, config).Deliver(ctx, example()), mail.Error{Reason: "TLS: context canceled"})
}

func TestReuse(t *testing.T) {
	s := (&testServer{mechanisms: []string{"PLAIN"}}).start(t)
	transport := newSMTP(t, s.config())
	for range 5 {
		if err := transport.Deliver(t.Context(), example()); err != nil {
			t.Fatal(err)
		}
	}
	if connections, mails := s.counts(); mails != 5 || len(s.used) != 1 {
		t.Errorf("%d mails, %d connections, %d authentications; want 5 mails over 1", mails, connections, len(s.used))
	}
	if !slices.Equal(s.hellos[len(s.hellos)-1:], []string{"example.com"}) {
		t.Errorf("EHLO %q", s.hellos)
	}
	if s.froms[0] != "signin@example.com" || s.tos[0] != "user@example.com" {
		t.Errorf("envelope %q %q", s.froms[0], s.tos[0])
	}
}

// TestDeadReusedConnection has the first connection fail in several ways after
// a first mail. The second mail must go over a new one, once.
func TestDeadReusedConnection(t *testing.T) {
	for name, second := range map[string]func(c net.Conn, line func() string){
		"closed":       func(net.Conn, func() string) {},
		"NOOP refused": func(c net.Conn, line func() string) { line(); io.WriteString(c, "421 idle too long\r\n") },
		"MAIL refused": func(c net.Conn, line func() string) {
			line()
			io.WriteString(c, "250 ok\r\n")
			line()
			io.WriteString(c, "452 enough\r\n")
		},
		"silent":        func(c net.Conn, line func() string) { line(); line() },
		"closed at end": func(c net.Conn, line func() string) { line(); io.WriteString(c, "250 ok\r\n"); line() },
	} {
		t.Run(name, func(t *testing.T) {
			first := func(c net.Conn, line func() string) {
				upTo(c, line, ".")
				io.WriteString(c, "250 taken\r\n")
				second(c, line)
			}
			fresh := func(c net.Conn, line func() string) {
				upTo(c, line, ".")
				io.WriteString(c, "250 taken\r\n")
				line()
			}
			config := plainConfig(script(t, first, fresh))
			config.CommandTimeout = 300 * time.Millisecond
			transport := newSMTP(t, config)
			for i := range 2 {
				if err := transport.Deliver(t.Context(), example()); err != nil {
					t.Errorf("mail %d: %v", i, err)
				}
			}
		})
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	s := (&testServer{}).start(t)
	config := s.config()
	config.IdleTimeout = 20 * time.Millisecond
	transport := newSMTP(t, config)
	if err := transport.Deliver(t.Context(), example()); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		live := s.live
		s.mu.Unlock()
		if live == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the idle connection stays")
		}
	}
}

func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	s := (&testServer{dataDelay: 100 * time.Millisecond}).start(t)
	transport := newSMTP(t, s.config())
	result := make(chan error)
	go func() { result <- transport.Deliver(context.Background(), example()) }()
	time.Sleep(50 * time.Millisecond)
	if err := transport.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Errorf("the delivery under way: %v", err)
	}
	err := transport.Deliver(t.Context(), example())
	checkError(t, err, mail.Error{Reason: mail.ErrClosed.Error()})
	if !errors.Is(err, mail.ErrClosed) {
		t.Error("not ErrClosed")
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before+2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

func TestConcurrency(t *testing.T) {
	s := (&testServer{mechanisms: []string{"PLAIN"}, dataDelay: 2 * time.Millisecond}).start(t)
	transport := newSMTP(t, s.config())
	const mails = 60
	var sending sync.WaitGroup
	for i := range mails {
		sending.Go(func() {
			m := example()
			m.To = fmt.Sprintf("user%d@example.com", i)
			if err := transport.Deliver(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
	sending.Wait()
	slices.Sort(s.tos)
	if tos := slices.Compact(s.tos); len(s.mails) != mails || len(tos) != mails {
		t.Errorf("%d mails to %d, want %d", len(s.mails), len(tos), mails)
	}
	if s.mostLive > 4 {
		t.Errorf("%d connections at once, want at most 4", s.mostLive)
	}
}

// TestWaitingEnds cancels a delivery that waits for its turn.
func TestWaitingEnds(t *testing.T) {
	s := (&testServer{dataDelay: 300 * time.Millisecond}).start(t)
	config := s.config()
	config.Connections = 1
	transport := newSMTP(t, config)
	var first sync.WaitGroup
	first.Go(func() { _ = transport.Deliver(context.Background(), example()) })
	time.Sleep(100 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	checkError(t, transport.Deliver(ctx, example()), mail.Error{Reason: "context deadline exceeded"})
	first.Wait()
}

// TestBadAddresses checks that nothing of a hostile address reaches a server.
func TestBadAddresses(t *testing.T) {
	s := (&testServer{}).start(t)
	transport := newSMTP(t, s.config())
	for _, address := range []string{
		"", "a", "@example.com", "a@", "a b@example.com", "a@b@example.com", `"a@evil.com"@example.com`,
		"a@example.com\r\nRCPT TO:<b@example.com>", "a@example.com\n", "a@example.com>", "<a@example.com>",
		"a@example.com,b@example.com", "a@exämple.com", "ä@example.com", "a\x00@example.com", "a@example..com",
		"a@[192.0.2.1]", "a(x)@example.com", strings.Repeat("a", 65) + "@example.com",
		"a@" + strings.Repeat("b.", 130) + "com", "a@example.com SIZE=1", "a\u212a@example.com",
	} {
		for field, change := range map[string]func(*mail.Message){
			"to":   func(m *mail.Message) { m.To = address },
			"from": func(m *mail.Message) { m.From = "X <" + address + ">" },
			"id":   func(m *mail.Message) { m.ID = address },
		} {
			m := example()
			change(&m)
			var e *mail.Error
			if err := transport.Deliver(t.Context(), m); !errors.As(err, &e) || !e.Permanent {
				t.Errorf("%s %q: %v", field, address, err)
			}
		}
	}
	if connections, _ := s.counts(); connections != 0 {
		t.Errorf("%d connections, want none", connections)
	}
}
