package gateway_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/postern-auth/postern/gateway"
)

var keptReturnTos = []string{
	"/", "/a", "/a/b?c=d&e=f", "/?", "/?a", "/a?b?c", "/.auth/", "/.authx", "/.auth-admin/x", "/.AUTH/sign-out", "/x/.auth/sign-out", "/a%20b?c%20d", "/a?u=https://example.com/x", "/a?u=//evil.com",
	"/a?u=/../x", "/a?x=%0d%0a", "/a//b", "/archive/https://example.com/", "/a;v=1/b", "/wiki/C%2B%2B", "/a@b:c", "/@evil.com", "/:80", "/a%5Cb", "/.hidden", "/a..b/...", "/%25", "/a?.auth=/.auth/sign-out",
	"/?return_to=/.auth/sign-out", "/{http.request.host}", "/a|b", "/%E2%82%AC", "/a%2Fb", "/a?%2e%2e/",
}

var lostReturnTos = []string{
	"", " ", "a", "a/b", "?a", "#", ".", "..", "./a", "../a", " /a", "\t/a", "\n/a", "/a ", "/a b", "/a\tb", "/a\nb", "/a\x00", "/a\x7f", "/a#b", "/#", "/a?b#c", "/a?b c", "/a?\r\nSet-Cookie:x=y",
	// other origins
	"//evil.com", "///evil.com", "////evil.com", `/\evil.com`, `\\evil.com`, `\/evil.com`, `/\/evil.com`, `//\evil.com`, "/\t/evil.com", "/\n/evil.com", "/\r/evil.com", "/\r\n/evil.com", "\x00//evil.com", " //evil.com",
	"https://evil.com", "https:evil.com", "https:/evil.com", "HTTPS://host/", "javascript:alert(1)", "data:text/html,x", "//evil.com@host/", "//host/", "//", `/\`, "/\u2028/evil.com\t", "/ /evil.com",
	"/.//evil.com", "/..//evil.com", "/./evil.com", "/../evil.com", "/a/..//evil.com", "/a/../../evil.com", "/%2e//evil.com", "/%2E%2e//evil.com", "/.%2e//evil.com", "/%2e%2e/evil.com", `/.\evil.com`, `/a\..\\evil.com`,
	"/%2fevil.com", "/%2Fevil.com", "/%5cevil.com", "/%5Cevil.com", "/%252fevil.com", "/%255c%255cevil.com", "/%09/evil.com", "/%0a/evil.com", "/%0d%0a/evil.com", "/%00/evil.com", "/%c0%af/evil.com", "/%u002fevil.com",
	"/a/%2e%2e//evil.com", "/a/%252e%252e//evil.com", "/%ef%bc%8fevil.com", "/／evil.com", "/⁄evil.com", `/a\b`, "/;/../x",
	// broken escapes
	"/%", "/%2", "/%zz", "/a%", "/a?b=%", "/a?b=%zz", "/%u0041",
	// pages of the gateway
	"/.auth", "/.auth/sign-out", "/.auth/sign-in", "/.auth/?x", "/.auth/link?token=x", "/.auth?x", "/.auth//", "/.auth/.", "/%2eauth/x", "/%2Eauth/", "/.%61uth/sign-out", "/.auth%2fsign-out", "/.auth%2Fsign-out", "/.auth%5csign-out",
	"/%252eauth/sign-out", "/x/../.auth/sign-out", "/x/%2e%2e/.auth/sign-out", "//.auth", "//.auth/", "/./.auth/x", "/.auth/../.auth/x", `/.auth\sign-out`, `\.auth\x`, "/.auth;x/sign-out", "/.auth;/sign-out", "/.auth%3bx/sign-out",
	"/.auth%00/x", "/．auth/x", "/%ef%bc%8eauth/sign-out", "/%c0%aeauth/x", "/%2f.auth/x", "/.auth%252fsign-out", "/.auth/%2e", "/.auth/#", "/.auth/?",
	// too long
	"/" + strings.Repeat("a", 2048), "/" + strings.Repeat("é", 400), "/?" + strings.Repeat(`\`, 1000),
}

func TestCleanReturnTo(t *testing.T) {
	for _, in := range append(keptReturnTos, "/"+strings.Repeat("a", 2047)) {
		if got := gateway.CleanReturnTo(in, "/.auth"); got != in {
			t.Errorf("CleanReturnTo(%q) = %q, want it kept", in, got)
		}
	}
	for _, in := range lostReturnTos {
		if got := gateway.CleanReturnTo(in, "/.auth"); got != "/" {
			t.Errorf("CleanReturnTo(%.80q) = %.80q, want /", in, got)
		}
	}
	for in, want := range map[string]string{
		"/bücher":       "/b%C3%BCcher",
		"/a?q=ü":        "/a?q=%C3%BC",
		"/a?q=\xff":     "/a?q=%FF",
		"/a\xff":        "/a%FF",
		`/a?q=c:\d`:     "/a?q=c:%5Cd",
		"/a?q=\u2028":   "/a?q=%E2%80%A8",
		"/a?q=\u202e＠x": "/a?q=%E2%80%AE%EF%BC%A0x",
	} {
		if got := gateway.CleanReturnTo(in, "/.auth"); got != want {
			t.Errorf("CleanReturnTo(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestCleanReturnToOtherPrefix(t *testing.T) {
	for in, want := range map[string]string{
		"/auth/gate/":        "/auth/gate/",
		"/auth/gate/x":       "/",
		"/auth/g%61te/x":     "/",
		"/auth%2fgate/x":     "/",
		"/auth;x/gate;y/z":   "/",
		"/auth/":             "/auth/",
		"/auth/gates":        "/auth/gates",
		"/.auth/sign-out":    "/.auth/sign-out",
		"/auth/x/../gate/me": "/",
	} {
		if got := gateway.CleanReturnTo(in, "/auth/gate"); got != want {
			t.Errorf("CleanReturnTo(%q) = %q, want %q", in, got, want)
		}
	}
}

// browserPath resolves a reference against https://host/ as the URL parser of
// the WHATWG URL standard does, as far as a reference without a scheme goes:
// the origin that it leads to, and the path after removing dot segments.
func browserPath(ref string) (origin, path string) {
	ref = strings.TrimFunc(ref, func(c rune) bool { return c <= ' ' })
	ref = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(ref)
	ref, _, _ = strings.Cut(ref, "#")
	if scheme, _, found := strings.Cut(ref, ":"); found && scheme != "" && !strings.ContainsAny(scheme, `/\?`) {
		return "another scheme", ""
	}
	ref, _, _ = strings.Cut(ref, "?")
	ref = strings.ReplaceAll(ref, `\`, "/")
	if strings.HasPrefix(ref, "//") {
		return strings.TrimLeft(ref, "/"), ""
	}
	var kept []string
	segments := strings.Split(strings.TrimPrefix(ref, "/"), "/")
	for i, segment := range segments {
		last := i == len(segments)-1
		switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
		case "..":
			kept = kept[:max(0, len(kept)-1)]
			if last {
				kept = append(kept, "")
			}
		case ".":
			if last {
				kept = append(kept, "")
			}
		default:
			kept = append(kept, segment)
		}
	}
	return "host", "/" + strings.Join(kept, "/")
}

func TestBrowserPath(t *testing.T) {
	for ref, want := range map[string]string{"/a": "host", "//evil.com": "evil.com", `/\evil.com`: "evil.com", "/\t/evil.com": "evil.com", " //evil.com": "evil.com", "https:evil.com": "another scheme"} {
		if origin, _ := browserPath(ref); origin != want {
			t.Errorf("the test's own parser takes %q to %q, want %q", ref, origin, want)
		}
	}
	if _, path := browserPath("/x/%2E./.auth/./me"); path != "/.auth/me" {
		t.Errorf("the test's own parser resolves to %q", path)
	}
}

func FuzzCleanReturnTo(f *testing.F) {
	for _, in := range slices.Concat(keptReturnTos, lostReturnTos) {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got := gateway.CleanReturnTo(in, "/.auth")
		if again := gateway.CleanReturnTo(got, "/.auth"); again != got {
			t.Errorf("%q gave %q, and that %q", in, got, again)
		}
		if len(got) > 2048 || got == "" || got[0] != '/' {
			t.Fatalf("%q gave %q", in, got)
		}
		for i := range len(got) {
			if c := got[i]; c <= ' ' || c >= 0x7f || c == '\\' || c == '#' {
				t.Errorf("%q gave %q", in, got)
			}
		}
		origin, path := browserPath(got)
		if origin != "host" || strings.HasPrefix(path, "//") {
			t.Errorf("%q gave %q, which leads to %q %q", in, got, origin, path)
		}
		base := &url.URL{Scheme: "https", Host: "host", Path: "/"}
		ref, err := base.Parse(got)
		if err != nil || ref.Host != "host" || ref.Scheme != "https" || ref.User != nil {
			t.Errorf("%q gave %q: %v, %v", in, got, ref, err)
			return
		}
		if gateway.BelowPrefix(ref.Path, "/.auth") && got != "/.auth/" {
			t.Errorf("%q gave %q, below the prefix", in, got)
		}
	})
}
