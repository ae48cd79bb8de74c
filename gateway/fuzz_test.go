package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/gatewaytest"
)

// fuzzSite is a site that serves many inputs and is replaced now and then, so
// that what it stores and logs does not grow.
type fuzzSite struct {
	*gatewaytest.Site
	make func(testing.TB) *gatewaytest.Site
	life *outliving
	uses int
}

func newFuzzSite(f *testing.F, make func(testing.TB) *gatewaytest.Site) *fuzzSite {
	s := &fuzzSite{make: make, life: &outliving{}}
	f.Cleanup(func() { s.life.end() })
	return s
}

// next prepares the site for an input.
func (s *fuzzSite) next(t *testing.T) {
	const mostUses = 500
	s.life.TB = t
	if s.uses++; s.Site == nil || s.uses > mostUses {
		s.life.end()
		s.Site, s.uses = s.make(s.life), 0
	}
}

// outliving is the test of the present input for something that lives on after
// it.
type outliving struct {
	testing.TB
	cleanups []func()
}

func (o *outliving) Cleanup(fn func()) { o.cleanups = append(o.cleanups, fn) }

func (o *outliving) TempDir() string {
	dir, err := os.MkdirTemp("", "postern-fuzz-")
	if err != nil {
		o.Fatal(err)
	}
	o.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (o *outliving) end() {
	for _, fn := range slices.Backward(o.cleanups) {
		fn()
	}
	o.cleanups = nil
}

// serve gives the bytes of a request to the site as a server does that got them
// from afar by TLS, and returns nil where they are none.
func serve(site *gatewaytest.Site, raw string) *httptest.ResponseRecorder {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		return nil
	}
	for field := range r.Header {
		if strings.HasPrefix(http.CanonicalHeaderKey(field), "Test-") {
			delete(r.Header, field) // means something to the test's server alone
		}
	}
	r.RemoteAddr = "192.0.2.7:1234"
	w := httptest.NewRecorder()
	site.Handler().ServeHTTP(w, r)
	return w
}

var rawRequests = []string{
	"GET / HTTP/1.1\r\nHost: wiki.example.com\r\n\r\n",
	"GET /a?b=c HTTP/1.1\r\nHost: wiki.example.com\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Site: none\r\n\r\n",
	"GET /a HTTP/1.1\r\nHost: wiki.example.com:443\r\nAccept: text/html;q=0.9\r\nRemote-User: ann@example.com\r\nConnection: close, Remote-User\r\n\r\n",
	"GET /.auth/sign-in?return_to=%2F%2Fevil.example HTTP/1.1\r\nHost: wiki.example.com\r\n\r\n",
	"GET /.auth/code?request=AAAAAAAAAAAAAAAAAAAAAA HTTP/1.1\r\nHost: wiki.example.com\r\nCookie: __Host-postern_browser=x; __Host-postern_session=y\r\n\r\n",
	"GET /.auth/link?token=" + strings.Repeat("A", 54) + " HTTP/1.1\r\nHost: wiki.example.com\r\n\r\n",
	"POST /.auth/sign-in HTTP/1.1\r\nHost: wiki.example.com\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 33\r\n\r\nemail=ann%40example.com&return_to",
	"POST /.auth/sign-in HTTP/1.1\r\nHost: wiki.example.com\r\nOrigin: https://wiki.example.com\r\nContent-Type: application/x-www-form-urlencoded; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nemail=a\r\n0\r\nRemote-User: a\r\n\r\n",
	"POST /.auth/verify HTTP/1.1\r\nHost: wiki.example.com\r\nSec-Fetch-Site: none\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 26\r\n\r\nrequest=AAAA&code=123456%0",
	"POST /.auth/resend HTTP/1.1\r\nHost: wiki.example.com\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 0\r\n\r\n",
	"POST /.auth/link HTTP/1.1\r\nHost: wiki.example.com\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\ntoken=x",
	"POST /.auth/sign-out HTTP/1.0\r\nHost: WIKI.example.com.\r\nOrigin: null\r\n\r\n",
	"POST /pkg.Service/Call HTTP/1.1\r\nHost: wiki.example.com\r\nContent-Type: application/grpc+proto\r\nTE: trailers\r\n\r\n",
	"GET /socket HTTP/1.1\r\nHost: wiki.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: wiki.example.com\r\n\r\n",
	"GET x:http://wiki.example.com/admin HTTP/1.1\r\nHost: wiki.example.com\r\n\r\n",
	"GET http://wiki.example.com HTTP/1.1\r\nHost: wiki.example.com\r\n\r\n",
	"CONNECT wiki.example.com:443 HTTP/1.1\r\nHost: wiki.example.com:443\r\n\r\n",
	"GET /public/..%2fadmin HTTP/1.1\r\nHost: wiki.example.com\r\n\r\n",
	"GET /public/../admin HTTP/1.1\r\nHost: wiki.example.com\r\n\r\n",
	"get /public/..%2fadmin HTTP/1.1\r\nHost: wiki.example.com\r\nX-Forwarded-Proto: https\r\n\r\n",
	"GET /public/%2e%2e/admin;x HTTP/1.1\r\nHost: wiki.example.com\r\nX_Postern-Jwt.Assertion: x\r\n\r\n",
}

