package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/postern-auth/postern/e2e/postern"
)

// liar is the value of every header that a client sends under a name of ours.
const liar = "boss@liar.example"

// falseNames are names under which an upstream may look for who somebody is,
// in every spelling that becomes one of ours where case and punctuation do not
// count.
var falseNames = func() (names []string) {
	seen := make(map[string]bool)
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	words := [][]string{{"Remote", "User"}, {"Remote", "Email"}, {"Remote", "Groups"}, {"Remote", "Name"}, {"X", "Webauth", "User"}, {"X", "Postern", "Jwt", "Assertion"}, {"X", "Postern", "User"}, {"X", "Postern", ""}, {"X", "Postern", "Anything", "At", "All"}}
	for _, word := range words {
		for _, between := range []string{"-", "_", ".", "--", "-_", "", "~", "!", "#", "$", "%", "&", "'", "*", "+", "^", "`", "|"} {
			name := strings.Join(word, between)
			for _, spelled := range []string{name, strings.ToLower(name), strings.ToUpper(name), between + name, name + between, name + "-", "_" + name} {
				add(spelled)
			}
		}
		odd := []byte(strings.Join(word, "-"))
		for i := range odd {
			if i%2 == 0 {
				odd[i] = strings.ToUpper(string(odd[i]))[0]
			} else {
				odd[i] = strings.ToLower(string(odd[i]))[0]
			}
		}
		add(string(odd))
	}
	return names
}()

// wantNoLies looks for the liar in all that an upstream got, and for the right
// identity, or none.
func wantNoLies(t *testing.T, what string, seen postern.Seen, user string) {
	t.Helper()
	for _, fields := range []http.Header{seen.Header, seen.Trailer} {
		for name, values := range fields {
			if strings.Contains(strings.Join(values, ","), liar) {
				t.Errorf("%s: %s: %q reached the upstream", what, name, values)
			}
		}
	}
	for _, name := range []string{"Remote-User", "Remote-Email", "X-Webauth-User"} {
		if got := seen.Get(t, name); got != user {
			t.Errorf("%s: %s is %q, want %q", what, name, got, user)
		}
	}
	if got := seen.Get(t, "X-Postern-Jwt-Assertion"); (got != "") != (user != "") {
		t.Errorf("%s: the assertion is %q", what, got)
	}
}

