package e2e_test

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
)

// trouble is what a scripted mail server does wrong.
type trouble int

const (
	noTrouble      trouble = iota
	silentAccept           // accepts connections and says nothing
	slowDrip               // sends its greeting a byte a second
	deferRecipient         // 4xx at RCPT
	refuseForGood          // 5xx at RCPT
	wrongPassword          // 535 at AUTH
	dieInData              // ends the connection in the middle of DATA
	dieAfterDot            // takes the mail, and ends the connection without an answer
)

const scriptedPassword = "scripted-secret-password"

// scriptedSMTP is a mail server without TLS that does what a test wants of it.
type scriptedSMTP struct {
	t    testing.TB
	addr string
	// delay is before each answer, as of a server far away.
	delay time.Duration

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	trouble  trouble
	mails    map[string][]*postern.Mail
	tries    int // recipients named, or connections that got nowhere
}

// startSMTP runs one until the test ends.
func startSMTP(t testing.TB) *scriptedSMTP {
	t.Helper()
	s := &scriptedSMTP{t: t, conns: make(map[net.Conn]bool), mails: make(map[string][]*postern.Mail)}
	// Other tests on this machine choose ports too.
	err := errors.New("no port")
	for range 5 {
		s.addr = fmt.Sprintf("127.0.0.1:%d", postern.FreePort(t))
		if err = s.listen(); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.down)
	return s
}

// up listens again.
func (s *scriptedSMTP) up() {
	if err := s.listen(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scriptedSMTP) listen() error {
	listener, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.listener = listener
	s.mu.Unlock()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			if s.listener == listener {
				s.conns[conn] = true
				go s.serve(conn)
			} else {
				conn.Close() // came just before the server went down
			}
			s.mu.Unlock()
		}
	}()
	return nil
}

// down ends the server and its connections.
func (s *scriptedSMTP) down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		s.listener.Close()
	}
	s.listener = nil
	s.cutAll()
}

func (s *scriptedSMTP) cutAll() {
	for conn := range s.conns {
		conn.Close()
		delete(s.conns, conn)
	}
}

// set changes what it does, and ends the connections that are open.
func (s *scriptedSMTP) set(what trouble) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = what
	if what != noTrouble {
		s.cutAll() // idle ones too, which would be used for the next mail
	}
}

func (s *scriptedSMTP) now() trouble {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble
}

// to returns the mails that it took over for an address.
func (s *scriptedSMTP) to(email string) []*postern.Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*postern.Mail(nil), s.mails[email]...)
}

func (s *scriptedSMTP) tried() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tries
}

func (s *scriptedSMTP) try() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries++
}

func (s *scriptedSMTP) serve(conn net.Conn) {
	defer func() {
		conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	switch s.now() {
	case silentAccept:
		s.try()
		_, _ = conn.Read(make([]byte, 1)) // until the other side has had enough
		return
	case slowDrip:
		s.try()
		for _, b := range []byte("220 " + strings.Repeat("slow ", 100)) {
			if _, err := conn.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
		return
	}
	say := func(format string, args ...any) {
		time.Sleep(s.delay)
		fmt.Fprintf(conn, format+"\r\n", args...)
	}
	say("220 mail.example ESMTP")
	lines := bufio.NewReader(conn)
	recipient := ""
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			say("250-mail.example\r\n250 AUTH PLAIN")
		case "AUTH":
			s.auth(say, rest)
		case "MAIL", "RSET", "NOOP":
			say("250 2.0.0 fine")
		case "RCPT":
			recipient = strings.Trim(rest[strings.IndexByte(rest, ':')+1:], "<> ")
			s.rcpt(say, recipient)
		case "DATA":
			if !s.data(conn, lines, say, recipient) {
				return
			}
		case "QUIT":
			say("221 bye")
			return
		default:
			say("502 5.5.1 unknown")
		}
	}
}

func (s *scriptedSMTP) auth(say func(string, ...any), rest string) {
	_, initial, _ := strings.Cut(rest, " ")
	given, _ := base64.StdEncoding.DecodeString(initial)
	if s.now() == wrongPassword || string(given) != "\x00postern\x00"+scriptedPassword {
		s.try()
		// Servers have been seen to quote what they got.
		say("535 5.7.8 %s is not right", initial)
		return
	}
	say("235 2.7.0 welcome")
}

func (s *scriptedSMTP) rcpt(say func(string, ...any), recipient string) {
	s.try()
	switch s.now() {
	case deferRecipient:
		say("451 4.3.0 %s: try again later", recipient)
	case refuseForGood:
		say("550 5.1.1 %s: no such mailbox", recipient)
	default:
		say("250 2.1.5 fine")
	}
}

// data takes a mail, and says whether the connection goes on.
func (s *scriptedSMTP) data(conn net.Conn, lines *bufio.Reader, say func(string, ...any), recipient string) bool {
	say("354 go on")
	var raw strings.Builder
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return false
		}
		if s.now() == dieInData {
			return false
		}
		if line == ".\r\n" {
			break
		}
		raw.WriteString(strings.TrimPrefix(line, "."))
	}
	mail := postern.ParseMail(s.t, []byte(raw.String()))
	s.mu.Lock()
	s.mails[recipient] = append(s.mails[recipient], mail)
	s.mu.Unlock()
	if s.now() == dieAfterDot {
		return false
	}
	say("250 2.0.0 taken over")
	return true
}

// byScript is a configuration that sends by a scripted server.
func byScript(smtp *scriptedSMTP, upstream *postern.Upstream, auth string) postern.Config {
	return postern.Config{
		Sites: silent, Upstream: upstream, Env: []string{"SMTP_PASSWORD=" + scriptedPassword},
		Auth: fmt.Sprintf("from signin@example.com\nsmtp %s {\n\tusername postern\n\tpassword {env.SMTP_PASSWORD}\n\ttls none\n}\n%s\n%s", smtp.addr, unlimited, auth),
	}
}