// FuzzStranger sends a protected site what somebody may send who has no cookie
// of it: the upstream sees nothing of it, and nobody is signed in.
func FuzzStranger(f *testing.F) {
	for _, raw := range rawRequests {
		f.Add(raw)
	}
	site := newFuzzSite(f, func(t testing.TB) *gatewaytest.Site { return gatewaytest.New(t, gatewaytest.Options{}) })
	f.Fuzz(func(t *testing.T, raw string) {
		site.next(t)
		before := site.Reached()
		w := serve(site.Site, raw)
		if w == nil {
			return
		}
		if site.Reached() != before {
			t.Error("it went upstream")
		}
		if w.Code >= 500 {
			t.Errorf("status %d", w.Code)
		}
		for _, cookie := range w.Result().Cookies() {
			if cookie.Name == gateway.SessionCookie && cookie.Value != "" {
				t.Error("it was given a session")
			}
		}
		if to := w.Header().Get("Location"); to != "" && (to[0] != '/' || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t")) {
			t.Errorf("it leads to %q", to)
		}
	})
}

// FuzzPublicPath sends the same to a site of which /admin alone is protected:
// no request that an upstream reads as one for /admin arrives there, and none
// says who somebody is.
func FuzzPublicPath(f *testing.F) {
	for _, raw := range rawRequests {
		f.Add(raw)
	}
	isAdmin := func(p string) bool { return p == "/admin" || strings.HasPrefix(p, "/admin/") }
	var seen *http.Request
	site := newFuzzSite(f, func(t testing.TB) *gatewaytest.Site {
		rule := gatewaytest.Rule(t, "*@example.com")
		rule.Matches = func(r *http.Request) bool { return isAdmin(r.URL.Path) }
		return gatewaytest.New(t, gatewaytest.Options{
			Rules: []*gateway.Rule{rule}, Upstream: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r }),
		})
	})
	f.Fuzz(func(t *testing.T, raw string) {
		site.next(t)
		seen = nil
		if serve(site.Site, raw); seen == nil {
			return
		}
		if seen.URL.Opaque != "" {
			t.Errorf("the target %q went upstream", seen.URL.Opaque)
		}
		for _, p := range []string{seen.URL.Path, path.Clean(seen.URL.Path), path.Clean("/" + seen.URL.EscapedPath())} {
			if isAdmin(p) || gateway.BelowPrefix(p, "/.auth") {
				t.Errorf("%q went upstream", p)
			}
		}
		for field := range seen.Header {
			if gateway.NewHeaderGuard(nil).Guards(field) {
				t.Errorf("%s: %q went upstream", field, seen.Header[field])
			}
		}
	})
}

