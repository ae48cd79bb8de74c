package e2e_test

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/postern-auth/postern/e2e/postern"
)

// verb runs `caddy email-auth` beside the server.
func verb(t *testing.T, server *postern.Server, args ...string) string {
	t.Helper()
	output, messages, err := server.Command(append([]string{"email-auth", "--address", server.AdminAddr()}, args...)...)
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, messages)
	}
	return output
}

// wantFailure runs a verb that fails, and says why.
func wantFailure(t *testing.T, server *postern.Server, why string, args ...string) {
	t.Helper()
	output, messages, err := server.Command(append([]string{"email-auth", "--address", server.AdminAddr()}, args...)...)
	if err == nil || !strings.Contains(messages, why) {
		t.Errorf("%v: %v, %q, %q; want %q", args, err, output, messages, why)
	}
}

func TestCommandSessions(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "limit mails 10 1m")
	first, second, other := visitor(t, server), visitor(t, server), visitor(t, server)
	first.SignIn(ann)
	second.SignIn(ann)
	other.SignIn("bob@example.com")
	table := strings.Split(strings.TrimSpace(verb(t, server, "sessions")), "\n")
	if len(table) != 4 || !strings.HasPrefix(table[0], "ID ") {
		t.Errorf("%q", table)
	}
	var ids []string
	for line := range strings.Lines(verb(t, server, "sessions", "ANN@example.com ", "--json", "--site", "localhost")) {
		var session struct{ ID, Address, Site, Device, Network, Method string }
		if err := json.Unmarshal([]byte(line), &session); err != nil {
			t.Fatal(err)
		}
		if session.Address != ann || session.Site != "localhost" || session.Device != "Firefox on Linux" || session.Network == "" || session.Method != "code" {
			t.Errorf("%+v", session)
		}
		if strings.Contains(line, first.Cookie(postern.LoopbackSessionCookie)) {
			t.Error("a secret is shown")
		}
		ids = append(ids, session.ID)
	}
	if len(ids) != 2 {
		t.Fatalf("%d sessions", len(ids))
	}
	if out := verb(t, server, "sessions", ann, "--site", "wiki.example.com"); strings.Contains(out, ann) {
		t.Error(out)
	}
	if out := verb(t, server, "sessions", "nobody@example.com"); strings.Count(out, "\n") != 1 {
		t.Error(out)
	}
	if _, messages, _ := server.Command("email-auth", "sessions", "--limit", "1", "--address", server.AdminAddr()); !strings.Contains(messages, "there are more than 1") {
		t.Error(messages)
	}

	if out := verb(t, server, "revoke", "--session", ids[0]); out != "sessions ended: 1\n" {
		t.Error(out)
	}
	if in := (first.Me() == ann) != (second.Me() == ann); !in {
		t.Error("not one of two sessions ended")
	}
	if out := verb(t, server, "revoke", "--session", ids[0]); out != "sessions ended: 0\n" {
		t.Error(out)
	}
	if out := verb(t, server, "revoke", ann, "--site", "wiki.example.com"); out != "sessions ended: 0\n" {
		t.Error(out)
	}
	if out := verb(t, server, "sessions", "*@example.com"); strings.Count(out, "@example.com") != 2 {
		t.Error(out)
	}
	if out := verb(t, server, "revoke", "*@example.org"); out != "sessions ended: 0\n" {
		t.Error(out)
	}
	if out := verb(t, server, "revoke", ann); out != "sessions ended: 1\n" {
		t.Error(out)
	}
	if first.Me() != "" || second.Me() != "" || other.Me() != "bob@example.com" {
		t.Error("after a revocation the wrong ones are in")
	}
	server.Kill()
	server.Run()
	if out := verb(t, server, "revoke", "*@Example.com"); out != "sessions ended: 1\n" || other.Me() != "" {
		t.Error(out)
	}
	other.SignIn("bob@example.com")
	if first.Me() != "" || second.Me() != "" || other.Me() != "bob@example.com" {
		t.Error("after a kill the wrong ones are in")
	}
}

func TestCommandEndsStreams(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	v.SignIn(ann)
	socket, _ := v.OpenWebSocket("/ws")
	socket.Echo(t, "hello")
	verb(t, server, "revoke", ann)
	socket.WaitEnd(t)
}

