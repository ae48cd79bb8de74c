package caddymodule_test

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// echo is a handler behind ours that shows what it sees.
const echo = `respond "id={http.auth.user.id} email={http.auth.user.email} groups={http.auth.user.groups} method={http.auth.user.method} remote={header.Remote-User} own={header.X-Own} path={path}"`

// nobody is how Caddy leaves placeholders that nobody has set.
const nobody = "id={http.auth.user.id} email={http.auth.user.email} groups={http.auth.user.groups} method={http.auth.user.method}"

func TestWhatLaterHandlersSee(t *testing.T) {
	w := newWorld(t)
	w.load(`http://localhost:$PORT {
		email_auth /in* group:staff {
			header X-Own "<{http.auth.user.email}|{http.auth.user.groups}|{http.auth.user.method}|{http.request.header.X-Said}>"
		}
		`+echo+`
	}`, "group staff ann@example.com *@example.org\ngroup guests *@example.com")
	v := w.visit("http://localhost:" + w.port)
	v.get("/out", "X-Own", "me", "Remote-User", "eve", "Remote_User", "eve").want(t, http.StatusOK).
		wantText(t, nobody+" remote= own= path=/out")
	v.get("/in").want(t, http.StatusSeeOther)
	v.signIn("Ann@Example.com", "mails")
	v.get("/in", "X-Own", "me", "X-Said", "{env.HOME}").want(t, http.StatusOK).
		wantText(t, "id=ann@example.com email=ann@example.com groups=staff,guests method=code remote=ann@example.com own=<ann@example.com|staff,guests|code|{env.HOME}> path=/in")
	v.get("/out", "X-Own", "me").want(t, http.StatusOK).wantText(t, nobody+" remote= own= path=/out")

	// A link says so.
	v.ask("bob@example.org")
	link := w.mail("mails", "bob@example.org").link
	_, path, _ := strings.Cut(link, w.port)
	v.get(path, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "none").want(t, http.StatusSeeOther)
	v.get("/in").want(t, http.StatusOK).wantText(t, "id=bob@example.org email=bob@example.org groups=staff method=link")
}

func TestReloadKeepsState(t *testing.T) {
	w := newWorld(t)
	site := "http://localhost:$PORT {\nemail_auth %s\n" + echo + "\n}"
	w.load(fmt.Sprintf(site, "*@example.com"), "")
	ann, bob := w.visit("http://localhost:"+w.port), w.visit("http://localhost:"+w.port)
	ann.signIn("ann@example.com", "mails")
	id := bob.ask("bob@example.com")
	code := w.mail("mails", "bob@example.com").code
	for range 5 {
		w.load(fmt.Sprintf(site, "*@example.com *@example.org"), "expires 5m")
		ann.get("/").want(t, http.StatusOK).wantText(t, "id=ann@example.com")
	}
	bob.do(http.MethodPost, "/.auth/verify", url.Values{"request": {id}, "code": {code}}).want(t, http.StatusSeeOther)
	bob.get("/").want(t, http.StatusOK)

	// Policy is that of the new configuration; sessions stay.
	w.load(fmt.Sprintf(site, "bob@example.com"), "")
	ann.fetch("/").want(t, http.StatusForbidden)
	bob.get("/").want(t, http.StatusOK)
	w.load(fmt.Sprintf(site, "*@example.com"), "")
	ann.get("/").want(t, http.StatusOK)

	// A restart keeps them too.
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	w.load(fmt.Sprintf(site, "*@example.com"), "")
	ann.get("/").want(t, http.StatusOK)
}

func TestReloadThatTakesTheDirectivesAway(t *testing.T) {
	w := newWorld(t)
	w.load("http://localhost:$PORT {\nemail_auth anyone\n"+echo+"\n}", "")
	v := w.visit("http://localhost:" + w.port)
	v.signIn("ann@example.com", "mails")
	w.load("http://localhost:$PORT {\n"+echo+"\n}", "")
	v.get("/").want(t, http.StatusOK).wantText(t, nobody)
	w.load("http://localhost:$PORT {\nemail_auth anyone\n"+echo+"\n}", "")
	v.get("/").want(t, http.StatusOK).wantText(t, "id=ann@example.com")
}