// FuzzCheck asks as another proxy does about a request of the site of which /admin
// alone is protected. What it calls public is public when it comes itself, whatever
// way the URI is spelled.
func FuzzCheck(f *testing.F) {
	for _, uri := range []string{
		"/", "/public", "/admin", "/admin/x?y", "/public/../admin", "/%61dmin", "/public/%2e%2e/admin", "//admin", "/admin;x", "/admin\\x", "/adMin",
		"/public?/admin", "/public#/admin", "http://wiki.example.com/admin", "x:/admin", "*", "", "/public%2f..%2fadmin", "/%25%36%31dmin", "/admin%00",
	} {
		f.Add("GET", uri, "wiki.example.com")
		f.Add("post", uri, "wiki.example.com:443")
	}
	var reached bool
	site := newFuzzSite(f, func(t testing.TB) *gatewaytest.Site {
		rule := gatewaytest.Rule(t, "*@example.com")
		rule.ByTarget = true
		rule.Matches = func(r *http.Request) bool { return r.URL.Path == "/admin" || strings.HasPrefix(r.URL.Path, "/admin/") }
		return gatewaytest.New(t, gatewaytest.Options{
			Rules: []*gateway.Rule{rule}, Upstream: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }),
		})
	})
	f.Fuzz(func(t *testing.T, method, uri, host string) {
		site.next(t)
		reached = false
		r := httptest.NewRequest(http.MethodGet, "http://"+site.Host+"/.auth/check", nil)
		r.Header = http.Header{"X-Forwarded-Method": {method}, "X-Forwarded-Uri": {uri}, "X-Forwarded-Host": {host}, "Test-Trusted": {"yes"}}
		w := httptest.NewRecorder()
		site.Handler().ServeHTTP(w, r)
		if reached {
			t.Fatal("a check went upstream")
		}
		if w.Code != http.StatusOK {
			if w.Code != http.StatusUnauthorized {
				t.Errorf("status %d", w.Code)
			}
			return
		}
		if serve(site.Site, method+" "+uri+" HTTP/1.1\r\nHost: "+site.Host+"\r\n\r\n"); !reached && !strings.HasPrefix(uri, "/.auth") {
			t.Errorf("%q %q is called public, and is not when it comes itself", method, uri)
		}
	})
}

// FuzzForwarded has a stranger say by headers of proxies how the request came:
// that counts from a trusted proxy alone, and there only a plain https.
func FuzzForwarded(f *testing.F) {
	for _, proto := range []string{"", "https", "HTTPS", " https\t", "http", "https,http", "http, https", "https\x00", "wss"} {
		f.Add(proto, "wiki.example.com", "127.0.0.1", "for=127.0.0.1;proto=https;host=localhost")
	}
	site := newFuzzSite(f, func(t testing.TB) *gatewaytest.Site { return gatewaytest.New(t, gatewaytest.Options{}) })
	f.Fuzz(func(t *testing.T, proto, host, client, forwarded string) {
		site.next(t)
		for _, trusted := range []bool{false, true} {
			r := httptest.NewRequest(http.MethodGet, "http://"+site.Host+"/.auth/sign-in", nil)
			r.RemoteAddr = "192.0.2.7:1234"
			r.Header = http.Header{
				"X-Forwarded-Proto": {proto}, "X-Forwarded-Host": {host}, "X-Forwarded-For": {client}, "X-Real-Ip": {client},
				"Forwarded": {forwarded}, "X-Forwarded-Ssl": {"on"}, "Front-End-Https": {"on"}, "X-Url-Scheme": {"https"}, "Test-Plain": {"yes"},
			}
			if trusted {
				r.Header.Set("Test-Trusted", "yes")
			}
			w := httptest.NewRecorder()
			site.Handler().ServeHTTP(w, r)
			secure := trusted && strings.EqualFold(strings.TrimSpace(proto), "https")
			if got := w.Code == http.StatusOK; got != secure {
				t.Errorf("X-Forwarded-Proto %q, trusted %t: status %d", proto, trusted, w.Code)
			}
			if !secure && len(w.Header()["Set-Cookie"]) > 0 {
				t.Errorf("X-Forwarded-Proto %q, trusted %t: a cookie in plain", proto, trusted)
			}
		}
	})
}

