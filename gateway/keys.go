package gateway

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/securecookie"
)

const (
	// rotateEvery is the age at which a root is followed by a new one.
	rotateEvery = 90 * day
	// announceFor is how long the public key of a new root is published before
	// it signs, so that an upstream that keeps the key set finds it there.
	announceFor = day
	// rootLife is how long a root opens what it sealed: as long as the browser
	// cookie lives, and some.
	rootLife = browserCookieLife + rotateEvery + announceFor
)

// Keys are all keys of one installation. Everything that is rotated comes from
// a root by HKDF (RFC 5869); what finds records in the store comes from one
// secret that stays, or every session would end at a rotation. They live in a
// file of their own, so that a copy of the database opens nothing.
type Keys struct {
	path    string
	rotate  sync.Mutex
	current atomic.Pointer[keyring]
}

// keyring is an immutable state of Keys.
type keyring struct {
	Lookup []byte    `json:"lookup"`
	Roots  []keyRoot `json:"roots"` // newest first

	lookups sync.Map // purpose → *sync.Pool of hashers
	codecs  []*securecookie.SecureCookie
	signers []assertionSigner // as Roots
}

type keyRoot struct {
	ID         string    `json:"id"`
	ActiveFrom time.Time `json:"active_from"`
	Secret     []byte    `json:"secret"`
}

// OpenKeys reads the key file at path, and makes it, with mode 0600, where
// create is set and there is none. Without create a missing file is an error
// that wraps fs.ErrNotExist.
func OpenKeys(path string, create bool, now time.Time) (*Keys, error) {
	k := &Keys{path: path}
	ring, err := readKeyring(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		ring = &keyring{Lookup: randomBytes(32), Roots: []keyRoot{newRoot(now)}}
		err = ring.write(path)
	}
	if err != nil {
		return nil, err
	}
	if err := ring.derive(); err != nil {
		return nil, err
	}
	k.current.Store(ring)
	return k, nil
}

func readKeyring(path string) (*keyring, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, fmt.Errorf("keeping the keys to their owner: %w", err)
	}
	ring := new(keyring)
	if err := json.Unmarshal(data, ring); err != nil || !ring.whole() {
		return nil, fmt.Errorf("the key file %s is damaged: restore it from a backup, or remove the whole folder, which signs everybody out", path)
	}
	return ring, nil
}

func (k *keyring) whole() bool {
	for _, root := range k.Roots {
		if root.ID == "" || len(root.Secret) != 32 {
			return false
		}
	}
	return len(k.Lookup) == 32 && len(k.Roots) > 0
}

// write replaces the file at once, so that a kill leaves the old or the new one.
func (k *keyring) write(path string) error {
	data, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := replaceFile(path, data); err != nil {
		return fmt.Errorf("writing the keys: %w", err)
	}
	return nil
}

func replaceFile(path string, data []byte) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".keys-*") // made with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(file.Name())
		}
	}()
	_, err = file.Write(data)
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes a rename durable. Where folders cannot be synced (Windows),
// the rename itself is.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := folder.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && os.PathSeparator == '/' {
		return err
	}
	return nil
}

func newRoot(activeFrom time.Time) keyRoot {
	return keyRoot{ID: base64.RawURLEncoding.EncodeToString(randomBytes(9)), ActiveFrom: activeFrom.UTC(), Secret: randomBytes(32)}
}

// randomBytes never fails: crypto/rand ends the process where the system has
// no randomness.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// derive makes what every request needs, once.
func (k *keyring) derive() error {
	for _, root := range k.Roots {
		codec := securecookie.New(root.key("browser cookie mac", 32), root.key("browser cookie encryption", 32))
		codec.MaxAge(int(browserCookieLife / time.Second)).MaxLength(maxBrowserCookie).SetSerializer(securecookie.NopEncoder{})
		k.codecs = append(k.codecs, codec)
		signer, err := newAssertionSigner(root)
		if err != nil {
			return fmt.Errorf("making the signer of assertions: %w", err)
		}
		k.signers = append(k.signers, signer)
	}
	return nil
}

func (r keyRoot) key(purpose string, length int) []byte {
	key, err := hkdf.Key(sha256.New, r.Secret, nil, "postern "+purpose, length)
	if err != nil { // only a length over 255 hashes can fail
		panic(err)
	}
	return key
}

// Rotate adds a root when the newest is old enough, or now where force is set,
// and forgets those that can open nothing any more. The new one is announced
// before it is used.
func (k *Keys) Rotate(now time.Time, force bool) (bool, error) {
	k.rotate.Lock()
	defer k.rotate.Unlock()
	old := k.current.Load()
	if !force && now.Before(old.Roots[0].ActiveFrom.Add(rotateEvery)) {
		return false, nil
	}
	ring := &keyring{Lookup: old.Lookup, Roots: []keyRoot{newRoot(now.Add(announceFor))}}
	for _, root := range old.Roots {
		if now.Before(root.ActiveFrom.Add(rootLife)) {
			ring.Roots = append(ring.Roots, root)
		}
	}
	if err := ring.derive(); err != nil {
		return false, err
	}
	if err := ring.write(k.path); err != nil {
		return false, err
	}
	k.current.Store(ring)
	return true, nil
}

// active is the index of the root that seals now: the newest that is past its
// announcement.
func (k *keyring) active(now time.Time) int {
	for i, root := range k.Roots {
		if !now.Before(root.ActiveFrom) {
			return i
		}
	}
	return len(k.Roots) - 1 // the clock went back: the oldest
}

// root returns the root with the id, or nil.
func (k *keyring) root(id string) *keyRoot {
	for i := range k.Roots {
		if k.Roots[i].ID == id {
			return &k.Roots[i]
		}
	}
	return nil
}

// hash is the keyed hash under which a secret is known in the store. Distinct
// purposes give unrelated hashes.
func (k *Keys) hash(purpose, secret string) string {
	pool := k.current.Load().hashers(purpose)
	h := pool.Get().(*hasher)
	defer pool.Put(h)
	return h.hash(secret)
}

// hashers returns the hashers of a purpose. Making one costs more than hashing.
func (k *keyring) hashers(purpose string) *sync.Pool {
	if pool, ok := k.lookups.Load(purpose); ok {
		return pool.(*sync.Pool)
	}
	key := keyRoot{Secret: k.Lookup}.key("lookup "+purpose, 32)
	pool, _ := k.lookups.LoadOrStore(purpose, &sync.Pool{New: func() any {
		return &hasher{mac: hmac.New(sha256.New, key)}
	}})
	return pool.(*sync.Pool)
}

// hasher hashes one secret after the other.
type hasher struct {
	mac    hash.Hash
	secret []byte
	sum    [sha256.Size]byte
	text   [hashLength]byte
}

// hashLength is that of a hash as text.
const hashLength = (sha256.Size*8 + 5) / 6

func (h *hasher) hash(secret string) string {
	h.secret = append(h.secret[:0], secret...)
	defer clear(h.secret)
	h.mac.Reset()
	h.mac.Write(h.secret)
	base64.RawURLEncoding.Encode(h.text[:], h.mac.Sum(h.sum[:0]))
	return string(h.text[:])
}
