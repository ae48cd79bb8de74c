// Package badgerstore keeps a store.Store in a folder of the local disk, with
// the embedded database Badger.
//
//	Get, Scan  ──────────────────────────────► Badger, read in place
//	Update ──► queue ──► committer ──► one transaction, one sync per batch
//
// Updates go through one goroutine, the committer (commit.go). It takes all
// that wait, runs their functions one after the other in one transaction,
// commits, syncs the log once and answers all of them: a key that everybody
// changes costs no retry, and 64 writers share the price of one sync.
//
// The rest keeps Badger out of trouble: options.go makes it small, folder.go
// keeps its files private, check.go finds damage before Badger panics at it,
// open.go says in plain words what is wrong, disk.go stops writing before the
// disk is full (Badger would die of SIGBUS), tidy.go drops what has expired, and
// reopen.go replaces a database that failed.
//
// One process at a time can open a folder, and only once.
package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/postern-auth/postern/store"
)

// Config says where and how a Store keeps its data.
type Config struct {
	// Dir is the folder of the database: required, but for InMemory. It is
	// created with mode 0700 where it is missing. A folder that exists must be
	// empty or hold a database; it and its files are made private (0700, 0600).
	// It must be on a local file system, not on NFS.
	Dir string
	// Log receives what an operator should know. Default: slog.Default().
	Log *slog.Logger
	// FreeFloor is the free space that must be left on the disk, in bytes, beside
	// room for all tables of the database once more, which compaction may need.
	// Where there is less, updates that add to the stored data are refused with
	// store.ErrFull. Those that delete a value, or replace it by one that is not
	// longer and at most 4 KB, go on down to 8 MB (or FreeFloor, if that is
	// less), so that sessions can still be ended on a disk that is nearly full.
	// Open needs these 8 MB too. Default: 32 MB.
	FreeFloor uint64
	// TidyEvery is the time between two runs that drop expired and replaced
	// values from the disk. Default: 6 hours.
	TidyEvery time.Duration
	// InMemory keeps everything in memory, for tests: Dir must be empty, and
	// all is lost on Close.
	InMemory bool
}

// Store is a store.Store in a Badger database. Beyond the contract: the fn of
// an Update never runs after Update has returned, a panic in it becomes the
// error of that Update, and a negative keep counts as one second.
//
// A value is live for keep at least, and gone one second after it at the latest.
type Store struct {
	cfg    Config
	folder *folder // nil in memory
	disk   disk

	queue   chan *update
	quit    chan struct{}  // closed when Close begins
	pending sync.WaitGroup // updates that may still send to queue
	workers sync.WaitGroup // committer and tidier
	once    sync.Once

	// The committer's own.
	version  uint64        // of the last commit
	released chan struct{} // closed when the database that failed is closed

	mu       sync.RWMutex // held while db is used, but for the committer
	db       *badger.DB   // nil when closed, or failed and not yet reopened
	failure  error        // why there is no db
	closing  bool
	closeErr error
}

var _ store.Store = (*Store)(nil)

// Open opens the database in cfg.Dir, or makes one. The errors tell an operator
// what is wrong, with which folder, and what to do; errors.Is finds ErrInUse,
// ErrDamaged and store.ErrFull in them.
func Open(cfg Config) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{
		cfg:   cfg,
		queue: make(chan *update, maxBatch),
		quit:  make(chan struct{}),
		disk:  newDisk(cfg),
	}
	if !cfg.InMemory {
		s.folder = &folder{path: cfg.Dir}
	}
	if s.db, err = s.open(); err != nil {
		return nil, err
	}
	s.version = s.db.MaxVersion()
	s.workers.Go(s.commitLoop)
	s.workers.Go(s.tidyLoop)
	return s, nil
}

func (cfg Config) withDefaults() (Config, error) {
	if cfg.InMemory != (cfg.Dir == "") {
		return cfg, errors.New("badgerstore: give either a folder or InMemory")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.FreeFloor == 0 {
		cfg.FreeFloor = defaultFreeFloor
	}
	if cfg.TidyEvery <= 0 {
		cfg.TidyEvery = defaultTidyEvery
	}
	return cfg, nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.once.Do(func() {
		s.mu.Lock()
		s.closing = true
		s.mu.Unlock()
		close(s.quit)
		s.pending.Wait()
		close(s.queue)
		s.workers.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.closeErr = s.closeDB()
	})
	return s.closeErr
}

// closeDB flushes what is in memory to new files, unless the disk is too full
// to take them: then the log, which is safe on disk, keeps it for the next Open.
func (s *Store) closeDB() error {
	db := s.db
	s.db, s.failure = nil, store.ErrClosed
	if db == nil {
		return s.awaitFailed()
	}
	if full, err := s.disk.tooFull(); err == nil && full {
		return fmt.Errorf("badgerstore: not closing the database in %s cleanly: %w; nothing is lost, but the folder stays locked until this process ends", s.cfg.Dir, store.ErrFull)
	}
	if err := closeInTime(db); err != nil {
		return fmt.Errorf("badgerstore: closing the database in %s: %w", s.cfg.Dir, err)
	}
	return nil
}

// awaitFailed waits until a database that failed has let go of its folder.
func (s *Store) awaitFailed() error {
	if s.released == nil || inTime(s.released) {
		return nil
	}
	return fmt.Errorf("badgerstore: closing the failed database in %s: %w", s.cfg.Dir, errNotInTime)
}

// closeTime is what Badger gets for writing what is in memory to new files.
const closeTime = 10 * time.Second

var errNotInTime = fmt.Errorf("not done after %s, because its folder cannot be written; nothing that was confirmed is lost, but the folder stays locked until this process ends", closeTime)

// inTime waits for done, and gives up after closeTime: where its folder is gone
// or cannot be written any more, Badger tries again for ever, and the process
// would never end. All that was confirmed is in the log.
func inTime(done <-chan struct{}) bool {
	timer := time.NewTimer(closeTime)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

func closeInTime(db *badger.DB) error {
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = db.Close()
	}()
	if !inTime(done) {
		return errNotInTime
	}
	return err
}

// begin refuses work on a closed store; otherwise the caller ends it with
// s.mu.RUnlock and may use s.db until then.
func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	err := s.failure
	if s.closing {
		err = store.ErrClosed
	}
	if err != nil {
		s.mu.RUnlock()
	}
	return err
}
