package eximtest

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

const install = "apt-get install -y --no-install-recommends exim4-daemon-light"

// Username and Password are what a server without Options.Users accepts.
const (
	Username = "postern"
	Password = "correct horse"
)

// Options changes what the server does. The zero value offers STARTTLS on one
// port and TLS from the start on the other, and takes mail for anybody from
// clients that authenticated with Username and Password.
type Options struct {
	// Users are usernames and passwords. Default: Username and Password.
	Users map[string]string
	// Open takes mail without authentication too.
	Open bool
	// AuthWithoutTLS offers authentication before TLS.
	AuthWithoutTLS bool
	// NoSTARTTLS does not offer STARTTLS.
	NoSTARTTLS bool
	// NoPlain does not offer the mechanism PLAIN, so that LOGIN is left.
	NoPlain bool
	// Reject are local parts refused at RCPT with 550.
	Reject []string
	// Defer are local parts refused at RCPT with 451.
	Defer []string
	// RejectData are local parts whose mail is refused with 550 after DATA.
	RejectData []string
}

// Server is a running Exim. Its methods are safe for concurrent use.
type Server struct {
	dir     string
	port    int
	tlsPort int
	pool    *x509.CertPool

	mu      sync.Mutex
	process *process // nil while stopped
}

// Start runs a server until the test ends. What it lacks fails the test.
func Start(t testing.TB, options Options) *Server {
	t.Helper()
	if os.Getenv("POSTERN_NO_EXIM") == "1" {
		t.Skip("POSTERN_NO_EXIM=1: no test with a real mail server")
	}
	s, err := New(options)
	if err != nil {
		t.Fatalf("starting Exim: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Exim's log:\n%s", s.Log())
		}
		if err := s.Close(); err != nil {
			t.Errorf("ending Exim: %v", err)
		}
	})
	return s
}

// New runs a server outside of a test, as in TestMain, until Close.
func New(options Options) (*Server, error) {
	binary, err := findExim()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "eximtest-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir}
	err = s.prepare(options)
	if err == nil {
		err = s.launch(binary)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// findExim returns the path of the program, or says what is missing.
func findExim() (string, error) {
	binary, err := exec.LookPath("exim4")
	if err != nil {
		// It lies outside of many users' PATH.
		binary, err = exec.LookPath("/usr/sbin/exim4")
	}
	if err != nil {
		return "", fmt.Errorf("exim4 is missing: %s (or set POSTERN_NO_EXIM=1 to go without)", install)
	}
	if os.Geteuid() != 0 {
		return "", errors.New("only root can start Exim with a configuration of its own (or set POSTERN_NO_EXIM=1 to go without)")
	}
	return binary, nil
}

// Addr returns host:port of the port that speaks STARTTLS.
func (s *Server) Addr() string { return loopback(s.port) }

// ImplicitAddr returns host:port of the port that speaks TLS from the start.
func (s *Server) ImplicitAddr() string { return loopback(s.tlsPort) }

// CAPool returns the authority that signed the server's certificate, which is
// for localhost, 127.0.0.1 and ::1.
func (s *Server) CAPool() *x509.CertPool { return s.pool.Clone() }

// CAFile returns the path of the same authority in PEM form, as for
// SSL_CERT_FILE.
func (s *Server) CAFile() string { return filepath.Join(s.dir, "ca.pem") }

// Log returns what Exim logged so far.
func (s *Server) Log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log", "main"))
	return string(text)
}

// SetUsers replaces the usernames and passwords from now on.
func (s *Server) SetUsers(users map[string]string) error { return s.writeUsers(users) }

// SetReject replaces the local parts that are refused with 550, from now on.
func (s *Server) SetReject(localParts ...string) error { return s.writeList("reject", localParts) }

// SetDefer replaces the local parts that are refused with 451, from now on.
func (s *Server) SetDefer(localParts ...string) error { return s.writeList("defer", localParts) }

// SetRejectData replaces the local parts whose mail is refused with 550 after
// DATA, from now on.
func (s *Server) SetRejectData(localParts ...string) error {
	return s.writeList("reject-data", localParts)
}

// Stop ends the server and every connection to it, as an outage does. What it
// took over before is delivered first.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return nil
	}
	s.settle(5 * time.Second)
	err := s.process.end()
	s.process = nil
	return err
}

// Restart runs the server again on the same ports, ending it first if it runs.
// The mails taken before stay.
func (s *Server) Restart() error {
	if err := s.Stop(); err != nil {
		return err
	}
	binary, err := findExim()
	if err != nil {
		return err
	}
	return s.launch(binary)
}

// Close ends the server and removes its folder.
func (s *Server) Close() error {
	return errors.Join(s.Stop(), os.RemoveAll(s.dir))
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
