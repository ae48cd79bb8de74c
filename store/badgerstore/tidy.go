package badgerstore

import (
	"context"
	"time"

	"github.com/postern-auth/postern/store"
)

const (
	// tidyWhenFull is the time between two runs while the disk has too little
	// room: what has expired may be what fills it.
	tidyWhenFull = 5 * time.Minute
	// flushTime is enough for Badger to write a full memtable to a table.
	flushTime = 2 * time.Second
)

// Keys before the first and after the last that badgerKey makes.
var sweepKeys = [2][]byte{{keyMark - 1}, {keyMark + 1}}

// tidyLoop looks after the database until Close.
func (s *Store) tidyLoop() {
	if s.cfg.InMemory {
		return
	}
	tick := time.NewTicker(min(s.cfg.TidyEvery, tidyWhenFull))
	defer tick.Stop()
	for last := time.Now(); s.wait(tick.C); {
		r, err := s.disk.room(s.folder.tables.Load())
		if err != nil || r == roomPlenty && time.Since(last) < s.cfg.TidyEvery {
			continue
		}
		last = time.Now()
		if err := s.tidy(); err != nil {
			s.cfg.Log.Warn("dropping expired values from the database", "folder", s.cfg.Dir, "error", err)
		}
	}
}

// wait waits for c, and says whether the store is still open.
func (s *Store) wait(c <-chan time.Time) bool {
	select {
	case <-s.quit:
		return false
	case <-c:
		return true
	}
}

// tidy drops the values that are expired, deleted or replaced from the disk.
// Badger drops them when it merges a table with the ones below that overlap it,
// which it does only as far as new values push the old ones down. So this makes
// one table that overlaps all and has everything merged.
func (s *Store) tidy() error {
	free, err := freeBytes(s.cfg.Dir)
	if err != nil || free < s.folder.tables.Load()+s.disk.hard+memTableSize {
		return err // the new tables might not fit beside the old ones
	}
	for i := range memTableSize/store.MaxValue + 2 {
		if err := s.sweep(sweepKeys[i%2]); err != nil {
			return err
		}
	}
	if !s.wait(time.After(flushTime)) {
		return nil
	}
	if err := s.begin(context.Background()); err != nil {
		return err
	}
	defer s.mu.RUnlock()
	return s.db.Flatten(1)
}

// sweep writes a value that is as long as can be and expires at once.
func (s *Store) sweep(key []byte) error {
	return s.submit(context.Background(), &update{
		key:    key,
		keep:   time.Second,
		anyway: true,
		fn:     func([]byte) ([]byte, error) { return make([]byte, store.MaxValue), nil },
		done:   make(chan error, 1),
	})
}
