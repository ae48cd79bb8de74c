package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postern-auth/postern/store"
)

// Beside each session the store has an entry by which those of one address are
// found. It holds the beginning of the session's hash alone, which saves half of
// its room: what is found by it is compared. An entry stays until its session would
// have expired, and means nothing where that is over.

// SessionIDLength is that of the id of a ListedSession, which is the beginning of
// its hash: 66 bits.
const SessionIDLength = 11

// entriesOf begins the entries of an address, at a site or, where that is "", at
// any.
func entriesOf(subject, site string) string {
	begin := "sessions-of/" + subject + "/"
	if site != "" {
		begin += site + "/"
	}
	return begin
}

func entryKey(s *Session, hash string) string {
	return entriesOf(s.Subject, s.Site) + hash[:SessionIDLength]
}

// open stores a new session and its entry, at once: where a kill leaves one of
// them, nobody was given the secret yet.
func (s *sessionStore) open(ctx context.Context, session *Session, hash string, keep time.Duration) error {
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error {
		return s.store.Update(ctx, entryKey(session, hash), keep, func([]byte) ([]byte, error) { return []byte{1}, nil })
	})
	both.Go(func() error {
		return s.change(ctx, hash, keep, func(*Session) (*Session, error) { return session, nil })
	})
	return both.Wait()
}

// SessionQuery says which sessions are meant.
type SessionQuery struct {
	// Email is whose, in the form of ParseAddress. "": everybody's.
	Email string
	// Domain is that of their addresses, in the form of ParseDomain. "": any.
	Domain string
	// Site is the host that they are for. "": any.
	Site string
	// ID is that of a ListedSession. "": any.
	ID string
	// most is how many entries of an address are looked at. 0: all.
	most int
}

// errMore says that not all entries were looked at.
var errMore = errors.New("there are more sessions")

func (q SessionQuery) covers(s *Session) bool {
	_, domain := SplitAddress(s.Email)
	return (q.Email == "" || q.Email == s.Email) && (q.Domain == "" || q.Domain == domain) && (q.Site == "" || q.Site == s.Site)
}

// find calls each for the live sessions that are meant, in any order, and stops at
// its first error. subject is that of the address, where there is one.
func (s *sessionStore) find(ctx context.Context, q SessionQuery, subject string, now time.Time, each func(*liveSession) error) error {
	judge := func(key string, data []byte) error {
		var session Session
		if session.UnmarshalBinary(data) != nil {
			return nil // it admits nobody
		}
		live := newLiveSession(session, strings.TrimPrefix(key, sessionKey("")))
		if !live.live(now) || !q.covers(&session) || q.Email != "" && session.Subject != subject {
			return nil
		}
		return each(live)
	}
	if q.Email == "" {
		return s.store.Scan(ctx, sessionKey(q.ID), judge)
	}
	seen := 0
	return s.store.Scan(ctx, entriesOf(subject, q.Site), func(entry string, _ []byte) error {
		if seen++; q.most > 0 && seen > q.most {
			return errMore
		}
		id := entry[strings.LastIndexByte(entry, '/')+1:]
		if q.ID != "" && id != q.ID {
			return nil
		}
		return s.store.Scan(ctx, sessionKey(id), judge)
	})
}

// ListedSession is one that was found.
type ListedSession struct {
	// ID names it, and is no secret.
	ID string
	Session
	// This says that it is the one that asks.
	This bool
}

// mostListed bounds what listing sessions for a page takes.
const mostListed = 500

// Sessions returns the live sessions of the address and the site that the secret's
// session is of, that one first and then by when they were last seen, or
// ErrNoSession. more says that there may be others beside them.
func (e *Engine) Sessions(ctx context.Context, site *Site, secret string) (list []ListedSession, more bool, err error) {
	own, found, err := e.listed(ctx, site, secret, mostListed)
	if more = errors.Is(err, errMore); err != nil && !more {
		return nil, false, err
	}
	list = make([]ListedSession, 0, len(found)+1)
	for _, session := range found {
		list = append(list, ListedSession{ID: session.hash[:SessionIDLength], Session: session.Session})
	}
	slices.SortFunc(list, func(a, b ListedSession) int { return b.LastSeen.Compare(a.LastSeen) })
	return slices.Insert(list, 0, ListedSession{ID: own.hash[:SessionIDLength], Session: own.Session, This: true}), more, nil
}

