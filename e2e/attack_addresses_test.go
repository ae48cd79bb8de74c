package e2e_test

import (
	"bytes"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
	"github.com/postern-auth/postern/gateway/mail/eximtest"
)

// plainAddresses are addresses and the one spelling that a mail server is to be
// told.
var plainAddresses = map[string]string{
	"ann@example.com":                         "ann@example.com",
	"  Bob@Example.COM\t":                     "bob@example.com",
	"CID+Tag@EXAMPLE.com":                     "cid+tag@example.com",
	"o'brien@example.com":                     "o'brien@example.com",
	"a.b-c_d@example.com":                     "a.b-c_d@example.com",
	"{env.home}@example.com":                  "{env.home}@example.com",
	"$(id)`id`|id@example.com":                "", // brackets
	"`id`|id&&id@example.com":                 "`id`|id&&id@example.com",
	"%s%n%x@example.com":                      "%s%n%x@example.com",
	"eve%example.net@example.com":             "eve%example.net@example.com",
	"example.net!eve@example.com":             "example.net!eve@example.com",
	"=?utf-8?q?x?=@example.com":               "=?utf-8?q?x?=@example.com",
	"*@example.com":                           "*@example.com",
	"-oq/tmp@example.com":                     "-oq/tmp@example.com",
	"dan@bücher.example":                      "dan@xn--bcher-kva.example",
	"dan2@XN--BCHER-KVA.example":              "dan2@xn--bcher-kva.example",
	"eli@例え.テスト":                              "eli@xn--r8jz45g.xn--zckzah",
	strings.Repeat("l", 64) + "@example.com":  strings.Repeat("l", 64) + "@example.com",
	strings.Repeat("l", 65) + "@example.com":  "",
	"fay@" + strings.Repeat("d", 63) + ".com": "fay@" + strings.Repeat("d", 63) + ".com",
	"fay@" + strings.Repeat("d", 64) + ".com": "",
	"gus@" + longDomain(254-4):                "gus@" + longDomain(254-4),
	"gus2@" + longDomain(254-4):               "",
}

// longDomain is a domain of n characters.
func longDomain(n int) string {
	label := strings.Repeat("d", 60)
	labels := slices.Repeat([]string{label}, n/61)
	return strings.Join(append(labels, strings.Repeat("e", n-61*len(labels))), ".")
}

