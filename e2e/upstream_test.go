package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/postern-auth/postern/e2e/postern"
)

var identityHeaders = []string{"Remote-User", "Remote-Email", "Remote-Groups", "X-Postern-Jwt-Assertion", "X-Webauth-User"}

// withHeader adds an identity header of one's own, and a public path.
const withHeader = `
http://localhost:$HTTP {
	@closed not path /public*
	email_auth @closed *@example.com {
		header X-WEBAUTH-USER {http.auth.user.email}
	}
	reverse_proxy $UPSTREAM
}`

func TestIdentityHeaders(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, withHeader, "group staff *@example.com\ngroup chess ann@example.com")
	v := visitor(t, server)
	v.SignIn(ann)
	v.Fetch("/x").Want(t, http.StatusOK)
	seen := upstream.Last(t, "/x")
	for name, want := range map[string]string{"Remote-User": ann, "Remote-Email": ann, "X-WEBAUTH-USER": ann} {
		if got := seen.Get(t, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	groups := strings.Split(seen.Get(t, "Remote-Groups"), ",")
	slices.Sort(groups)
	if !slices.Equal(groups, []string{"chess", "staff"}) {
		t.Errorf("Remote-Groups: %q", groups)
	}
}

func TestAssertion(t *testing.T) {
	t.Parallel()
	server, upstream := plainSite(t, "group staff *@example.com")
	byCode, byLink := visitor(t, server), visitor(t, server)
	byCode.SignIn(ann)
	pending := byLink.Ask(ann, "/")
	byLink.OpenLink(pending.Mail().Link).WantRedirect(t, "/")

	var subjects []string
	for want, v := range map[string]*postern.Visitor{"otp": byCode, "email": byLink} {
		v.Fetch("/"+want).Want(t, http.StatusOK)
		claims := verifyAssertion(t, v, upstream.Last(t, "/"+want).Get(t, "X-Postern-Jwt-Assertion"))
		origin := server.Plain("localhost")
		if claims.Issuer != origin || !claims.Audience.Contains(origin) || claims.Email != ann {
			t.Errorf("claims: %+v", claims)
		}
		if !slices.Equal(claims.Methods, []string{want}) || !slices.Equal(claims.Groups, []string{"staff"}) {
			t.Errorf("amr %v, groups %v", claims.Methods, claims.Groups)
		}
		now := time.Now()
		if ahead := claims.Expiry.Time().Sub(now); ahead <= 0 || ahead > 5*time.Minute+time.Second {
			t.Errorf("exp is %v ahead", ahead)
		}
		if age := now.Unix() - claims.SignedIn; age < 0 || age > 120 {
			t.Errorf("auth_time is %d s ago", age)
		}
		if claims.Subject == "" || strings.Contains(claims.Subject, "ann") {
			t.Errorf("sub %q", claims.Subject)
		}
		subjects = append(subjects, claims.Subject)
	}
	if subjects[0] != subjects[1] {
		t.Errorf("one address, two subjects: %q", subjects)
	}
}

type assertion struct {
	jwt.Claims
	Email    string   `json:"email"`
	Groups   []string `json:"groups"`
	SignedIn int64    `json:"auth_time"`
	Methods  []string `json:"amr"`
}

// verifyAssertion verifies it as an upstream would.
func verifyAssertion(t *testing.T, v *postern.Visitor, text string) (claims assertion) {
	t.Helper()
	var keys jose.JSONWebKeySet
	v.Fetch("/.auth/jwks.json").Want(t, http.StatusOK).JSON(t, &keys)
	for _, key := range keys.Keys {
		if !key.IsPublic() {
			t.Error("jwks.json has a key that is not public")
		}
	}
	claims, err := readAssertion(keys, text)
	if err != nil {
		t.Fatalf("assertion %q: %v", text, err)
	}
	return claims
}

// readAssertion returns the claims of one that is signed by a key of the set.
func readAssertion(keys jose.JSONWebKeySet, text string) (claims assertion, err error) {
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return claims, err
	}
	err = token.Claims(keys, &claims) // before they are returned
	return claims, err
}

// spellings are ways in which a client may write a header that is ours.
var spellings = []string{
	"Remote-User", "remote-user", "REMOTE-USER", "rEmOtE-uSeR", "Remote_User", "Remote.User", "REMOTE_USER", "remote_user", "Remote-Email", "Remote_Email",
	"Remote-Groups", "remote.groups", "Remote-Name", "Remote_Name", "X-Postern-Jwt-Assertion", "X_Postern_Jwt_Assertion", "x-postern-jwt_assertion",
	"X-Postern-Anything", "X-POSTERN-USER", "X.Postern.User", "X-Webauth-User", "X_WEBAUTH_USER", "x-webauth.user",
}

func TestSpoofedHeaders(t *testing.T) {
	t.Parallel()
	// Caddy drops unusual names by itself, unless a site allows them again.
	upstream := postern.StartUpstream(t)
	server := postern.Start(t, postern.Config{Sites: withHeader, Upstream: upstream})
	v := visitor(t, server)
	v.SignIn(ann)
	for i, name := range spellings {
		for _, path := range []string{"/public", "/closed"} {
			uri := fmt.Sprintf("%s?%d", path, i)
			server.Raw(t, fmt.Sprintf("GET %s HTTP/1.1\nHost: %s\nCookie: %s\n%s: boss@example.com\n%s: root@example.com\nConnection: close\n\n", uri, hostOf(server), v.Cookies(), name, name)).Want(t, http.StatusOK)
			wantUnspoofed(t, upstream.Last(t, uri), path == "/closed", name)
		}
	}
}