// listed returns the session that asks, and the others of its address, of at most
// so many entries.
func (e *Engine) listed(ctx context.Context, site *Site, secret string, most int) (own *liveSession, others []*liveSession, err error) {
	own, err = e.identify(ctx, site, secret, e.now())
	if err != nil {
		return nil, nil, err
	}
	q := SessionQuery{Email: own.Email, Site: site.Host, most: most}
	err = e.sessions.find(ctx, q, own.Subject, e.now(), func(found *liveSession) error {
		if found.hash != own.hash {
			others = append(others, found)
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("listing sessions: %w", err)
	}
	return own, others, err
}

// FindSessions calls each for the live sessions that are meant, in no order, and
// stops at its first error, which it returns.
func (e *Engine) FindSessions(ctx context.Context, q SessionQuery, each func(ListedSession) error) error {
	return e.meant(ctx, q, func(found *liveSession) error {
		return each(ListedSession{ID: found.hash[:SessionIDLength], Session: found.Session})
	})
}

func (e *Engine) meant(ctx context.Context, q SessionQuery, each func(*liveSession) error) error {
	if q.ID != "" && len(q.ID) != SessionIDLength {
		return nil // it would be the beginning of many
	}
	var subject string
	if q.Email != "" {
		known, err := store.Load[user](ctx, e.store, "user/"+q.Email)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("loading the subject of an address: %w", err)
		}
		subject = known.Subject
	}
	if err := e.sessions.find(ctx, q, subject, e.now(), each); err != nil {
		return fmt.Errorf("listing sessions: %w", err)
	}
	return nil
}

// Revoke ends the sessions that are meant, by address, domain or ID, and returns
// how many there were. When the error is nil, they are over for good.
func (e *Engine) Revoke(ctx context.Context, q SessionQuery) (int, error) {
	if q.Email == "" && q.Domain == "" && q.ID == "" {
		return 0, errors.New("whose sessions, or which one, is not said")
	}
	var found []*liveSession
	err := e.meant(ctx, q, func(one *liveSession) error {
		found = append(found, one)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(found), e.endAll(context.WithoutCancel(ctx), found) // however long it takes
}

// endAtOnce bounds how many sessions are ended at the same time.
const endAtOnce = 16

// EndOthers ends sessions of the address and the site that the secret's session is
// of, but not that one: the one with the ID, or all where it is "". When it returns
// nil, they are over for good.
func (e *Engine) EndOthers(ctx context.Context, site *Site, secret, id string) error {
	_, others, err := e.listed(ctx, site, secret, 0)
	if err != nil {
		return err
	}
	if id != "" {
		others = slices.DeleteFunc(others, func(other *liveSession) bool { return other.hash[:SessionIDLength] != id })
	}
	ctx, cancel := unhurried(ctx)
	defer cancel()
	return e.endAll(ctx, others)
}

func (e *Engine) endAll(ctx context.Context, all []*liveSession) error {
	ending, ctx := errgroup.WithContext(ctx)
	ending.SetLimit(endAtOnce)
	for _, session := range all {
		ending.Go(func() error { return e.end(ctx, session.Site, session.hash) })
	}
	if err := ending.Wait(); err != nil {
		return fmt.Errorf("ending sessions: %w", err)
	}
	return nil
}

// end ends the session with the hash, if it is one of the site.
func (e *Engine) end(ctx context.Context, site, hash string) error {
	err := e.sessions.change(ctx, hash, 0, func(old *Session) (*Session, error) {
		if old == nil || old.Site != site {
			return nil, ErrNoSession
		}
		return nil, nil
	})
	if errors.Is(err, ErrNoSession) {
		return nil
	}
	if err != nil {
		return err
	}
	e.node.streams.sweep()
	e.log.Info("signed out", "site", site)
	return nil
}
