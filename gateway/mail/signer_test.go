package mail_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-auth/postern/gateway/mail"
)

// small is an RSA key of 512 bits, which Go no longer makes. It protects
// nothing.
const small = `-----BEGIN RSA PRIVATE KEY-----
MIIBOwIBAAJBAL/nRTjv1/gtTa3YcgeyEJVuIsK4D7BJeutTAsELUS5c1FlEOfIH
W09Ur7eYGR74wRCSpkbQvkoyeZZap4xYoD8CAwEAAQJAfNesndTScF6wmTclP8Jk
rYHf1UM+2ZWEBNGVChcdsgWLq1/G1w4dfNWBJxpxGDhymhzWjmOh2KBJ9Y4uLdb3
OQIhAOA0Fq8gz0DRYOvhyihD10+TwUoprY/CbUWkO8hXvNjDAiEA2x5/jkt7bye3
XDf3viBYxPnmZsOtB9kcpG2ekfzyQtUCIHrDasxX7cPzIdvnFVd41jOHlyXxrkxy
THz+kZGAoTIbAiEAhFjHcork4x56AZlMaenftBm8sBVATZ01T5tmS4ccTIECIQC0
vUfmUHAstwgoeDr40B5ostNJTzCUocernCq3lJzHiQ==
-----END RSA PRIVATE KEY-----
`

func TestSignatures(t *testing.T) {
	signers, lookup := exampleSigners(t)
	text, err := mail.Compose(example(), signers)
	if err != nil {
		t.Fatal(err)
	}
	checkContent(t, text, example())
	if n := verified(t, text, lookup); n != 2 {
		t.Errorf("%d good signatures, want 2:\n%s", n, text)
	}
	if n := strings.Count(string(text), "c=relaxed/relaxed"); n != 2 {
		t.Errorf("%d relaxed signatures, want 2", n)
	}
}

func TestKeyForms(t *testing.T) {
	key := rsaKey(t, 2048)
	pkcs1 := x509.MarshalPKCS1PrivateKey(key)
	der, err := x509.MarshalECPrivateKey(ecdsaKey(t))
	if err != nil {
		t.Fatal(err)
	}
	raw := func(text string) string {
		path := filepath.Join(t.TempDir(), "key.pem")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}))
	for name, test := range map[string]struct{ file, want string }{
		"PKCS#1":       {writeKey(t, "RSA PRIVATE KEY", pkcs1), ""},
		"PKCS#8":       {writeKey(t, "PRIVATE KEY", pkcs8(t, key)), ""},
		"Ed25519":      {writeKey(t, "PRIVATE KEY", pkcs8(t, ed25519Key(t))), ""},
		"1024 bits":    {writeKey(t, "PRIVATE KEY", pkcs8(t, rsaKey(t, 1024))), ""},
		"after public": {raw(public + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8(t, key)}))), ""},
		"512 bits":     {raw(small), "512 bits; at least 1024"},
		"missing":      {filepath.Join(t.TempDir(), "none"), "no such file"},
		"no PEM":       {raw("hello"), "no private key in PEM form"},
		"public":       {raw(public), "no private key in PEM form"},
		"damaged":      {writeKey(t, "PRIVATE KEY", []byte("x")), "damaged"},
		"encrypted":    {writeKey(t, "ENCRYPTED PRIVATE KEY", []byte("x")), "encrypted with a passphrase"},
		"OpenSSH":      {writeKey(t, "OPENSSH PRIVATE KEY", []byte("x")), "is not supported; use PKCS#8"},
		"EC":           {writeKey(t, "EC PRIVATE KEY", der), "is not supported"},
		"EC, PKCS#8":   {writeKey(t, "PRIVATE KEY", pkcs8(t, ecdsaKey(t))), "cannot sign mail; use RSA or Ed25519"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mail.LoadSigner("example.com", "s1", test.file)
			if test.want == "" && err != nil {
				t.Error(err)
			}
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
	for _, names := range [][2]string{{"", "s"}, {"a;b", "s"}, {"a.example", ""}, {"a.example", "s; d=x"}, {"ä.example", "s"}} {
		if _, err := mail.LoadSigner(names[0], names[1], writeKey(t, "PRIVATE KEY", pkcs8(t, key))); err == nil {
			t.Errorf("%q was taken", names)
		}
	}
}

func TestZeroSigner(t *testing.T) {
	if _, err := mail.Compose(example(), []mail.Signer{{}}); err == nil {
		t.Error("signed by nobody")
	}
	if _, _, err := (mail.Signer{}).Record(); err == nil {
		t.Error("a record of nobody")
	}
}
