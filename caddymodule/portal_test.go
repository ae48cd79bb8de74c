package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestMistakesInPortal(t *testing.T) {
	checkMistakes(t, "login.example.com {\n\t%s\n}\n", []mistake{
		{"‹›email_auth_portal", "email_auth_portal serves nobody: write a client"},
		{"‹›email_auth_portal {\n\t}", "serves nobody"},
		{"‹›email_auth_portal anyone", "takes a block alone"},
		{"‹›email_auth_portal /api/*", "takes a block alone"},
		{"email_auth_portal {\n\t\t‹›site https://a.example.com\n\t}", "site is not built yet"},
		{"email_auth_portal {\n\t\t‹›secret x\n\t}", "secret is for one client"},
		{"email_auth_portal {\n\t\t‹›nosuch x\n\t}", `unknown option "nosuch": write client`},
		{"email_auth_portal {\n\t\t‹›client\n\t}", "client: write `client <id>`, as in `client shop`"},
		{"email_auth_portal {\n\t\t‹›client a b\n\t}", "client: write `client <id>`"},
		{"email_auth_portal {\n\t\t‹›client a/b {\n\t\t}\n\t}", "write an id of letters"},
		{"email_auth_portal {\n\t\t‹›client " + strings.Repeat("a", 65) + "\n\t}", "at most 64, as in `client shop`"},
		{"email_auth_portal {\n\t\t‹›client shop\n\t}", "client shop has no kind: write `kind api`"},
		{"email_auth_portal {\n\t\tclient shop {\n\t\t\tkind api\n\t\t\tsecret a\n\t\t\tredirect_uri https://a.example.com/\n\t\t}\n\t\t‹›client shop {\n\t\t\tkind api\n\t\t}\n\t}", "client shop is there twice"},
	})
	const within = "login.example.com {\n\temail_auth_portal {\n\t\tclient shop {\n\t\t\tkind api\n\t\t\tredirect_uri https://a.example.com/\n\t\t\t%s\n\t\t}\n\t}\n}\n"
	checkMistakes(t, within, []mistake{
		{"‹›kind api", "kind is there twice"},
		{"‹›nosuch", "unknown option \"nosuch\""},
		{"‹›secret", "secret: write `secret <text>`"},
		{"‹›secret \"\"", "secret is empty: write `secret <text>`, as in `secret {env.SHOP_SECRET}`"},
		{"‹›secret \"  \"", "secret is empty: write one, as in `secret {env.SHOP_SECRET}`"},
		{"‹›secret sha256:abc", "64 hex digits"},
		{"‹›secret $2a$14$x", "damaged"},
		{"‹›secret $argon2id$v=19$x", "an argon2 hash cannot be used"},
		{"secret a {\n\t\t\t}", "takes no block"},
		{"secret a\n\t\t\t‹›secret b", "secret is there twice"},
		{"‹›redirect_uri", "redirect_uri: write"},
		{"‹›redirect_uri http://shop.example.com/", "only https works, but on loopback"},
		{"‹›redirect_uri https://shop.example.com/#a", "must not have a fragment"},
		{"‹›redirect_uri myapp://link", "only https works"},
		{"‹›redirect_uri shop.example.com", "this is no address"},
		{"‹›redirect_uri https://*.example.com/link", "a wildcard stands for no host here"},
		{"‹›redirect_uri https://a.example.com/", `redirect_uri "https://a.example.com/" is there twice: keep one`},
		{"‹›redirect_uri https://b.example.com/ https://b.example.com/", "is there twice: keep one"},
		{"‹›allow example.com", "to admit a domain, write *@example.com"},
		{"‹›deny", "deny: write"},
		{"‹›limit attempts 5 10m", "a client has no other limit"},
		{"‹›limit mails 0 1h", "count of 1 or more"},
		{"‹›limit mails 5 100d", "1s to 30d"},
		{"‹›limit mails 5", "limit: write `limit mails <count> <window>`"},
		{"‹›templates a b", "templates: write"},
		// What is found out when it is loaded has the line of its client.
		{"secret a\n\t\t\t‹›allow group:nosuch", "group:nosuch: there is no such group"},
		{"‹›secret {env.MISTAKE_EMPTY}", "client shop: secret: evaluated placeholder {env.MISTAKE_EMPTY} is empty"},
		{"‹›secret {file.testdata/nosuch}", "client shop: secret"},
		{"secret a\n\t\t\t‹›templates testdata/nosuch", "testdata/nosuch"},
		{"secret a\n\t\t\t‹›templates testdata/broken", "client shop: templates: in "},
		{"secret a\n\t\t\ttemplates testdata/broken", "signup.txt:2"},
	})
	checkMistakes(t, "login.example.com {\n\temail_auth_portal {\n\t\t‹›client shop {\n\t\t\t%s\n\t\t}\n\t}\n}\n", []mistake{
		{"kind api", "client shop has no secret: write `secret {env.SHOP_SECRET}`"},
		{"secret a", "client shop has no kind"},
		{"kind api\n\t\t\tsecret a", "client shop has no redirect_uri, and mails carry links"},
	})
	checkMistakes(t, "login.example.com {\n\temail_auth_portal {\n\t\tclient shop {\n\t\t\t‹›kind %s\n\t\t}\n\t}\n}\n", []mistake{
		{"web", "kind web is not built yet: write `kind api`"},
		{"native", "kind native is not built yet"},
		{"apis", "kind \"apis\": write `kind api`"},
		{"api web", "kind: write `kind api`"},
	})
	const one = "\n\temail_auth_portal {\n\t\tclient shop {\n\t\t\tkind api\n\t\t\tsecret a\n\t\t\tredirect_uri https://a.example.com/\n\t\t}\n\t}\n}\n"
	checkMistakes(t, "%s", []mistake{
		{"a.example.com {" + one + "b.example.com {" + one, "there is another email_auth_portal"},
	})
	block := strings.TrimSuffix(strings.ReplaceAll(strings.TrimPrefix(one, "\n\temail"), "\n\t", "\n\t\t"), "}\n") // without the end of the site
	checkMistakes(t, "a.example.com {\n\t%s\n\t}\n}\n", []mistake{
		{"handle /app/* {\n\t\t‹›email" + block, "stands inside a block that keeps its own addresses away (matcher: path /app/*); give it a site of its own"},
		{"handle_path /app/* {\n\t\t‹›email" + block, "(matcher: path /app/*)"},
		{"handle /oauth* {\n\t\t‹›email" + block, "(matcher: path /oauth*)"},
		{"route {\n\t\thandle /api/* {\n\t\t‹›email" + block + "\n}", "(matcher: path /api/*)"},
		{"@api path /api/* /oauth/*\n\thandle @api {\n\t\t‹›email" + block, "(matcher: path /api/* /oauth/*)"},
		{"handle_errors {\n\t\t‹›email" + block, "email_auth_portal stands in handle_errors, where it answers nobody"},
	})
	mistake{"", "(matcher: path /app/*)"}.check(t, "%sa.example.com/app/* {\n\t‹›"+strings.TrimPrefix(one, "\n\t"))
	for _, fine := range []string{
		"a.example.com {\n\thandle {\n\temail" + block + "}\n}\n",
		"a.example.com {\n\thandle /* {\n\temail" + block + "}\n}\n",
		"a.example.com {\n\t@inside remote_ip private_ranges\n\thandle @inside {\n\temail" + block + "}\n}\n",
		"a.example.com, http://localhost:8080, https://localhost {" + one,
		"*.example.com {\n@login host login.example.com\nhandle @login {" + one + "handle {\nemail_auth anyone {\norigin https://*.example.com\n}\n}\n}\n",
		"(portal) {" + one + "a.example.com {\n\timport portal\n}\nhttp://localhost:8080 {\n\timport portal\n}\n",
		"{\n\temail_auth {\n\t\tmethod code\n\t}\n}\n" + strings.Replace("a.example.com {"+one, "\t\t\tredirect_uri https://a.example.com/\n", "", 1),
	} {
		if err := check(fine); err != nil {
			t.Errorf("%v\n%s", err, fine)
		}
	}
}

