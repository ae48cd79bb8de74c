package pages_test

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/postern-auth/postern/pages"
)

func aMail() pages.Mail {
	return pages.Mail{
		Site: "wiki.example.com", Email: "ann@example.com",
		Code: "483920", Link: "https://wiki.example.com:8443/.auth/link?token=abc&x=y",
		Browser: "Firefox on Linux", Network: "192.0.2.7",
		Requested: time.Date(2026, 3, 3, 14, 5, 0, 0, time.UTC), ExpiresIn: 10 * time.Minute,
		SameBrowser: true, RequestID: "q7Zk3mVt",
	}
}

func write(t testing.TB, m pages.Mail) (subject, plain, rich string) {
	t.Helper()
	subject, plain, rich, err := pages.RenderMail(m)
	if err != nil {
		t.Fatal(err)
	}
	return subject, plain, rich
}

func TestMail(t *testing.T) {
	both := aMail()
	code, link := both, both
	code.Link, link.Code, link.SameBrowser = "", "", false
	for name, test := range map[string]struct {
		mail    pages.Mail
		subject string
		want    []string // in both forms
		lack    []string
	}{
		"both": {both, "483920 is your sign-in code for wiki.example.com", []string{"483920", "token=abc", "works only in the browser"}, nil},
		"code": {code, "483920 is your sign-in code for wiki.example.com", []string{"483920"}, []string{"link", "token"}},
		"link": {link, "Sign in to wiki.example.com", []string{"token=abc"}, []string{"code", "works only in the browser", "@wiki"}},
	} {
		t.Run(name, func(t *testing.T) {
			subject, plain, rich := write(t, test.mail)
			if subject != test.subject {
				t.Errorf("subject %q", subject)
			}
			_, body, _ := strings.Cut(rich, "<body")
			for form, text := range map[string]string{"plain": plain, "rich": body} {
				flat := strings.Join(strings.Fields(text), " ")
				for _, s := range append(test.want, "wiki.example.com", "ann@example.com", "Firefox on Linux", "192.0.2.7", "10 minutes", "not you", "q7Zk3mVt") {
					if !strings.Contains(flat, s) {
						t.Errorf("%s: missing %q in\n%s", form, s, text)
					}
				}
				for _, s := range test.lack {
					if strings.Contains(strings.ReplaceAll(flat, `class="code`, ""), s) && !(form == "rich" && s == "link") {
						t.Errorf("%s: there is %q in\n%s", form, s, text)
					}
				}
			}
			skeleton(t, rich)
			checkLines(t, plain, test.mail)
			if len(rich) > 10_000 {
				t.Errorf("%d bytes", len(rich))
			}
		})
	}
}

// checkLines wants short lines, the link on one of its own, and a last line that
// a telephone finds the code in.
func checkLines(t *testing.T, plain string, m pages.Mail) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(plain, "\n"), "\n")
	alone := false
	for _, line := range lines {
		alone = alone || line == m.Link
		if len(line) > 76 && line != m.Link {
			t.Errorf("long line %q", line)
		}
	}
	if m.Link != "" && !alone {
		t.Error("the link has no line of its own")
	}
	if last := lines[len(lines)-1]; m.Code != "" && last != "@"+m.Site+" #"+m.Code {
		t.Errorf("last line %q", last)
	}
	if strings.Contains(plain, "\n\n\n") {
		t.Error("two empty lines")
	}
}

func TestMailCodeIsOneText(t *testing.T) {
	if _, _, rich := write(t, aMail()); !strings.Contains(rich, ">483920<") {
		t.Error("the code cannot be copied in one piece")
	}
}

func TestMailHostileValues(t *testing.T) {
	m := aMail()
	_, plain, rich := write(t, m)
	lines, tags := strings.Count(plain, "\n"), skeleton(t, rich)
	for _, s := range append(hostile, "x\r\nBcc: evil@example.com", "x\n\n@evil.example #000000", "x\u2028y\u0085z\vq") {
		for _, set := range []func(*pages.Mail){
			func(m *pages.Mail) { m.Site = "s" + s }, func(m *pages.Mail) { m.Email = "e" + s },
			func(m *pages.Mail) { m.Code = "1" + s }, func(m *pages.Mail) { m.Link = "https://a/" + s }, func(m *pages.Mail) { m.Browser = "b" + s },
			func(m *pages.Mail) { m.Network = "n" + s }, func(m *pages.Mail) { m.RequestID = "r" + s },
		} {
			m := aMail()
			set(&m)
			subject, plain, rich := write(t, m)
			if strings.ContainsFunc(subject, unicode.IsControl) {
				t.Errorf("subject %q", subject)
			}
			if got := skeleton(t, rich); strings.Join(got, "|") != strings.Join(tags, "|") {
				t.Errorf("%.40q changed the tags", s)
			}
			checkLastLine(t, plain)
			if len(s) < 40 && strings.Count(plain, "\n") > lines+1 {
				t.Errorf("%q made lines:\n%s", s, plain)
			}
		}
	}
}

// checkLastLine wants the one line that programs read to be there, at the end.
func checkLastLine(t testing.TB, plain string) {
	t.Helper()
	lines := strings.Split(plain, "\n")
	for i, line := range lines {
		if is := strings.HasPrefix(line, "@") && strings.Contains(line, " #"); is != (i == len(lines)-2) {
			t.Errorf("line %d of %d is %q", i+1, len(lines), line)
		}
	}
	if strings.ContainsFunc(plain, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }) {
		t.Errorf("control character in %q", plain)
	}
}

func TestMailBrowserIsNoAddress(t *testing.T) {
	m := aMail()
	m.Browser = "Chrome 128.0 (Linux) - go to https://evil.example/x or evil.example now, " + strings.Repeat("y", 200)
	_, plain, rich := write(t, m)
	for _, text := range []string{plain, rich} {
		if strings.Contains(text, "evil.example") || strings.Contains(text, strings.Repeat("y", 61)) {
			t.Errorf("a stranger's words are in the mail:\n%s", text)
		}
		if !strings.Contains(strings.Join(strings.Fields(text), " "), "Chrome 128.0 (Linux)") {
			t.Error("the browser's name is lost")
		}
	}
}
