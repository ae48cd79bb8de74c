package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/gatewaytest"
)

// checked is a site of which /public is for nobody's rule, /admin for two.
func checked(t *testing.T) *gatewaytest.Site {
	t.Helper()
	private, admin := gatewaytest.Rule(t, "*@example.com"), gatewaytest.Rule(t, bob)
	private.Matches = func(r *http.Request) bool { return !strings.HasPrefix(r.URL.Path, "/public") }
	private.ByTarget, admin.ByTarget = true, true
	private.Header = []gateway.HeaderField{{Name: "X-Webauth-User", Value: "{http.auth.user.email}"}}
	admin.Matches = func(r *http.Request) bool {
		return strings.HasPrefix(r.URL.Path, "/admin") || r.Method == http.MethodDelete
	}
	return gatewaytest.New(t, gatewaytest.Options{Rules: []*gateway.Rule{private, admin}})
}

// askCheck asks as a proxy does, which is trusted where fields say so.
func askCheck(b *gatewaytest.Browser, fields ...string) *gatewaytest.Answer {
	header := map[string]string{}
	for i := 0; i < len(fields); i += 2 {
		header[fields[i]] = fields[i+1]
	}
	return b.Do(gatewaytest.Sent{Method: "GET", Path: "/.auth/check", Header: header})
}

func about(method, uri string, more ...string) []string {
	return append([]string{"Test-Trusted", "1", "X-Forwarded-Method", method, "X-Forwarded-Uri", uri}, more...)
}

var identity = []string{"Remote-User", "Remote-Email", "X-Webauth-User"}

// wantChecked checks an answer of 200, with who it is or nobody.
func wantChecked(t *testing.T, a *gatewaytest.Answer, who string) {
	t.Helper()
	a.Want(t, 200)
	if a.Body != "" || a.Header.Get("Content-Length") != "0" || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: body %q, headers %v", a.Asked, a.Body, a.Header)
	}
	for _, field := range identity {
		if got := a.Header.Get(field); got != who {
			t.Errorf("%s: %s is %q, want %q", a.Asked, field, got, who)
		}
	}
	if signed := a.Header.Get("X-Postern-Jwt-Assertion") != ""; signed != (who != "") {
		t.Errorf("%s: an assertion: %v", a.Asked, signed)
	}
}

// wantNobody checks an answer that is none of 200, and says nothing of anybody.
func wantNobody(t *testing.T, a *gatewaytest.Answer, status int) {
	t.Helper()
	a.Want(t, status)
	for _, field := range append(identity, "X-Postern-Jwt-Assertion") {
		if a.Header.Get(field) != "" {
			t.Errorf("%s: status %d with %s", a.Asked, a.Status, field)
		}
	}
}

// Without a proxy that is trusted, all rules must admit, and pages of browsers get
// nothing.
func TestCheckByAnyone(t *testing.T) {
	t.Parallel()
	site := checked(t)
	b := site.Browser()
	wantNobody(t, askCheck(b), 401)
	if a := askCheck(b); !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer") || a.JSON(t)["sign_in_url"] != site.Origin+"/.auth/sign-in" {
		t.Errorf("%v %s", a.Header, a.Body)
	}
	b.SignIn(ann)
	wantNobody(t, askCheck(b), 403)
	lies := []string{"X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/public", "X-Forwarded-Host", "evil.example"}
	wantNobody(t, askCheck(b, lies...), 403)
	wantNobody(t, askCheck(site.Browser(), lies...), 401)
	site.Advance(time.Minute)
	b.SignIn(bob)
	wantChecked(t, askCheck(b), bob)
	for _, from := range []string{"same-origin", "same-site", "cross-site", "none", ""} {
		a := askCheck(b, append(lies, "Sec-Fetch-Site", from)...)
		if from != "" {
			wantNobody(t, a, 403)
		}
	}
	wantNobody(t, b.Fetch("/.auth/check"), 403)
	wantNobody(t, b.Open("/.auth/check"), 403)
	if site.Reached() != 0 {
		t.Error("something went upstream")
	}
}

