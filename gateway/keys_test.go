package gateway_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/gatewaytest"
)

// assertion is what an upstream reads of one.
type assertion struct {
	Issuer   string   `json:"iss"`
	Audience string   `json:"aud"`
	Subject  string   `json:"sub"`
	Email    string   `json:"email"`
	Groups   []string `json:"groups"`
	AuthTime int64    `json:"auth_time"`
	Methods  []string `json:"amr"`
	IssuedAt int64    `json:"iat"`
	Expires  int64    `json:"exp"`
}

func parseAssertion(t *testing.T, token string) *jwt.JSONWebToken {
	t.Helper()
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		t.Errorf("assertion: %v", err)
		return nil
	}
	return parsed
}

// claimsOf reads an assertion without verifying it.
func claimsOf(t *testing.T, token string) (a assertion) {
	t.Helper()
	if parsed := parseAssertion(t, token); parsed != nil {
		if err := parsed.UnsafeClaimsWithoutVerification(&a); err != nil {
			t.Error(err)
		}
	}
	return a
}

func keySet(t *testing.T, b *gatewaytest.Browser) (set jose.JSONWebKeySet) {
	t.Helper()
	a := b.Fetch("/.auth/jwks.json").Want(t, 200)
	if err := json.Unmarshal([]byte(a.Body), &set); err != nil {
		t.Fatal(err)
	}
	for _, key := range set.Keys {
		if !key.Valid() || !key.IsPublic() || key.Algorithm != "EdDSA" || key.Use != "sig" || key.KeyID == "" {
			t.Errorf("key %+v", key)
		}
	}
	if strings.Contains(a.Body, `"d"`) {
		t.Error("a private key is published")
	}
	return set
}

// verifies says whether the key set verifies the assertion.
func verifies(t *testing.T, set jose.JSONWebKeySet, token string) bool {
	t.Helper()
	parsed := parseAssertion(t, token)
	if parsed == nil {
		return false
	}
	keys := set.Key(parsed.Headers[0].KeyID)
	var a assertion
	return len(keys) == 1 && parsed.Claims(keys[0], &a) == nil
}

