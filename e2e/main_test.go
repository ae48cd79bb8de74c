// Package e2e_test tests the real program from outside, as visitors, operators
// and attackers meet it. It needs Debian's chromium and exim4-daemon-light, and
// root for the latter: see test.sh.
//
// POSTERN_LONG=1 runs the long forms (POSTERN_SHORTEN=n an n-th part of them),
// POSTERN_E2E_RACE=1 a program with the race detector, and POSTERN_SHOTS names a folder for pictures of all pages.
package e2e_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/postern-auth/postern/e2e/postern"
)

func TestMain(m *testing.M) {
	remove, err := postern.Build()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	postern.CloseChromium()
	remove()
	os.Exit(code)
}

// long says whether the long forms of tests are wanted.
func long() bool { return os.Getenv("POSTERN_LONG") == "1" }

// plain is a site on plain loopback, of which all paths are protected.
const plain = `
http://localhost:$HTTP {
	email_auth *@example.com
	reverse_proxy $UPSTREAM
	log
}`

// lasting is plain whose proxy does not end upgraded connections at a reload, as
// Caddy's does otherwise.
const lasting = `
http://localhost:$HTTP {
	email_auth *@example.com
	reverse_proxy $UPSTREAM {
		stream_close_delay 1h
	}
}`

// secure is a site with TLS.
const secure = `
https://wiki.localhost:$HTTPS {
	tls internal
	email_auth *@example.com
	reverse_proxy $UPSTREAM
	log
}`

// start runs the program with an upstream, with lines of the global option.
func start(t *testing.T, sites, auth string) (*postern.Server, *postern.Upstream) {
	t.Helper()
	upstream := postern.StartUpstream(t)
	return postern.Start(t, postern.Config{Sites: sites, Auth: auth, Upstream: upstream}), upstream
}

// plainSite runs the program with the site plain.
func plainSite(t *testing.T, auth string) (*postern.Server, *postern.Upstream) {
	t.Helper()
	return start(t, plain, auth)
}

// visitor is a new browser at the site plain.
func visitor(t *testing.T, s *postern.Server) *postern.Visitor {
	t.Helper()
	return s.Visitor(t, s.Plain("localhost"))
}
