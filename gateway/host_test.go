package gateway_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/postern-auth/postern/gateway"
)

func TestNormalHost(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"wiki.example.com": "wiki.example.com", "WIKI.Example.COM": "wiki.example.com", "wiki.example.com:8443": "wiki.example.com", "wiki.example.com.": "",
		"wiki.example.com.:443": "", "localhost": "localhost", "127.0.0.1:80": "127.0.0.1", "[::1]": "::1", "[::1]:80": "::1", "[2001:DB8::1]:1": "2001:db8::1",
		"xn--bcher-kva.example": "xn--bcher-kva.example", "a_b.example": "a_b.example", "a:": "a", ":80": "", "": "", "::1": "", "1:2:3": "", "a b": "", "a/b": "",
		"a.example\x00": "", "\u212aelvin.example": "", "bücher.example": "", "a..b": "", ".a": "", "a.example..": "", "[::1": "", "[a]": "", "[127.0.0.1]": "", "[fe80::1%eth0]": "",
		"evil.example@wiki.example.com": "", "wiki.example.com,evil.example": "", strings.Repeat("a", 64) + ".example": "", strings.Repeat("a.", 128): "", "wiki.example.com#": "", "wiki.example.com?": "", `wiki.example.com\`: "",
	} {
		if got := gateway.NormalHost(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestMatchesHost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern, host string
		want          bool
	}{
		{"a.example", "a.example", true}, {"a.example", "b.a.example", false}, {"*.example", "a.example", true}, {"*.example", "b.a.example", false},
		{"*.example", ".example", false}, {"*.example", "example", false}, {"*.example", "a.example.evil", false}, {"*.example", "aexample", false}, {"", "", true},
	} {
		if got := gateway.MatchesHost(test.pattern, test.host); got != test.want {
			t.Errorf("%q, %q: %v", test.pattern, test.host, got)
		}
	}
}

func TestIsLoopbackName(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"localhost": true, "a.localhost": true, "127.0.0.1": true, "127.1.2.3": true, "::1": true, "::ffff:127.0.0.1": true,
		"localhost.example.com": false, "notlocalhost": false, "128.0.0.1": false, "0.0.0.0": false, "::": false, "127.0.0.1.example.com": false, "": false, "192.168.0.1": false,
	} {
		if got := gateway.IsLoopbackName(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}

func TestParseOrigin(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://wiki.example.com": "https://wiki.example.com", "https://WIKI.example.com:443": "https://wiki.example.com", "https://wiki.example.com:8443": "https://wiki.example.com:8443",
		"http://localhost:8080": "http://localhost:8080", "http://127.0.0.1": "http://127.0.0.1", "http://[::1]:80": "http://[::1]", "https://[2001:db8::1]:1": "https://[2001:db8::1]:1",
		"HTTPS://wiki.example.com": "https://wiki.example.com",
	} {
		origin, host, err := gateway.ParseOrigin(text, false)
		if err != nil || origin != want || host == "" || strings.ContainsAny(host, "[]:") != strings.Contains(want, "[") {
			t.Errorf("%q: %q, %q, %v", text, origin, host, err)
		}
	}
	for _, text := range []string{
		"", "wiki.example.com", "http://wiki.example.com", "https://", "https://wiki.example.com/", "https://wiki.example.com/x", "https://wiki.example.com?x", "https://wiki.example.com?",
		"https://wiki.example.com#", "https://ann@wiki.example.com", "ftp://wiki.example.com", "https://*.example.com", "https://wiki.example.com:x", "https:wiki.example.com",
		"https://wiki example.com", "https://\u212aelvin.example", "https:///x", "//wiki.example.com", "https://[fe80::1%25eth0]",
	} {
		if origin, host, err := gateway.ParseOrigin(text, false); err == nil {
			t.Errorf("%q: %q, %q", text, origin, host)
		} else if !strings.Contains(err.Error(), "write it as in") {
			t.Errorf("%q: %v does not say what to write", text, err)
		}
	}
	if origin, host, err := gateway.ParseOrigin("https://*.example.com:8443", true); err != nil || origin != "https://*.example.com:8443" || host != "*.example.com" {
		t.Errorf("a wildcard: %q, %q, %v", origin, host, err)
	}
	for _, text := range []string{"https://*", "https://a.*.example.com", "https://*a.example.com", "https://*.*.example.com"} {
		if origin, _, err := gateway.ParseOrigin(text, true); err == nil {
			t.Errorf("%q: %q", text, origin)
		}
	}
}

func FuzzNormalHost(f *testing.F) {
	for _, in := range []string{"wiki.example.com", "WIKI.example.com.:443", "localhost", "127.0.0.1:80", "[2001:DB8::1]:1", "[::ffff:1.2.3.4]", "[fe80::1%eth0]", "a..b", "bücher.example", "\u212aelvin.example", "a:b:c", "evil@wiki.example.com", "1.2.3", "0x7f.1"} {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		host := gateway.NormalHost(in)
		if host == "" {
			return
		}
		origin := gateway.FormatOrigin("https", host, "8443")
		parsed, err := url.Parse(origin)
		if err != nil || parsed.Hostname() != host || parsed.User != nil || parsed.Path != "" || parsed.RawQuery != "" || parsed.Fragment != "" {
			t.Fatalf("%q gave %q, and that the origin %q: %v, %v", in, host, origin, parsed, err)
		}
		if again := gateway.NormalHost(parsed.Host); again != host {
			t.Errorf("%q gave %q, and that %q", in, host, again)
		}
		if strings.ToLower(host) != host || strings.ContainsAny(host, "/\\@?#% *,;\x00\t\r\n\"<>") {
			t.Errorf("%q gave %q", in, host)
		}
	})
}
