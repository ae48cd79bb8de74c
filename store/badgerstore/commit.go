package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/postern-auth/postern/store"
)

const (
	// A batch ends with the update that reaches one of these. Badger takes
	// transactions of up to 15% of the memtable.
	maxBatch      = 512
	maxBatchBytes = 128 << 10
)

// update is one call of Store.Update on its way through the committer.
type update struct {
	key  []byte
	keep time.Duration
	fn   func(old []byte) ([]byte, error)

	anyway bool       // even where the disk has little room
	err    error      // what became of it; the committer's own
	done   chan error // gets err; has room for it

	mu   sync.Mutex // held while fn runs
	gone bool       // the caller has left: fn must not run any more
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, key string, keep time.Duration, fn func(old []byte) ([]byte, error)) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return s.submit(ctx, &update{key: badgerKey(key), keep: keep, fn: fn, done: make(chan error, 1)})
}

// submit hands u to the committer and waits for its answer.
func (s *Store) submit(ctx context.Context, u *update) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	s.pending.Add(1)
	s.mu.RUnlock()
	defer s.pending.Done()
	select {
	case s.queue <- u:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-u.done:
		return err
	case <-ctx.Done():
		u.mu.Lock()
		u.gone = true
		u.mu.Unlock()
		return ctx.Err()
	}
}

func (s *Store) commitLoop() {
	retry := time.NewTicker(reopenEvery)
	defer retry.Stop()
	for {
		select {
		case u, ok := <-s.queue:
			if !ok {
				return
			}
			for batch := s.collect(u); len(batch) > 0; {
				batch = s.commit(batch)
			}
		case <-retry.C:
			s.reopen()
		}
	}
}

// collect takes all updates that wait, first being the first of them.
func (s *Store) collect(first *update) []*update {
	// Those just answered may be about to ask again: let them come along.
	runtime.Gosched()
	batch := []*update{first}
	for len(batch) < maxBatch {
		select {
		case u, ok := <-s.queue:
			if !ok {
				return batch
			}
			batch = append(batch, u)
		default:
			return batch
		}
	}
	return batch
}

// commit runs updates in one transaction, as many as fit, and answers them
// when it is on disk. It returns those that did not fit.
func (s *Store) commit(batch []*update) (rest []*update) {
	n, err := s.try(batch)
	for _, u := range batch[:n] {
		// An update may have failed because of what another one of the batch
		// did. If that is lost, so is the reason.
		if err != nil {
			u.err = err
		}
		u.done <- u.err
	}
	return batch[n:]
}

// try is commit without the answers. It returns how many updates it dealt
// with, which is one at least.
func (s *Store) try(batch []*update) (n int, err error) {
	if s.db == nil {
		return len(batch), s.failure
	}
	r, err := s.room()
	if err != nil {
		return len(batch), err
	}
	txn := s.db.NewTransactionAt(math.MaxUint64, true)
	defer txn.Discard()
	size := 0
	for n < len(batch) && size < maxBatchBytes {
		u := batch[n]
		var grown int
		grown, u.err = u.apply(txn, r)
		if errors.Is(u.err, badger.ErrTxnTooBig) && n > 0 {
			break // it runs again, in the next transaction
		}
		size += grown
		n++
	}
	if size == 0 {
		return n, nil
	}
	if err := s.write(txn); err != nil {
		s.fail(err)
		return n, err
	}
	return n, nil
}

// room says what may be written now.
func (s *Store) room() (room, error) {
	if s.folder == nil {
		return roomPlenty, nil
	}
	if _, err := s.folder.look(); err != nil {
		return roomNone, err
	}
	return s.disk.room(s.folder.tables.Load())
}

// write commits the transaction and brings it to disk. Until then readers may
// see what a loss of power would undo, but nobody is told that it is done.
func (s *Store) write(txn *badger.Txn) error {
	s.version++
	if err := txn.CommitAt(s.version, nil); err != nil {
		return fmt.Errorf("badgerstore: committing: %w", err)
	}
	// Nobody reads an older version than the latest.
	s.db.SetDiscardTs(s.version)
	if s.folder == nil {
		return nil
	}
	if err := s.db.Sync(); err != nil {
		return fmt.Errorf("badgerstore: syncing %s: %w", s.cfg.Dir, err)
	}
	return s.folder.afterCommit()
}

// apply runs fn and adds what it makes to the transaction. It returns the size
// of what it added, in bytes, 0 being nothing.
func (u *update) apply(txn *badger.Txn, r room) (size int, err error) {
	defer catch(&err)
	if r == roomNone {
		return 0, store.ErrFull
	}
	old, err := valueOf(txn, u.key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	had, oldLen := err == nil, len(old) // fn may do with old as it likes
	if !had {
		oldLen = -1 // so that even an empty value is longer
	}
	value, err := u.run(old)
	switch {
	case err != nil:
		return 0, err
	case len(value) > store.MaxValue:
		return 0, store.ErrTooLarge
	case value == nil && !had:
		return 0, nil
	case value == nil:
		return len(u.key) + entryBytes, txn.Delete(u.key)
	case r != roomPlenty && !u.anyway && len(value) > min(oldLen, smallValue):
		return 0, store.ErrFull
	}
	e := badger.NewEntry(u.key, append([]byte{}, value...))
	e.ExpiresAt = expiry(time.Now(), u.keep)
	return len(u.key) + len(value) + entryBytes, txn.SetEntry(e)
}

// entryBytes is about what Badger adds to each pair.
const entryBytes = 64

// run calls fn, unless the caller has left. A panic is the caller's fault alone.
func (u *update) run(old []byte) (value []byte, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.gone {
		return nil, context.Canceled
	}
	defer func() {
		if r := recover(); r != nil {
			value, err = nil, fmt.Errorf("badgerstore: the function of an update panicked: %v\n%s", r, debug.Stack())
		}
	}()
	return u.fn(old)
}

// expiry returns the second from which on Badger hides a value, 0 being never.
// Badger counts whole seconds and cuts: so both keep and the sum are rounded up.
func expiry(now time.Time, keep time.Duration) uint64 {
	if keep == 0 {
		return 0
	}
	secs := max(1, int64((keep-1)/time.Second)+1)
	if now.Nanosecond() > 0 {
		secs++
	}
	return uint64(now.Unix() + secs)
}