// TestTemplatesOfAMethod: templates have to show what mails carry by the
// configured method.
func TestTemplatesOfAMethod(t *testing.T) {
	folder := t.TempDir()
	config := func(method, redirect string) string {
		return "{\n\temail_auth {\n\t\t" + method + "\n\t}\n}\nlogin.example.com {\n\temail_auth_portal {\n\t\tclient shop {\n\t\t\tkind api\n\t\t\tsecret a\n\t\t\ttemplates " + folder + "\n\t\t\t" + redirect + "\n\t\t}\n\t}\n}\n"
	}
	const redirect = "redirect_uri https://a.example.com/"
	for _, c := range []struct{ method, redirect, text, want string }{
		{"method link", redirect, "{{.otp}}", "does not show the link"},
		{"method link", redirect, "{{.link}}", ""},
		{"method code", "", "{{.link}}", "does not show the code"},
		{"method code", "", "{{.otp}}", ""},
		{"method code", redirect, "{{.otp}}", "does not show the link, and mails carry nothing else after 20 wrong codes a day, where the call has a magiclink_auth_uri: write {{.link}} in it"},
		{"method code", redirect, "{{.otp}}{{.link}}", ""},
		{"method both", redirect, "{{.otp}}", ""},
		{"method both", redirect, "{{.link}}", ""},
		{"method both", redirect, "Hello", "shows neither the code nor the link"},
		{"code 8 digits", redirect, "{{slice .otp 0 4}} {{slice .otp 4 8}}", ""},
		{"code 6 digits", redirect, "{{slice .otp 0 4}} {{slice .otp 4 8}}", "signin.txt:1"},
	} {
		for _, name := range []string{"signin.txt", "signin.html"} {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := check(config(c.method, c.redirect)); c.want == "" {
			if err != nil {
				t.Errorf("%s, %q: %v", c.method, c.text, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), "Caddyfile:11: client shop: templates: in "+folder+": ") || !strings.Contains(err.Error(), "signin.txt") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, %q: %v", c.method, c.text, err)
		}
	}
}

// TestJSONMistakesInPortal shows that JSON is checked by the same rules.
func TestJSONMistakesInPortal(t *testing.T) {
	for client, want := range map[string]string{
		`{"id": "shop", "secret": "a"}`:                                                                                               "write api",
		`{"id": "shop", "kind": "web", "secret": "a"}`:                                                                                "not built yet",
		`{"id": "a b", "kind": "api", "secret": "a", "redirect_uris": ["https://a.example.com/"]}`:                                    "write an id",
		`{"id": "shop", "kind": "api", "secret": "a", "redirect_uris": ["https://a.example.com/", "https://a.example.com/"]}`:         "is there twice",
		`{"id": "shop", "kind": "api", "redirect_uris": ["https://a.example.com/"]}`:                                                  "secret",
		`{"id": "shop", "kind": "api", "secret": "a"}`:                                                                                "no redirect_uri",
		`{"id": "shop", "kind": "api", "secret": "a", "redirect_uris": ["http://a.example.com/"]}`:                                    "only https",
		`{"id": "shop", "kind": "api", "secret": "a", "redirect_uris": ["https://a.example.com/"], "limits": {"total": {}}}`:          "write mails",
		`{"id": "shop", "kind": "api", "secret": "a", "redirect_uris": ["https://a.example.com/"], "limits": {"mails": {"count":1}}}`: "window",
		`{"id": "shop", "kind": "api", "secret": "a", "redirect_uris": ["https://a.example.com/"], "allow": ["all"]}`:                 "write anyone",
		`{"id": "shop", "kind": "api", "secret": "a", "redirect_uris": ["https://a.example.com/"], "nosuch": 1}`:                      "nosuch",
	} {
		config := `{"apps": {"http": {"servers": {"main": {"listen": [":443"], "routes": [{"handle": [{"handler": "email_auth_portal", "clients": [%s]}]}]}}}}}`
		wantMistake(t, validate([]byte(fmt.Sprintf(config, client))), want)
	}
	twice := `{"id": "shop", "kind": "api", "secret": "a", "redirect_uris": ["https://a.example.com/"]}`
	wantMistake(t, validate([]byte(`{"apps": {"http": {"servers": {"main": {"listen": [":443"], "routes": [{"handle": [{"handler": "email_auth_portal", "clients": [`+twice+`,`+twice+`]}]}]}}}}}`)), "is there twice")
}

const portalAndSite = `
http://login.localhost:$PORT, https://login.localhost:$TLS {
	email_auth_portal {
		client shop {
			kind api
			secret shop-secret
			redirect_uri https://shop.example.com/link
		}
	}
}
http://localhost:$PORT {
	email_auth *@example.com
	` + echo + `
}`

// TestPortalBesideASite: a portal and a site with a sign-in share a server, and
// both work, over a reload too.
func TestPortalBesideASite(t *testing.T) {
	w := newWorld(t)
	w.load(portalAndSite, "limit mails 10 1m")
	for _, origin := range []string{"http://login.localhost:" + w.port, "https://login.localhost:" + w.tlsPort} {
		app := w.visit(origin)
		token := app.token()
		send := `{"email":"ann@example.com","magiclink_auth_uri":"https://shop.example.com/link"}`
		sent := app.call("send", token, send).want(t, http.StatusOK)
		var answer struct {
			ID string `json:"auth_request_id"`
		}
		if err := json.Unmarshal([]byte(sent.body), &answer); err != nil {
			t.Fatal(err)
		}
		code := w.mail("mails", "ann@example.com").code
		w.load(portalAndSite, "limit mails 10 1m\nexpires 5m")
		app.call("verify", token, `{"code":"`+code+`","auth_request_id":"`+answer.ID+`"}`).want(t, http.StatusOK).wantText(t, `"email":"ann@example.com"`)
		app.get("/").want(t, http.StatusNotFound)
		app.get("/.auth/sign-in").want(t, http.StatusNotFound)
		app.fetch("/api/v1/openapi.json").want(t, http.StatusOK)
	}
	site := w.visit("http://localhost:" + w.port)
	site.get("/").want(t, http.StatusSeeOther)
	site.signIn("bob@example.com", "mails")
	site.get("/").want(t, http.StatusOK).wantText(t, "id=bob@example.com")
}

// TestPortalSpeaksH2C: the portal's server takes HTTP/2 without TLS, unless its
// operator wants no HTTP/2.
func TestPortalSpeaksH2C(t *testing.T) {
	w := newWorld(t)
	protocols := func(sites string) (all []string) {
		t.Helper()
		w.load(sites, "")
		app, err := caddy.ActiveContext().App("http")
		if err != nil {
			t.Fatal(err)
		}
		for _, server := range app.(*caddyhttp.App).Servers {
			all = append(all, strings.Join(server.Protocols, " "))
		}
		slices.Sort(all)
		return all
	}
	plain := strings.ReplaceAll(portalAndSite, ", https://login.localhost:$TLS", "")
	if got := protocols(plain); !slices.Equal(got, []string{"h1 h2 h3 h2c"}) {
		t.Errorf("got %q", got)
	}
	if got := protocols("http://localhost:$PORT {\nemail_auth anyone\n}"); !slices.Equal(got, []string{"h1 h2 h3"}) {
		t.Errorf("without a portal: %q", got)
	}
	w.protocols = "h1"
	if got := protocols(plain); !slices.Equal(got, []string{"h1"}) {
		t.Errorf("with protocols h1: %q", got)
	}
}

// TestPortalInPlain: on a public name, in plain, nothing is answered.
func TestPortalInPlain(t *testing.T) {
	w := newWorld(t)
	w.load(strings.ReplaceAll(portalAndSite, "http://login.localhost:$PORT, https://login.localhost:$TLS", "http://login.example.com:$PORT"), "")
	app := w.visit("http://login.example.com:" + w.port)
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"shop"}, "client_secret": {"shop-secret"}}
	app.do(http.MethodPost, "/oauth/token", form).want(t, http.StatusForbidden).wantText(t, "needs HTTPS")
	w.visit(app.origin).behindProxy("https").do(http.MethodPost, "/oauth/token", form).want(t, http.StatusOK)
}

