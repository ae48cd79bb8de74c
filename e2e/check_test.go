package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/postern-auth/postern/e2e/postern"
)

// asking is Caddy's forward_auth in front of an application, which asks a site
// that does nothing but sign in. Only /public is for everybody.
const asking = `
http://localhost:$HTTP {
	handle /.auth/check {
		respond 404
	}
	handle /.auth/* {
		reverse_proxy localhost:$HTTPS
	}
	route {
		request_header -Remote-*
		request_header -X-Postern-*
		forward_auth localhost:$HTTPS {
			uri /.auth/check
			copy_headers Remote-User Remote-Email Remote-Groups X-Postern-Jwt-Assertion
			@sign_in status 401
			handle_response @sign_in {
				redir * "/.auth/sign-in?prompt=login&return_to={http.request.uri_escaped}" 303
			}
		}
		reverse_proxy $UPSTREAM
	}
}
http://localhost:$HTTPS {
	@private not path /public*
	email_auth @private *@example.com {
		origin http://localhost:$HTTP
	}
	email_auth /admin* bob@example.com
	respond 404
}
`

func TestForwardAuth(t *testing.T) {
	t.Parallel()
	upstream := postern.StartUpstream(t)
	server := postern.Start(t, postern.Config{Upstream: upstream, Global: behindProxy, Sites: asking, Auth: "group staff *@example.com"})
	v := visitor(t, server)
	v.Navigate("/report?a=b&c=d").WantRedirect(t, "/.auth/sign-in?prompt=login&return_to=%2Freport%3Fa%3Db%26c%3Dd")
	v.Fetch("/admin").WantRedirect(t, "/.auth/sign-in?prompt=login&return_to=%2Fadmin")
	v.Navigate("/public/a").Want(t, http.StatusOK)
	if upstream.Last(t, "/public/a").Header.Get("Remote-User") != "" {
		t.Error("a public page with an identity")
	}
	upstream.WantNone(t, "/report")
	v.SignIn(ann)
	v.Navigate("/report?a=b").Want(t, http.StatusOK)
	v.Submit("/report", nil).Want(t, http.StatusOK)
	seen := upstream.Last(t, "/report?a=b")
	if seen.Get(t, "Remote-User") != ann || seen.Get(t, "Remote-Groups") != "staff" || strings.Count(seen.Get(t, "X-Postern-Jwt-Assertion"), ".") != 2 {
		t.Errorf("the application sees %v", seen.Header)
	}
	v.Navigate("/admin").Want(t, http.StatusForbidden)
	v.Navigate("/public/../admin").Want(t, http.StatusForbidden)
	upstream.WantNone(t, "/admin")
	v.Fetch("/.auth/check").Want(t, http.StatusNotFound)
	v.SignOut()
	v.Navigate("/report").WantRedirect(t, "/.auth/sign-in?prompt=login&return_to=%2Freport")
}

// named is a site that other proxies ask about by name, beside the address at
// which they ask.
const named = `
https://wiki.example.com:$HTTPS {
	tls internal
	email_auth *@example.com
	reverse_proxy $UPSTREAM
}
http://:$HTTP {
	email_auth /x *@example.com {
		origin https://*.example.com:$HTTPS
	}
	respond 404
}
`

// A trusted proxy names the host that it asks about, as Traefik does, which asks
// under a name of its own.
func TestCheckNamesTheHost(t *testing.T) {
	t.Parallel()
	upstream := postern.StartUpstream(t)
	server := postern.Start(t, postern.Config{Upstream: upstream, Global: behindProxy, Sites: named})
	v := server.Visitor(t, server.TLS("wiki.example.com"))
	v.SignIn(ann)
	check := func(host string, more ...string) *postern.Answer {
		more = append(more, "X-Forwarded-Proto", "https", "Cookie", postern.SessionCookie+"="+v.Cookie(postern.SessionCookie))
		if host != "" {
			more = append(more, "X-Forwarded-Host", host)
		}
		return checkAt(t, server, server.Plain("localhost"), more...)
	}
	if got := check("wiki.example.com").Want(t, http.StatusOK).Header.Get("Remote-User"); got != ann {
		t.Errorf("Remote-User is %q", got)
	}
	check("git.example.com").Want(t, http.StatusUnauthorized)
	check("wiki.example.org").Want(t, http.StatusMisdirectedRequest)
	check("").Want(t, http.StatusMisdirectedRequest)
	grpc := []string{"Content-Type", "application/grpc", "X-Forwarded-Host", "other.example.com"}
	check("", grpc...).Want(t, http.StatusUnauthorized)
	check("wiki.example.com, git.example.com").Want(t, http.StatusMisdirectedRequest)
}

// checkAt asks as a trusted proxy does, with header fields and values in turn.
func checkAt(t *testing.T, server *postern.Server, origin string, fields ...string) *postern.Answer {
	t.Helper()
	v := server.Visitor(t, origin)
	request := v.NewRequest(http.MethodGet, "/.auth/check", nil)
	for i := 0; i < len(fields); i += 2 {
		request.Header.Add(fields[i], fields[i+1])
	}
	return v.Do(request)
}

