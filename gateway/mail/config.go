package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Ways to authenticate, for SMTPConfig.Auth.
const (
	AuthAuto        = "auto"
	AuthPlain       = "plain"
	AuthLogin       = "login"
	AuthOAuthBearer = "oauthbearer"
	AuthXOAuth2     = "xoauth2"
	AuthNone        = "none"
)

// Ways to encrypt, for SMTPConfig.TLS.
const (
	TLSStart    = "starttls"
	TLSImplicit = "implicit"
	TLSNone     = "none"
)

// SMTPConfig says how to reach the mail server.
type SMTPConfig struct {
	// Addr is host:port of the server. Its certificate must name the host.
	// Required.
	Addr string
	// Username and Password sign in at the server. Password is called anew
	// for each connection, so a changed one needs no restart; with the two
	// OAuth mechanisms it returns the access token. Default: both empty, no
	// authentication.
	Username string
	Password func() (string, error)
	// Auth is one of the Auth constants. Default: AuthAuto, the best that the
	// server offers: PLAIN, LOGIN, and OAUTHBEARER or XOAUTH2 only where it
	// offers nothing else.
	Auth string
	// TLS is one of the TLS constants. Default: TLSStart, TLSImplicit on port
	// 465. Credentials go over a connection without TLS only if its other
	// end is a loopback address.
	TLS string
	// HelloName is the host name given in EHLO. Default: the domain of the
	// sender.
	HelloName string
	// RootCAs are the authorities trusted for the server's certificate.
	// Default: the system's, or those of SSL_CERT_FILE.
	RootCAs *x509.CertPool
	// DialTimeout ends the connecting. Default: 10 s.
	DialTimeout time.Duration
	// CommandTimeout ends a TLS handshake and the wait for each answer.
	// Default: 30 s.
	CommandTimeout time.Duration
	// SubmissionTimeout ends the sending of a mail, and the wait for the
	// answer to it. Default: 60 s.
	SubmissionTimeout time.Duration
	// IdleTimeout is how long a connection is kept for another mail. Servers
	// end idle ones after a minute or a few. Default: 45 s.
	IdleTimeout time.Duration
	// Connections is how many mails are sent at the same time; others wait.
	// Default: 4.
	Connections int
	// Signers each add a DKIM signature. Default: none.
	Signers []Signer
	// Log gets what is worth knowing beyond the results. Default: nothing is
	// logged.
	Log *slog.Logger
	// Dial opens the connection. Default: net.Dialer.DialContext.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	host string // of Addr
	port int
}

// complete fills in the defaults and refuses what cannot work.
func (c *SMTPConfig) complete() error {
	if err := c.completeAddr(); err != nil {
		return err
	}
	c.setDefaults()
	if !slices.Contains([]string{TLSStart, TLSImplicit, TLSNone}, c.TLS) {
		return fmt.Errorf("tls %q: use starttls, implicit or none", c.TLS)
	}
	if c.HelloName != "" && !isHelloName(c.HelloName) {
		return fmt.Errorf("the name %q for EHLO is neither a plain ASCII host name nor an address in brackets", c.HelloName)
	}
	return c.checkAuth()
}

func (c *SMTPConfig) completeAddr() error {
	host, service, err := net.SplitHostPort(c.Addr)
	if err != nil || host == "" {
		return fmt.Errorf("mail server %q: host:port is needed", c.Addr)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil || port == 0 {
		return fmt.Errorf("mail server %q: the port must be a number from 1 to 65535", c.Addr)
	}
	if net.ParseIP(host) == nil && !dotted(strings.TrimSuffix(host, "."), func(b byte) bool { return isLDH(b) || b == '_' }) {
		return fmt.Errorf("mail server %q: the host must be an IP address or a plain ASCII name", c.Addr)
	}
	c.host, c.port = strings.TrimSuffix(host, "."), int(port)
	return nil
}

func (c *SMTPConfig) setDefaults() {
	if c.TLS == "" {
		c.TLS = TLSStart
		if c.port == 465 {
			c.TLS = TLSImplicit
		}
	}
	if c.Auth == "" {
		c.Auth = AuthAuto
	}
	c.DialTimeout = positive(c.DialTimeout, 10*time.Second)
	c.CommandTimeout = positive(c.CommandTimeout, 30*time.Second)
	c.SubmissionTimeout = positive(c.SubmissionTimeout, 60*time.Second)
	c.IdleTimeout = positive(c.IdleTimeout, 45*time.Second)
	c.Connections = positive(c.Connections, 4)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
}

func positive[T int | time.Duration](value, otherwise T) T {
	if value > 0 {
		return value
	}
	return otherwise
}

// checkAuth refuses credentials that are incomplete or could never be sent.
func (c *SMTPConfig) checkAuth() error {
	if !slices.Contains([]string{AuthAuto, AuthPlain, AuthLogin, AuthOAuthBearer, AuthXOAuth2, AuthNone}, c.Auth) {
		return fmt.Errorf("auth %q: use auto, plain, login, oauthbearer, xoauth2 or none", c.Auth)
	}
	switch {
	case c.Auth == AuthNone && (c.Username != "" || c.Password != nil):
		return errors.New("auth none sends no username and no password; remove username and password, or auth none")
	case c.Auth == AuthNone:
		return nil
	case c.Username == "" && c.Password != nil:
		return errors.New("a password is given without a username")
	case c.Username != "" && c.Password == nil:
		return errors.New("a username is given without a password")
	case c.Username == "" && c.Auth != AuthAuto:
		return fmt.Errorf("auth %s needs a username and a password", c.Auth)
	case strings.ContainsFunc(c.Username, isControl):
		return errors.New("the username holds a control character")
	}
	if ip := net.ParseIP(c.host); c.authenticates() && c.TLS == TLSNone && ip != nil && !ip.IsLoopback() {
		return errPlainPassword
	}
	return nil
}

// authenticates tells whether the server is to know us.
func (c *SMTPConfig) authenticates() bool { return c.Username != "" }

// tlsConfig names the server, which go-smtp does not do for an open connection.
func (c *SMTPConfig) tlsConfig() *tls.Config {
	return &tls.Config{ServerName: c.host, RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12}
}

// isHelloName tells whether s may stand after EHLO: a host name or an address
// literal.
func isHelloName(s string) bool {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		return ok && net.ParseIP(strings.TrimPrefix(inner, "IPv6:")) != nil
	}
	return isDomain(s)
}
