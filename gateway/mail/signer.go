package mail

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/emersion/go-msgauth/dkim"
)

const (
	minRSABits  = 1024 // RFC 8301: less must not be used, and verifiers refuse it
	goodRSABits = 2048 // RFC 8301: less should not be used
)

// signedFields are signed in every mail. A name that stands here once more than
// in the mail is oversigned: nobody can add such a field on the way without
// breaking the signature.
var signedFields = []string{
	"From", "From", "To", "To", "Subject", "Subject", "Date", "Date",
	"Message-ID", "Message-ID", "Reply-To", "Cc", "MIME-Version",
	"Content-Type", "Content-Type", "Auto-Submitted",
}

// Signer adds a DKIM signature to a mail, relaxed/relaxed. It is safe for
// concurrent use. The zero value signs nothing and is an error.
type Signer struct {
	options dkim.SignOptions
	bits    int // of an RSA key, else 0
}

// LoadSigner reads the private key of a DKIM signature from a PEM file: PKCS#8
// with an RSA or Ed25519 key, or PKCS#1. RSA keys need at least 1,024 bits.
// The public key belongs in the TXT record <selector>._domainkey.<domain>, see
// [Signer.Record]. Its errors name the file and never the key.
func LoadSigner(domain, selector, keyFile string) (Signer, error) {
	if !isDomain(domain) {
		return Signer{}, fmt.Errorf("DKIM domain %q is not a plain ASCII domain", domain)
	}
	if !dotted(selector, func(c byte) bool { return isLDH(c) || c == '_' }) {
		return Signer{}, fmt.Errorf("DKIM selector %q: letters, digits, '-', '_' and '.' are allowed", selector)
	}
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return Signer{}, fmt.Errorf("reading the DKIM key: %w", err)
	}
	key, err := parsePrivateKey(text)
	if err != nil {
		return Signer{}, fmt.Errorf("DKIM key %s: %w", keyFile, err)
	}
	s := Signer{bits: rsaBits(key), options: dkim.SignOptions{
		Domain:                 strings.ToLower(domain),
		Selector:               selector,
		Signer:                 key,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed,
		BodyCanonicalization:   dkim.CanonicalizationRelaxed,
		HeaderKeys:             signedFields,
	}}
	// A key that parses may still not sign; better to hear of it now.
	if _, err := s.sign([]byte("From: a@" + domain + "\r\n\r\n")); err != nil {
		return Signer{}, fmt.Errorf("DKIM key %s: %w", keyFile, err)
	}
	return s, nil
}

// Record returns the DNS name of the signer's public key and the TXT record
// that has to stand there. In a zone file a text over 255 bytes, as an RSA key
// makes, is written as several strings.
func (s Signer) Record() (name, text string, err error) {
	if s.options.Signer == nil {
		return "", "", errors.New("no key is loaded")
	}
	name = s.options.Selector + "._domainkey." + s.options.Domain
	// RFC 8463 wants the bare 32 bytes of an Ed25519 key.
	if key, ok := s.options.Signer.Public().(ed25519.PublicKey); ok {
		return name, "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(key), nil
	}
	der, err := x509.MarshalPKIXPublicKey(s.options.Signer.Public())
	if err != nil {
		return "", "", fmt.Errorf("public DKIM key: %w", err)
	}
	return name, "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), nil
}

// weak tells whether the key is allowed, but shorter than advised.
func (s Signer) weak() bool { return s.bits > 0 && s.bits < goodRSABits }

// sign returns the DKIM-Signature field of a message.
func (s Signer) sign(message []byte) (string, error) {
	signing, err := dkim.NewSigner(&s.options)
	if err != nil {
		return "", err
	}
	_, writeErr := signing.Write(message)
	if err := signing.Close(); err != nil {
		return "", err
	}
	if writeErr != nil {
		return "", writeErr
	}
	return signing.Signature(), nil
}

func rsaBits(key crypto.Signer) int {
	if k, ok := key.(*rsa.PrivateKey); ok {
		return k.N.BitLen()
	}
	return 0
}
