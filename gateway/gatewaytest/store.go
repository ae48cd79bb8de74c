package gatewaytest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/postern-auth/postern/store"
)

// Store passes everything on to the database, counts what is written, and can
// be told to fail.
type Store struct {
	store.Store // the database; it outlives this one

	mu     sync.Mutex
	dead   bool
	writes []Write
	// before and after are asked at each write; see Fail and Watch.
	before, after func(Write) error
}

// Write is one Update: the n-th since counting began, of the key.
type Write struct {
	N   int
	Key string
}

// Kind is the first part of the key, such as "session".
func (w Write) Kind() string {
	kind, _, _ := strings.Cut(w.Key, "/")
	return kind
}

var (
	// ErrFault is what a write or read fails with that was told to.
	ErrFault = errors.New("gatewaytest: told to fail")
	errDead  = errors.New("gatewaytest: the process was killed")
)

// Over returns a store over the database.
func Over(database store.Store) *Store { return &Store{Store: database} }

// Reset begins to count anew, and ends faults other than death. before, which
// may be nil, is asked before each write that follows and fails it by an error;
// after is asked when it is done, and makes it look failed.
func (s *Store) Reset(before, after func(Write) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes, s.before, s.after = nil, before, after
}

// Kill makes the store refuse everything, as if the process had ended.
func (s *Store) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
}

// Writes lists the writes since Reset.
func (s *Store) Writes() []Write {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Write(nil), s.writes...)
}

// Kinds lists the kinds of the writes since Reset, in order.
func (s *Store) Kinds() (kinds []string) {
	for _, w := range s.Writes() {
		kinds = append(kinds, w.Kind())
	}
	return kinds
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if err := s.alive(); err != nil {
		return nil, err
	}
	return s.Store.Get(ctx, key)
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, key string, keep time.Duration, fn func([]byte) ([]byte, error)) error {
	if err := s.alive(); err != nil {
		return err
	}
	s.mu.Lock()
	w := Write{N: len(s.writes) + 1, Key: key}
	s.writes = append(s.writes, w)
	before, after := s.before, s.after
	s.mu.Unlock()
	if before != nil {
		if err := before(w); err != nil {
			return err
		}
	}
	if err := s.Store.Update(ctx, key, keep, fn); err != nil {
		return err
	}
	if after != nil {
		if err := after(w); err != nil {
			return err
		}
	}
	return s.alive()
}

// Scan implements store.Store.
func (s *Store) Scan(ctx context.Context, prefix string, fn func(string, []byte) error) error {
	if err := s.alive(); err != nil {
		return err
	}
	return s.Store.Scan(ctx, prefix, fn)
}

// Close leaves the database open for the next process.
func (s *Store) Close() error { return nil }

func (s *Store) alive() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return errDead
	}
	return nil
}
