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
				redir * /.auth/sign-in?return_to={http.request.uri_escaped} 303
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
	v.Navigate("/report?a=b&c=d").WantRedirect(t, "/.auth/sign-in?return_to=%2Freport%3Fa%3Db%26c%3Dd")
	v.Fetch("/admin").WantRedirect(t, "/.auth/sign-in?return_to=%2Fadmin")
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
	v.Navigate("/report").WantRedirect(t, "/.auth/sign-in?return_to=%2Freport")
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
		request, err := http.NewRequest(http.MethodGet, server.Plain("localhost")+"/.auth/check", nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(more); i += 2 {
			request.Header.Add(more[i], more[i+1])
		}
		if host != "" {
			request.Header.Set("X-Forwarded-Host", host)
		}
		request.Header.Set("X-Forwarded-Proto", "https")
		request.Header.Set("Cookie", postern.SessionCookie+"="+v.Cookie(postern.SessionCookie))
		return visitor(t, server).Do(request)
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
