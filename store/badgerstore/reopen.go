package badgerstore

import (
	"fmt"
	"time"
)

// reopenEvery is the time between two attempts to open a database that failed.
const reopenEvery = time.Second

// fail gives up the database after a commit that went wrong: what is in its
// memory may now differ from what is on disk, and Badger ends the process at
// the next write if it could not make its next log file (too many open files).
// A database opened anew has what is on disk. Until then all calls fail.
func (s *Store) fail(cause error) {
	s.cfg.Log.Error("the database failed and will be opened anew", "folder", s.cfg.Dir, "error", cause)
	s.mu.Lock()
	db := s.db
	s.db = nil
	s.failure = fmt.Errorf("badgerstore: the database in %s failed and is not open again yet: %w", s.cfg.Dir, cause)
	s.mu.Unlock()
	// Badger closes when it has flushed what it can, and tries until it can.
	released := make(chan struct{})
	s.released = released
	go func() { // Close does not wait for it longer than for a healthy one
		defer close(released)
		if err := db.Close(); err != nil {
			s.cfg.Log.Warn("closing the failed database", "folder", s.cfg.Dir, "error", err)
		}
	}()
}

// reopen opens a database that failed, if it failed and is closed by now. The
// committer alone calls it. What was in memory has nothing to come back to.
func (s *Store) reopen() {
	if s.db != nil || s.cfg.InMemory {
		return
	}
	select {
	case <-s.released:
	default:
		return
	}
	db, err := s.open()
	if err != nil {
		s.cfg.Log.Error("the database cannot be opened anew", "folder", s.cfg.Dir, "error", err)
		return
	}
	s.version = max(s.version, db.MaxVersion())
	s.mu.Lock()
	s.db, s.failure = db, nil
	s.mu.Unlock()
	s.cfg.Log.Info("the database is open again", "folder", s.cfg.Dir)
}
