package gateway

import (
	"context"
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-auth/postern/store"
)

// liveSession is a stored session as requests see it, with what was worked out
// for it. All requests share it: only the atomic fields change.
type liveSession struct {
	Session
	hash string // that it is stored under
	// noting says that a request is writing LastSeen.
	noting    atomic.Bool
	member    atomic.Pointer[membership]
	assertion atomic.Pointer[signedAssertion]
}

// sessionStore is where sessions are stored, with those in use kept in memory.
// Every change goes through it, so that what is kept is what is stored: the
// request that follows the end of a session does not find it any more.
type sessionStore struct {
	store  store.Store
	shards [stripes]sessionShard
	hashes hashMemo
}

// sessionShard keeps some of the sessions.
type sessionShard struct {
	mu   sync.RWMutex
	kept generations[string, *liveSession]
	// changes counts the changes of sessions: what was read before one may not be
	// kept after it.
	changes uint64
}

// generations keep what was asked for lately: what nobody asked for while the
// young one filled is let go. Whoever shares one locks it.
type generations[K comparable, V any] struct{ young, old map[K]V }

// maxYoung is how much a generation has: with about 1.5 kB for each session, all
// shards stay below 13 MB, for which the garbage collector takes as much again.
const maxYoung = 64

// get says too whether what it found is of the old generation, and to be put
// again.
func (g *generations[K, V]) get(key K) (value V, found, aged bool) {
	if value, found = g.young[key]; found {
		return value, true, false
	}
	value, found = g.old[key]
	return value, found, found
}

func (g *generations[K, V]) put(key K, value V) {
	if g.young == nil || len(g.young) >= maxYoung {
		g.young, g.old = make(map[K]V, maxYoung), g.young
	}
	g.young[key] = value
}

func (g *generations[K, V]) remove(key K) {
	delete(g.young, key)
	delete(g.old, key)
}

func newSessionStore(s store.Store) *sessionStore { return &sessionStore{store: s} }

func sessionKey(hash string) string { return "session/" + hash }

func (s *sessionStore) shard(hash string) *sessionShard { return &s.shards[stripeOf(hash)] }

// load returns the session with the hash, be it live or not, or
// store.ErrNotFound.
func (s *sessionStore) load(ctx context.Context, hash string) (*liveSession, error) {
	shard := s.shard(hash)
	found, changes := shard.find(hash)
	if found != nil {
		return found, nil
	}
	session, err := store.Load[Session](ctx, s.store, sessionKey(hash))
	if err != nil {
		return nil, err
	}
	return shard.keep(&liveSession{Session: session, hash: hash}, changes), nil
}

// change changes a stored session under the rules of store.Change; keep is how
// long it is stored then.
func (s *sessionStore) change(ctx context.Context, hash string, keep time.Duration, fn func(old *Session) (*Session, error)) error {
	defer s.shard(hash).forget(hash) // whatever Change returns, another one may be stored now
	return store.Change(ctx, s.store, sessionKey(hash), keep, fn)
}

// find returns a session that is kept, or nil, and the count of changes.
func (s *sessionShard) find(hash string) (*liveSession, uint64) {
	s.mu.RLock()
	session, _, aged := s.kept.get(hash)
	changes := s.changes
	s.mu.RUnlock()
	if aged {
		return s.keep(session, changes), changes
	}
	return session, changes
}

// keep keeps a session that was read when there had been so many changes, and
// returns the one that is kept: two requests that read it at once share one.
func (s *sessionShard) keep(session *liveSession, changes uint64) *liveSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes != changes {
		return session // for this request alone
	}
	known, found, aged := s.kept.get(session.hash)
	if found {
		session = known
	}
	if !found || aged {
		s.kept.put(session.hash, session)
	}
	return session
}

func (s *sessionShard) forget(hash string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	s.kept.remove(hash)
}

// hashMemo remembers the keyed hashes of secrets that came lately, by their
// SHA-256, which takes a third of the time. It decides nothing: what it says is
// what hashing would say.
type hashMemo struct{ shards [stripes]hashShard }

type hashShard struct {
	mu   sync.RWMutex
	kept generations[secretSum, string]
}

type secretSum [sha256.Size]byte

// sumOf is the SHA-256 of a session's secret, of its full length.
func sumOf(secret string) secretSum {
	var text [secretTextLength]byte
	copy(text[:], secret)
	return sha256.Sum256(text[:])
}

func (m *hashMemo) shard(sum *secretSum) *hashShard { return &m.shards[sum[0]%stripes] }

// get returns "" where the hash is not remembered.
func (m *hashMemo) get(sum *secretSum) string {
	shard := m.shard(sum)
	shard.mu.RLock()
	hash, _, aged := shard.kept.get(*sum)
	shard.mu.RUnlock()
	if aged {
		m.put(sum, hash)
	}
	return hash
}

func (m *hashMemo) put(sum *secretSum, hash string) {
	shard := m.shard(sum)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	shard.kept.put(*sum, hash)
}