func aboutURI(uri string) []string {
	return []string{"X-Forwarded-Method", "GET", "X-Forwarded-Uri", uri}
}

// Where matchers read more than the target of a request, or the routes change it,
// the directive is for whatever is asked about: what was not here cannot be told
// from what is protected.
func TestCheckOfWhatMatchersCannotTell(t *testing.T) {
	t.Parallel()
	for name, site := range map[string]string{
		"strip_prefix":         "uri strip_prefix /app\nemail_auth /admin* *@example.com",
		"rewrite":              "rewrite /secret /admin\nemail_auth /admin* *@example.com",
		"vars":                 "vars /admin* zone private\n@m vars zone private\nemail_auth @m *@example.com",
		"map":                  "map {path} {zone} {\n/admin private\ndefault public\n}\n@m expression {zone} == \"private\"\nemail_auth @m *@example.com",
		"original address":     "@m expression {http.request.orig_uri.path}.startsWith(\"/admin\")\nemail_auth @m *@example.com",
		"header":               "@m header Upgrade *\nemail_auth @m *@example.com",
		"not header":           "@m not header Upgrade *\nemail_auth @m *@example.com",
		"peer":                 "@m not remote_ip 127.0.0.1 ::1\nemail_auth @m *@example.com",
		"placeholder in path":  "vars where /admin\n@m path {vars.where}\nemail_auth @m *@example.com",
		"changed host":         "request_header Host other.localhost\n@m host other.localhost\nemail_auth @m *@example.com",
		"handle_response":      "route {\nreverse_proxy $UPSTREAM {\n@any status 2xx\nhandle_response @any {\nrewrite * /admin{uri}\n}\n}\nemail_auth /admin* *@example.com\n}",
		"another handle block": "handle /public* {\nrespond ok\n}\nhandle {\nemail_auth *@example.com\n}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := postern.Start(t, postern.Config{Global: behindProxy, Upstream: postern.StartUpstream(t), Sites: "http://localhost:$HTTP {\n" + site + "\nrespond hello\n}\n"})
			for _, uri := range []string{"/admin", "/app/admin", "/secret", "/public"} {
				if a := checkAt(t, server, server.Plain("localhost"), aboutURI(uri)...); a.Status != http.StatusUnauthorized {
					t.Errorf("%s: status %d", uri, a.Status)
				}
			}
		})
	}
}

// Matchers that read the target alone tell public requests from others.
func TestCheckOfPublicPaths(t *testing.T) {
	t.Parallel()
	for name, matcher := range map[string]string{
		"path": "path /admin*", "not path": "not path /public*", "path_regexp": "path_regexp ^/(admin|secret)",
		"query": "query private=*", "method": "method POST", "host": "host wiki.localhost",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sites := "http://localhost:$HTTP, http://wiki.localhost:$HTTP {\nvars a b\nrequest_header X-A b\n@m " + matcher + "\nemail_auth @m *@example.com\nrespond hello\n}\n" +
				"http://git.localhost:$HTTP {\nrewrite /a /b\nrespond hello\n}\n"
			server := postern.Start(t, postern.Config{Global: behindProxy, Sites: sites})
			check := func(host string, status int, fields ...string) {
				t.Helper()
				if a := checkAt(t, server, server.Plain(host), fields...); a.Status != status {
					t.Errorf("%v: status %d, want %d", fields, a.Status, status)
				}
			}
			check("localhost", http.StatusOK, aboutURI("/public?a=b")...)
			check("localhost", http.StatusUnauthorized)
			host, method, uri := "localhost", "GET", "/admin"
			switch name {
			case "query":
				uri = "/public?private=1"
			case "method":
				method = "POST"
			case "host":
				host = "wiki.localhost"
			}
			check(host, http.StatusUnauthorized, "X-Forwarded-Method", method, "X-Forwarded-Uri", uri)
		})
	}
}

// All directives of the host judge, in whatever block they stand, and whichever
// block is asked.
func TestCheckByAllDirectives(t *testing.T) {
	t.Parallel()
	server := postern.Start(t, postern.Config{Global: behindProxy, Auth: "limit mails 10 1m", Sites: `
http://localhost:$HTTP {
	handle /.auth/* {
		email_auth *@example.com
	}
	handle {
		email_auth bob@example.com {
			header X-Where {http.request.uri.path},{http.auth.user.email}
		}
		respond hello
	}
}
http://wiki.w.localhost:$HTTP {
	email_auth *@example.com
	email_auth /admin* bob@example.com
	respond hello
}
http://*.w.localhost:$HTTP {
	email_auth /x* *@example.com
	respond hello
}
`})
	a, b := visitor(t, server), visitor(t, server)
	a.SignIn(ann)
	b.SignIn("bob@example.com")
	check := func(v *postern.Visitor, fields ...string) *postern.Answer {
		return checkAt(t, server, server.Plain("localhost"), append(fields, "Cookie", v.Cookies())...)
	}
	check(a).Want(t, http.StatusForbidden)
	check(a, aboutURI("/report")...).Want(t, http.StatusForbidden)
	check(b).Want(t, http.StatusOK)
	if got := check(b, aboutURI("/report")...).Want(t, http.StatusOK).Header.Get("X-Where"); got != "/report,bob@example.com" {
		t.Errorf("a header field of the request that is asked about: %q", got)
	}
	for _, uri := range []string{"/admin", "/", "/x"} {
		fields := append(aboutURI(uri), "X-Forwarded-Host", "wiki.w.localhost")
		checkAt(t, server, server.Plain("auth.w.localhost"), fields...).Want(t, http.StatusUnauthorized)
		checkAt(t, server, server.Plain("wiki.w.localhost"), fields...).Want(t, http.StatusUnauthorized)
	}
}

