package eximtest

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Mails returns the mails delivered to one address so far, as Exim wrote them,
// with its trace fields on top and LF line ends made CRLF; an empty address
// means all. They come in the order of delivery.
func (s *Server) Mails(t testing.TB, to string) [][]byte {
	t.Helper()
	mails, err := s.Delivered(to)
	if err != nil {
		t.Fatalf("reading the Maildir: %v", err)
	}
	return mails
}

// WaitMail waits until at least n mails were delivered to an address and
// returns them all. The test fails if they do not come in time.
func (s *Server) WaitMail(t testing.TB, to string, n int, timeout time.Duration) [][]byte {
	t.Helper()
	for end := time.Now().Add(timeout); ; time.Sleep(20 * time.Millisecond) {
		mails := s.Mails(t, to)
		if len(mails) >= n {
			return mails
		}
		if time.Now().After(end) {
			t.Fatalf("%d mails for %q after %v, want %d", len(mails), to, timeout, n)
		}
	}
}

// Delivered is Mails for use outside of a test.
func (s *Server) Delivered(to string) ([][]byte, error) {
	files, err := os.ReadDir(s.path("maildir/new"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // Exim makes it with the first mail
	}
	if err != nil {
		return nil, err
	}
	type dated struct {
		time time.Time
		text []byte
	}
	var found []dated
	for _, file := range files {
		info, err := file.Info()
		if err != nil {
			return nil, err
		}
		text, err := os.ReadFile(filepath.Join(s.path("maildir/new"), file.Name()))
		if err != nil {
			return nil, err
		}
		if to == "" || strings.EqualFold(envelopeTo(text), to) {
			found = append(found, dated{info.ModTime(), bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))})
		}
	}
	slices.SortStableFunc(found, func(a, b dated) int { return cmp.Compare(a.time.UnixNano(), b.time.UnixNano()) })
	mails := make([][]byte, len(found))
	for i := range found {
		mails[i] = found[i].text
	}
	return mails, nil
}

// envelopeTo returns the address of RCPT TO, which Exim adds on top.
func envelopeTo(text []byte) string {
	m, err := mail.ReadMessage(bytes.NewReader(text))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(m.Header.Get("Envelope-To"))
}
