package gateway_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/postern-auth/postern/gateway"
)

var plainPaths = []string{
	"", "/", "*", "/a", "/a/b/", "/a//b", "/.hidden", "/.well-known/acme-challenge/x", "/...", "/a.b/c..d", "/a./b", "/..a", "/a..", "/.auth/sign-in", "/....",
	"/a%20b", "/a%2Fb", "/a%2fb", "/a%25b", "/a%2525b", "/100%25", "/%e2%82%ac", "/%E4%BD%A0%E5%A5%BD", "/a+b", "/a:b@c", "/a=b&c", "/a,b!", "/~user",
	"/a%2eb", "/%2ehidden", "/%2e%2e%2e", "/b%c3%bccher", "/%C3%80.txt", "/你好", "/bücher", "/a%3Fb%23c", "/(x)[y]{z}", "/a%zz", "/%", "/%2", "/%u12",
	"/v1.2.3/x", "/caf%e9", "/%c0%ff", "/%F0%9F%92%A9", "/a%C2%A0b", "/%ef%bc%8ea", "/%EF%BC%9B", "/-", "/a'b",
}

var ambiguousPaths = []string{
	// dot segments as they are
	"/.", "/..", "/./", "/../", "/a/.", "/a/..", "/a/./b", "/a/../b", "/public/../admin", "/a/b/../../..", "..", ".", "../x", "//..//x", "/x/.././y",
	// encoded once
	"/%2e", "/%2E/", "/%2e%2e/", "/.%2e/x", "/%2E./x", "/public/%2e%2e/admin", "/public/%2e%2e%2fadmin", "/public/..%2fadmin", "/public%2f..%2fadmin", "/public/..%5cadmin",
	"/public/%2e%2e%5cadmin", "/public%2f.", "/a%2F%2E%2E", "/%2f..%2f",
	// and again
	"/%252e%252e/", "/%252e%252e%252fadmin", "/public/..%252fadmin", "/%25252e%25252e/x", "/%25%32%65%25%32%65/x", "/%2%35%32%65%2%35%32%65/", "/public/%252E%252e/admin", "/..%25252f",
	"/a/%25" + strings.Repeat("25", 5) + "2e/x", "/a/%25" + strings.Repeat("25", 40) + "2e/x", "/" + strings.Repeat("%25", 4) + "/%25" + strings.Repeat("25", 9) + "41",
	// backslashes
	`/\`, `/a\b`, `/..\admin`, `\..\x`, `\\evil.com`, "/a%5cb", "/a%5Cb", "/a%255cb", "/%25255c", `/.\./x`,
	// parameters
	"/a;b", "/;", "/..;/admin", "/public/..;/admin", "/public/..;x=y/admin", "/public/.;/admin", "/a%3bb", "/a%3Bjsessionid=1", "/a%253bb", "/public/%2e%2e;/admin", "/admin;.css", "/admin;/",
	// control characters
	"/a\x00", "/a%00", "/a%00.css", "/admin%00/../", "/a%0d%0aX:%20y", "/a%0a", "/a\tb", "/%09", "/%7f", "/\x7f", "/%1f", "/%250a", "/%25%30%30", "/a%c2%85b", "/a\u0085", "/.\x00./", "/.%00/",
	"/.%09./x", "/..%00/x", "/..%0a/",
	// overlong UTF-8
	"/%c0%ae%c0%ae/", "/%C0%AE%C0%AE%C0%AFadmin", "/public/%c0%ae./admin", "/public/..%c0%afadmin", "/public/..%C1%9Cadmin", "/%e0%80%ae%e0%80%ae/", "/..%e0%80%afadmin", "/%f0%80%80%ae/",
	"/%f0%80%80%ae%f0%80%80%ae/x", "/%f8%80%80%80%ae/x", "/%fc%80%80%80%80%ae%fc%80%80%80%80%ae/", "/a%c0%bbb", "/a%c0%80b", "/%25c0%25ae/x", "/\xc0\xae\xc0\xae/", "/a%c1%9cb", "/a%e0%81%9cb",
	"/%c0%ae%252e/x", "/%c0%a5%32%65/x",
	// %u of old servers
	"/%u002e/", "/%u002e%u002e/", "/%U002E./x", "/a%u005cb", "/..%u2215admin", "/..%u2216admin", "/%uff0e%uff0e/", "/..%uff0fadmin", "/a%uff3cb", "/a%uff1bb", "/%25u002e/x", "/%u0000", "/..%u002fadmin",
	"/%%32%65/x", "/%%32e/x", "/%u00%32e/x", "/%25%75002e/x", "/..%u005cx",
	// compatibility forms, and what is trimmed or left out by some
	"/．．/", "/%ef%bc%8e%ef%bc%8e/", "/..／admin", "/..%ef%bc%8fadmin", "/‥/x", "/%E2%80%A4%E2%80%A4/x", "/..%20/x", "/%20../x", "/.%20/x", "/.%ff./x", "/..%ff/x", "/%e3%80%82%e3%80%82/x", "/.%c0./x",
	"/..%ef%bc%bcx",
	// with encoding that does not hold
	"/%zz/../x", "/%/%2e%2e/", "/%2/..", "/%u/../", "/%25zz/%2e%2e/",
}

func TestAmbiguousPath(t *testing.T) {
	for _, path := range plainPaths {
		if gateway.AmbiguousPath(path) {
			t.Errorf("AmbiguousPath(%q) = true", path)
		}
	}
	for _, path := range ambiguousPaths {
		if !gateway.AmbiguousPath(path) {
			t.Errorf("AmbiguousPath(%.200q) = false", path)
		}
	}
}

func TestBelowPrefix(t *testing.T) {
	for _, path := range []string{"/.auth", "/.auth/", "/.auth/sign-in", "/.auth//x"} {
		if !gateway.BelowPrefix(path, "/.auth") {
			t.Errorf("BelowPrefix(%q) = false", path)
		}
	}
	for _, path := range []string{"", "/", "/.aut", "/.authx", "/.auth.css", "/.auth-admin/", "/.AUTH/", "/x/.auth/", "//.auth/", "/.auth\\x", "/.auth;x"} {
		if gateway.BelowPrefix(path, "/.auth") {
			t.Errorf("BelowPrefix(%q) = true", path)
		}
	}
}

// naivelyDotted is what an upstream might do: decode as often as it can, take
// every slash for one, and look at the segments.
func naivelyDotted(path string) bool {
	for range 20 {
		for _, segment := range strings.FieldsFunc(path, func(c rune) bool { return c == '/' || c == '\\' }) {
			if name, _, _ := strings.Cut(segment, ";"); name == "." || name == ".." {
				return true
			}
		}
		if strings.ContainsAny(path, "\\;\x00\r\n\t\x7f") {
			return true
		}
		decoded, err := url.PathUnescape(path)
		if err != nil || decoded == path {
			return false
		}
		path = decoded
	}
	return true
}

func FuzzAmbiguousPath(f *testing.F) {
	for _, path := range slices.Concat(plainPaths, ambiguousPaths) {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		found := gateway.AmbiguousPath(path)
		if naivelyDotted(path) && !found {
			t.Errorf("AmbiguousPath(%q) = false", path)
		}
		if found && !gateway.AmbiguousPath(strings.ReplaceAll(path, "%", "%25")) {
			t.Errorf("AmbiguousPath(%q) is true, but not with every %% encoded", path)
		}
	})
}

func BenchmarkAmbiguousPath(b *testing.B) {
	for name, path := range map[string]string{"plain": "/wiki/projects/2024/minutes-of.the.meeting", "encoded": "/wiki/B%C3%BCcher%20und%20mehr", "deep": "/" + strings.Repeat("%2525", 400)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				gateway.AmbiguousPath(path)
			}
		})
	}
}
