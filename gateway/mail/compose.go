package mail

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"mime/quotedprintable"
	"net/textproto"
	"strings"
	"time"
)

// Compose renders m as RFC 5322 text with CRLF line ends: multipart/alternative
// of the plain text and the HTML part, in UTF-8 and quoted-printable, so that
// every line is short ASCII. Auto-Submitted and X-Auto-Response-Suppress keep
// out-of-office replies away. Each signer adds one DKIM signature.
//
// It returns an error if an address, the Message-ID or the text is missing or
// not fit for the wire. The result differs from call to call in its boundary.
func Compose(m Message, signers []Signer) ([]byte, error) {
	envelope, err := m.check()
	if err != nil {
		return nil, err
	}
	body, contentType, err := alternatives(m)
	if err != nil {
		return nil, err
	}
	unsigned := append([]byte(head(m, envelope, contentType)+"\r\n"), body...)

	var signatures []byte
	for _, s := range signers {
		// Each signs the message without the others, so their order in the
		// header means nothing.
		signature, err := s.sign(unsigned)
		if err != nil {
			return nil, fmt.Errorf("signing for %s: %w", s.options.Domain, err)
		}
		signatures = append(signatures, signature...)
	}
	return append(signatures, unsigned...), nil
}

func head(m Message, e envelope, contentType string) string {
	date := m.Date
	if date.IsZero() {
		date = time.Now()
	}
	return field("From", e.from.header()) +
		field("To", e.to) +
		field("Subject", unstructured(m.Subject)) +
		field("Date", date.Format(time.RFC1123Z)) +
		// One word, however long: folding would change what it says.
		field("Message-ID", "<"+m.ID+">") +
		field("Auto-Submitted", "auto-generated") +
		field("X-Auto-Response-Suppress", "All") +
		field("MIME-Version", "1.0") +
		field("Content-Type", contentType)
}

// alternatives returns the body and its content type. The plain text comes
// first: the last part is the one that mail programs prefer.
func alternatives(m Message) ([]byte, string, error) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, part := range []struct{ kind, text string }{
		{"text/plain", m.Text},
		{"text/html", m.HTML},
	} {
		if part.text == "" {
			continue
		}
		if err := writePart(w, part.kind, part.text); err != nil {
			return nil, "", err
		}
	}
	if err := w.Close(); err != nil {
		return nil, "", err
	}
	return b.Bytes(), "multipart/alternative; boundary=" + w.Boundary(), nil
}

func writePart(w *multipart.Writer, kind, text string) error {
	part, err := w.CreatePart(textproto.MIMEHeader{
		"Content-Type":              {kind + "; charset=utf-8"},
		"Content-Transfer-Encoding": {"quoted-printable"},
	})
	if err != nil {
		return err
	}
	q := quotedprintable.NewWriter(part)
	if _, err := io.WriteString(q, strings.ToValidUTF8(text, "\uFFFD")); err != nil {
		return err
	}
	return q.Close()
}
