package e2e_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
)

// pattern is a body that does not repeat at any power of two.
type pattern struct{ next byte }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = p.next
		p.next = p.next*31 + 7
		if p.next == 0 {
			p.next++
		}
	}
	return len(b), nil
}

// hashed returns a body, and what the SHA-256 of all that was read of it is.
func hashed(size int64) (sum func() string, body io.Reader) {
	hash := sha256.New()
	return func() string { return hex.EncodeToString(hash.Sum(nil)) }, io.TeeReader(io.LimitReader(new(pattern), size), hash)
}
