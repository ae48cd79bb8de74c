package headless_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/postern-auth/postern/gateway"
	pb "github.com/postern-auth/postern/gateway/headless/headlesspb"
)

func grant(id, secret string) url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
}

func TestTokenEndpoint(t *testing.T) {
	t.Parallel()
	p := newPortal(t, gateway.Config{})
	status, header, body := p.form("/oauth/token", grant("shop", "shop-secret"))
	var answer struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	if status != 200 || answer.TokenType != "Bearer" || answer.ExpiresIn != 3600 || len(answer.AccessToken) < 43 ||
		header.Get("Cache-Control") != "no-store" || header.Get("Pragma") != "no-cache" {
		t.Errorf("%d %v %s", status, header, body)
	}
	if strings.Contains(p.Dump(), answer.AccessToken) || strings.Contains(p.Log(), answer.AccessToken) || strings.Contains(p.Dump(), "shop-secret") {
		t.Error("the token or the secret is stored or logged")
	}
	basic := func(id, secret string) string {
		r, _ := http.NewRequest("GET", "/", nil)
		r.SetBasicAuth(id, secret)
		return r.Header.Get("Authorization")
	}
	credentials := url.Values{"grant_type": {"client_credentials"}}
	ok := func(form url.Values, header ...string) {
		t.Helper()
		if status, _, body := p.form("/oauth/token", form, header...); status != 200 {
			t.Errorf("%v %v: %d %s", form, header, status, body)
		}
	}
	ok(grant("shop", "shop-secret"), "Authorization", "Bearer "+answer.AccessToken) // SDKs send their old one
	ok(grant("shop", "shop-secret"), "Authorization", "Bearer nonsense")
	ok(credentials, "Authorization", basic("shop", "shop-secret"))
	ok(credentials, "Authorization", basic("shop", "shop%2Dsecret")) // form-encoded
	ok(url.Values{"grant_type": {"client_credentials"}, "client_id": {"shop"}, "scope": {"x"}}, "Authorization", basic("shop", "shop-secret"))

	for _, c := range []struct {
		form   url.Values
		header []string
		status int
		code   string
	}{
		{grant("shop", "wrong"), nil, 401, "invalid_client"},
		{grant("nobody", "wrong"), nil, 401, "invalid_client"},
		{grant("shop", ""), nil, 401, "invalid_client"},
		{grant("", ""), nil, 401, "invalid_client"},
		{grant("shop", "blog-secret"), nil, 401, "invalid_client"},
		{credentials, []string{"Authorization", basic("shop", "wrong")}, 401, "invalid_client"},
		{credentials, []string{"Authorization", "Basic unreadable"}, 401, "invalid_client"},
		{credentials, []string{"Authorization", "Bearer " + answer.AccessToken}, 401, "invalid_client"},
		{grant("shop", "shop-secret"), []string{"Authorization", basic("shop", "shop-secret")}, 400, "invalid_request"},
		{url.Values{"client_id": {"shop"}, "client_secret": {"shop-secret"}}, nil, 400, "invalid_request"},
		{url.Values{"client_id": {"shop"}, "client_secret": {"shop-secret"}, "grant_type": {"password"}}, nil, 400, "unsupported_grant_type"},
		{url.Values{"client_id": {"shop", "blog"}, "client_secret": {"shop-secret"}, "grant_type": {"client_credentials"}}, nil, 400, "invalid_request"},
		{grant("shop", "shop-secret"), []string{"Content-Type", "application/json"}, 400, "invalid_request"},
	} {
		status, header, body := p.form("/oauth/token", c.form, c.header...)
		if status != c.status || !strings.Contains(body, `"error":"`+c.code+`"`) || header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v %v: %d %s", c.form, c.header, status, body)
		}
		want := ""
		if strings.HasPrefix(strings.Join(c.header, " "), "Authorization Basic") && status == 401 {
			want = `Basic realm="` + strings.TrimPrefix(p.url, "http://") + `"`
		}
		if got := header.Get("WWW-Authenticate"); got != want {
			t.Errorf("%v %v: WWW-Authenticate %q, want %q", c.form, c.header, got, want)
		}
	}
	_, _, unknown := p.form("/oauth/token", grant("nobody", "wrong"))
	_, _, mistaken := p.form("/oauth/token", grant("shop", "wrong"))
	if unknown != mistaken {
		t.Errorf("an unknown client is told apart: %s %s", unknown, mistaken)
	}
}

func TestWrongSecretsAreLimited(t *testing.T) {
	t.Parallel()
	p := newPortal(t, gateway.Config{})
	for range 30 {
		if status, _, body := p.form("/oauth/token", grant("shop", "wrong"), "Test-Client-Ip", "192.0.2.1"); status != 401 {
			t.Fatalf("%d %s", status, body)
		}
	}
	status, header, body := p.form("/oauth/token", grant("shop", "wrong"), "Test-Client-Ip", "192.0.2.1")
	if status != 429 || header.Get("Retry-After") != "600" {
		t.Errorf("%d %v %s", status, header, body)
	}
	if status, _, _ := p.form("/oauth/token", grant("shop", "wrong"), "Test-Client-Ip", "192.0.2.2"); status != 401 {
		t.Errorf("another network is limited too: %d", status)
	}
	if status, _, _ := p.form("/oauth/token", grant("shop", "shop-secret"), "Test-Client-Ip", "192.0.2.1"); status != 200 {
		t.Errorf("wrong secrets keep the right one out: %d", status)
	}
}