// FuzzCredentials tries codes and link tokens: the right one, with blanks where
// they do not count, and no other.
func FuzzCredentials(f *testing.F) {
	for _, typed := range []string{"", "123456", "12 34-56", "bcdfgh", "BCD FGH", "１２３４５６", "ſſſſſſ", "12345\x00", strings.Repeat("A", 54), strings.Repeat("_", 54) + "=", strings.Repeat(" ", 70)} {
		f.Add(typed, uint16(3), byte(1))
	}
	for _, flip := range []byte{2, 8, 14} { // of what the last letter holds beyond the token
		f.Add("", uint16(53), flip)
	}
	all := []*gateway.Credentials{gateway.NewCredentials(6, false), gateway.NewCredentials(12, true)}
	f.Fuzz(func(t *testing.T, typed string, at uint16, flip byte) {
		for _, c := range all {
			if !c.TakesCode(c.Code()) || !c.TakesCode(" "+strings.ToLower(c.Code())+"\n") {
				t.Fatal("the right code is not taken")
			}
			for _, code := range []string{typed, flipped(c.Code(), at, flip), c.Code() + typed} {
				plain := strings.Join(strings.FieldsFunc(code, func(r rune) bool { return strings.ContainsRune(" -\t\r\n", r) }), "")
				if c.TakesCode(code) && !strings.EqualFold(plain, c.Code()) {
					t.Errorf("%q is taken for %q", code, c.Code())
				}
			}
			if right, _ := c.TakesToken(c.Token()); !right {
				t.Fatal("the right token is not taken")
			}
			for _, token := range []string{typed, flipped(c.Token(), at, flip), c.Token() + typed} {
				right, requests := c.TakesToken(token)
				if right && token != c.Token() || len(requests) > 2 {
					t.Errorf("%q is taken for %q, of %d requests", token, c.Token(), len(requests))
				}
			}
		}
	})
}

// flipped is a text with bits of one byte changed.
func flipped(text string, at uint16, flip byte) string {
	changed := []byte(text)
	changed[int(at)%len(changed)] ^= flip
	return string(changed)
}

// FuzzBrowserCookie changes the browser cookie: it opens as what it was, or not
// at all.
func FuzzBrowserCookie(f *testing.F) {
	for _, junk := range []string{"", "x", "====", strings.Repeat("A", 300), "MTcwMDAwMDAwMHx8", "é", "a|b|c"} {
		f.Add(junk, uint16(40), byte(0x20))
	}
	site := newFuzzSite(f, func(t testing.TB) *gatewaytest.Site { return gatewaytest.New(t, gatewaytest.Options{}) })
	f.Fuzz(func(t *testing.T, junk string, at uint16, flip byte) {
		site.next(t)
		const name = gateway.BrowserCookie
		here := site.Site.Site(site.Host)
		own := &gateway.Browser{Binding: "binding", Remembered: []string{"ann"}}
		sealed, err := site.Engine.SealBrowser(here, name, own)
		if err != nil {
			t.Fatal(err)
		}
		if site.Engine.OpenBrowser(here, name, sealed) == nil || site.Engine.OpenBrowser(here, gateway.LoopbackBrowserCookie, sealed) != nil {
			t.Fatal("the cookie does not open, or under another name")
		}
		for _, value := range []string{junk, flipped(sealed, at, flip), sealed + junk, junk + sealed, sealed[:int(at)%len(sealed)] + junk} {
			if opened := site.Engine.OpenBrowser(here, name, value); opened != nil && (opened.Binding != own.Binding || !slices.Equal(opened.Remembered, own.Remembered)) {
				t.Errorf("%q opens as %+v", value, opened)
			}
		}
	})
}

// FuzzQueuedMail reads queued mails that are damaged: they stay in the queue, and
// what is sent goes to the address that asked.
func FuzzQueuedMail(f *testing.F) {
	for _, record := range []string{
		`{"request":"REQUEST","site":"wiki.example.com","generation":1,"message_id":"a@b"}`, `{"request":"REQUEST","site":"wiki.example.com","generation":1,"message_id":"a\r\nBcc: eve@evil.example","counted":true}`,
		`{"request":"REQUEST","site":"wiki.example.com","not_before":"9999-12-31T23:59:59Z"}`, `{"request":"REQUEST","generation":-9223372036854775808}`,
		`{}`, `null`, `[]`, `"x"`, `{"request":`, "", "\x00",
	} {
		f.Add(record)
	}
	request := ""
	site := newFuzzSite(f, func(t testing.TB) *gatewaytest.Site {
		s := gatewaytest.New(t, gatewaytest.Options{})
		s.HoldMail()
		b := s.Browser()
		b.Start(ann)
		request = b.Request
		return s
	})
	f.Fuzz(func(t *testing.T, record string) {
		site.next(t)
		put(t, site.Store, "outbox/fuzz/1", []byte(strings.ReplaceAll(record, "REQUEST", request)))
		before := len(site.Mails.All())
		done, wait := site.Engine.DeliverOnce(t.Context(), site.Mails, "outbox/fuzz/1")
		sent := site.Mails.All()[before:]
		var object map[string]any
		if json.Unmarshal([]byte(record), &object) != nil || object == nil {
			if done || wait <= 0 || len(sent) > 0 {
				t.Errorf("%q: done %t, wait %v, %d mails", record, done, wait, len(sent))
			}
		}
		for _, mail := range sent {
			if mail.To != ann {
				t.Errorf("%q: mailed to %q", record, mail.To)
			}
		}
	})
}