func TestCommandMistakes(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	wantFailure(t, server, "name an address, or a session", "revoke")
	wantFailure(t, server, "not an", "revoke", "ann")
	wantFailure(t, server, "*@*.example.com", "sessions", "*@*.example.com")
	wantFailure(t, server, "limit", "sessions", "--limit", "0")
	wantFailure(t, server, `unknown command "session"`, "session")
	wantFailure(t, server, `unknown command "rotat"`, "keys", "rotat")
	wantFailure(t, server, "write its host alone, as in wiki.example.com", "sessions", "--site", "http://localhost:8080")
	wantFailure(t, server, "write an id as `caddy email-auth sessions` lists it", "revoke", "--session", "abc")
	for _, args := range [][]string{{"--address", "127.0.0.1:1"}, {"--config", server.Dir + "/off"}} {
		why := map[string]string{"--address": "start Caddy first", "--config": "has `admin off`"}[args[0]]
		if err := os.WriteFile(server.Dir+"/off", []byte("{\n\tadmin off\n}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"email-auth", "sessions", "--adapter", "caddyfile"}, args...)
		if _, messages, err := server.Command(args...); err == nil || !strings.Contains(messages, why) {
			t.Errorf("%v: %v, %s", args, err, messages)
		}
	}
	wantFailure(t, server, "audit is not built yet", "audit", "--since", "1h")
	for _, wrong := range []struct {
		method, path, body, kind string
		status                   int
	}{
		{"GET", "/email_auth/revoke", "", "", 405},
		{"POST", "/email_auth/sessions", "{}", "application/json", 405},
		{"POST", "/email_auth/revoke", `{"address":"ann@example.com"}`, "text/plain", 415},
		{"POST", "/email_auth/revoke", `{"address":"ann@example.com"}`, "", 415},
		{"GET", "/email_auth/sessions?adress=ann@example.com", "", "", 400},
		{"POST", "/email_auth/revoke", `{}`, "application/json", 400},
		{"POST", "/email_auth/revoke", `{"adress":"ann@example.com"}`, "application/json", 400},
		{"POST", "/email_auth/revoke", `{"address":"` + strings.Repeat("a", 5000) + `"}`, "application/json", 400},
		{"POST", "/email_auth/keys/rotate", "", "", 415},
	} {
		header := http.Header{}
		if wrong.kind != "" {
			header.Set("Content-Type", wrong.kind)
		}
		status, body, err := server.Admin(wrong.method, wrong.path, wrong.body, header)
		if err != nil || status != wrong.status {
			t.Errorf("%+v: status %d, %v: %s", wrong, status, err, body)
		}
	}
}

// Another configuration is asked at once, and one that fails to load never.
func TestCommandFollowsReloads(t *testing.T) {
	t.Parallel()
	upstream := postern.StartUpstream(t)
	config := postern.Config{Sites: plain, Upstream: upstream}
	server := postern.Start(t, config)
	v := visitor(t, server)
	v.SignIn(ann)
	broken := config
	broken.Sites += "\nhttp://localhost:$HTTPS {\n\temail_auth group:nobody\n}\n"
	if status, _ := server.TryReload(broken); status == http.StatusOK {
		t.Fatal("a broken configuration was loaded")
	}
	if out := verb(t, server, "sessions", ann); !strings.Contains(out, ann) {
		t.Error(out)
	}
	server.Reload(config)
	if out := verb(t, server, "revoke", ann); out != "sessions ended: 1\n" {
		t.Error(out)
	}
}

func TestCommandKeysRotate(t *testing.T) {
	t.Parallel()
	server, upstream := plainSite(t, "")
	v := visitor(t, server)
	v.SignIn(ann)
	keys := func() int {
		var set struct{ Keys []any }
		v.Fetch("/.auth/jwks.json").Want(t, http.StatusOK).JSON(t, &set)
		return len(set.Keys)
	}
	if keys() != 1 {
		t.Errorf("%d keys before", keys())
	}
	if out := verb(t, server, "keys", "rotate"); !strings.HasPrefix(out, "new keys are in use from 20") {
		t.Error(out)
	}
	if keys() != 2 {
		t.Errorf("%d keys after", keys())
	}
	v.Navigate("/report").Want(t, http.StatusOK)
	if upstream.Last(t, "/report").Get(t, "Remote-User") != ann {
		t.Error("the session is lost")
	}
}

func TestCommandTestMail(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	if out := verb(t, server, "test-mail", "Dan@Example.com"); !strings.Contains(out, "mail to dan@example.com: no mail server is set: it was written to "+server.MailDir()) {
		t.Error(out)
	}
	mails := server.WaitMails(t, "dan@example.com", 1)
	if mails[0].Code != "" || mails[0].Link != "" || mails[0].Subject != "Test of sign-in mails" {
		t.Errorf("%+v", mails[0])
	}
	wantFailure(t, server, "not an", "test-mail", "dan")
	down := postern.Start(t, postern.Config{Sites: plain, Upstream: postern.StartUpstream(t), Auth: "from signin@example.com\nsmtp 127.0.0.1:1 {\n\ttls none\n}"})
	wantFailure(t, down, "the mail was not taken", "test-mail", ann)
}

// An assertion that is made to test with is taken by whoever verifies as the
// recipe says, and none that is broken is.
func TestCommandAssertion(t *testing.T) {
	t.Parallel()
	server, upstream := plainSite(t, "group staff *@example.com")
	v := visitor(t, server)
	v.SignIn(ann)
	v.Navigate("/report").Want(t, http.StatusOK)
	real := upstream.Last(t, "/report").Get(t, "X-Postern-Jwt-Assertion")
	var keys jose.JSONWebKeySet
	v.Fetch("/.auth/jwks.json").Want(t, http.StatusOK).JSON(t, &keys)
	verify := func(text string) (assertion, error) {
		found, err := readAssertion(keys, strings.TrimSpace(text))
		if err != nil {
			return found, err
		}
		return found, found.ValidateWithLeeway(jwt.Expected{Issuer: v.Origin, AnyAudience: jwt.Audience{v.Origin}, Time: time.Now()}, 0)
	}
	want, err := verify(real)
	if err != nil {
		t.Fatal(err)
	}
	got, err := verify(verb(t, server, "assertion", ann, "--site", "localhost"))
	if err != nil || got.Subject != want.Subject || got.Email != ann || !slices.Equal(got.Groups, want.Groups) || !slices.Equal(got.Methods, want.Methods) {
		t.Errorf("%v: %+v, want %+v", err, got, want)
	}
	if got, err := verify(verb(t, server, "assertion", "nobody@example.com", "--site", "localhost")); err != nil || got.Subject == "" || got.Subject == want.Subject {
		t.Errorf("%v: %+v", err, got)
	}
	for _, broken := range []string{"signature", "key", "algorithm", "issuer", "audience", "expired"} {
		if _, err := verify(verb(t, server, "assertion", ann, "--site", "localhost", "--broken", broken)); err == nil {
			t.Errorf("%s: it is taken", broken)
		}
	}
	wantFailure(t, server, "write signature, key, algorithm", "assertion", ann, "--site", "localhost", "--broken", "all")
	wantFailure(t, server, "there is none; write the host of one", "assertion", ann, "--site", "wiki.example.com")
	wantFailure(t, server, "there is none", "assertion", ann)
	wantFailure(t, server, "not an", "assertion", "ann", "--site", "localhost")
}

func TestCommandCheck(t *testing.T) {
	t.Parallel()
	server := postern.Start(t, postern.Config{Auth: "group staff *@example.com\ngroup bosses bob@example.com", Sites: `
http://localhost:$HTTP {
	@private not path /public/*
	email_auth @private group:staff {
		deny eve@example.com
	}
	email_auth /admin/* group:bosses {
		max_age 15m
	}
	@odd header X-Odd *
	email_auth @odd dan@example.org
	respond hello
}
http://rest.localhost:$HTTP {
	email_auth ann@example.com
	respond hello
}
`})
	origin := server.Plain("localhost")
	for _, test := range []struct {
		address, url string
		want         []string
	}{
		{ann, server.Plain("rest.localhost") + "/", []string{"email_auth is for this address; allowed by ann@example.com", ann + " may open it\n"}},
		{"bob@example.com", server.Plain("rest.localhost") + "/", []string{"is for this address; not allowed", "may not open it"}},
		{"bob@example.com", origin + "/admin/x", []string{"allowed by group:staff", "allowed by group:bosses, with a sign-in of at most 15m0s", "may be for this address", "depends on more of the request"}},
		{ann, origin + "/admin/x", []string{"is for this address; not allowed", ann + " may not open it"}},
		{"EVE@example.com", origin + "/report", []string{"denied by eve@example.com", "eve@example.com may not open it"}},
		{ann, server.Plain("rest.localhost"), []string{ann + " may open it\n"}},
		{"dan@example.org", origin + "/public/../admin", []string{"may be for this address", "depends on more of the request"}},
		{"dan@example.org", origin + "/public/%61", []string{"may be for this address", "depends on more of the request"}},
		{"dan@example.org", origin + "/public/x", []string{"is not for this address; not allowed", "allowed by dan@example.org"}},
	} {
		out := verb(t, server, "check", test.address, test.url)
		for _, want := range test.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s %s: missing %q in\n%s", test.address, test.url, want, out)
			}
		}
		if !strings.Contains(out, "Caddyfile:") {
			t.Errorf("no line in\n%s", out)
		}
	}
	wantFailure(t, server, "write a whole one", "check", ann, "/report")
	wantFailure(t, server, "no site is served under that name", "check", ann, "https://wiki.example.com/")
	wantFailure(t, server, "not an", "check", "ann", origin)
}
