package eximtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"time"
)

// writeCertificates makes an authority and a certificate of it for loopback.
func (s *Server) writeCertificates() error {
	authority, authorityKey, err := makeCertificate(nil, nil)
	if err != nil {
		return err
	}
	certificate, key, err := makeCertificate(authority, authorityKey)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	s.pool = x509.NewCertPool()
	s.pool.AddCert(authority)
	if err := writePEM(s.CAFile(), "CERTIFICATE", authority.Raw, 0o644); err != nil {
		return err
	}
	if err := writePEM(s.path("cert.pem"), "CERTIFICATE", certificate.Raw, 0o644); err != nil {
		return err
	}
	if err := writePEM(s.path("key.pem"), "PRIVATE KEY", der, 0o600); err != nil {
		return err
	}
	return giveToExim(s.path("key.pem"))
}

// makeCertificate makes a certificate for loopback, or without a parent an
// authority.
func makeCertificate(parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		BasicConstraintsValid: true,
	}
	if parent == nil {
		template.Subject = pkix.Name{CommonName: "eximtest authority"}
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
		parent, parentKey = template, key
	} else {
		template.Subject = pkix.Name{CommonName: "localhost"}
		template.DNSNames = []string{"localhost"}
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
		template.KeyUsage = x509.KeyUsageDigitalSignature
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return certificate, key, err
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