// TestFalseIdentities sends all names at once, and each value of the right name
// alone, as headers and as trailers, by HTTP/1.1, HTTP/2 and HTTP/3.
func TestFalseIdentities(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, spoofable, "")
	v := server.Visitor(t, server.TLS("wiki.localhost"))
	v.SignIn(ann)
	if len(falseNames) < 500 {
		t.Errorf("%d names", len(falseNames))
	}
	tabs := map[string]*postern.Visitor{"h2": byHTTP2(t, server, v), "h3": byHTTP3(t, server, v)}
	const batch = 60 // more would be too many headers for one request
	for first := 0; first < len(falseNames); first += batch {
		names := falseNames[first:min(first+batch, len(falseNames))]
		for path, user := range map[string]string{"/public": "", "/closed": ann} {
			uri := fmt.Sprintf("%s?%d", path, first)
			// HTTP/1.1, byte by byte.
			var head strings.Builder
			fmt.Fprintf(&head, "POST %s HTTP/1.1\nHost: %s\nCookie: %s\nTransfer-Encoding: chunked\nConnection: close\n", uri+"h1", v.Host(), v.Cookies())
			for _, name := range names {
				fmt.Fprintf(&head, "%s: %s\n", name, liar)
			}
			fmt.Fprintf(&head, "Trailer: %s\n\n5\nhello\n0\n", strings.Join(names, ", "))
			for _, name := range names {
				fmt.Fprintf(&head, "%s: %s\n", name, liar)
			}
			postern.RawOn(t, server.ConnectTLS(t, "wiki.localhost"), head.String()+"\n").Want(t, http.StatusOK)
			wantNoLies(t, uri+" by h1", upstream.Last(t, uri+"h1"), user)
			for proto, tab := range tabs {
				request := spoofed(tab, uri+proto, "Remote-User")
				for _, name := range names {
					request.Header[name] = []string{liar}
					request.Trailer[name] = []string{liar}
				}
				tab.Do(request).Want(t, http.StatusOK)
				wantNoLies(t, uri+" by "+proto, upstream.Last(t, uri+proto), user)
			}
		}
	}
	// The right name, written in ways that servers may read differently.
	for i, lines := range []string{
		"Remote-User: " + liar + "\nRemote-User: " + liar, "Remote-User:" + liar, "Remote-User:\t" + liar + "\t", "Remote-User: \nRemote-User: " + liar, "Remote-User: " + ann + "\nRemote-User: " + liar, "X-Other: x\nremote-user: " + ann + ", " + liar,
		"Remote-User : " + liar, " Remote-User: " + liar, "X-Other: x\n Remote-User: " + liar, "Remote-User\n: " + liar, "Remote-User: x\n " + liar, "X-Other: x\rRemote-User: " + liar, "X-Other: x\x00\nRemote-User: " + liar, "Remote-User\x00: " + liar, ": " + liar, "Remote User: " + liar, "Remote-User\t: " + liar, "(Remote-User): " + liar,
		"Connection: close, Remote-User\nRemote-User: " + liar, "Content-Length: 0\nContent-Length: 5\nRemote-User: " + liar, "Transfer-Encoding: chunked\nContent-Length: 3\nRemote-User: " + liar, "Transfer-Encoding: xchunked\nRemote-User: " + liar, "Expect: 100-continue\nRemote-User: " + liar,
	} {
		uri := fmt.Sprintf("/closed?line%d", i)
		conn := server.ConnectTLS(t, "wiki.localhost")
		answer := postern.RawOn(t, conn, "GET "+uri+" HTTP/1.1\nHost: "+v.Host()+"\nCookie: "+v.Cookies()+"\n"+lines+"\nConnection: close\n\n0\n\n")
		if answer.Status == http.StatusOK {
			seen := upstream.Last(t, uri)
			if folded := strings.HasPrefix(lines, "X-Other: x\n "); !folded { // a value that goes on in the next line stays a value
				wantNoLies(t, fmt.Sprintf("%q", lines), seen, ann)
			} else if seen.Get(t, "Remote-User") != ann {
				t.Errorf("%q: Remote-User is %q", lines, seen.Get(t, "Remote-User"))
			}
		} else if answer.Status < 400 || answer.Status >= 500 && answer.Status != http.StatusNotImplemented {
			t.Errorf("%q: status %d", lines, answer.Status)
		}
	}
}

// TestAssertionIsNoInput sends a right assertion wherever something is taken for
// a proof.
func TestAssertionIsNoInput(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, withHeader, "")
	v := visitor(t, server)
	v.SignIn(ann)
	v.Fetch("/closed").Want(t, http.StatusOK)
	assertion := upstream.Last(t, "/closed").Get(t, "X-Postern-Jwt-Assertion")
	payload := strings.Split(assertion, ".")[1]
	none := "eyJhbGciOiJub25lIn0." + payload + "."
	for i, lines := range []string{
		"Authorization: Bearer " + assertion, "Authorization: Bearer " + none, "Authorization: bearer pst_" + assertion, "Authorization: Bearer pst_x", "Authorization: Basic YW5uQGV4YW1wbGUuY29tOng=", "X-Postern-Jwt-Assertion: " + assertion, "X-Postern-Jwt-Assertion: " + none, "Cookie: postern_session=" + assertion,
		"Cookie: postern_session=" + payload, "Cookie: postern_browser=" + assertion, "Cookie: __Host-postern_session=" + v.Cookie(postern.LoopbackSessionCookie), "Remote-User: " + ann, "Cf-Access-Jwt-Assertion: " + assertion, "X-Pomerium-Jwt-Assertion: " + assertion, "X-Forwarded-User: " + ann + "\nX-Forwarded-Email: " + ann, "Cookie: postern_session=" + v.Cookie(postern.LoopbackBrowserCookie),
		"Proxy-Authorization: Bearer " + assertion, "X-Auth-Request-Email: " + ann, "Cookie: postern_session=none; postern_browser=" + v.Cookie(postern.LoopbackBrowserCookie),
	} {
		uri := fmt.Sprintf("/closed?input%d", i)
		server.Raw(t, "GET "+uri+" HTTP/1.1\nHost: "+hostOf(server)+"\n"+lines+"\nConnection: close\n\n").Want(t, http.StatusUnauthorized)
		upstream.WantNone(t, uri)
	}
	v.Fetch("/.auth/link?token="+assertion).Want(t, http.StatusGone)
}
