package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Beside each session the store has an entry by which those of one address are
// found. It holds the beginning of the session's hash alone, which saves half of
// its room: what is found by it is compared. An entry stays until its session would
// have expired, and means nothing where that is over.

// entryLength is how much of a hash an entry has: 66 bits.
const entryLength = 11

func entriesOf(subject, site string) string { return "sessions-of/" + subject + "/" + site + "/" }

func entryKey(s *Session, hash string) string {
	return entriesOf(s.Subject, s.Site) + hash[:entryLength]
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

// list returns the live sessions of an address at a site, in any order.
func (s *sessionStore) list(ctx context.Context, subject, email, site string, now time.Time) ([]*liveSession, error) {
	var found []*liveSession
	err := s.store.Scan(ctx, entriesOf(subject, site), func(entry string, _ []byte) error {
		begin := sessionKey(entry[strings.LastIndexByte(entry, '/')+1:])
		return s.store.Scan(ctx, begin, func(key string, data []byte) error {
			var session Session
			if session.UnmarshalBinary(data) != nil {
				return nil // it admits nobody
			}
			live := newLiveSession(session, strings.TrimPrefix(key, sessionKey("")))
			if session.Subject == subject && session.Email == email && session.Site == site && live.live(now) {
				found = append(found, live)
			}
			return nil
		})
	})
	return found, err
}

// ListedSession is one of the sessions of an address at a site.
type ListedSession struct {
	// ID names it among those of its address.
	ID string
	Session
	// This says that it is the one that asks.
	This bool
}

// Sessions returns the live sessions of the address and the site that the secret's
// session is of, that one first and then by when they were last seen, or
// ErrNoSession.
func (e *Engine) Sessions(ctx context.Context, site *Site, secret string) ([]ListedSession, error) {
	own, found, err := e.listed(ctx, site, secret)
	if err != nil {
		return nil, err
	}
	list := make([]ListedSession, 0, len(found)+1)
	for _, session := range found {
		list = append(list, ListedSession{ID: session.hash[:entryLength], Session: session.Session})
	}
	slices.SortFunc(list, func(a, b ListedSession) int { return b.LastSeen.Compare(a.LastSeen) })
	return slices.Insert(list, 0, ListedSession{ID: own.hash[:entryLength], Session: own.Session, This: true}), nil
}

// listed returns the session that asks, and the others of its address.
func (e *Engine) listed(ctx context.Context, site *Site, secret string) (own *liveSession, others []*liveSession, err error) {
	own, err = e.identify(ctx, site, secret, e.now())
	if err != nil {
		return nil, nil, err
	}
	others, err = e.sessions.list(ctx, own.Subject, own.Email, site.Host, e.now())
	if err != nil {
		return nil, nil, fmt.Errorf("listing sessions: %w", err)
	}
	return own, slices.DeleteFunc(others, func(other *liveSession) bool { return other.hash == own.hash }), nil
}

// endAtOnce bounds how many sessions are ended at the same time.
const endAtOnce = 16

// EndOthers ends sessions of the address and the site that the secret's session is
// of, but not that one: the one with the ID, or all where it is "". When it returns
// nil, they are over for good.
func (e *Engine) EndOthers(ctx context.Context, site *Site, secret, id string) error {
	_, others, err := e.listed(ctx, site, secret)
	if err != nil {
		return err
	}
	ctx, cancel := unhurried(ctx)
	defer cancel()
	ending, ctx := errgroup.WithContext(ctx)
	ending.SetLimit(endAtOnce)
	for _, other := range others {
		if id == "" || other.hash[:entryLength] == id {
			ending.Go(func() error { return e.end(ctx, site, other.hash) })
		}
	}
	if err := ending.Wait(); err != nil {
		return fmt.Errorf("ending sessions: %w", err)
	}
	return nil
}

// end ends the session with the hash, if it is one of the site.
func (e *Engine) end(ctx context.Context, site *Site, hash string) error {
	err := e.sessions.change(ctx, hash, 0, func(old *Session) (*Session, error) {
		if old == nil || old.Site != site.Host {
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
	e.log.Info("signed out", "site", site.Host)
	return nil
}