// put stores bytes as they are; nil deletes.
func put(t *testing.T, s *gatewaytest.Store, key string, value []byte) {
	t.Helper()
	err := s.Update(context.Background(), key, 0, func([]byte) ([]byte, error) { return value, nil })
	if err != nil {
		t.Fatal(err)
	}
}

// FuzzDamagedRecord puts other bytes in the place of one record of somebody who
// is signed in and of a sign-in that is under way. Nothing panics, and a session
// that cannot be read is an error, which the upstream does not see.
func FuzzDamagedRecord(f *testing.F) {
	kinds := []string{"session/", "user/", "lane/", "limit/", "signin/", "browser/", "outbox/", "sessions-of/"}
	for kind := range kinds {
		for _, value := range []string{"null", "{}", `{"email":`, `{"requests":{"x":null}}`} {
			f.Add(uint8(kind), value)
		}
	}
	f.Add(uint8(0), `{"idle":-1,"expires":"9999-12-31T23:59:59Z","email":"\u0000"}`)
	f.Add(uint8(2), `{"attempts":{"count":-1},"requests":[]}`)
	var signedIn, waiting *gatewaytest.Browser
	var records map[string][]byte
	site := newFuzzSite(f, func(t testing.TB) *gatewaytest.Site {
		many := gateway.Limit{Count: 1 << 30, Window: day}
		attempts := gateway.Limit{Count: 500, Window: day}
		s := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{Limits: gateway.Limits{Mails: many, Attempts: attempts, Network: many, Total: many}}})
		signedIn, waiting = s.Browser(), s.Browser()
		signedIn.SignIn(ann)
		s.HoldMail()
		waiting.Start(bob)
		records = recordsOf(t, s)
		return s
	})
	f.Fuzz(func(t *testing.T, kind uint8, value string) {
		site.next(t)
		prefix := kinds[int(kind)%len(kinds)]
		for key := range records {
			if strings.HasPrefix(key, prefix) {
				put(t, site.Store, key, bytes.Clone([]byte(value)))
			}
		}
		gateway.ForgetSessions(site.Node) // or they would not be read
		unreadable := new(gateway.Session).UnmarshalBinary([]byte(value)) != nil
		answer := signedIn.Open("/")
		if prefix == "session/" && unreadable && (answer.Status < 500 || answer.Header.Get("Upstream") != "") {
			t.Errorf("a session of %q: status %d", value, answer.Status)
		}
		signedIn.Open("/.auth/")
		waiting.Open("/.auth/code?request=" + waiting.Request)
		waiting.Code("000000")
		waiting.Resend()
		site.Engine.DeliverOnce(t.Context(), site.Mails, "outbox/"+waiting.Request+"/1")
		waiting.Start(bob)
		if waiting.SignedIn() != "" {
			t.Errorf("%s of %q: signed in by a wrong code", prefix, value)
		}
		restore(t, site.Site, records)
	})
}

// day is the longest window of a limit.
const day = 24 * 60 * 60 * 1e9

func recordsOf(t testing.TB, site *gatewaytest.Site) map[string][]byte {
	t.Helper()
	records := make(map[string][]byte)
	err := site.Store.Scan(context.Background(), "", func(key string, value []byte) error {
		records[key] = bytes.Clone(value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func restore(t *testing.T, site *gatewaytest.Site, records map[string][]byte) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(recordsOf(t, site))) {
		if records[key] == nil {
			put(t, site.Store, key, nil)
		}
	}
	for key, value := range records {
		put(t, site.Store, key, value)
	}
}
