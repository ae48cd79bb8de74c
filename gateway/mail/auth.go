package mail

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"
)

// preference is the order in which AuthAuto chooses. The OAuth mechanisms want
// a token where the others want a password, so they come last: what is
// configured is a token only if the server takes nothing else.
var preference = []string{sasl.Plain, sasl.Login, sasl.OAuthBearer, xoauth2}

// authenticate signs in, if that is configured, and returns the mechanism.
// Nothing that goes wrong here is a fault of the mail.
func (s *SMTP) authenticate(ctx context.Context, c *session) (string, error) {
	if !s.config.authenticates() {
		return "", nil
	}
	_, params := c.client.Extension("AUTH")
	mechanism, err := choose(s.config.Auth, strings.Fields(strings.ToUpper(params)))
	if err != nil {
		return "", s.failure(ctx, stepAuth, err)
	}
	if s.config.TLS == TLSNone && !isLoopback(c.conn.RemoteAddr()) {
		return "", s.failure(ctx, stepAuth, errPlainPassword)
	}
	password, err := s.password()
	if err != nil {
		return "", s.failure(ctx, stepAuth, err)
	}
	client := s.saslClient(mechanism, password)
	if err := c.client.Auth(client); err != nil {
		return "", s.failure(ctx, stepAuth, withoutSecret(withDetail(err, client), s.config.Username, password))
	}
	return mechanism, nil
}

// choose returns the mechanism to use of those offered.
func choose(wanted string, offered []string) (string, error) {
	if len(offered) == 0 {
		return "", errors.New("the server offers no authentication here; without username and password mail is sent without")
	}
	candidates := preference
	if wanted != AuthAuto {
		candidates = []string{strings.ToUpper(wanted)}
	}
	for _, mechanism := range candidates {
		if slices.Contains(offered, mechanism) {
			return mechanism, nil
		}
	}
	return "", fmt.Errorf("the server offers %s, which auth %s does not allow", strings.Join(offered, ", "), wanted)
}

// password reads the password of this connection.
func (s *SMTP) password() (string, error) {
	password, err := s.config.Password()
	switch {
	case err != nil:
		return "", fmt.Errorf("reading the password: %w", err)
	case password == "":
		return "", errors.New("the password is empty")
	case strings.ContainsAny(password, "\x00\x01\r\n"):
		return "", errors.New("the password holds a line break or a control character")
	}
	return password, nil
}

func (s *SMTP) saslClient(mechanism, password string) sasl.Client {
	switch mechanism {
	case sasl.Login:
		return &loginClient{username: s.config.Username, password: password}
	case sasl.OAuthBearer:
		return sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{
			Username: s.config.Username, Token: password, Host: s.config.host, Port: s.config.port,
		})
	case xoauth2:
		return &xoauth2Client{username: s.config.Username, token: password}
	default:
		return sasl.NewPlainClient("", s.config.Username, password)
	}
}

// isLoopback looks at the connection itself: a name, even "localhost", may lead
// anywhere.
func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