// TestFailedReload shows that whatever fails, whenever it does, the policy, the
// mail settings and the sessions of the configuration before stay in force.
func TestFailedReload(t *testing.T) {
	w := newWorld(t)
	const site = "http://localhost:$PORT {\nemail_auth *@example.com\n" + echo + "\n}"
	const open = "http://localhost:$PORT {\nemail_auth anyone\n" + echo + "\n}"
	w.load(site, "mail_dir $FOLDER/old\nlimit mails 100 1m")
	v := w.visit("http://localhost:" + w.port)
	v.signIn("ann@example.com", "old")

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := os.WriteFile(filepath.Join(w.folder, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// Caddy starts apps in no fixed order, hence the repetitions.
	for i := range 6 {
		for name, reload := range map[string]struct{ sites, auth, want, makesNot string }{
			"at provision":   {open + "\nhttp://localhost:$OTHER {\n@bad header_regexp X ([a\nemail_auth @bad anyone\n}", "mail_dir $FOLDER/new", "error parsing regexp", ""},
			"a port in use":  {open + "\nhttp://localhost:" + portOf(taken) + " {\nrespond hello\n}", "mail_dir $FOLDER/new", "address already in use", ""},
			"mails nowhere":  {open, "mail_dir $FOLDER/file", "is not a folder", ""},
			"another store":  {open, "mail_dir $FOLDER/never\nstore badger $FOLDER/elsewhere", "restart Caddy for that", "elsewhere"},
			"and mails":      {open, "mail_dir $FOLDER/never\nstore badger $FOLDER/deep/er/elsewhere", "restart Caddy for that", "never"},
			"deep":           {open, "store badger $FOLDER/deep/er/elsewhere", "restart Caddy for that", "deep"},
			"store a file":   {open, "mail_dir $FOLDER/new\nstore badger $FOLDER/file", "is not a folder", ""},
			"default store":  {open, "mail_dir $FOLDER/new\nstore badger", "a reload cannot change the store", ""},
			"a missing file": {open, "mail_dir $FOLDER/new\ngroup staff file $FOLDER/nosuch", "nosuch", ""},
		} {
			err := w.try(reload.sites, reload.auth)
			if err == nil || !strings.Contains(err.Error(), reload.want) {
				t.Fatalf("%s: error %v, want %q", name, err, reload.want)
			}
			v.get("/").want(t, http.StatusOK).wantText(t, "id=ann@example.com")
			if made, err := os.Stat(filepath.Join(w.folder, reload.makesNot)); reload.makesNot != "" && err == nil {
				t.Fatalf("%s: %s was made", name, made.Name())
			}
		}
		email := fmt.Sprintf("ann%d@example.com", i)
		w.visit("http://localhost:" + w.port).ask("eve@elsewhere.example")
		w.visit("http://localhost:"+w.port).signIn(email, "old")
	}
	if names, _ := filepath.Glob(filepath.Join(w.folder, "new", "*.eml")); len(names) > 0 {
		t.Errorf("a configuration that failed has sent mails: %v", names)
	}
	if w.newest("old", "eve@elsewhere.example") != "" {
		t.Error("the policy of a configuration that failed is in force")
	}
	w.load(open, "mail_dir $FOLDER/new")
	w.visit("http://localhost:"+w.port).signIn("sue@elsewhere.example", "new")
}

// TestOneHostInSeveralPlaces has two handle blocks, and two ports, of one host, each
// with a directive: either judges what comes to it alone, yet they are one site.
func TestOneHostInSeveralPlaces(t *testing.T) {
	for name, sites := range map[string]string{
		"handle blocks": `http://localhost:$PORT {
			@one path /.auth/* /one/*
			handle @one {
				email_auth ann@example.com
				` + echo + `
			}
			handle {
				email_auth /two/* bob@example.org {
					header X-Own {http.auth.user.email}
				}
				` + echo + `
			}
		}`,
		"ports": `http://localhost:$PORT {
			email_auth /one/* ann@example.com
			` + echo + `
		}
		http://localhost:$OTHER {
			email_auth /two/* bob@example.org {
				header X-Own {http.auth.user.email}
			}
			` + echo + `
		}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.load(sites, "limit mails 100 1m")
			ann, bob := w.visit("http://localhost:"+w.port), w.visit("http://localhost:"+w.port)
			ann.signIn("ann@example.com", "mails")
			ann.get("/one/x", "X-Own", "spoofed").want(t, http.StatusOK).wantText(t, "id=ann@example.com").wantText(t, "own= ")
			bob.signIn("bob@example.org", "mails") // is mailed, wherever he asks
			bob.get("/one/x").want(t, http.StatusForbidden)
			two := bob
			if name == "ports" {
				two = w.visit("http://localhost:" + w.other)
				two.client.Jar = bob.client.Jar
			}
			two.get("/two/x").want(t, http.StatusOK).wantText(t, "own=bob@example.org")
		})
	}
}

// TestFurtherDirective has a request come to a second directive after a rewrite: it
// judges what an application may take for a path of its own.
func TestFurtherDirective(t *testing.T) {
	w := newWorld(t)
	w.load(`http://localhost:$PORT {
		route {
			email_auth *@example.com
			uri strip_prefix /app
			email_auth /admin/* ann@example.com
			`+echo+`
		}
	}`, "limit mails 100 1m")
	ann, bob := w.visit("http://localhost:"+w.port), w.visit("http://localhost:"+w.port)
	ann.signIn("ann@example.com", "mails")
	bob.signIn("bob@example.com", "mails")
	for _, path := range []string{"/app/admin/x", "/app/admin%252fx", "/app/admin./x", "/app//admin/x", "/app/x/..;/admin/x"} {
		ann.get(path).want(t, http.StatusOK)
		bob.get(path).want(t, http.StatusForbidden)
	}
	bob.get("/app/x").want(t, http.StatusOK)
}

// TestOriginOfOuterDirective has a directive with an exact origin around one of
// another host: what the inner one sets is kept from clients.
func TestOriginOfOuterDirective(t *testing.T) {
	w := newWorld(t)
	w.load(`http://:$PORT {
		email_auth anyone {
			origin http://localhost:$PORT
		}
		@inner host inner.localhost
		handle @inner {
			email_auth /admin/* ann@example.com {
				header X-Own {http.auth.user.email}
			}
			`+echo+`
		}
		`+echo+`
	}`, "")
	v := w.visit("http://localhost:" + w.port)
	v.signIn("bob@example.com", "mails")
	inner := w.visit("http://inner.localhost:" + w.port)
	for _, cookie := range v.client.Jar.Cookies(&url.URL{Scheme: "http", Host: "localhost"}) {
		inner.header.Add("Cookie", cookie.Name+"="+cookie.Value)
	}
	inner.get("/x", "X-Own", "spoofed").want(t, http.StatusOK).wantText(t, "id=bob@example.com").wantText(t, "own= ")
	inner.get("/admin/x").want(t, http.StatusForbidden)
}

// TestBodyForMatchers: a matcher that reads the body leaves it to the application.
func TestBodyForMatchers(t *testing.T) {
	w := newWorld(t)
	w.load(`http://localhost:$PORT {
		@secret vars {http.request.body} secret
		email_auth @secret anyone
		rewrite /old/* /new{uri}
		respond "{http.request.body}|{path}"
	}`, "")
	v := w.visit("http://localhost:" + w.port)
	for path, want := range map[string]string{"/a": "/a", "/a//b": "/a//b", "/a.": "/a.", "/a%2561": "/a%61", "/old/x": "/new/old/x"} {
		v.doBody("POST", path, "open").want(t, http.StatusOK).wantText(t, "open|"+want)
		if got := v.doBody("POST", path, "secret"); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: status %d", path, got.StatusCode)
		}
	}
}

// TestWildcardAndExactOnPorts: a site that names a host does not take it from a
// wildcard of another server.
func TestWildcardAndExactOnPorts(t *testing.T) {
	w := newWorld(t)
	w.load(`http://*.lab.localhost:$PORT {
		bind 0.0.0.0
		email_auth bob@example.com {
			origin http://*.lab.localhost:$PORT
		}
		`+echo+`
	}
	http://a.lab.localhost:$OTHER {
		bind 0.0.0.0
		email_auth ann@example.com
		`+echo+`
	}`, "limit mails 100 1m")
	bob, ann := w.visit("http://a.lab.localhost:"+w.other), w.visit("http://a.lab.localhost:"+w.port)
	bob.signIn("bob@example.com", "mails") // is mailed at either port
	ann.signIn("ann@example.com", "mails")
	bob.get("/").want(t, http.StatusForbidden)
	ann.get("/").want(t, http.StatusForbidden)
	at := w.visit("http://a.lab.localhost:" + w.port)
	at.client.Jar = bob.client.Jar
	at.get("/").want(t, http.StatusOK).wantText(t, "id=bob@example.com")
}

// TestMatchersFailClosed: what a matcher cannot read, or an application may read as
// something else, is protected.
func TestMatchersFailClosed(t *testing.T) {
	w := newWorld(t)
	w.load(`http://localhost:$PORT {
		@query query page=admin
		email_auth @query anyone
		email_auth @expression anyone
		@expression expression {path}.startsWith("/admin")
		@odd not path *.css /public* /
		email_auth @odd anyone
		`+echo+`
	}
	http://:$OTHER {
		@host host admin.example.com
		email_auth @host anyone {
			origin https://*.example.com
		}
		`+echo+`
	}`, "")
	v := w.visit("http://localhost:" + w.port)
	for path, open := range map[string]bool{
		"/public?page=other": true, "/public?x=%41": true, "/public.css": true, "/": true,
		"/?page=admin": false, "/?page=admin&x=%zz": false, "/?page=admin&a;b": false, "/?page=admin;": false, "/?page=admin%": false, "/?x=%zz": false,
		"/admin": false, "/admin.css": false, "/%61dmin.css": false, "/%2561dmin.css": false, "//admin.css": false, "/admin%23.css": false, "/admin%3f.css": false, "/x%3f.css": false,
	} {
		if got := v.fetch(path).StatusCode; (got == http.StatusOK) != open {
			t.Errorf("%s: status %d, want it open: %v", path, got, open)
		}
	}
	for host, open := range map[string]bool{"other.example.com": true, "admin.example.com": false, "ADMIN.example.com": false, "admin.example.com.": false, "ADMIN.example.com.:80": false} {
		request, err := http.NewRequest("GET", "http://localhost:"+w.other+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if (response.StatusCode == http.StatusOK) != open {
			t.Errorf("host %s: status %d, want it open: %v", host, response.StatusCode, open)
		}
	}
}

func portOf(listener net.Listener) string {
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

func TestValidateBesideTheServer(t *testing.T) {
	w := newWorld(t)
	const site = "http://localhost:$PORT {\nemail_auth *@example.com\n" + echo + "\n}"
	w.load(site, "mail_dir $FOLDER/old")
	v := w.visit("http://localhost:" + w.port)
	v.signIn("ann@example.com", "old")
	for _, auth := range []string{"mail_dir $FOLDER/new", "mail_dir $FOLDER/new\nstore badger $FOLDER/elsewhere"} {
		if err := check(w.caddyfile(site, auth)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"new", "elsewhere"} {
		if _, err := os.Stat(filepath.Join(w.folder, name)); err == nil {
			t.Errorf("validating made the folder %s", name)
		}
	}
	v.get("/").want(t, http.StatusOK)
	w.visit("http://localhost:"+w.port).signIn("bob@example.com", "old")
}

func TestFolderModes(t *testing.T) {
	w := newWorld(t)
	w.load("http://localhost:$PORT {\nemail_auth anyone\n}", "")
	w.visit("http://localhost:"+w.port).signIn("ann@example.com", "mails")
	err := filepath.Walk(w.folder, func(path string, info os.FileInfo, err error) error {
		if err != nil || path == w.folder {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %s", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestRewrites shows that a matcher is tried on the request as it came and as
// rewrites left it, and that the pages answer whatever rewrites do.
func TestRewrites(t *testing.T) {
	w := newWorld(t)
	w.load(`http://localhost:$PORT {
		rewrite /old* /secret
		rewrite /locked* /plain
		rewrite /tricky /.auth/me
		uri strip_prefix /app
		email_auth /secret* *@example.com
		email_auth /locked* *@example.com
		`+echo+`
	}
	http://localhost:$OTHER {
		rewrite * /index.php?{query}
		email_auth anyone
		`+echo+`
	}`, "")
	v := w.visit("http://localhost:" + w.port)
	for path, protected := range map[string]bool{
		"/secret": true, "/old": true, "/locked": true, "/app/secret": true, "/plain": false, "/": false, "/app/plain": false,
	} {
		want := http.StatusOK
		if protected {
			want = http.StatusSeeOther
		}
		if got := v.get(path); got.StatusCode != want {
			t.Errorf("%s: status %d, want %d", path, got.StatusCode, want)
		}
	}
	if got := v.get("/old?a=b").Header.Get("Location"); got != "/.auth/sign-in?return_to=%2Fold%3Fa%3Db" {
		t.Errorf("Location %q is not that of the request as it came", got)
	}
	v.get("/tricky").want(t, http.StatusNotFound)
	v.signIn("ann@example.com", "mails")
	v.get("/old").want(t, http.StatusOK).wantText(t, "id=ann@example.com").wantText(t, "path=/secret")

	all := w.visit("http://localhost:" + w.other)
	all.get("/.auth/sign-in").want(t, http.StatusOK)
	all.signIn("ann@example.com", "mails")
	all.get("/page?x=1").want(t, http.StatusOK).wantText(t, "path=/index.php")
}

func TestNestingAndSeveralHosts(t *testing.T) {
	w := newWorld(t)
	w.load(`http://a.localhost:$PORT, http://b.localhost:$PORT {
		bind 0.0.0.0
		route {
			handle {
				email_auth ann@example.com
				`+echo+`
			}
		}
	}
	http://*.lab.localhost:$PORT {
		bind 0.0.0.0
		@one host one.lab.localhost
		handle @one {
			email_auth ann@example.com
			`+echo+`
		}
		@two host two.lab.localhost
		handle @two {
			email_auth bob@example.com
			`+echo+`
		}
		handle {
			respond public
		}
	}`, "limit mails 100 1m")
	for _, host := range []string{"a.localhost", "b.localhost", "one.lab.localhost", "two.lab.localhost"} {
		origin := "http://" + host + ":" + w.port
		v := w.visit(origin)
		if got, want := v.signInURL("/x"), origin+"/.auth/sign-in"; !strings.HasPrefix(got, want) {
			t.Errorf("%s: sign_in_url %q", host, got)
		}
		email := "ann@example.com"
		if host == "two.lab.localhost" {
			email = "bob@example.com"
		}
		v.signIn(email, "mails")
		v.get("/").want(t, http.StatusOK).wantText(t, "id="+email)
		// A session belongs to one site, even where a client sends it to others.
		cookies := v.client.Jar.Cookies(&url.URL{Scheme: "http", Host: host})
		for _, other := range []string{"a.localhost", "b.localhost", "one.lab.localhost"} {
			if other == host {
				continue
			}
			stranger := w.visit("http://" + other + ":" + w.port)
			for _, cookie := range cookies {
				stranger.header.Add("Cookie", cookie.Name+"="+cookie.Value)
			}
			stranger.fetch("/").want(t, http.StatusUnauthorized)
		}
	}
	w.visit("http://three.lab.localhost:"+w.port).get("/").want(t, http.StatusOK).wantText(t, "public")
	// A mail goes to whom the very site would admit.
	w.visit("http://one.lab.localhost:" + w.port).ask("bob@example.com")
	time.Sleep(300 * time.Millisecond)
	if text := w.newest("mails", "bob@example.com"); strings.Contains(text, "one.lab.localhost") {
		t.Error("a mail went to an address that the site does not admit")
	}
}

// TestSitesStayApart has sites whose directives could each be for the hosts of the
// others, by their listener or their origin, were it not for the host matchers
// around them.
func TestSitesStayApart(t *testing.T) {
	for name, sites := range map[string]string{
		"on loopback": `http://a.localhost:$PORT {
			bind 127.0.0.1
			email_auth ann@example.com
			` + echo + `
		}
		http://b.localhost:$PORT {
			bind 127.0.0.1
			email_auth bob@example.com
			` + echo + `
		}`,
		"with a wildcard origin": `http://*.localhost:$PORT {
			bind 0.0.0.0
			@a host a.localhost
			handle @a {
				email_auth ann@example.com {
					origin http://*.localhost:$PORT
				}
				` + echo + `
			}
			@b host b.localhost
			handle @b {
				email_auth bob@example.com {
					origin http://*.localhost:$PORT
				}
				` + echo + `
			}
		}`,
		"beside a fallback": `http://*.localhost:$PORT {
			bind 0.0.0.0
			@a host a.localhost
			handle @a {
				email_auth ann@example.com
				` + echo + `
			}
			handle {
				email_auth bob@example.com {
					origin http://*.localhost:$PORT
				}
				` + echo + `
			}
		}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.load(sites, "")
			for host, email := range map[string]string{"a.localhost": "ann@example.com", "b.localhost": "bob@example.com"} {
				v := w.visit("http://" + host + ":" + w.port)
				v.signIn(email, "mails")
				v.get("/").want(t, http.StatusOK).wantText(t, "id="+email)
			}
		})
	}
}

func TestSeveralDirectives(t *testing.T) {
	w := newWorld(t)
	w.load(`http://localhost:$PORT {
		email_auth /admin* ann@example.com {
			header X-Own admin
		}
		email_auth /a* *@example.com {
			header X-Other {http.auth.user.id}
		}
		`+echo+`
	}`, "")
	ann, bob := w.visit("http://localhost:"+w.port), w.visit("http://localhost:"+w.port)
	ann.signIn("ann@example.com", "mails")
	bob.signIn("bob@example.com", "mails")
	ann.get("/admin").want(t, http.StatusOK).wantText(t, "own=admin")
	bob.fetch("/admin").want(t, http.StatusForbidden)
	bob.get("/about", "X-Own", "admin").want(t, http.StatusOK).wantText(t, "own= ")
	bob.get("/free", "X-Own", "admin").want(t, http.StatusOK).wantText(t, nobody).wantText(t, "own= ")
}

// TestHandlerBetweenDirectives changes in place what the first one has set: what the
// second sets is its own.
func TestHandlerBetweenDirectives(t *testing.T) {
	w := newWorld(t)
	w.load(`http://localhost:$PORT {
		route {
			email_auth *@example.com {
				header X-First first
			}
			request_header Remote-User .+ ""
			email_auth *@example.com {
				header X-Second second
			}
			respond "{header.Remote-User} {header.X-First} {header.X-Second}"
		}
	}`, "")
	v := w.visit("http://localhost:" + w.port)
	v.signIn("ann@example.com", "mails")
	v.get("/").want(t, http.StatusOK).wantText(t, "ann@example.com first second")
}

// TestOrigins are those that mails, programs and assertions are told.
func TestOrigins(t *testing.T) {
	w := newWorld(t)
	w.load(`wiki.example.com {
		email_auth anyone
	}
	https://git.example.com:$OTHER {
		email_auth anyone
	}
	*.example.org {
		email_auth anyone {
			origin https://*.example.org
		}
	}
	https://localhost:$OTHER {
		email_auth anyone
	}
	lab.localhost {
		email_auth anyone
	}`, "")
	for origin, want := range map[string]string{
		"https://wiki.example.com":           "https://wiki.example.com",
		"https://git.example.com:" + w.other: "https://git.example.com:" + w.other,
		"https://a.example.org":              "https://a.example.org",
		"https://b.example.org":              "https://b.example.org",
		"https://localhost:" + w.other:       "https://localhost:" + w.other,
		"https://lab.localhost:" + w.tlsPort: "https://lab.localhost:" + w.tlsPort,
	} {
		v := w.visit(origin)
		if got := v.signInURL("/x"); !strings.HasPrefix(got, want+"/.auth/sign-in") {
			t.Errorf("%s: sign_in_url %q, want %q", origin, got, want)
		}
		v.ask("ann@" + strings.ReplaceAll(strings.TrimPrefix(origin, "https://"), ":", ".p") + ".example")
		link := w.mail("mails", "ann@"+strings.ReplaceAll(strings.TrimPrefix(origin, "https://"), ":", ".p")+".example").link
		if !strings.HasPrefix(link, want+"/.auth/link?token=") {
			t.Errorf("%s: link %q, want %q", origin, link, want)
		}
	}
}

func TestForeignHosts(t *testing.T) {
	w := newWorld(t)
	w.load(`http://:$PORT {
		bind 127.0.0.1
		email_auth anyone
	}
	https:// {
		tls internal {
			on_demand
		}
		email_auth anyone {
			origin https://*.example.com
		}
	}
	http://:$OTHER {
		email_auth anyone {
			origin https://wiki.example.com
		}
	}`, "")
	loopback := w.visit("http://localhost:" + w.port)
	for host, want := range map[string]int{
		"localhost:" + w.port: 401, "127.0.0.1:" + w.port: 401, "app.localhost": 401, "evil.example": 421, "localhost.evil.example": 421, "192.0.2.1": 421,
	} {
		if got := loopback.fetch("/", "Host", host); got.StatusCode != want {
			t.Errorf("loopback, Host %s: status %d, want %d", host, got.StatusCode, want)
		}
	}
	// An exact origin stands for whatever Host a proxy in front sends.
	exact := w.visit("http://10.0.0.7:" + w.other).behindProxy("https")
	if got := exact.signInURL("/x", "Host", "backend.internal"); !strings.HasPrefix(got, "https://wiki.example.com/.auth/") {
		t.Errorf("sign_in_url %q", got)
	}
}

// TestSecure shows when a request counts as secure: TLS here, or a trusted proxy
// that says so and an https origin.
func TestSecure(t *testing.T) {
	w := newWorld(t)
	w.load(`http://:$OTHER {
		email_auth anyone {
			origin https://wiki.example.com
		}
		`+echo+`
	}
	http://wiki.example.com:$PORT {
		email_auth anyone
		`+echo+`
	}
	wiki.example.org {
		email_auth anyone
		`+echo+`
	}`, "limit mails 100 1m")
	// By TLS.
	v := w.visit("https://wiki.example.org")
	wantSecureCookie(t, v.signIn("ann@example.com", "mails"))
	v.get("/").want(t, http.StatusOK)

	// By a trusted proxy. The jar holds no secure cookies for http, so they are
	// carried by hand, as the proxy's browser would.
	proxied := w.visit("http://wiki.example.com:" + w.other).behindProxy("https")
	form := proxied.do(http.MethodPost, "/.auth/sign-in", url.Values{"email": {"bob@example.com"}}).want(t, http.StatusSeeOther)
	proxied.carry(form)
	_, id, _ := strings.Cut(form.Header.Get("Location"), "request=")
	in := proxied.do(http.MethodPost, "/.auth/verify", url.Values{"request": {id}, "code": {w.mail("mails", "bob@example.com").code}}).want(t, http.StatusSeeOther)
	wantSecureCookie(t, in)
	proxied.carry(in)
	proxied.get("/").want(t, http.StatusOK).wantText(t, "id=bob@example.com")

	// The same cookies are worth nothing where the proxy says http, or says
	// nothing, or is not trusted.
	for name, change := range map[string]func(*visitor){
		"says http":   func(v *visitor) { v.header.Set("X-Forwarded-Proto", "http") },
		"says both":   func(v *visitor) { v.header["X-Forwarded-Proto"] = []string{"https", "http"} },
		"is a nobody": func(v *visitor) { v.from = nil; v.header.Set("X-Forwarded-Proto", "https") },
		"is silent":   func(v *visitor) { v.header.Del("X-Forwarded-Proto") },
	} {
		proxied.client.CloseIdleConnections()
		change(proxied)
		if got := proxied.fetch("/"); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("a proxy that %s: status %d, want 401", name, got.StatusCode)
		}
		wantNoCookie(t, proxied.do(http.MethodPost, "/.auth/sign-in", url.Values{"email": {"eve@example.com"}}))
		proxied.behindProxy("https")
	}

	// Plain HTTP elsewhere than on loopback makes no session, and says why, also
	// where a trusted proxy says https, since the site's origin is http.
	plain := w.visit("http://wiki.example.com:" + w.port)
	wantNoCookie(t, plain.do(http.MethodPost, "/.auth/sign-in", url.Values{"email": {"eve@example.com"}}).wantText(t, "HTTPS"))
	plain.get("/").wantNot(t, http.StatusOK)
	wantNoCookie(t, plain.behindProxy("https").do(http.MethodPost, "/.auth/sign-in", url.Values{"email": {"eve@example.com"}}))
}

func (a answer) wantNot(t *testing.T, status int) {
	t.Helper()
	if a.StatusCode == status {
		t.Errorf("%s: status %d", a.Request.URL, status)
	}
}

// carry adds the cookies of an answer to later requests.
func (v *visitor) carry(a answer) {
	for _, cookie := range a.Cookies() {
		v.header.Add("Cookie", cookie.Name+"="+cookie.Value)
	}
}

func wantSecureCookie(t *testing.T, a answer) {
	t.Helper()
	for _, cookie := range a.Cookies() {
		if cookie.Name == "__Host-postern_session" && cookie.Secure && cookie.HttpOnly {
			return
		}
	}
	t.Errorf("no secure session cookie among %v", a.Header["Set-Cookie"])
}

func wantNoCookie(t *testing.T, a answer) {
	t.Helper()
	if a.StatusCode < 400 || len(a.Cookies()) > 0 {
		t.Errorf("%s: status %d with cookies %v on an insecure request", a.Request.URL, a.StatusCode, a.Header["Set-Cookie"])
	}
}

func TestUnixSocket(t *testing.T) {
	w := newWorld(t)
	w.load(`http:// {
		bind unix/$FOLDER/s
		email_auth anyone {
			origin https://wiki.example.com
		}
		`+echo+`
	}`, "")
	v := w.visit("http://wiki.example.com")
	v.network, v.address = "unix", filepath.Join(w.folder, "s")
	v.header.Set("X-Forwarded-Proto", "https")
	v.header.Set("X-Forwarded-For", "192.0.2.7")
	if got := v.signInURL("/"); !strings.HasPrefix(got, "https://wiki.example.com/.auth/") {
		t.Errorf("sign_in_url %q", got)
	}
	form := v.do(http.MethodPost, "/.auth/sign-in", url.Values{"email": {"ann@example.com"}}).want(t, http.StatusSeeOther)
	v.carry(form)
	_, id, _ := strings.Cut(form.Header.Get("Location"), "request=")
	in := v.do(http.MethodPost, "/.auth/verify", url.Values{"request": {id}, "code": {w.mail("mails", "ann@example.com").code}}).want(t, http.StatusSeeOther)
	wantSecureCookie(t, in)
	v.carry(in)
	v.get("/").want(t, http.StatusOK).wantText(t, "id=ann@example.com")
}

// TestSharedOrigin has the origin in one directive of a site: it is the site's.
func TestSharedOrigin(t *testing.T) {
	w := newWorld(t)
	w.load(`http://:$OTHER {
		handle /.auth/* {
			email_auth *@example.com
		}
		handle {
			email_auth ann@example.com {
				origin https://wiki.example.com
			}
			`+echo+`
		}
	}`, "")
	w.visit("http://wiki.example.com:"+w.other).behindProxy("https").do(http.MethodPost, "/.auth/sign-in", url.Values{"email": {"ann@example.com"}}).want(t, http.StatusSeeOther)
	w.load(`http://:$OTHER {
		email_auth /admin* ann@example.com
		email_auth /staff* bob@example.com {
			origin https://wiki.example.com
		}
		`+echo+`
	}`, "limit mails 100 1m")
	w.newest("mails", "ann@example.com")
	v := w.visit("http://wiki.example.com:" + w.other).behindProxy("https")
	for _, path := range []string{"/admin", "/staff"} {
		if got := v.signInURL(path); !strings.HasPrefix(got, "https://wiki.example.com/.auth/") {
			t.Errorf("%s: sign_in_url %q", path, got)
		}
	}
	v.get("/free").want(t, http.StatusOK)
	v.do(http.MethodPost, "/.auth/sign-in", url.Values{"email": {"ann@example.com"}}).want(t, http.StatusSeeOther)
	w.mail("mails", "ann@example.com")
	v.do(http.MethodPost, "/.auth/sign-in", url.Values{"email": {"bob@example.com"}}).want(t, http.StatusSeeOther)
	w.mail("mails", "bob@example.com")
}

// TestMappedHeader gives an application names of its own for addresses: map is
// asked when the header is made.
func TestMappedHeader(t *testing.T) {
	w := newWorld(t)
	w.load(`http://localhost:$PORT {
		map {http.auth.user.email} {app_user} {
			ann@example.com ann
			default ""
		}
		email_auth anyone {
			header X-Own {app_user}
		}
		`+echo+`
	}`, "")
	ann, bob := w.visit("http://localhost:"+w.port), w.visit("http://localhost:"+w.port)
	ann.signIn("ann@example.com", "mails")
	ann.get("/").want(t, http.StatusOK).wantText(t, "own=ann ")
	bob.signIn("bob@example.com", "mails")
	bob.get("/", "X-Own", "ann").want(t, http.StatusOK).wantText(t, "own= ")
}

// TestAccessLog has users in it, no tokens, and no requests that open links.
func TestAccessLog(t *testing.T) {
	w := newWorld(t)
	w.load(`http://localhost:$PORT {
		log {
			output file $FOLDER/access.log
			format filter {
				request>uri query {
					replace token REDACTED
					replace request REDACTED
				}
				request>headers>Referer query {
					replace token REDACTED
				}
				resp_headers>Location query {
					replace request REDACTED
				}
			}
		}
		email_auth anyone
		`+echo+`
	}`, "")
	v := w.visit("http://localhost:" + w.port)
	id := v.ask("ann@example.com")
	v.get("/.auth/code?request="+id, "Referer", v.origin+"/.auth/link?token=SECRET").want(t, http.StatusOK)
	_, path, _ := strings.Cut(w.mail("mails", "ann@example.com").link, w.port)
	v.get(path, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "none").want(t, http.StatusSeeOther)
	v.get("/.auth?token=SECRET").want(t, http.StatusSeeOther) // mistyped
	v.get("/report").want(t, http.StatusOK)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(w.folder, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	log := string(content)
	for text, want := range map[string]bool{
		`"user_id":"ann@example.com"`: true, "/report": true, "request=REDACTED": true, "token=REDACTED": true,
		id: false, "SECRET": false, `"uri":"/.auth/link`: false, `"uri":"/.auth?`: false,
	} {
		if strings.Contains(log, text) != want {
			t.Errorf("%q in the access log: %v, want %v\n%s", text, !want, want, log)
		}
	}
}

// TestNoGlobalOption serves for trying it out: state and mails are in Caddy's
// data folder.
func TestNoGlobalOption(t *testing.T) {
	w := newWorld(t)
	port := freePort(t)
	config, _, err := adapt("{\nadmin off\npersist_config off\n}\nhttp://localhost:" + port + " {\nemail_auth anyone\n" + echo + "\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	w.folder = filepath.Join(caddy.AppDataDir(), "email_auth")
	v := w.visit("http://localhost:" + port)
	v.signIn("ann@example.com", "mail")
	v.get("/").want(t, http.StatusOK).wantText(t, "id=ann@example.com")
	if _, err := os.Stat(filepath.Join(w.folder, "keys.json")); err != nil {
		t.Error(err)
	}
}

// TestHeadersOfAllHandlers has a request come to two handlers, of which neither is
// for it: what either would set is removed from what the client sent.
func TestHeadersOfAllHandlers(t *testing.T) {
	w := newWorld(t)
	host := `"match":[{"host":["localhost"]}]`
	one := `{"handler":"email_auth","allow":["anyone"],"match":[{"path":["/private*"]}]}`
	two := `{"handler":"email_auth","allow":["anyone"],"match":[{"path":["/admin*"]}],"header":[{"field":"X-Own","value":"x"}]}`
	reply := `{"handler":"static_response","body":"own={http.request.header.X-Own} original={http.request.header.X-Original-Url}."}`
	for name, routes := range map[string]string{
		"routes that go on": `{` + host + `,"handle":[` + one + `]},{` + host + `,"handle":[` + two + `]},{"handle":[` + reply + `]}`,
		"the last ends":     `{` + host + `,"handle":[` + one + `]},{` + host + `,"terminal":true,"handle":[` + two + `,` + reply + `]}`,
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			config := `{"admin":{"disabled":true,"config":{"persist":false}},"apps":{
				"email_auth":{"store":{"folder":"` + w.folder + `/store"},"mail_dir":"` + w.folder + `/mails"},
				"http":{"grace_period":"1s","servers":{"srv":{"listen":["127.0.0.1:` + w.port + `"],"automatic_https":{"disable":true},"routes":[` + routes + `]}}}}}`
			if err := caddy.Load([]byte(config), true); err != nil {
				t.Fatal(err)
			}
			v := w.visit("http://localhost:" + w.port)
			v.get("/open", "X-Own", "spoofed", "X-Original-URL", "/admin").want(t, http.StatusOK).wantText(t, "own= original=.")
			v.get("/private").want(t, http.StatusSeeOther)
			v.get("/admin").want(t, http.StatusSeeOther)
		})
	}
}

// TestOneRequestTwoHandlers shows that a request which comes to several handlers
// of ours, or to one twice, is judged by all of them and let through once.
func TestOneRequestTwoHandlers(t *testing.T) {
	w := newWorld(t)
	host := `"match":[{"host":["localhost"]}]`
	auth := `{"handler":"email_auth","allow":["*@example.com"]}`
	second := `{"handler":"email_auth","allow":["ann@example.com"]}`
	reply := `{"handler":"static_response","body":"in={http.auth.user.id} user={http.request.header.Remote-User}"}`
	for name, routes := range map[string]string{
		"routes of one host that go on": `{` + host + `,"handle":[` + auth + `]},{` + host + `,"handle":[` + second + `,` + reply + `]}`,
		"the first goes on":             `{` + host + `,"handle":[` + auth + `]},{` + host + `,"terminal":true,"handle":[` + second + `,` + reply + `]}`,
		"one chain":                     `{` + host + `,"terminal":true,"handle":[` + auth + `,` + second + `,` + reply + `]}`,
		"one alone":                     `{` + host + `,"terminal":true,"handle":[` + second + `,` + reply + `]}`,
		"two sites":                     `{` + host + `,"terminal":true,"handle":[` + second + `,` + reply + `]},{"match":[{"host":["other.localhost"]}],"terminal":true,"handle":[{"handler":"email_auth","allow":["bob@example.com"]}]}`,
		"invoked twice, with a matcher": `{` + host + `,"terminal":true,"handle":[{"handler":"invoke","name":"for all"},{"handler":"invoke","name":"for all"},` + reply + `]}`,
		"invoked twice":                 `{` + host + `,"terminal":true,"handle":[{"handler":"invoke","name":"door"},{"handler":"invoke","name":"door"},` + reply + `]}`,
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			named := ""
			switch {
			case strings.Contains(routes, `"door"`):
				named = `"door":{"handle":[` + second + `]}`
			case strings.Contains(routes, `"for all"`):
				named = `"for all":{"match":[{"path":["/*"]}],"handle":[` + second + `]}`
			}
			config := `{"admin":{"disabled":true,"config":{"persist":false}},"apps":{
				"email_auth":{"store":{"folder":"` + w.folder + `/store"},"mail_dir":"` + w.folder + `/mails","limits":{"mails":{"count":100,"window":"1m"}}},
				"http":{"grace_period":"1s","servers":{"srv":{"listen":["127.0.0.1:` + w.port + `"],"automatic_https":{"disable":true},
				"named_routes":{` + named + `},"routes":[` + routes + `]}}}}}`
			if err := caddy.Load([]byte(config), true); err != nil {
				t.Fatal(err)
			}
			ann, bob := w.visit("http://localhost:"+w.port), w.visit("http://localhost:"+w.port)
			ann.get("/").want(t, http.StatusSeeOther)
			ann.signIn("ann@example.com", "mails")
			ann.get("/").want(t, http.StatusOK).wantText(t, "in=ann@example.com user=ann@example.com")
			bob.get("/", "Remote-User", "ann@example.com").want(t, http.StatusSeeOther)
			if strings.Contains(routes, auth) {
				bob.signIn("bob@example.com", "mails")
				bob.get("/").want(t, http.StatusForbidden)
			}
		})
	}
}