// trickyAddresses are none. Each could reach eve@evil.example, or mean one
// address here and another there.
var trickyAddresses = []string{
	// Two, or one behind another.
	"ann@example.com,eve@evil.example", "eve@evil.example,ann@example.com", "ann@example.com;eve@evil.example", "ann@example.com eve@evil.example", "ann@example.com\teve@evil.example", "ann@example.com|eve@evil.example", "ann@example.com&email=eve@evil.example\x00",
	"ann@example.com>,<eve@evil.example", "ann@example.com> <eve@evil.example", "<ann@example.com>,<eve@evil.example>", "<eve@evil.example>ann@example.com", "ann@example.com<eve@evil.example>", "Ann <eve@evil.example>", `"ann@example.com" <eve@evil.example>`,
	"staff:ann@example.com,eve@evil.example;", "eve@evil.example(ann@example.com)", "ann(eve@evil.example)@example.com", "ann@(evil.example)example.com", "ann@example.com(x)", "mailto:ann@example.com", "ann@example.com?bcc=eve@evil.example", "@evil.example:ann@example.com",
	"ann@evil.example@example.com", "eve@evil.example%40example.com@", "ann@@example.com", "ann@example.com@", "@ann@example.com", "ann@example.com/../eve@evil.example",
	// Quotes.
	`"ann"@example.com`, `"eve@evil.example"@example.com`, `"eve@evil.example> "@example.com`, `"a b"@example.com`, `"ann\"@example.com`, `"eve@evil.example\r\n"@example.com`, `ann\@evil.example@example.com`, `""@example.com`, `"@example.com`, `'eve@evil.example'@example.com`,
	// Line breaks and control characters.
	"ann@example.com\r\nRCPT TO:<eve@evil.example>", "ann@example.com\nRCPT TO:<eve@evil.example>", "ann@example.com\rRCPT TO:<eve@evil.example>", "ann@example.com\r\n", "\r\nann@example.com", "ann@example.com\r\nBcc: eve@evil.example", "ann\r\n@example.com", "ann@exam\r\n ple.com",
	"ann@example.com%0d%0aBcc:eve@evil.example", "ann@example.com%0aeve@evil.example", "ann@example.com\x00", "ann@example.com\x00eve@evil.example", "\x00ann@example.com", "ann\x00@example.com", "ann@example.com\x0b", "ann@example.com\x1a", "ann\x7f@example.com", "ann@example.com\x1b[31m",
	"ann@example.com\r\n.\r\nMAIL FROM:<eve@evil.example>", "ann@example.com> BODY=8BITMIME\r\nRCPT TO:<eve@evil.example", "ann@example.com> NOTIFY=SUCCESS", "ann@example.com\u2028eve@evil.example", "ann@example.com\u0085", "ann@example.com\u560d\u560aBcc:x",
	// Other alphabets that look or fold alike.
	"ann＠example.com", "ann﹫example.com", "ann@example。com", "ann@example．com", "ann@example｡com", "ann@ｅxample.com", "ann@exam\u200bple.com", "ann@exam\u200dple.com", "ann@exam\u00adple.com", "ann@example.com\u200f", "\u202eann@example.com", "ann\u2069@example.com", "\ufeffann@example.com",
	"ann@\u212bexample.com", "\u212aate@example.com", "ann@e\u017fample.com", "ann@ex\u212ample.com", "\u0131nn@example.com", "ann@\u0130nfo.com", "аnn@example.com", "ann@exаmple.com.", "ann@exampⅼe.com", "ann@①.com", "ann@ﬁ.com", "ann@example.℡", "ann@例え。テスト", "ann\xff@example.com", "ann@ex\xc0\xafample.com",
	// What is no domain of the mail.
	"ann@localhost", "ann@[127.0.0.1]", "ann@[IPv6:::1]", "ann@127.0.0.1", "ann@2130706433", "ann@0x7f.1", "ann@example.com:25", "ann@.example.com", "ann@example.com.", "ann@example..com", "ann@-example.com", "ann@example-.com", "ann@exa_mple.com", "ann@*.example.com", "ann@xn--.com", "ann@xn--a-.com",
	"ann@xn--example-.com", "ann@", "@example.com", "ann", "", " ", ".ann@example.com", "ann.@example.com", "a..n@example.com", "group:staff", "anyone", "ann@example.com#x", "ann@exam%70le.com", "ann@{env.HOME}.com", "ann@example.com\\", "ann@example\\.com", "ann@exam/ple.com",
	strings.Repeat("a", 1000) + "@example.com", "a@" + strings.Repeat("b.", 500) + "com", strings.Repeat("@", 500), strings.Repeat("ü", 1000) + "@example.com", "a@" + strings.Repeat("ü", 60) + ".example", "a@" + strings.Repeat("xn--", 60) + ".example",
}

// TestAddressesAtTheMailServer types every address into the form, in front of a
// real mail server, and looks at what it was told in RCPT TO.
func TestAddressesAtTheMailServer(t *testing.T) {
	t.Parallel()
	exim := eximtest.Start(t, eximtest.Options{})
	config := byExim(exim, postern.StartUpstream(t), exim.Addr(), "", noLimits)
	config.Sites = strings.Replace(plain, "*@example.com", "anyone", 1)
	server := postern.Start(t, config)
	v := visitor(t, server)
	wanted := make(map[string]bool)
	send := func(body string) *postern.Answer {
		tab := v.Fresh()
		request := tab.Form("/.auth/sign-in", nil)
		replacement := tab.NewRequest(http.MethodPost, "/.auth/sign-in", strings.NewReader(body))
		replacement.Header = request.Header
		return tab.Do(replacement)
	}
	for typed, want := range plainAddresses {
		status := http.StatusSeeOther
		if want == "" {
			status = http.StatusUnprocessableEntity
		} else {
			wanted[want] = true
		}
		if answer := send("email=" + url.QueryEscape(typed)); answer.Status != status {
			t.Errorf("%.80q: status %d, want %d", typed, answer.Status, status)
		}
	}
	for _, typed := range trickyAddresses {
		answer := send("email=" + url.QueryEscape(typed))
		if answer.Status != http.StatusUnprocessableEntity {
			t.Errorf("%.80q: status %d, want 422", typed, answer.Status)
		}
		wantPage(t, answer)
	}
	// Forms that name two, or in other ways. The first counts, or none.
	for _, body := range []string{
		"email=two1%40example.com&email=eve%40evil.example", "email[]=eve%40evil.example", "email%00=eve%40evil.example", "EMAIL=eve%40evil.example", "email=%zz&email=eve%40evil.example", "email=;email=eve%40evil.example", "=eve%40evil.example&email", "email=%u0065ve%40evil.example",
		"email=eve@evil.example\r\nRCPT TO:<x@evil.example>", "email=\x00eve@evil.example", "to=eve%40evil.example&email=", "email=two2%40example.com&to=eve%40evil.example&cc=eve%40evil.example&from=eve%40evil.example&site=evil.example&origin=http://evil.example",
	} {
		if answer := send(body); answer.Status >= 500 {
			t.Errorf("%q: status %d", body, answer.Status)
		}
	}
	wanted["two1@example.com"], wanted["two2@example.com"] = true, true
	postern.Eventually(t, delivery, "all mails", func() bool { return len(exim.Mails(t, "")) >= len(wanted) })
	time.Sleep(postern.Quiet)
	told := make(map[string]bool)
	for _, raw := range exim.Mails(t, "") {
		to := envelope(raw)
		if told[to] || !wanted[to] {
			t.Errorf("RCPT TO was %q, or that twice", to)
		}
		told[to] = true
		if bytes.Contains(raw, []byte(evil)) {
			t.Errorf("a mail names %s:\n%s", evil, raw)
		}
		if mail := postern.ParseMail(t, raw); mail.To != to {
			t.Errorf("To is %q, RCPT TO was %q", mail.To, to)
		}
	}
	if len(told) != len(wanted) {
		t.Errorf("RCPT TO was %q, want %q", slices.Sorted(maps.Keys(told)), slices.Sorted(maps.Keys(wanted)))
	}
}

