package gateway

import (
	"crypto/aes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"strings"
)

// Credentials are derived, not stored: code and link token are keyed hashes of
// the sign-in request and its generation. So the store holds nothing that
// signs anybody in, and a mail can be written again after a restart.

const (
	codeDigits  = "0123456789"
	codeLetters = "BCDFGHJKLMNPQRSTVWXZ" // no vowels, no Y: no words, and no 0/O, 1/I

	requestIDLength = aes.BlockSize // in bytes
	tokenTagLength  = 24            // in bytes
)

func newRequestID() string {
	return base64.RawURLEncoding.EncodeToString(randomBytes(requestIDLength))
}

// mac hashes the parts under the root's key for the purpose. Each part is
// preceded by its length, so that no two lists of parts look alike.
func (r *keyRoot) mac(purpose string, parts ...string) []byte {
	mac := hmac.New(sha256.New, r.key(purpose, 32))
	for _, part := range parts {
		mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		mac.Write([]byte(part))
	}
	return mac.Sum(nil)
}

// code derives the one-time code of a request. Bytes that would favour some
// characters are thrown away, so every code is equally likely.
func (r *keyRoot) code(c *challenge) string {
	alphabet := c.alphabet()
	limit := byte(256 / len(alphabet) * len(alphabet))
	var code strings.Builder
	for block := byte(0); ; block++ {
		for _, b := range r.mac("code", c.ID, string(binary.BigEndian.AppendUint32(nil, uint32(c.Generation))), string(block)) {
			if limit != 0 && b >= limit {
				continue
			}
			code.WriteByte(alphabet[int(b)%len(alphabet)])
			if code.Len() == c.CodeLength {
				return code.String()
			}
		}
	}
}

// sampleCode is a code of the same form that is made up, to try templates with.
func (c *challenge) sampleCode() string {
	return strings.Repeat(c.alphabet(), 2)[:c.CodeLength]
}

// sampleToken is as long as a link token.
var sampleToken = strings.Repeat("A", base64.RawURLEncoding.EncodedLen(requestIDLength+tokenTagLength))

// token derives the link token of a request: its id, enciphered so that a
// reader of the mail does not learn it, and a tag over id and generation.
func (r *keyRoot) token(c *challenge) (string, error) {
	id, err := base64.RawURLEncoding.DecodeString(c.ID)
	if err != nil {
		return "", err
	}
	block, err := aes.NewCipher(r.key("link token id", 32))
	if err != nil {
		return "", err
	}
	token := make([]byte, requestIDLength, requestIDLength+tokenTagLength)
	block.Encrypt(token, id) // one block of random bytes: a permutation is all that is needed
	token = append(token, r.tokenTag(c)...)
	return base64.RawURLEncoding.EncodeToString(token), nil
}

func (r *keyRoot) tokenTag(c *challenge) []byte {
	return r.mac("link token", c.ID, string(binary.BigEndian.AppendUint32(nil, uint32(c.Generation))))[:tokenTagLength]
}

// requestsOfToken lists the ids that a link token can name: one for each root
// that may have made it.
func (k *keyring) requestsOfToken(token string) []string {
	raw, ok := decodeToken(token)
	if !ok {
		return nil
	}
	var ids []string
	for _, root := range k.Roots {
		block, err := aes.NewCipher(root.key("link token id", 32))
		if err != nil {
			continue
		}
		id := make([]byte, requestIDLength)
		block.Decrypt(id, raw[:requestIDLength])
		ids = append(ids, base64.RawURLEncoding.EncodeToString(id))
	}
	return ids
}

// decodeToken takes one spelling of each token: the decoder alone would pass over
// line breaks.
func decodeToken(token string) ([]byte, bool) {
	const length = requestIDLength + tokenTagLength
	if len(token) != base64.RawURLEncoding.EncodedLen(length) {
		return nil, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	return raw, err == nil && len(raw) == length
}

// rightToken says whether the token is that of the request's present generation.
func (r *keyRoot) rightToken(c *challenge, token string) bool {
	raw, ok := decodeToken(token)
	return ok && hmac.Equal(raw[requestIDLength:], r.tokenTag(c))
}

// rightCode says whether the code is that of the request's present generation.
// A refused address has a code like any other, which nobody is told and which
// nobody can guess: it is never right.
func (r *keyRoot) rightCode(c *challenge, code string) bool {
	equal := subtle.ConstantTimeCompare([]byte(r.code(c)), []byte(code)) == 1
	return equal && !c.Decoy
}

// cleanCode brings what a person typed into the form of a code of the request,
// or says that it is none: blanks and hyphens go, letters become capitals.
func (c *challenge) cleanCode(typed string) (string, bool) {
	if len(typed) > 64 || !c.Method.hasCode() {
		return "", false
	}
	code := strings.ToUpper(strings.NewReplacer(" ", "", "-", "", "\t", "", "\r", "", "\n", "").Replace(typed))
	return code, len(code) == c.CodeLength && strings.Trim(code, c.alphabet()) == ""
}

func (c *challenge) alphabet() string {
	if c.CodeLetters {
		return codeLetters
	}
	return codeDigits
}
