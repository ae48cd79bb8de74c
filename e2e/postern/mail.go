package postern

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message/mail"
)

// Mail is a mail as its reader sees it.
type Mail struct {
	Raw        []byte
	Header     mail.Header
	To         string
	Subject    string
	MessageID  string
	Text, HTML string
	// Code and Link are what it carries, "" where it has none.
	Code, Link string
}

var (
	autofill = regexp.MustCompile(`(?m)^@(\S+) #(\S+)\s*\z`)
	linkLine = regexp.MustCompile(`(?m)^https?://\S+/\.auth/link\?token=\S+$`)
)

// ParseMail reads a mail.
func ParseMail(t testing.TB, raw []byte) *Mail {
	t.Helper()
	reader, err := mail.CreateReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("reading a mail: %v\n%s", err, raw)
	}
	m := &Mail{Raw: raw, Header: reader.Header}
	m.Subject, _ = reader.Header.Subject()
	m.MessageID, _ = reader.Header.MessageID()
	if to, err := reader.Header.AddressList("To"); err == nil && len(to) == 1 {
		m.To = to[0].Address
	}
	m.readParts(t, reader)
	m.Text = strings.ReplaceAll(m.Text, "\r\n", "\n")
	if found := autofill.FindStringSubmatch(m.Text); found != nil {
		m.Code = found[2]
	}
	m.Link = linkLine.FindString(m.Text)
	return m
}

func (m *Mail) readParts(t testing.TB, reader *mail.Reader) {
	t.Helper()
	for {
		part, err := reader.NextPart()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatalf("reading a mail: %v\n%s", err, m.Raw)
		}
		body, err := io.ReadAll(part.Body)
		if err != nil {
			t.Fatalf("reading a mail: %v\n%s", err, m.Raw)
		}
		inline, ok := part.Header.(*mail.InlineHeader)
		if !ok {
			t.Fatalf("a mail has an attachment:\n%s", m.Raw)
		}
		switch kind, _, _ := inline.ContentType(); kind {
		case "text/plain":
			m.Text = string(body)
		case "text/html":
			m.HTML = string(body)
		default:
			t.Fatalf("a mail has a part of type %q", kind)
		}
	}
}

// Mails returns the mails to an address in the mail folder, in order.
func (s *Server) Mails(email string) []*Mail {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.MailDir(), "*.eml"))
	if err != nil {
		s.t.Fatal(err)
	}
	slices.Sort(files)
	var mails []*Mail
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			s.t.Fatal(err)
		}
		if m := ParseMail(s.t, raw); strings.EqualFold(m.To, email) {
			mails = append(mails, m)
		}
	}
	return mails
}

// WaitMails waits for at least n mails to an address.
func (s *Server) WaitMails(t testing.TB, email string, n int) []*Mail {
	t.Helper()
	var mails []*Mail
	Eventually(t, patience, "mail to "+email, func() bool {
		mails = s.Mails(email)
		return len(mails) >= n
	})
	return mails
}

// Quiet is how long a test waits to see that something does not happen.
const Quiet = 1500 * time.Millisecond
