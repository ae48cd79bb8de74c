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
	hash  string // that it is stored under
	shard *sessionShard
	// noting says that a request is writing LastSeen.
	noting    atomic.Bool
	member    atomic.Pointer[membership]
	assertion atomic.Pointer[signedAssertion]
}

// sessionStore is where sessions are stored, with those in use kept in memory.
// Every change goes through it, so that what is kept is what is stored: the
// request that follows the end of a session does not find it any more.
type sessionStore struct {
	store   store.Store
	shards  [stripes]sessionShard
	secrets secretMemo
}

// sessionShard keeps some of the sessions.
type sessionShard struct {
	mu   sync.RWMutex
	kept generations[string, *liveSession]
	// changes counts the changes of sessions: what was read before one may not be
	// kept, or used again, after it.
	changes atomic.Uint64
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
	session, _, err := s.loadAt(ctx, hash, nil)
	return session, err
}

// loadAt is load. It returns as well the count of changes in the session's shard
// up to which it holds for sure. before, which may be nil, is what the session was:
// where that is what is stored, it goes on, with what was worked out for it.
func (s *sessionStore) loadAt(ctx context.Context, hash string, before *liveSession) (*liveSession, uint64, error) {
	shard := s.shard(hash)
	found, changes := shard.find(hash)
	if found != nil {
		return found, changes, nil
	}
	session, err := store.Load[Session](ctx, s.store, sessionKey(hash))
	if err != nil {
		return nil, 0, err
	}
	if before == nil || before.Session != session {
		before = &liveSession{Session: session, hash: hash, shard: shard}
	}
	return shard.keep(before, changes), changes, nil
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
	changes := s.changes.Load()
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
	if s.changes.Load() != changes {
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
	s.changes.Add(1)
	s.kept.remove(hash)
}

// secretMemo remembers what the secrets belong to that came lately, by their
// SHA-256: their keyed hashes, which take three times as long, and their sessions.
// It decides nothing: what it says is what hashing and loading would say.
type secretMemo struct{ shards [stripes]secretShard }

type secretShard struct {
	mu   sync.RWMutex
	kept generations[secretSum, knownSecret]
}

// knownSecret is of one secret; the zero value of one that is not known.
type knownSecret struct {
	hash    string
	session *liveSession
	changes uint64 // in the session's shard, when it was found
}

// current returns the session, or nil where any of its shard has changed since.
func (k *knownSecret) current() *liveSession {
	if k.session == nil || k.session.shard.changes.Load() != k.changes {
		return nil
	}
	return k.session
}

type secretSum [sha256.Size]byte

// sumOf is the SHA-256 of a session's secret, of its full length.
func sumOf(secret string) secretSum {
	var text [secretTextLength]byte
	copy(text[:], secret)
	return sha256.Sum256(text[:])
}

func (m *secretMemo) shard(sum *secretSum) *secretShard { return &m.shards[sum[0]%stripes] }

func (m *secretMemo) get(sum *secretSum) knownSecret {
	shard := m.shard(sum)
	shard.mu.RLock()
	known, _, aged := shard.kept.get(*sum)
	shard.mu.RUnlock()
	if aged {
		m.put(sum, known)
	}
	return known
}

func (m *secretMemo) put(sum *secretSum, known knownSecret) {
	shard := m.shard(sum)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	shard.kept.put(*sum, known)
}
