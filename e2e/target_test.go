package e2e_test

import (
	"net/http"
	"strings"
	"testing"
)

const partlyPublic = `
http://localhost:$HTTP {
	email_auth /admin/* *@example.com
	reverse_proxy $UPSTREAM
}`

// TestTargetsWithoutAPath sends request targets that have no path for Caddy's
// matchers, and one for an upstream.
func TestTargetsWithoutAPath(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, partlyPublic, "")
	for _, target := range []string{
		"x:http://localhost/admin/secret", "x:http:/admin/secret", "x:admin/secret", "http:admin/secret",
		"x:http://localhost/.auth/me", "x:pub/../admin/secret", "https:/admin/secret",
		"http://" + hostOf(server), "http://" + hostOf(server) + "?x",
	} {
		answer := server.Raw(t, "GET "+target+" HTTP/1.1\nHost: "+hostOf(server)+"\nConnection: close\n\n")
		if answer.Status == http.StatusOK {
			t.Errorf("%s: status 200", target)
		}
	}
	answer := server.Raw(t, "post /public HTTP/1.1\nHost: "+hostOf(server)+"\nContent-Length: 0\nConnection: close\n\n")
	answer.Want(t, http.StatusMethodNotAllowed)
	for _, seen := range upstream.Seen() {
		t.Errorf("the upstream saw %s %s", seen.Method, seen.URI)
	}
}

// TestNoUpgradeToHTTP asks for a connection on which further requests would come
// past the door.
func TestNoUpgradeToHTTP(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, partlyPublic, "")
	for _, upgrade := range []string{"h2c", "H2C", "websocket, h2c", "h2c, websocket", "HTTP/2.0", "h2", "TLS/1.3", " h2c"} {
		for _, connection := range []string{"Upgrade", "Upgrade, HTTP2-Settings"} {
			server.Raw(t, "GET /public HTTP/1.1\nHost: "+hostOf(server)+"\nConnection: "+connection+"\nUpgrade: "+upgrade+"\nHTTP2-Settings: AAMAAABkAAQAAP__\n\n")
		}
	}
	for _, seen := range upstream.Seen() {
		if value := seen.Header.Get("Upgrade") + seen.Header.Get("Http2-Settings"); strings.TrimSpace(value) != "" {
			t.Errorf("the upstream was asked to upgrade: %q", value)
		}
	}
	if len(upstream.Seen()) == 0 {
		t.Error("the upstream saw nothing")
	}
}
