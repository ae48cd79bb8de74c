package mail_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/postern-auth/postern/gateway/mail"
)

func TestClean(t *testing.T) {
	for words, want := range map[string]string{
		"5.7.1 mail from 192.0.2.17 blocked":                "5.7.1 mail from 192.0.2.17 blocked",
		"two\r\nlines\x1b[31m":                              "two lines [31m",
		"493817 is your code":                               "[...] is your code",
		"code 493 817, 493-817.":                            "code [...], [...].",
		"BCDFGH is your code":                               "[...] is your code",
		"see xbcdfghjkx here":                               "see [...] here",
		"app.example #B7CDF9H1":                             "app.example #[...]",
		"token=abcdefghijklmnopQRSTUV end":                  "token=[...] end",
		"authentication-required-by-policy":                 "authentication-required-by-policy",
		"in-the-bcdfgh-middle-of-words":                     "[...]",
		"Subject: =?utf-8?B?NDkzODE3IGlzIHlvdXI=?= refused": "Subject: [...] refused",
		"bad \xff bytes":                                    "bad \uFFFD bytes",
		strings.Repeat("ab ", 100):                          strings.Repeat("ab ", 66) + "ab...",
		strings.Repeat("a", 197) + " 4938171":               strings.Repeat("a", 197) + " [...",
	} {
		if got := mail.Clean(words); !strings.HasPrefix(got, want) || len(got) > len(want)+2 {
			t.Errorf("%q: got %q, want %q", words, got, want)
		}
	}
}

// FuzzClean puts a code and a token into a mail server's words: neither may stay.
func FuzzClean(f *testing.F) {
	for _, words := range []string{"", "5.7.1 refused", "authentication-required ", "=?utf-8?q?", "a\r\nb", strings.Repeat("é", 300), "1", "-", "\x00"} {
		f.Add(words, " ")
	}
	const code, letters, token = "907214", "XKCVBN", "GmDGJ78967Dj7kbDAsQx2Lw0ptzb3F1nZrVhUyEoMiTcKa5XqYsWdR"
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, secret := range []string{code, letters, token} {
			got := mail.Clean(before + secret + after)
			if strings.Contains(before+after, secret) {
				return
			}
			if strings.Contains(got, secret) {
				t.Errorf("%q, %q: %q", before, after, got)
			}
			if n := utf8.RuneCountInString(got); n > 203 || strings.ContainsFunc(got, unicode.IsControl) {
				t.Errorf("%q, %q: %q, of %d characters", before, after, got, n)
			}
		}
	})
}