// TestPortalMetrics: calls are counted by client, call and result, and a reload
// does not end that.
func TestPortalMetrics(t *testing.T) {
	w := newWorld(t)
	for range 2 {
		w.load(portalAndSite+"\nhttp://metrics.localhost:$PORT {\n\tmetrics\n}", "")
		app := w.visit("http://login.localhost:" + w.port)
		app.call("verify", app.token(), `{}`).want(t, http.StatusBadRequest)
		got := w.visit("http://metrics.localhost:"+w.port).fetch("/").want(t, http.StatusOK)
		for _, want := range []string{
			`postern_headless_requests_total\{call="token",client="shop",result="ok"\} \d`,
			`postern_headless_requests_total\{call="verify",client="shop",result="INVALID_ARGUMENT"\} \d`,
		} {
			if !regexp.MustCompile(want).MatchString(got.body) {
				t.Errorf("%s is missing", want)
			}
		}
	}
}

func (v *visitor) token() string {
	v.w.t.Helper()
	got := v.do(http.MethodPost, "/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"shop"}, "client_secret": {"shop-secret"}}).want(v.w.t, http.StatusOK)
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(got.body), &answer); err != nil {
		v.w.t.Fatal(err)
	}
	return answer.Token
}

func (v *visitor) call(name, token, body string) answer {
	v.w.t.Helper()
	return v.doBody(http.MethodPost, "/api/v1/passwordless/email/"+name, body, "Authorization", "Bearer "+token, "Content-Type", "application/json")
}

// TestPortalAccessLog: a secret that a client puts into the address by mistake is
// not in the access log.
func TestPortalAccessLog(t *testing.T) {
	w := newWorld(t)
	w.load(strings.Replace(portalAndSite, "email_auth_portal {", "log {\noutput file $FOLDER/portal.log\n}\nemail_auth_portal {", 1), "")
	app := w.visit("http://login.localhost:" + w.port)
	app.get("/.auth/link?token=CANARY").want(t, http.StatusNotFound)
	app.get("/oauth/token?CLIENT_SECRET=CANARY").want(t, http.StatusMethodNotAllowed)
	app.get("/api/v1/passwordless/email/send?access_token=CANARY").want(t, http.StatusMethodNotAllowed)
	app.get("/api/v1/passwordless/email/verify?auth_request_id=x&code=CANARY").want(t, http.StatusMethodNotAllowed)
	app.get("/seen").want(t, http.StatusNotFound)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(w.folder, "portal.log"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "/seen") || strings.Contains(string(log), "CANARY") {
		t.Errorf("the access log:\n%s", log)
	}
}
