package gateway

import (
	"context"
	"crypto/sha256"
	"fmt"
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

// sessionShard keeps some of the sessions, in two generations: those that nobody
// asked for while the young one filled are let go.
type sessionShard struct {
	mu         sync.RWMutex
	young, old map[string]*liveSession
	// changes counts the changes of sessions: what was read before one may not be
	// kept after it.
	changes uint64
}

// maxYoung is how many sessions a generation of a shard has: with about 1.5 kB
// each, all shards stay below 40 MB.
const maxYoung = 200

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
		return nil, fmt.Errorf("loading session: %w", err)
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
	young, old, changes := s.young[hash], s.old[hash], s.changes
	s.mu.RUnlock()
	if young == nil && old != nil {
		return s.keep(old, changes), changes
	}
	return young, changes
}

// keep keeps a session that was read when there had been so many changes, and
// returns the one that is kept: two requests that read it at once share one.
func (s *sessionShard) keep(session *liveSession, changes uint64) *liveSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes != changes {
		return session // for this request alone
	}
	if known := s.young[session.hash]; known != nil {
		return known
	}
	if known := s.old[session.hash]; known != nil {
		session = known
	}
	if s.young == nil || len(s.young) >= maxYoung {
		s.young, s.old = make(map[string]*liveSession, maxYoung), s.young
	}
	s.young[session.hash] = session
	return session
}

func (s *sessionShard) forget(hash string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	delete(s.young, hash)
	delete(s.old, hash)
}

// hashMemo remembers the keyed hashes of secrets that came lately, by their
// SHA-256, which takes a third of the time. It decides nothing: what it says is
// what hashing would say.
type hashMemo struct{ shards [stripes]hashShard }

// hashShard has two generations, as a sessionShard has.
type hashShard struct {
	mu         sync.RWMutex
	young, old map[secretSum]string
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
	hash, aged := shard.young[*sum], ""
	if hash == "" {
		aged = shard.old[*sum]
	}
	shard.mu.RUnlock()
	if aged != "" {
		m.put(sum, aged)
		return aged
	}
	return hash
}

func (m *hashMemo) put(sum *secretSum, hash string) {
	shard := m.shard(sum)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.young == nil || len(shard.young) >= maxYoung {
		shard.young, shard.old = make(map[secretSum]string, maxYoung), shard.young
	}
	shard.young[*sum] = hash
}
