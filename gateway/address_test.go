package gateway_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"

	"github.com/postern-auth/postern/gateway"
)

func TestParseAddressAccepts(t *testing.T) {
	long := strings.Repeat("a", 64)
	label := strings.Repeat("b", 63)
	tests := map[string]string{
		"ann@example.com":                      "ann@example.com",
		"  Ann@Example.COM\t":                  "ann@example.com",
		"ANN.B.C+Tag@EXAMPLE.co.uk":            "ann.b.c+tag@example.co.uk",
		"o'brien@example.com":                  "o'brien@example.com",
		"!#$%&'*+-/=?^_`{|}~@example.com":      "!#$%&'*+-/=?^_`{|}~@example.com",
		"1@2.example":                          "1@2.example",
		"-@example.com":                        "-@example.com",
		"+tag@example.com":                     "+tag@example.com",
		"ann@ex--ample.com":                    "ann@ex--ample.com",
		"ann@a.b":                              "ann@a.b",
		"ann@3com.com":                         "ann@3com.com",
		"ann@bücher.example":                   "ann@xn--bcher-kva.example",
		"ann@xn--bcher-kva.example":            "ann@xn--bcher-kva.example",
		"ann@XN--BCHER-KVA.example":            "ann@xn--bcher-kva.example",
		"ann@Bücher.example":                   "ann@xn--bcher-kva.example",
		"ann@BÜCHER.Example":                   "ann@xn--bcher-kva.example",
		"ann@bu\u0308cher.example":             "ann@xn--bcher-kva.example",
		"ann@BU\u0308CHER.example":             "ann@xn--bcher-kva.example",
		"ann@straße.example":                   "ann@xn--strae-oqa.example",
		"ann@Straße.example":                   "ann@xn--strae-oqa.example",
		"ann@οδος.example":                     "ann@xn--pxavbm.example",
		"ann@οδοσ.example":                     "ann@xn--pxavbq.example",
		"ann@Οδος.example":                     "ann@xn--pxavbm.example",
		"ann@Пример.РФ":                        "ann@xn--e1afmkfd.xn--p1ai",
		"ann@\u1112\u1161\u11ab.example":       "ann@xn--6q8b.example",
		"ann@\u0915\u093c.example":             "ann@xn--11b2f.example",
		"ann@\u0958.example":                   "ann@xn--11b2f.example",
		"ann@Ꭰ.example":                        "ann@xn--58d.example",
		"ann@例え.テスト":                           "ann@xn--r8jz45g.xn--zckzah",
		"ann@пример.рф":                        "ann@xn--e1afmkfd.xn--p1ai",
		"ann@אבג.example":                      "ann@xn--4dbcd.example",
		long + "@example.com":                  long + "@example.com",
		"ann@" + label + ".com":                "ann@" + label + ".com",
		"a@" + strings.Repeat("b.", 125) + "c": "a@" + strings.Repeat("b.", 125) + "c", // 253
	}
	for in, want := range tests {
		if got, err := gateway.ParseAddress(in); err != nil || got != want {
			t.Errorf("ParseAddress(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

var refusedAddresses = []string{
	"", " ", "@", "ann", "ann@", "@example.com", "ann@@example.com", "ann@example@com",
	// more than one, or more than an address
	"ann@example.com,eve@evil.com", "ann@example.com;eve@evil.com", "ann@example.com eve@evil.com", "ann@example.com, ", "Ann <ann@example.com>",
	"<ann@example.com>", "ann@example.com (comment)", "(c)ann@example.com", "mailto:ann@example.com", "ann@example.com>", "ann@example.com?cc=eve",
	"group:ann@example.com", "a:ann@example.com;", "ann@example.com\x00", "ann@example.com%0d%0aRCPT TO:<eve@evil.com>",
	// quotes
	`"ann"@example.com`, `"a@evil.com"@example.com`, `"a b"@example.com`, `a"b"c@example.com`, `"@example.com`, `ann\@example.com`, `ann\@evil.com@example.com`,
	`"ann@evil.com"@example.com`, "\"\"@example.com", `'ann@evil.com'@example.com`,
	// line breaks, blanks and control characters
	"ann@example.com\r\n", "\nann@example.com", "ann\r\n@example.com", "ann@example.com\r\nBcc: eve@evil.com", "ann@exa\tmple.com", "an n@example.com",
	"ann @example.com", "ann@ example.com", "ann@example .com", "ann@example.com\v", "ann@example.com\f", "\x00ann@example.com", "ann\x7f@example.com",
	// dots
	".ann@example.com", "ann.@example.com", "a..b@example.com", "ann@.example.com", "ann@example..com", "ann@example.com.", "ann@.", "ann@..",
	// domains
	"ann@localhost", "ann@example", "ann@-example.com", "ann@example-.com", "ann@exa_mple.com", "ann@*.example.com", "ann@exam!ple.com", "ann@example.com:25",
	"ann@example.com/x", "ann@ex%61mple.com", "ann@" + strings.Repeat("b", 64) + ".com", "ann@xn--.com", "ann@xn--a.com", "ann@xn--bcher-kva-.com",
	"ann@xn--abc-.com", "ann@xn--80ak6aa92e-.com", "ann@xn--zzzzzzzzzzzzzz.com", "ann@xn--BÜcher.com", "ann@xn--a-ecp.com",
	// addresses of hosts
	"ann@127.0.0.1", "ann@[127.0.0.1]", "ann@[IPv6:::1]", "ann@::1", "ann@1.2", "ann@example.1", "ann@127.1", "ann@127.0.0.0x1", "ann@0x7f.1", "ann@example.0x",
	"ann@2130706433", "ann@１２７.0.0.1",
	// characters that look like others, or vanish
	"ann＠example.com", "ann﹫example.com", "ann@evil.com＠example.com", "ann@example。com", "ann@example．com", "ann@example｡com", "ann@sub。example.com",
	"ann@example\u2024com", "ann@\u212Aids.example", "an\u212A@example.com", "ann@\u017Fite.example", "\u017Fam@example.com", "ann@ｅxample.com", "ann@ex\u00adample.com",
	"ann@exam\u200bple.com", "ann@exam\u200dple.com", "ann@exam\u200cple.com", "\u202eann@example.com", "ann@example.com\u202e", "ann\u00a0@example.com", "\u00a0ann@example.com",
	"\ufeffann@example.com", "ann@example.com\u2028", "ann@ﬁ.example", "ann@①.example", "ann@ℂ.example", "ann@a\u0300.\u0300b.example",
	"ann@ΟΔΟΣ.example", "ann@Σ.example", "ann@STRAẞE.example", "ann@İ.example", "ann@I\u0307x.example", "ann@\u212Aöln.example", "ann@KÖLN\u212A.example", "ann@\u212Bng.example",
	"ann@\u2126.example", "ann@ϴ.example", "ann@ＢÜCHER.example", "ann@BÜCHER。example", "ann@BÜ\u00adCHER.example", "ann@BÜ\u200dCHER.example", "ann@BÜ\u200bCHER.example",
	"ann@BÜﬁ.example", "ann@BÜ\u017Fe.example", "ann@Ⅷü.example", "ann@①ü.example", "ann@\U0001D401ü.example", "ann@\uf900.example", "ann@xn--BÜCHER.example", "ann@\u0308u.example",
	"ann@ǅü.example", "ÄNN@example.com", "a\u0308nn@example.com",
	"änn@example.com", "аnn@example.com", "ann@exam\xffple.com", "ann\xc0\xae@example.com", "ann@אa.example",
	// lengths
	strings.Repeat("a", 65) + "@example.com", "a@" + strings.Repeat("b.", 126) + "c", strings.Repeat("a", 64) + "@" + strings.Repeat("b.", 95) + "c",
	"ann@" + strings.Repeat("ü", 60) + ".example", strings.Repeat("a", 1<<20), "a@" + strings.Repeat("ü", 1<<20) + ".com",
}

func TestParseAddressRefuses(t *testing.T) {
	for _, in := range refusedAddresses {
		if got, err := gateway.ParseAddress(in); !errors.Is(err, gateway.ErrAddress) || got != "" {
			t.Errorf("ParseAddress(%.80q) = %q, %v; want ErrAddress", in, got, err)
		}
	}
}

func TestParseAddressLengths(t *testing.T) {
	local := strings.Repeat("a", 64) + "@"
	domain := strings.Repeat("b", 61) + "." + strings.Repeat("c", 63) + "." + strings.Repeat("d", 60) + ".ee" // 189
	if len(local+domain) != 254 {
		t.Fatalf("the test's address has %d characters", len(local+domain))
	}
	if _, err := gateway.ParseAddress(local + domain); err != nil {
		t.Errorf("254 characters: %v", err)
	}
	if _, err := gateway.ParseAddress(local + "x." + domain[1:] + "e"); err == nil {
		t.Error("more than 254 characters were accepted")
	}
	if _, err := gateway.ParseAddress(local + domain + "e"); err == nil {
		t.Error("255 characters were accepted")
	}
}

func TestParseDomain(t *testing.T) {
	for in, want := range map[string]string{"example.com": "example.com", " EXAMPLE.com ": "example.com", "bücher.example": "xn--bcher-kva.example", "BÜCHER.example": "xn--bcher-kva.example"} {
		if got, err := gateway.ParseDomain(in); err != nil || got != want {
			t.Errorf("ParseDomain(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "com", "*.example.com", "@example.com", "example.com.", ".example.com", "127.0.0.1", "[::1]", "a@b.example", "example。com",
		"exa mple.com", "example.com\n", "*", "\u212Aids.example", strings.Repeat("b.", 127) + "cc", strings.Repeat("ü", 1<<20)} {
		if got, err := gateway.ParseDomain(in); !errors.Is(err, gateway.ErrAddress) || got != "" {
			t.Errorf("ParseDomain(%.80q) = %q, %v; want ErrAddress", in, got, err)
		}
	}
}

func TestSplitAddressAndLimitKey(t *testing.T) {
	if local, domain := gateway.SplitAddress("ann@example.com"); local != "ann" || domain != "example.com" {
		t.Errorf("SplitAddress = %q, %q", local, domain)
	}
	tests := map[string]string{
		"ann@example.com":       "ann@example.com",
		"ann+x@example.com":     "ann@example.com",
		"ann+x+y@example.com":   "ann@example.com",
		"ann+@example.com":      "ann@example.com",
		"+x@example.com":        "+x@example.com",
		"++@example.com":        "++@example.com",
		"a.n.n@example.com":     "a.n.n@example.com",
		"ann-x@example.com":     "ann-x@example.com",
		"ann+x@ex-am.ple.co.uk": "ann@ex-am.ple.co.uk",
	}
	for in, want := range tests {
		if got := gateway.LimitKey(in); got != want {
			t.Errorf("LimitKey(%q) = %q, want %q", in, got, want)
		}
	}
}

// readDomain is the domain of an address as a person reads it, composed.
func readDomain(t *testing.T, address string) string {
	_, domain, _ := strings.Cut(strings.Trim(address, " \t"), "@")
	labels := strings.Split(domain, ".")
	for i, label := range labels {
		read, err := idna.Punycode.ToUnicode(strings.ToLower(label))
		if err != nil {
			t.Errorf("%q: %v", address, err)
		}
		labels[i] = norm.NFC.String(read)
	}
	return strings.Join(labels, ".")
}

func FuzzParseAddress(f *testing.F) {
	for _, in := range refusedAddresses {
		if len(in) < 1000 {
			f.Add(in)
		}
	}
	for _, in := range []string{"ann@example.com", "ann@bücher.example", "ann@xn--bcher-kva.example", "ann@例え.テスト", "a+b@c.d", "ann@BÜCHER.example", "ann@bu\u0308cher.example", "a.+b@c.d"} {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		addr, err := gateway.ParseAddress(in)
		if err != nil {
			return
		}
		if again, err := gateway.ParseAddress(addr); err != nil || again != addr {
			t.Errorf("%q gave %q, and that %q, %v", in, addr, again, err)
		}
		if len(addr) > 254 || strings.Count(addr, "@") != 1 || strings.ToLower(addr) != addr {
			t.Errorf("%q gave %q", in, addr)
		}
		for i := range len(addr) {
			if c := addr[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),:;<>[\]`, c) >= 0 {
				t.Errorf("%q gave %q with %q", in, addr, c)
			}
		}
		_, domain := gateway.SplitAddress(addr)
		if key := gateway.LimitKey(addr); gateway.LimitKey(key) != key || !strings.HasSuffix(key, "@"+domain) || key[0] == '@' {
			t.Errorf("the limit key of %q is %q", addr, key) // "a.+b" leaves "a.", which is no address
		}
		if typed, read := readDomain(t, in), readDomain(t, addr); !strings.EqualFold(typed, read) {
			t.Errorf("the domain %q became %q", typed, read)
		}
		if again, err := gateway.ParseDomain(domain); err != nil || again != domain {
			t.Errorf("the domain of %q gave %q, %v", addr, again, err)
		}
	})
}
