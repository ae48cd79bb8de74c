package mail

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// parsePrivateKey finds the private key in a PEM file, which may hold other
// blocks before it. The parsers' own errors are left out, as they can quote
// what they read.
func parsePrivateKey(text []byte) (crypto.Signer, error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil, errors.New("no private key in PEM form (PKCS#8 or PKCS#1) found")
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return parseBlock(block)
		}
	}
}

func parseBlock(block *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch {
	case block.Type == "ENCRYPTED PRIVATE KEY", block.Headers["DEK-Info"] != "":
		return nil, errors.New("the key is encrypted with a passphrase; store it without one")
	case block.Type == "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case block.Type == "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("%q is not supported; use PKCS#8 (PRIVATE KEY) or PKCS#1 (RSA PRIVATE KEY)", block.Type)
	}
	if err != nil {
		return nil, errors.New("the private key is damaged, or too short to be used")
	}
	return checkKey(key)
}

func checkKey(key any) (crypto.Signer, error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if bits := k.N.BitLen(); bits < minRSABits {
			return nil, fmt.Errorf("the RSA key has %d bits; at least %d are needed, %d are advised", bits, minRSABits, goodRSABits)
		}
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	default:
		return nil, fmt.Errorf("a key of type %T cannot sign mail; use RSA or Ed25519", key)
	}
}
