package gateway

import (
	"context"
	"crypto/subtle"
	"hash/maphash"
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
	// until is when it is over, where nothing happens before; touchFrom is when a
	// request notes anew that it was used.
	until, touchFrom time.Time
	// noting says that a request is writing LastSeen.
	noting    atomic.Bool
	member    atomic.Pointer[membership]
	assertion atomic.Pointer[signedAssertion]
}

// newLiveSession works out until when the session lives: idle is compared with the
// slack that LastSeen may be behind by, so that nobody is thrown out early.
func newLiveSession(session Session, hash string) *liveSession {
	slack := touchEvery(session.Idle)
	return &liveSession{
		Session: session, hash: hash,
		until:     earlier(session.Expires, session.LastSeen.Add(session.Idle+slack)),
		touchFrom: session.LastSeen.Add(slack),
	}
}

// live says whether the session is one at the time.
func (s *liveSession) live(now time.Time) bool { return s.ReplacedBy == "" && now.Before(s.until) }

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
	kept generations
	// changes counts the changes of sessions: what was read before one may not be
	// kept after it.
	changes uint64
}

// generations keep what was asked for lately: what nobody asked for while the
// young one filled is let go. Whoever shares one locks it.
type generations struct{ young, old map[string]*liveSession }

// maxYoung is how much a generation has: with about 1.5 kB for each session, all
// shards stay below 7 MB, for which the garbage collector takes as much again.
const maxYoung = 32

// get returns nil where there is none. It says too whether what it found is of the
// old generation, and to be put again.
func (g *generations) get(hash string) (session *liveSession, aged bool) {
	if session = g.young[hash]; session != nil {
		return session, false
	}
	session = g.old[hash]
	return session, session != nil
}

func (g *generations) put(session *liveSession) {
	if g.young == nil || len(g.young) >= maxYoung {
		g.young, g.old = make(map[string]*liveSession, maxYoung), g.young
	}
	g.young[session.hash] = session
}

func (g *generations) remove(hash string) {
	delete(g.young, hash)
	delete(g.old, hash)
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
	return shard.keep(newLiveSession(session, hash), changes), nil
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
	session, aged := s.kept.get(hash)
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
	known, aged := s.kept.get(session.hash)
	if known != nil {
		session = known
	}
	if known == nil || aged {
		s.kept.put(session)
	}
	return session
}

func (s *sessionShard) forget(hash string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	s.kept.remove(hash)
}

// hashMemo remembers the keyed hashes of secrets that came lately: comparing
// takes a tenth of the time of hashing. It decides nothing: what it says is what
// hashing would say. Each secret has one place, which the latest one there takes.
type hashMemo [4096]atomic.Pointer[rememberedHash]

type rememberedHash struct {
	secret [secretTextLength]byte
	hash   string
}

func (m *hashMemo) place(secret string) *atomic.Pointer[rememberedHash] {
	return &m[maphash.String(stripeSeed, secret)%uint64(len(m))]
}

// get returns "" where the hash is not remembered.
func (m *hashMemo) get(secret string) string {
	known := m.place(secret).Load()
	if known == nil || subtle.ConstantTimeCompare(known.secret[:], []byte(secret)) != 1 {
		return ""
	}
	return known.hash
}

// put remembers the hash of a secret, which has the length of all.
func (m *hashMemo) put(secret, hash string) {
	known := &rememberedHash{hash: hash}
	copy(known.secret[:], secret)
	m.place(secret).Store(known)
}