func TestHashedSecrets(t *testing.T) {
	t.Parallel()
	secret := func(text string) func(*gateway.ClientConfig) {
		return func(c *gateway.ClientConfig) {
			var err error
			if c.Secret, err = gateway.ParseSecret(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	hashed, err := bcrypt.GenerateFromPassword([]byte("slow-secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("sum-secret"))
	p := newPortal(t, gateway.Config{}, client(t, "plain"), client(t, "slow", secret(string(hashed))), client(t, "sum", secret("sha256:"+hex.EncodeToString(sum[:]))))
	for range 2 {
		for _, id := range []string{"plain", "slow", "sum"} {
			p.token(id)
			for _, bad := range []string{"wrong", string(hashed), "sha256:" + hex.EncodeToString(sum[:]), "sum-secret", "slow-secret", "plain-secret"} {
				if status, _, _ := p.form("/oauth/token", grant(id, bad), "Test-Client-Ip", "192.0.2."+bad[:1]); bad != id+"-secret" && status == 200 {
					t.Errorf("%s takes %s", id, bad)
				}
			}
		}
		p.Advance(time.Hour)
	}
}

func TestParseSecret(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "empty", " \t": "empty", "sha256:": "64 hex digits", "sha256:zz": "64 hex digits", "sha256:" + strings.Repeat("a", 62): "64 hex digits",
		"$2a$14$short": "damaged", "$2b$": "damaged", "$argon2id$v=19$m=1": "argon2",
		"$2a$16$" + strings.Repeat("a", 53): "at most 15",
	} {
		if _, err := gateway.ParseSecret(text); err == nil || !strings.Contains(err.Error(), want) || len(text) > 9 && strings.Contains(err.Error(), text[7:]) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	overAll(t, gateway.Config{}, func(t *testing.T, p *portal, _ api) {
		token := p.token("shop")
		shop := as(p, &restAPI{}, token)
		works := func() bool {
			_, failed := shop.resend(&pb.ResendPasswordlessRequest{AuthRequestId: "x"})
			return failed.errorCode == "AUTH_REQUEST_EXPIRED"
		}
		revoke := func(id, secret string) int {
			status, _, _ := p.form("/oauth/revoke", url.Values{"token": {token}, "token_type_hint": {"access_token"}, "client_id": {id}, "client_secret": {secret}})
			return status
		}
		if got := revoke("shop", "wrong"); got != 401 || !works() {
			t.Errorf("wrong secret: %d", got)
		}
		if got := revoke("blog", "blog-secret"); got != 200 || !works() {
			t.Errorf("another client's: %d", got)
		}
		if got := revoke("shop", "shop-secret"); got != 200 || works() {
			t.Errorf("own: %d", got)
		}
		if got := revoke("shop", "shop-secret"); got != 200 {
			t.Errorf("one that is none: %d", got)
		}
		if status, _, body := p.form("/oauth/revoke", url.Values{"client_id": {"shop"}, "client_secret": {"shop-secret"}}); status != 400 {
			t.Errorf("no token: %d %s", status, body)
		}
	})
}

// TestTokensNeedTheSecret: a token does not work while its client is removed or
// has another secret, and works again when it is back; a reload alone ends none.
func TestTokensNeedTheSecret(t *testing.T) {
	t.Parallel()
	p := newPortal(t, gateway.Config{})
	token := p.token("shop")
	code := func() string {
		_, failed := (&restAPI{p, token}).resend(&pb.ResendPasswordlessRequest{AuthRequestId: "x"})
		return failed.errorCode
	}
	p.reload(client(t, "shop"), client(t, "blog"))
	if got := code(); got != "AUTH_REQUEST_EXPIRED" {
		t.Errorf("after a reload: %s", got)
	}
	p.reload(client(t, "blog"))
	if got := code(); got != "UNAUTHENTICATED" {
		t.Errorf("after its client was removed: %s", got)
	}
	p.reload(client(t, "shop", func(c *gateway.ClientConfig) { c.Secret, _ = gateway.ParseSecret("another") }))
	if got := code(); got != "UNAUTHENTICATED" {
		t.Errorf("after another secret: %s", got)
	}
	p.reload(client(t, "shop"))
	if got := code(); got != "AUTH_REQUEST_EXPIRED" {
		t.Errorf("after the old configuration is back: %s", got)
	}
}

// TestBcryptIsNoLever: wrong secrets from many networks take one core for a
// bounded time, and the right secret that was compared before does not wait.
func TestBcryptIsNoLever(t *testing.T) {
	t.Parallel()
	hashed, err := bcrypt.GenerateFromPassword([]byte("slow-secret"), 13)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := gateway.ParseSecret(string(hashed))
	if err != nil {
		t.Fatal(err)
	}
	p := newPortal(t, gateway.Config{}, client(t, "slow", func(c *gateway.ClientConfig) { c.Secret = secret }), client(t, "plain"))
	p.token("slow")
	results := make(chan int, 40)
	for i := range cap(results) {
		id := []string{"slow", "plain", "nobody"}[i%3] // all cost the same
		go func() {
			status, _, _ := p.form("/oauth/token", grant(id, "wrong"), "Test-Client-Ip", fmt.Sprintf("192.0.2.%d", i))
			results <- status
		}()
	}
	p.token("slow")
	p.token("plain")
	if n := len(results); n == cap(results) {
		t.Error("the right secrets waited for the wrong ones")
	}
	count := map[int]int{}
	for range cap(results) {
		count[<-results]++
	}
	if count[401] == 0 || count[429] == 0 || count[401]+count[429] != cap(results) {
		t.Errorf("got %v", count)
	}
}