// Directives in handle blocks of a wildcard site are for a host as far as requests
// for it can come there.
func TestCheckOfHandlesOfWildcard(t *testing.T) {
	t.Parallel()
	upstream := postern.StartUpstream(t)
	server := postern.Start(t, postern.Config{Global: behindProxy, Upstream: upstream, Sites: `
http://*.localhost:$HTTP {
	@wiki {
		host wiki.localhost
		path /edit/* /docs/* /.auth/*
	}
	handle @wiki {
		email_auth /edit/* ann@example.com
		reverse_proxy $UPSTREAM
	}
	handle {
		email_auth /secret/* bob@example.com {
			origin http://*.localhost:$HTTP
			header X-Webauth-User {http.auth.user.email}
		}
		reverse_proxy $UPSTREAM
	}
}
`})
	origin := server.Plain("wiki.localhost")
	checkAt(t, server, origin, aboutURI("/secret/x")...).Want(t, http.StatusUnauthorized)
	checkAt(t, server, origin, aboutURI("/docs/x")...).Want(t, http.StatusOK)
	v := server.Visitor(t, origin)
	request := v.NewRequest(http.MethodGet, "/docs/x", nil)
	request.Header.Set("X-Webauth-User", "eve@example.com")
	v.Do(request).Want(t, http.StatusOK)
	if got := upstream.Last(t, "/docs/x").Header.Get("X-Webauth-User"); got != "" {
		t.Errorf("a client's X-Webauth-User went upstream: %q", got)
	}
}

// A name of the proxy's own is none that it asks about.
func TestCheckUnderAnotherName(t *testing.T) {
	t.Parallel()
	server := postern.Start(t, postern.Config{Global: behindProxy, Sites: `
http://:$HTTP {
	@wiki host wiki.internal.localhost
	email_auth @wiki *@example.com {
		origin https://wiki.example.com
	}
	respond hello
}
`})
	checkAt(t, server, server.Plain("wiki.internal.localhost"), aboutURI("/x")...).Want(t, http.StatusUnauthorized)
	checkAt(t, server, server.Plain("auth.localhost"), append(aboutURI("/x"), "X-Forwarded-Host", "wiki.example.com")...).Want(t, http.StatusOK)
}

// A link's token is kept out of the access log where another proxy asks about it.
func TestCheckOfLinkIsNotLogged(t *testing.T) {
	t.Parallel()
	server := postern.Start(t, postern.Config{Global: behindProxy, Sites: "http://localhost:$HTTP {\nlog\nemail_auth *@example.com\nrespond hello\n}\n"})
	origin := server.Plain("localhost")
	checkAt(t, server, origin, aboutURI("/.auth/link?token=secretsecret")...).Want(t, http.StatusUnauthorized)
	checkAt(t, server, origin, aboutURI("/report")...).Want(t, http.StatusUnauthorized)
	server.Logs.WaitAccess(t, "/.auth/check")
	if strings.Contains(server.Logs.Text(), "secretsecret") {
		t.Error("the token is in the log")
	}
}

// A wildcard site is not for a host that has a site of its own, whatever blocks
// that has.
func TestWildcardBesideExactSite(t *testing.T) {
	t.Parallel()
	server := postern.Start(t, postern.Config{Global: behindProxy, Sites: `
http://wiki.localhost:$HTTP {
	@private path /secret/* /.auth/*
	handle @private {
		email_auth /secret/* ann@example.com
		respond hello
	}
	handle {
		respond hello
	}
}
http://*.localhost:$HTTP {
	email_auth bob@example.com {
		origin http://*.localhost:$HTTP
	}
	respond hello
}
`})
	v := server.Visitor(t, server.Plain("wiki.localhost"))
	v.Ask("bob@example.com", "/")
	v.SignIn(ann)
	checkAt(t, server, server.Plain("wiki.localhost"), append(aboutURI("/secret/x"), "Cookie", v.Cookies())...).Want(t, http.StatusOK)
	if mails := server.Mails("bob@example.com"); len(mails) != 0 {
		t.Errorf("%d mails for somebody whom the site does not admit", len(mails))
	}
}
