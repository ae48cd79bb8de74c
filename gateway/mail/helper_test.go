package mail_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"mime"
	"mime/multipart"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/gateway/mail"
)

const secretCode = "493817"

var link = "https://app.example.com/.auth/link?token=" + strings.Repeat("aB3_-x9", 9) + "&lang=de"

// example is a mail with all that makes encoding hard: long links, "=" and
// non-ASCII text, a line of a single dot, blanks at a line's end.
func example() mail.Message {
	return mail.Message{
		ID:      "abcdefgh@example.com",
		From:    `=?utf-8?q?Zo=C3=AB_=E2=80=9COps=E2=80=9D_M=C3=BCller?= <signin@example.com>`,
		To:      "user@example.com",
		Subject: secretCode + " is your sign-in code for Café Größe & 日本語サイト, a site with a long name",
		Text:    "Größe = 1 \n.\nFrom here\n" + link + "\n\n@app.example.com #" + secretCode,
		HTML:    `<p style="color:#333">Größe</p><a href="` + link + `">日本語</a>` + "\n",
		Date:    time.Date(2026, 2, 3, 4, 5, 6, 7, time.FixedZone("", 3600)),
	}
}

func checkError(t *testing.T, err error, want mail.Error) {
	t.Helper()
	var got *mail.Error
	if !errors.As(err, &got) {
		t.Fatalf("got %v, want a *mail.Error with %q", err, want.Reason)
	}
	if got.Permanent != want.Permanent || got.Code != want.Code || !strings.Contains(got.Reason, want.Reason) {
		t.Errorf("got permanent %v, code %d, %q\nwant %v, %d, %q",
			got.Permanent, got.Code, got.Reason, want.Permanent, want.Code, want.Reason)
	}
	everything := fmt.Sprintf("%v %+v %#v", err, got.Err, got)
	for _, secret := range []string{secretCode, "horse", "staple", "aB3_-x9"} {
		if strings.Contains(everything, secret) {
			t.Errorf("%q is in the error %s", secret, everything)
		}
	}
}

func writeKey(t *testing.T, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ed25519Key(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ecdsaKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// exampleSigners returns an RSA and an Ed25519 signer, and the DNS with their
// public keys.
func exampleSigners(t *testing.T) ([]mail.Signer, func(string) ([]string, error)) {
	t.Helper()
	records := map[string]string{}
	var signers []mail.Signer
	for selector, key := range map[string]any{"rsa": rsaKey(t, 2048), "ed": ed25519Key(t)} {
		s, err := mail.LoadSigner("example.com", selector, writeKey(t, "PRIVATE KEY", pkcs8(t, key)))
		if err != nil {
			t.Fatal(err)
		}
		name, text, err := s.Record()
		if err != nil {
			t.Fatal(err)
		}
		records[name] = text
		signers = append(signers, s)
	}
	return signers, func(name string) ([]string, error) {
		text, ok := records[name]
		if !ok {
			return nil, errors.New("no such record: " + name)
		}
		return []string{text}, nil
	}
}

// readParts opens a multipart mail with the standard library.
func readParts(raw []byte) (*multipart.Reader, error) {
	m, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		return nil, err
	}
	return multipart.NewReader(m.Body, params["boundary"]), nil
}
