package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

// connect opens a connection up to where MAIL is possible.
func (s *SMTP) connect(ctx context.Context, senderDomain string) (*session, error) {
	dialing, cancel := context.WithTimeout(ctx, s.config.DialTimeout)
	defer cancel()
	conn, err := s.config.Dial(dialing, "tcp", s.config.Addr)
	if err != nil {
		return nil, s.failure(ctx, stepConnect, err)
	}
	c := &session{conn: conn, born: time.Now()}
	c.watch(ctx)
	if err := s.open(ctx, c, senderDomain); err != nil {
		c.abandon()
		return nil, err
	}
	return c, nil
}

// open encrypts, greets and authenticates.
func (s *SMTP) open(ctx context.Context, c *session, senderDomain string) error {
	hello := s.config.HelloName
	if hello == "" {
		hello = senderDomain
	}
	conn, err := s.secure(ctx, c, hello)
	if err != nil {
		return err
	}
	c.client = smtp.NewClient(conn)
	c.client.CommandTimeout = s.config.CommandTimeout
	c.client.SubmissionTimeout = s.config.SubmissionTimeout
	if err := c.client.Hello(hello); err != nil {
		return s.failure(ctx, stepHello, err)
	}
	mechanism, err := s.authenticate(ctx, c)
	if err != nil {
		return err
	}
	s.config.Log.Debug("connected to the mail server", "server", s.config.Addr, "tls", s.config.TLS, "auth", mechanism)
	return nil
}

// secure returns the connection to speak SMTP on, from its greeting on.
func (s *SMTP) secure(ctx context.Context, c *session, hello string) (net.Conn, error) {
	switch s.config.TLS {
	case TLSNone:
		return c.conn, nil
	case TLSImplicit:
		return s.handshake(ctx, c)
	}
	if at, err := s.startTLS(c, hello); err != nil {
		return nil, s.failure(ctx, at, err)
	}
	conn, err := s.handshake(ctx, c)
	if err != nil {
		return nil, err
	}
	// After STARTTLS the server greets nobody, and the client waits for it.
	return greeted{Conn: conn, greeting: strings.NewReader("220 TLS\r\n")}, nil
}

func (s *SMTP) handshake(ctx context.Context, c *session) (net.Conn, error) {
	c.deadline(s.config.CommandTimeout)
	conn := tls.Client(c.conn, s.config.tlsConfig())
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, s.failure(ctx, stepTLS, err)
	}
	return conn, nil
}

// maxPlain is how many bytes a server may say before TLS.
const maxPlain = 64 << 10

// startTLS speaks the part before TLS. The client of go-smtp would do so as
// "localhost", with a timeout of five minutes, and would let pass what somebody
// on the way put behind the server's answer. It returns the step that failed.
func (s *SMTP) startTLS(c *session, hello string) (step, error) {
	text := textproto.NewConn(struct {
		io.Reader
		io.WriteCloser
	}{io.LimitReader(c.conn, maxPlain), c.conn})

	c.deadline(s.config.CommandTimeout)
	if _, _, err := text.ReadResponse(220); err != nil {
		return stepGreet, err
	}
	offers, err := s.ask(c, text, 250, "EHLO "+hello)
	if err != nil {
		return stepHello, err
	}
	if !slices.ContainsFunc(strings.Split(offers, "\n"), func(line string) bool {
		return strings.EqualFold(strings.TrimSpace(line), "STARTTLS")
	}) {
		return stepStart, errNoStartTLS
	}
	if _, err := s.ask(c, text, 220, "STARTTLS"); err != nil {
		return stepStart, err
	}
	if text.R.Buffered() > 0 {
		return stepStart, errors.New("something was put into the connection before TLS")
	}
	return "", nil
}

func (s *SMTP) ask(c *session, text *textproto.Conn, code int, command string) (string, error) {
	c.deadline(s.config.CommandTimeout)
	if err := text.PrintfLine("%s", command); err != nil {
		return "", err
	}
	_, answer, err := text.ReadResponse(code)
	return answer, err
}

// greeted is a connection that first says its greeting.
type greeted struct {
	net.Conn
	greeting *strings.Reader
}

func (g greeted) Read(b []byte) (int, error) {
	if g.greeting.Len() > 0 {
		return g.greeting.Read(b)
	}
	return g.Conn.Read(b)
}