// wantUnspoofed looks for a header that only a client can have sent.
func wantUnspoofed(t *testing.T, seen postern.Seen, closed bool, spelling string) {
	t.Helper()
	for name, values := range seen.Header {
		for _, value := range values {
			if value == "boss@example.com" || value == "root@example.com" {
				t.Errorf("%s: the client's %q reached the upstream as %s", seen.URI, spelling, name)
			}
		}
	}
	for name, values := range seen.Trailer {
		t.Errorf("%s: the trailer %s: %q reached the upstream", seen.URI, name, values)
	}
	want := ""
	if closed {
		want = ann
	}
	if got := seen.Get(t, "Remote-User"); got != want {
		t.Errorf("%s with %q: Remote-User %q, want %q", seen.URI, spelling, got, want)
	}
}

func TestSpoofedTrailers(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, withHeader, "")
	v := visitor(t, server)
	v.SignIn(ann)
	for i, name := range spellings {
		uri := fmt.Sprintf("/closed?trailer=%d", i)
		server.Raw(t, fmt.Sprintf("POST %s HTTP/1.1\nHost: %s\nCookie: %s\nTransfer-Encoding: chunked\nTrailer: %s\nConnection: close\n\n5\nhello\n0\n%s: boss@example.com\n\n",
			uri, hostOf(server), v.Cookies(), name, name)).Want(t, http.StatusOK)
		wantUnspoofed(t, upstream.Last(t, uri), true, name)
	}
}

func TestConnectionCannotDropHeaders(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, withHeader, "")
	v := visitor(t, server)
	v.SignIn(ann)
	for i, lines := range []string{
		"Connection: close, Remote-User", "Connection: Remote-User\nConnection: close", "Connection: close\nConnection: remote-user, Remote-Email, X-Postern-Jwt-Assertion",
		"Connection: close, Upgrade, Remote-User\nUpgrade: other", "Connection: close, X-Webauth-User", "Proxy-Connection: Remote-User\nConnection: close",
		"Connection: close, Cookie", "Keep-Alive: Remote-User\nConnection: close, keep-alive, Remote-User",
	} {
		uri := fmt.Sprintf("/closed?connection=%d", i)
		server.Raw(t, fmt.Sprintf("GET %s HTTP/1.1\nHost: %s\nCookie: %s\n%s\n\n", uri, hostOf(server), v.Cookies(), lines)).Want(t, http.StatusOK)
		seen := upstream.Last(t, uri)
		for _, name := range []string{"Remote-User", "Remote-Email", "X-Webauth-User"} {
			if got := seen.Get(t, name); got != ann {
				t.Errorf("%q: %s is %q", lines, name, got)
			}
		}
		if seen.Get(t, "X-Postern-Jwt-Assertion") == "" {
			t.Errorf("%q: no assertion", lines)
		}
	}
}

func TestOwnCookiesStayHere(t *testing.T) {
	t.Parallel()
	server, upstream := plainSite(t, "")
	v := visitor(t, server)
	v.SignIn(ann)
	session := v.Cookie(postern.LoopbackSessionCookie)
	browser := v.Cookie(postern.LoopbackBrowserCookie)
	for i, cookies := range []string{
		v.Cookies(), "app=own; " + v.Cookies() + "; theme=dark", v.Cookies() + ";app=own", "app=own\nCookie: " + v.Cookies(),
		`app="a;b"; ` + v.Cookies(), " ; ;" + v.Cookies(), v.Cookies() + "; __Host-postern_session=x; __Host-postern_browser=y",
	} {
		uri := fmt.Sprintf("/x?%d", i)
		server.Raw(t, fmt.Sprintf("GET %s HTTP/1.1\nHost: %s\nCookie: %s\nConnection: close\n\n", uri, hostOf(server), cookies)).Want(t, http.StatusOK)
		got := strings.Join(upstream.Last(t, uri).Header["Cookie"], "; ")
		if strings.Contains(got, "postern_") || strings.Contains(got, session) || strings.Contains(got, browser) {
			t.Errorf("the upstream got Cookie: %s", got)
		}
		if strings.Contains(cookies, "app=own") && !strings.Contains(got, "app=own") {
			t.Errorf("the application's own cookie is gone: %q of %q", got, cookies)
		}
	}
	answer := v.Fetch("/cookies").Want(t, http.StatusOK)
	if set := answer.Header.Values("Set-Cookie"); len(set) != 1 || !strings.HasPrefix(set[0], "app=own") {
		t.Errorf("an upstream sets cookies: %q", set)
	}
	if v.Me() != ann {
		t.Error("an upstream changed the session")
	}
}

func TestForeignAuthorizationPasses(t *testing.T) {
	t.Parallel()
	server, upstream := plainSite(t, "")
	v := visitor(t, server)
	v.SignIn(ann)
	request := v.NewRequest(http.MethodGet, "/x", nil)
	request.Header.Set("Authorization", "Basic dXNlcjpwYXNz")
	v.Do(request).Want(t, http.StatusOK)
	if got := upstream.Last(t, "/x").Get(t, "Authorization"); got != "Basic dXNlcjpwYXNz" {
		t.Errorf("Authorization %q", got)
	}
}

func TestBodiesPass(t *testing.T) {
	t.Parallel()
	server, upstream := plainSite(t, "")
	v := visitor(t, server)
	v.SignIn(ann)
	size := int64(100 << 20)
	hash, body := hashed(size)
	request := v.NewRequest(http.MethodPut, "/upload", io.LimitReader(body, size))
	request.ContentLength = -1 // in chunks
	v.Do(request).Want(t, http.StatusOK)
	seen := upstream.Last(t, "/upload")
	if seen.Length != size || seen.Hash != hash() {
		t.Errorf("the upstream got %d bytes, hash %s; sent were %d, %s", seen.Length, seen.Hash, size, hash())
	}
}
