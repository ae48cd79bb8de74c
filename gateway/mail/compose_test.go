package mail_test

import (
	"bytes"
	"io"
	netmail "net/mail"
	"strings"
	"testing"
	"time"

	"mime"

	"github.com/postern-auth/postern/gateway/mail"
)

func TestCompose(t *testing.T) {
	m := example()
	text, err := mail.Compose(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkContent(t, text, m)
	for line := range bytes.SplitSeq(text, []byte("\r\n")) {
		if len(line) > 78 {
			t.Errorf("a line of %d bytes: %s", len(line), line)
		}
		for _, c := range line {
			if c >= 0x7f || c < ' ' && c != '\t' {
				t.Errorf("the byte %#x in %q", c, line)
			}
		}
	}
	if !bytes.Contains(text, []byte("\r\nDate: Tue, 03 Feb 2026 04:05:06 +0100\r\n")) {
		t.Errorf("no or another date in\n%s", text)
	}
}

func TestComposeVariants(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*mail.Message)
		want   string // in the mail, or with "error: " of the error
	}{
		"bare sender":    {func(m *mail.Message) { m.From = "a@b.example" }, "From: a@b.example\r\n"},
		"quoted sender":  {func(m *mail.Message) { m.From = `"A \"B\", C" <a@b.example>` }, `From: "A \"B\", C" <a@b.example>` + "\r\n"},
		"plain subject":  {func(m *mail.Message) { m.Subject = "Sign in to app" }, "Subject: Sign in to app\r\n"},
		"encoded look":   {func(m *mail.Message) { m.Subject = "=?utf-8?Q?x?=" }, "Subject: =?utf-8?B?"},
		"line breaks":    {func(m *mail.Message) { m.Subject = "a\r\nBcc: x@y\r\n\r\nz" }, "Subject: a Bcc: x@y z\r\n"},
		"no HTML":        {func(m *mail.Message) { m.HTML = "" }, "text/plain"},
		"no text":        {func(m *mail.Message) { m.HTML, m.Text = "", "" }, "error: there is no text"},
		"no Message-ID":  {func(m *mail.Message) { m.ID = "" }, "error: Message-ID: the address is missing"},
		"no recipient":   {func(m *mail.Message) { m.To = "" }, "error: recipient: the address is missing"},
		"sender's break": {func(m *mail.Message) { m.From = "A\r\n <a@b.example>" }, "error: sender: the address holds a control character"},
		"two senders":    {func(m *mail.Message) { m.From = "a@b.example, c@d.example" }, "error: sender: the address cannot be read"},
		"no date":        {func(m *mail.Message) { m.Date = time.Time{} }, "Date: " + time.Now().Format("Mon, 02 Jan 2006 15:")},
	} {
		t.Run(name, func(t *testing.T) {
			m := example()
			test.change(&m)
			text, err := mail.Compose(m, nil)
			if want, found := strings.CutPrefix(test.want, "error: "); found {
				if err == nil || err.Error() != want {
					t.Errorf("error %v, want %q", err, want)
				}
			} else if err != nil || !strings.Contains(string(text), test.want) {
				t.Errorf("%v, want %q in\n%s", err, test.want, text)
			}
		})
	}
}

func TestMessageID(t *testing.T) {
	a, b := mail.NewMessageID("example.com"), mail.NewMessageID("example.com")
	if a == b || !strings.HasSuffix(a, "@example.com") || len(a) < 26 {
		t.Errorf("%q and %q", a, b)
	}
}

// FuzzCompose checks that no text and no name can add a field, end the header
// early or change another part, and that what was given comes back.
func FuzzCompose(f *testing.F) {
	f.Add("Café\r\nBcc: evil@example.com", "text\r\n--boundary\r\n", "<p>\r\n.\r\n", "Name\r\nX: y")
	f.Add("=?utf-8?q?=0D=0ABcc:_x?=", "\xff\xfe", "\x00", "\"<a@b>\\")
	f.Add(strings.Repeat("x", 2000), "\r\n\r\n", "=\r\n=", strings.Repeat("é ", 300))
	f.Add("a  b\u2028c\u0085d", "a\rb", "x", "=?x?=")
	f.Fuzz(func(t *testing.T, subject, text, html, name string) {
		from := (&netmail.Address{Name: name, Address: "a@example.com"}).String()
		m := mail.Message{ID: "x@example.com", From: from, To: "b@example.com", Subject: subject, Text: text + "t", HTML: html + "h", Date: time.Unix(1, 0)}
		raw, err := mail.Compose(m, nil)
		if err != nil {
			if strings.Contains(err.Error(), "sender") {
				t.Skip("net/mail cannot read what it wrote")
			}
			t.Fatal(err)
		}
		head, _, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
		if bytes.ContainsAny(bytes.ReplaceAll(head, []byte("\r\n"), nil), "\r\n") {
			t.Fatalf("a bare CR or LF in %q", head)
		}
		parsed, err := netmail.ReadMessage(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("%v in %q", err, head)
		}
		if len(parsed.Header) != 9 {
			t.Fatalf("%d fields: %q", len(parsed.Header), head)
		}
		for field, values := range parsed.Header {
			if len(values) != 1 {
				t.Fatalf("%d times %s: %q", len(values), field, head)
			}
		}
		for line := range bytes.SplitSeq(raw, []byte("\r\n")) {
			if len(line) > 400 {
				t.Fatalf("a line of %d bytes: %q", len(line), line)
			}
		}
		got, err := new(mime.WordDecoder).DecodeHeader(parsed.Header.Get("Subject"))
		if err != nil || strings.ContainsAny(got, "\r\n\x00") {
			t.Fatalf("subject %q, %v", got, err)
		}
		if flat(got) != flat(subject) {
			t.Fatalf("subject %q, want %q", got, subject)
		}
		checkFuzzed(t, raw, m)
	})
}

// flat drops what the composer may change: blanks, control characters, and how
// broken UTF-8 is marked.
func flat(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	return strings.Map(func(r rune) rune {
		if r < ' ' || 0x7f <= r && r <= 0xa0 || strings.ContainsRune(" \u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000", r) {
			return -1
		}
		return r
	}, s)
}

func checkFuzzed(t *testing.T, raw []byte, m mail.Message) {
	t.Helper()
	parts := decodeParts(t, raw)
	for i, want := range []string{m.Text, m.HTML} {
		want = strings.ReplaceAll(strings.ReplaceAll(strings.ToValidUTF8(want, "\uFFFD"), "\r", ""), "\n", "")
		if got := strings.NewReplacer("\r", "", "\n", "").Replace(parts[i]); got != want {
			t.Fatalf("part %d: %q, want %q", i, got, want)
		}
	}
}

func decodeParts(t *testing.T, raw []byte) []string {
	t.Helper()
	r, err := readParts(raw)
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for {
		part, err := r.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, string(text))
	}
	if len(parts) != 2 {
		t.Fatalf("%d parts, want 2", len(parts))
	}
	return parts
}