func TestCheckByTrustedProxy(t *testing.T) {
	t.Parallel()
	site := checked(t)
	nobody, a, b := site.Browser(), site.Browser(), site.Browser()
	a.SignIn(ann)
	b.SignIn(bob)
	for _, test := range []struct {
		method, uri            string
		toNobody, toAnn, toBob int
	}{
		{"GET", "/", 401, 200, 200},
		{"GET", "/a?b=c", 401, 200, 200},
		{"GET", "//evil.example/public", 401, 200, 200},
		{"GET", "/.auth/sign-in", 401, 403, 200},
		{"GET", "/.auth", 401, 403, 200},
		{"GET", "/public/x", 200, 200, 200},
		{"GET", "/public/x?/admin", 200, 200, 200},
		{"GET", "/admin", 401, 403, 200},
		{"DELETE", "/x", 401, 403, 200},
		{"delete", "/x", 401, 403, 200},
		// What an upstream may read in another way is judged by all.
		{"GET", "/public/../admin", 401, 403, 200},
		{"GET", "/public/%2e%2e/admin", 401, 403, 200},
		{"GET", "/public%2f..%2fadmin", 401, 403, 200},
		{"GET", "/public/x;y", 401, 403, 200},
		{"get", "/public", 401, 403, 200},
	} {
		for who, want := range map[*gatewaytest.Browser]int{nobody: test.toNobody, a: test.toAnn, b: test.toBob} {
			name := map[*gatewaytest.Browser]string{a: ann, b: bob}[who]
			if test.toNobody == 200 {
				name = ""
			}
			answer := askCheck(who, about(test.method, test.uri, navigation...)...)
			answer.Asked = test.method + " " + test.uri
			if want == 200 {
				wantChecked(t, answer, name)
			} else {
				wantNobody(t, answer, want)
			}
		}
	}
}

var navigation = []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html"}

// A trusted proxy that does not say clearly which request it is about gets what
// anybody does.
func TestCheckOfWhatIsNotSaid(t *testing.T) {
	t.Parallel()
	site := checked(t)
	nobody, a, b := site.Browser(), site.Browser(), site.Browser()
	a.SignIn(ann)
	b.SignIn(bob)
	for _, said := range [][2]string{
		{"GET", ""}, {"", "/public"}, {"", ""}, {"GET", "public"}, {"GET", "*"}, {"GET", "http://evil.example/public"},
		{"GET", "/public%zz"}, {"G T", "/public"}, {"TRACE", "/public"}, {"CONNECT", "/public"},
	} {
		fields := about(said[0], said[1])
		wantNobody(t, askCheck(nobody, fields...), 401)
		wantNobody(t, askCheck(a, fields...), 403)
		wantChecked(t, askCheck(b, fields...), bob)
		// A page of a browser may have made it.
		wantNobody(t, askCheck(b, append(fields, navigation...)...), 403)
	}
	twice := a.NewRequest(gatewaytest.Sent{Method: "GET", Path: "/.auth/check", Header: map[string]string{"Test-Trusted": "1", "X-Forwarded-Method": "GET"}})
	twice.Header["X-Forwarded-Uri"] = []string{"/public", "/admin"}
	response, err := site.Client().Do(twice)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 403 {
		t.Errorf("an address that comes twice: %d", response.StatusCode)
	}
}

// Nothing but an admission has status 200: a proxy would take it for one.
func TestCheckNeverSaysYesByMistake(t *testing.T) {
	t.Parallel()
	site := checked(t)
	b := site.Browser()
	grpc := map[string]string{"Content-Type": "application/grpc", "Te": "trailers", "Test-Trusted": "1", "X-Forwarded-Method": "POST", "X-Forwarded-Uri": "/svc/Call"}
	for _, method := range []string{"POST", "PUT", "OPTIONS", "GET", "HEAD", "DELETE", "PROPFIND", "PATCH"} {
		for _, path := range []string{"/.auth/check", "/.auth/check/", "/.auth/check/svc/Call", "/.auth/check.html", "/.auth/none"} {
			a := b.Do(gatewaytest.Sent{Method: method, Path: path, Header: grpc})
			if a.Status < 400 {
				t.Errorf("%s %s: status %d", method, path, a.Status)
			}
		}
	}
}

func TestCheckAsksForNewerSignIn(t *testing.T) {
	t.Parallel()
	rule := gatewaytest.Rule(t, "*@example.com")
	rule.MaxAge = time.Minute
	site := gatewaytest.New(t, gatewaytest.Options{Rules: []*gateway.Rule{rule}})
	b := site.Browser()
	b.SignIn(ann)
	askCheck(b).Want(t, 200)
	site.Advance(2 * time.Minute)
	a := askCheck(b)
	wantNobody(t, a, 401)
	if !strings.Contains(a.Header.Get("WWW-Authenticate"), "insufficient_user_authentication") {
		t.Errorf("%v", a.Header)
	}
}

// A check counts as activity, as the request it is about would.
func TestCheckIsActivity(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{Session: gateway.SessionTerms{Lifetime: 24 * time.Hour, Idle: time.Hour}}})
	b := site.Browser()
	b.SignIn(ann)
	for range 5 {
		site.Advance(50 * time.Minute)
		askCheck(b).Want(t, 200)
	}
}