func TestAssertion(t *testing.T) {
	t.Parallel()
	groups, err := gateway.NewGroups([]gateway.GroupConfig{
		{Name: "staff", Members: gatewaytest.Who(t, "*@example.com")},
		{Name: "admins", Members: gatewaytest.Who(t, ann)},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	const blog = "blog.example.com"
	site := gatewaytest.New(t, gatewaytest.Options{
		Config: gateway.Config{Groups: groups}, Rules: []*gateway.Rule{gatewaytest.Rule(t, "group:staff")},
		Others: []gateway.SiteConfig{{Host: blog, Origin: "https://" + blog}},
	})
	b := site.Browser()
	b.SignIn(ann)
	signedIn := site.Clock.Now()
	site.Advance(time.Hour)
	sent := b.Fetch("/").Upstream(t)
	token := sent.Header.Get(gateway.HeaderAssertion)
	if !verifies(t, keySet(t, b), token) {
		t.Fatal("the key set does not verify it")
	}
	if sent.Header.Get(gateway.HeaderGroups) != "staff,admins" {
		t.Errorf("groups %q", sent.Header.Get(gateway.HeaderGroups))
	}
	if header := parseAssertion(t, token).Headers[0]; header.Algorithm != "EdDSA" || header.ExtraHeaders["typ"] != "JWT" {
		t.Errorf("header %+v", header)
	}
	got, now := claimsOf(t, token), site.Clock.Now().Unix()
	if got.Issuer != site.Origin || got.Audience != site.Origin || got.Email != ann || !slices.Equal(got.Groups, []string{"staff", "admins"}) ||
		got.AuthTime != signedIn.Unix() || !slices.Equal(got.Methods, []string{"otp"}) || got.IssuedAt != now || got.Expires <= now || got.Expires > now+300 {
		t.Errorf("claims %+v", got)
	}
	if len(got.Subject) < 20 || strings.Contains(got.Subject, "ann") {
		t.Errorf("subject %q", got.Subject)
	}

	// Whatever is used again is valid for a while.
	for range 20 {
		site.Advance(17 * time.Second)
		again := claimsOf(t, b.Fetch("/").Upstream(t).Header.Get(gateway.HeaderAssertion))
		if left := again.Expires - site.Clock.Now().Unix(); left < 30 || left > 300 {
			t.Errorf("%d s are left", left)
		}
	}

	// The same subject at every site and after every sign-in; another audience.
	there := b.At(blog)
	there.Open("/.auth/sign-in")
	there.Do(gatewaytest.Sent{Method: "POST", Path: "/.auth/sign-in", Form: map[string][]string{"email": {ann}}, Header: map[string]string{"Sec-Fetch-Site": "same-origin"}}).Want(t, 303)
	there.OpenLink(site.LastMail(ann).Link).Want(t, 303)
	other := claimsOf(t, there.Fetch("/").Upstream(t).Header.Get(gateway.HeaderAssertion))
	if other.Subject != got.Subject || other.Audience != "https://"+blog || other.Issuer != other.Audience || !slices.Equal(other.Methods, []string{"email"}) || other.Groups == nil {
		t.Errorf("claims at the other site %+v", other)
	}
	b.SignIn(bob)
	if third := claimsOf(t, b.Fetch("/").Upstream(t).Header.Get(gateway.HeaderAssertion)); third.Subject == got.Subject || third.Email != bob {
		t.Errorf("claims of somebody else %+v", third)
	}
}

func TestAssertionEndsWithTheSession(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	b.SignIn(ann)
	end := site.Clock.Now().Add(7 * 24 * time.Hour)
	for range 6 {
		site.Advance(24 * time.Hour)
		b.Fetch("/").Upstream(t)
	}
	site.Advance(end.Add(-time.Minute).Sub(site.Clock.Now()))
	got := claimsOf(t, b.Fetch("/").Upstream(t).Header.Get(gateway.HeaderAssertion))
	if got.Expires > end.Unix() {
		t.Errorf("it is valid %d s longer than the session", got.Expires-end.Unix())
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	in, waiting := site.Browser(), site.Browser()
	in.SignIn(ann)
	before := in.Cookie(gateway.BrowserCookie)
	waiting.Start(bob)
	mail := site.LastMail(bob)
	old := in.Fetch("/").Upstream(t).Header.Get(gateway.HeaderAssertion)

	if rotated, err := site.Keys.Rotate(site.Clock.Now(), true); !rotated || err != nil {
		t.Fatalf("%v, %v", rotated, err)
	}
	set := keySet(t, in)
	if len(set.Keys) != 2 || !verifies(t, set, old) {
		t.Errorf("%d keys after a rotation", len(set.Keys))
	}
	if in.SignedIn() != ann {
		t.Error("the session is lost")
	}
	waiting.Open("/.auth/code?request="+waiting.Request).Want(t, 200)
	// The new one is announced, and not used.
	if token := in.Fetch("/").Upstream(t).Header.Get(gateway.HeaderAssertion); parseAssertion(t, token).Headers[0].KeyID != parseAssertion(t, old).Headers[0].KeyID {
		t.Error("the new key signs before upstreams know it")
	}
	waiting.OpenLink(mail.Link).WantLocation(t, "/")

	site.Advance(24*time.Hour - time.Minute)
	late := in.Fetch("/").Upstream(t).Header.Get(gateway.HeaderAssertion)
	waiting.Start(ann) // sealed by the old root
	mail = site.LastMail(ann)
	site.Advance(2 * time.Minute)
	if set := keySet(t, in); !verifies(t, set, late) {
		t.Error("what the old key signed a moment ago is not verified")
	}
	site.Advance(5 * time.Minute)
	token := in.Fetch("/").Upstream(t).Header.Get(gateway.HeaderAssertion)
	if parseAssertion(t, token).Headers[0].KeyID == parseAssertion(t, old).Headers[0].KeyID {
		t.Error("the new key does not sign")
	}
	if !verifies(t, set, token) {
		t.Error("a key set from the day before does not verify it")
	}
	waiting.Code(mail.Code).WantLocation(t, "/")
	// The old cookie still says which browser this is, over a restart too.
	site.Restart()
	known := site.Browser()
	known.SetCookie(gateway.BrowserCookie, before)
	known.Start(ann).Want(t, 303)
	if known.Cookie(gateway.BrowserCookie) == before {
		t.Error("the cookie is not sealed anew")
	}
	known.Code("000000").WantText(t, "4 attempts left")
	if in.SignedIn() != ann {
		t.Error("the session is lost")
	}
}

// Two rotations in a row must not take away the key of assertions that are
// still valid.
func TestTwoRotationsAtOnce(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	b.SignIn(ann)
	for range 2 {
		if _, err := site.Keys.Rotate(site.Clock.Now(), true); err != nil {
			t.Fatal(err)
		}
	}
	site.Advance(24*time.Hour - time.Second)
	token := b.Fetch("/").Upstream(t).Header.Get(gateway.HeaderAssertion)
	if !verifies(t, keySet(t, b), token) {
		t.Error("not verified at once")
	}
	site.Advance(time.Second)
	if !verifies(t, keySet(t, b), token) {
		t.Error("one second later, the key set does not verify an assertion that is valid for minutes")
	}
}

func TestRotationIsDue(t *testing.T) {
	t.Parallel()
	now := time.Now()
	path := filepath.Join(t.TempDir(), "keys.json")
	keys, err := gateway.OpenKeys(path, true, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		after   time.Duration
		rotated bool
	}{{0, false}, {90*24*time.Hour - time.Second, false}, {90 * 24 * time.Hour, true}, {90*24*time.Hour + time.Minute, false}, {181*24*time.Hour + time.Minute, true}} {
		if rotated, err := keys.Rotate(now.Add(test.after), false); rotated != test.rotated || err != nil {
			t.Errorf("after %s: %v, %v", test.after, rotated, err)
		}
	}
	// Roots that open nothing any more are forgotten, so the file does not grow.
	for i := range 20 {
		if _, err := keys.Rotate(now.Add(time.Duration(i+2)*91*24*time.Hour), false); err != nil {
			t.Fatal(err)
		}
	}
	data, _ := os.ReadFile(path)
	if roots := strings.Count(string(data), `"active_from"`); roots < 5 || roots > 8 {
		t.Errorf("%d roots", roots)
	}
}

func TestKeyFile(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "keys.json")
	if _, err := gateway.OpenKeys(path, false, time.Now()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	keys, err := gateway.OpenKeys(path, true, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	wantPrivate(t, path)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := gateway.OpenKeys(path, false, time.Now()); err != nil {
		t.Fatal(err)
	}
	wantPrivate(t, path)
	if _, err := keys.Rotate(time.Now(), true); err != nil {
		t.Fatal(err)
	}
	wantPrivate(t, path)
	if files, _ := os.ReadDir(folder); len(files) != 1 {
		t.Errorf("%d files are left", len(files))
	}

	whole, _ := os.ReadFile(path)
	for name, text := range map[string]string{
		"empty": "", "half": string(whole[:len(whole)/2]), "null": "null", "an empty object": "{}", "no roots": `{"lookup":"` + strings.Repeat("A", 43) + `="}`,
		"a short secret": strings.Replace(string(whole), `"secret":"`, `"secret":"AA==","x":"`, 1), "not JSON": "keys", "a list": "[]",
		"no name": strings.Replace(string(whole), `"id":"`, `"id":"","x":"`, 1),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := gateway.OpenKeys(path, true, time.Now())
		if err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if got, _ := os.ReadFile(path); string(got) != text {
			t.Errorf("%s: the damaged file was written over", name)
		}
	}
}

func wantPrivate(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %o", info.Mode().Perm())
	}
}

// A rotation that cannot be written changes nothing, or what it sealed would be
// lost at the next start.
func TestRotationThatFails(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "keys")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	site := gatewaytest.New(t, gatewaytest.Options{KeyFile: filepath.Join(folder, "keys.json")})
	if err := os.Rename(folder, folder+"-away"); err != nil {
		t.Fatal(err)
	}
	if rotated, err := site.Keys.Rotate(site.Clock.Now(), true); rotated || err == nil {
		t.Errorf("%v, %v", rotated, err)
	}
	if set := keySet(t, site.Browser()); len(set.Keys) != 1 {
		t.Errorf("%d keys", len(set.Keys))
	}
	site.Browser().SignIn(ann)
}
