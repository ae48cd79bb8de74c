package gateway_test

import (
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/postern-auth/postern/gateway"
)

var userAgents = map[string]string{
	"Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0":                                                                          "Firefox on Linux",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0":                                                                "Firefox on Windows",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36":                                 "Chrome on Windows",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0":                   "Edge on Windows",
	"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36":                                 "Chrome on Android",
	"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36":             "Samsung Internet on Android",
	"Mozilla/5.0 (Android 15; Mobile; rv:143.0) Gecko/143.0 Firefox/143.0":                                                                            "Firefox on Android",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1":         "Safari on iPhone",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/140.0.7339.101 Mobile/15E148 Safari/604.1": "Chrome on iPhone",
	"Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/143.0 Mobile/15E148 Safari/605.1.15":                "Firefox on iPad",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15":                           "Safari on Mac",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 OPR/123.0.0.0":             "Opera on Mac",
	"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36":                                  "Chrome on ChromeOS",
	"curl/8.15.0":      "curl",
	"":                 "an unknown browser",
	"x":                "an unknown browser",
	"Lynx/2.9 (Linux)": "an unknown browser on Linux",
	"firefox/1 linux":  "an unknown browser",
	"<script>alert(1)</script> Firefox/1 \r\nBcc: eve@evil.com": "Firefox",
	strings.Repeat("x", 1<<20) + "Firefox/1 (Linux)":            "an unknown browser",
}

func TestDescribeDevice(t *testing.T) {
	for in, want := range userAgents {
		if got := gateway.DescribeDevice(in); got != want {
			t.Errorf("DescribeDevice(%.200q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzDescribeDevice(f *testing.F) {
	for in := range userAgents {
		if len(in) < 1000 {
			f.Add(in)
		}
	}
	known := regexp.MustCompile(`^(Edge|Opera|Samsung Internet|Vivaldi|Yandex Browser|DuckDuckGo|Firefox|Firefox Focus|Chrome|Chromium|Internet Explorer|Safari|curl|an unknown browser)( on (iPhone|iPad|Android|ChromeOS|Windows|Mac|FreeBSD|OpenBSD|Linux))?$`)
	f.Fuzz(func(t *testing.T, in string) {
		if got := gateway.DescribeDevice(in); !known.MatchString(got) {
			t.Errorf("DescribeDevice(%q) = %q", in, got)
		}
	})
}

func TestNetworkOf(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1":            "192.0.2.1",
		"127.0.0.1":            "127.0.0.1",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"2001:DB8:1:2::":       "2001:db8:1:2::/64",
		"2001:0db8:0001:0002:ffff:ffff:ffff:ffff": "2001:db8:1:2::/64",
		"::1":                                "::/64",
		"fe80::1%eth0":                       "fe80::/64",
		"fe80::1%" + strings.Repeat("x", 99): "fe80::/64",
		"::ffff:192.0.2.1":                   "192.0.2.1",
		"::ffff:c000:201":                    "192.0.2.1",
		"::ffff:192.0.2.1%eth0":              "192.0.2.1",
		"64:ff9b::192.0.2.1":                 "64:ff9b::/64",
		"":                                   "",
		"x":                                  "",
		"192.0.2":                            "",
		"192.0.2.01":                         "",
		"192.0.2.1:80":                       "",
		"192.0.2.1/32":                       "",
		" 192.0.2.1":                         "",
		"[2001:db8::1]":                      "",
		"[2001:db8::1]:443":                  "",
		"2001:db8::/64":                      "",
		"0x7f.1":                             "",
		"@":                                  "",
		"/run/caddy.sock":                    "",
		"１９２.0.2.1":                          "",
	} {
		if got := gateway.NetworkOf(in); got != want {
			t.Errorf("NetworkOf(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzNetworkOf(f *testing.F) {
	for _, in := range []string{"192.0.2.1", "2001:db8:1:2:3:4:5:6", "::ffff:192.0.2.1", "fe80::1%eth0", "192.0.2.1:80", "[::1]", "192.0.2.1, 10.0.0.1", "", "::%\x00"} {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		network := gateway.NetworkOf(in)
		if addr, prefix := net.ParseIP(network), strings.TrimSuffix(network, "/64"); network != "" && addr == nil && net.ParseIP(prefix) == nil {
			t.Errorf("NetworkOf(%q) = %q", in, network)
		}
		if again := gateway.NetworkOf(strings.TrimSuffix(network, "/64")); again != network {
			t.Errorf("NetworkOf(%q) = %q, and of that %q", in, network, again)
		}
	})
}
