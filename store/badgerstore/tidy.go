package badgerstore

import (
	"context"
	"time"
)

// tidyWhenFull is the time between two runs while the disk has too little room:
// what has expired may be what fills it.
const tidyWhenFull = 5 * time.Minute

// tidyLoop looks after the database until Close.
func (s *Store) tidyLoop() {
	if s.cfg.InMemory {
		return
	}
	tick := time.NewTicker(min(s.cfg.TidyEvery, tidyWhenFull))
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-s.quit:
			return
		case <-tick.C:
		}
		r, err := s.disk.room()
		if err == nil && (r != roomPlenty || time.Since(last) >= s.cfg.TidyEvery) {
			last = time.Now()
			s.tidy()
		}
	}
}

// tidy moves all tables to the lowest level, which drops the values that are
// expired, deleted or replaced. Badger does so by itself only as far as new
// values push the old ones down.
func (s *Store) tidy() {
	free, err := freeBytes(s.cfg.Dir)
	if err != nil || free < min(tidyFloor, s.cfg.FreeFloor) {
		return // the new tables might not fit beside the old ones
	}
	if s.begin(context.Background()) != nil {
		return
	}
	defer s.mu.RUnlock()
	if err := s.db.Flatten(1); err != nil {
		s.cfg.Log.Warn("dropping expired values from the database", "folder", s.cfg.Dir, "error", err)
	}
}
