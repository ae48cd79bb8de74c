package e2e_test

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/postern-auth/postern/e2e/postern"
)

// pathTricks lead from a public path to a protected one, or hide that they do,
// where two parties read a path differently. SECRET is below the protected part.
var pathTricks = func() (targets []string) {
	for _, up := range []string{
		"..", "%2e%2e", ".%2e", "%2E.", "%252e%252e", "%25252e%25252e", "..;", "..;x=y", "%2e%2e;", "..%3b", "..%00", "..%0a", "..%09", "..%20", ".. ", "．．", "%ef%bc%8e%ef%bc%8e", "%u002e%u002e", "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae", "‥", "..%ff", "..\x01",
	} {
		for _, slash := range []string{"/", "%2f", "%5c", `\`, "%252f", "//", "%c0%af", "／", "%u2215", "/;/", "/%00/"} {
			targets = append(targets, "/public"+slash+up+slash+"SECRET", "/public/"+up+slash+"SECRET", "/"+up+slash+"SECRET")
		}
	}
	targets = append(targets,
		"/SECRET", "//SECRET", "///SECRET", "/./SECRET", "/%2fSECRET", "/%2e/SECRET", `/\SECRET`, "/%5cSECRET", "/;/SECRET", "/;x/SECRET", "/%3b/SECRET", "/.;/SECRET", "/%00/SECRET", "/%0a/SECRET", "/SECRET%00", "/SECRET/", "/SECRET/.", "/SECRET/..", "/SECRET%20", "/SECRET%09", "/SECRET;", "/SECRET;.css", "/SECRET/x.css", "/SECRET%23", "/SECRET%3f", "/SECRET.json",
		"/SECRET?/public", "/SECRET?/../public", "/SECRET#/public", "/SECRET%2f..%2f..%2fpublic", "/SECRET/../../public", "/SECRET&/public", "/public?/SECRET", "/public#/SECRET", "/public%3f/../SECRET", "/public%23/../SECRET", "/public/%2e%2e%2fSECRET%3f", "/public;/../SECRET", "/public%3b/../SECRET",
	)
	for i, target := range targets {
		targets[i] = strings.ReplaceAll(target, "SECRET", "admin/secret")
	}
	// The name itself, in other spellings. What reads letters that are encoded
	// twice, or of full width, for others is not promised anything.
	for _, name := range []string{"ADMIN", "Admin", "aDmIn", "%61dmin", "%41dmin", "adm%69n", "admi%6e%2f", "%61%64%6D%69%6E", "adm%00in", "admin%00", "admin%09", "admin;x", "admin%3bx", ".;/admin"} {
		targets = append(targets, "/"+name+"/secret", "//"+name+"/secret", "/public/../"+name+"/secret")
	}
	return targets
}()

// readings are how upstreams may read a path: without parameters, with all kinds
// of slashes, folded, cleaned, and all that decoded once and twice.
func readings(uri string) (all []string) {
	target, _, _ := strings.Cut(uri, "?")
	for range 3 {
		plain := strings.NewReplacer(`\`, "/").Replace(target)
		withoutEnd, _, _ := strings.Cut(plain, "\x00")
		var segments []string
		for segment := range strings.SplitSeq(withoutEnd, "/") {
			segment, _, _ = strings.Cut(segment, ";")
			segments = append(segments, strings.TrimRight(segment, "\t\n"))
		}
		for _, one := range []string{target, plain, strings.Join(segments, "/")} {
			all = append(all, strings.ToLower(path.Clean("/"+one)))
		}
		decoded, err := url.PathUnescape(target)
		if err != nil {
			return all
		}
		target = decoded
	}
	return all
}

// partlyStricter is open to more people than its protected part.
const partlyStricter = `
http://localhost:$HTTP {
	email_auth *@example.com
	email_auth /admin/* ann@example.com
	reverse_proxy $UPSTREAM
}`

// TestPathTricks sends every target, with several methods, to a site with a
// protected part, as a stranger where the rest is public, and as somebody who may
// see the rest alone: the upstream sees none that it could read as protected.
func TestPathTricks(t *testing.T) {
	t.Parallel()
	for _, site := range []struct {
		name, text, email string
		targets           []string // shared with somebody else's: a part of them is enough
	}{
		{"public", partlyPublic, "", pathTricks},
		{"stricter", partlyStricter, "bob@example.com", everyFifth(pathTricks)},
	} {
		t.Run(site.name, func(t *testing.T) {
			t.Parallel()
			server, upstream := start(t, site.text, noLimits)
			cookies := ""
			if site.email != "" {
				visitor := server.Visitor(t, "http://"+hostOf(server))
				visitor.SignIn(site.email)
				visitor.Navigate("/admin/secret").Want(t, http.StatusForbidden)
				cookies = "Cookie: " + visitor.Cookies() + "\n"
			}
			tryPaths(t, server, upstream, site.targets, cookies)
		})
	}
	// The oracle knows what it looks for.
	for _, uri := range []string{"/admin", "/ADMIN/x?y", "/public/%2e%2e/admin", "/public/%252e%252e%252fadmin", `/public\..\admin`, "/public/..;x/admin/y", "/%61dmin"} {
		if found := fmt.Sprint(readings(uri)); !strings.Contains(found, "/admin") {
			t.Errorf("the readings of %q are %s", uri, found)
		}
	}
}

func everyFifth(all []string) (some []string) {
	for i := 0; i < len(all); i += 5 {
		some = append(some, all[i])
	}
	return append(some, "/public", "/public/x%20y?/admin", "/admin;a/x", "/admin%3b/x", "/%2561dmin/x", "/x/..;/admin/x", "/x/%252e%252e/admin/x", "/x/..%5cadmin/x", "/admin./x")
}

// tryPaths sends the targets with the headers and looks at what the upstream saw.
func tryPaths(t *testing.T, server *postern.Server, upstream *postern.Upstream, targets []string, headers string) {
	t.Helper()
	passed := 0
	for _, target := range targets {
		for _, method := range []string{"GET", "POST", "get", "X-OWN"} {
			for _, line := range []string{target, "http://" + hostOf(server) + target} {
				answer := server.Raw(t, method+" "+line+" HTTP/1.1\nHost: "+hostOf(server)+"\n"+headers+"Content-Length: 0\nX-HTTP-Method-Override: GET\nX-Original-URL: /admin/secret\nX-Rewrite-URL: /admin/secret\nConnection: close\n\n")
				if answer.Status >= 500 {
					t.Errorf("%s %q: status %d", method, line, answer.Status)
				}
				if answer.Status == http.StatusOK {
					passed++
				}
			}
		}
	}
	for _, seen := range upstream.Seen() {
		if seen.Header.Get("X-Original-Url")+seen.Header.Get("X-Rewrite-Url") != "" {
			t.Errorf("the upstream was told of another address: %v", seen.Header)
		}
		for _, reading := range readings(seen.URI) {
			if reading == "/admin" || strings.HasPrefix(reading, "/admin/") {
				t.Errorf("the upstream saw %s %q, which may mean %s", seen.Method, seen.URI, reading)
				break
			}
		}
	}
	if passed == 0 {
		t.Error("no path passed: the table tests nothing")
	}
}

// TestOwnPathsStayHere asks for the gateway's own pages by other spellings: the
// upstream gets none of them that it could read as one.
func TestOwnPathsStayHere(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, partlyPublic, noLimits)
	for _, target := range []string{
		"/.auth", "/.auth/", "/.auth/x", "/.auth//", "/.auth//me", "/.auth/./me", "/.auth/../.auth/me", "/.auth/%6de", "/.auth%2fme", "/%2eauth/me", "/%2Eauth/me", "/.%61uth/me", "/./.auth/me", "/x/../.auth/me", "/.auth;/me", "/.auth;x=y/me", "/.auth\\me", `\.auth\me`, "/.auth/me;x", "/.auth/me%00", "/.auth/me?x#y", "/.auth/me/", "/.auth/sign-in/..", "/.auth/%2e%2e/admin/secret", "/.auth/../admin/secret", "/.auth/..%2fadmin", "/.auth%00/me",
	} {
		answer := server.Raw(t, "GET "+target+" HTTP/1.1\nHost: "+hostOf(server)+"\nConnection: close\n\n")
		if answer.Status == http.StatusOK && !strings.Contains(answer.Header.Get("Cache-Control"), "no-store") {
			t.Errorf("%s: status 200 that is not ours", target)
		}
	}
	for _, seen := range upstream.Seen() {
		for _, reading := range readings(seen.URI) {
			if reading == "/.auth" || strings.HasPrefix(reading, "/.auth/") || strings.HasPrefix(reading, "/admin") {
				t.Errorf("the upstream saw %q, which may mean %s", seen.URI, reading)
			}
		}
	}
}
