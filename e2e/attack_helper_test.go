package e2e_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/postern-auth/postern/e2e/postern"
)

// noLimits has a table of attacks not end at the limits of one network.
const noLimits = "limit network 100000 10m\nlimit total 100000 1h\nlimit mails 1000 1m"

// evil is the host that no visitor may ever come to.
const evil = "evil.example"

// fromAddress has a browser come from another address of this machine.
func fromAddress(t *testing.T, v *postern.Visitor, ip string) *postern.Visitor {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		return dialer.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return v.Over(transport)
}

// rawForm is a form as it is written on the wire, below a head that the caller
// has written.
func rawForm(head string, form url.Values) string {
	body := form.Encode()
	return fmt.Sprintf("%sContent-Type: application/x-www-form-urlencoded\nContent-Length: %d\nConnection: close\n\n%s", head, len(body), body)
}

// wantOwnPlace fails the test for a Location that leads anywhere but to a page
// of this site, or presses a button of the gateway.
func wantOwnPlace(t *testing.T, what, location string) {
	t.Helper()
	if location == "/.auth/" {
		return
	}
	for i := range len(location) {
		if c := location[i]; c <= ' ' || c >= 0x7f || c == '\\' {
			t.Errorf("%s: the location %q holds the byte %#x", what, location, c)
			return
		}
	}
	base, _ := url.Parse("https://own.example/a/b")
	target, err := base.Parse(location)
	if err != nil || target.Host != "own.example" || target.Scheme != "https" || !strings.HasPrefix(location, "/") || strings.HasPrefix(location, "//") {
		t.Errorf("%s: leads to %q", what, location)
		return
	}
	if target.Path == "/.auth" || strings.HasPrefix(target.Path, "/.auth/") || strings.Contains(location, "/./") || strings.Contains(location, "/../") {
		t.Errorf("%s: leads to %q", what, location)
	}
}