// envelope is the address of RCPT TO, which Exim writes on top.
func envelope(raw []byte) string {
	for line := range bytes.Lines(raw) {
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Envelope-to")) {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}

// TestAddressesAndPolicy has addresses that look as if they were of the one
// domain that may enter. None gets a mail, and none is told from another that
// may not.
func TestAddressesAndPolicy(t *testing.T) {
	t.Parallel()
	server, _ := start(t, strings.Replace(plain, "*@example.com", "*@kiss.example {\n\t\tdeny eve@kiss.example\n\t}", 1), noLimits)
	v := visitor(t, server)
	for i, address := range []string{
		"ann@sub.kiss.example", "ann@kiss.example.evil.example", "ann@evilkiss.example", "ann@kiss.example.com", "ann@kiss-example", "ann@\u212aiss.example", "ann@kis\u017f.example", "ann@ki\u017f\u017f.example", "ann@kiß.example", "ann@kıss.example", "ann@KİSS.example",
		"ann@xn--kiss-.example", "ann@kiss.examp1e", "ann@kiss。example", "ann@kiss.example@evil.example", "ann%kiss.example@evil.example", "kiss.example!ann@evil.example", `"ann@kiss.example"@evil.example`, "ann@evil.example(@kiss.example)",
		"eve@kiss.example", "EVE@KISS.EXAMPLE", " eve@kiss.example ", "*@evil.example", "kiss.example", "@kiss.example",
	} {
		tab := v.Fresh()
		answer := tab.Submit("/.auth/sign-in", url.Values{"email": {address}})
		if answer.Status != http.StatusSeeOther && answer.Status != http.StatusUnprocessableEntity {
			t.Errorf("%d, %q: status %d", i, address, answer.Status)
		}
	}
	admitted := map[string]string{"ann@kiss.example": "ann@kiss.example", "ANN.B@KISS.EXAMPLE": "ann.b@kiss.example", "eve+tag@kiss.example": "eve+tag@kiss.example"}
	for typed, address := range admitted {
		v.Fresh().Submit("/.auth/sign-in", url.Values{"email": {typed}}).Want(t, http.StatusSeeOther)
		server.WaitMails(t, address, 1)
	}
	time.Sleep(postern.Quiet)
	for to := range mailedTo(t, server) {
		if !slices.Contains(slices.Collect(maps.Values(admitted)), to) {
			t.Errorf("a mail went to %q", to)
		}
	}
}

// mailedTo counts the mails in the folder by their recipient.
func mailedTo(t *testing.T, server *postern.Server) map[string]int {
	t.Helper()
	counts := make(map[string]int)
	box := newPostbox(server.MailDir())
	box.refresh(t)
	for to, mails := range box.mails {
		counts[to] += len(mails)
	}
	return counts
}
