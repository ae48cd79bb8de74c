package badgerstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/postern-auth/postern/store"
)

const (
	// A Scan reads this many pairs, or bytes, at once. No lock is held and no
	// snapshot kept while its fn runs, which may be slow or call the store.
	pageCount = 256
	pageBytes = 1 << 20
)

// Every key of ours begins with this byte: Badger keeps "!badger!" to itself.
const keyMark = 'k'

func badgerKey(key string) []byte {
	b := make([]byte, 0, len(key)+1)
	return append(append(b, keyMark), key...)
}

func checkKey(key string) error {
	switch {
	case key == "":
		return errors.New("badgerstore: the key is empty")
	case len(key) > store.MaxKey:
		return store.ErrTooLarge
	}
	return nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (value []byte, err error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.RUnlock()
	defer catch(&err)
	err = s.db.View(func(txn *badger.Txn) error {
		value, err = valueOf(txn, badgerKey(key))
		return err
	})
	return value, err
}

// valueOf returns a copy, non-nil even where the value is empty.
func valueOf(txn *badger.Txn, key []byte) ([]byte, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("badgerstore: reading: %w", err)
	}
	return copyOf(item)
}

func copyOf(item *badger.Item) ([]byte, error) {
	value, err := item.ValueCopy(make([]byte, 0, item.ValueSize()))
	if err != nil {
		return nil, fmt.Errorf("badgerstore: reading: %w", err)
	}
	return value, nil
}

// catch turns a panic of Badger into an error. It panics on reading a damaged
// table, and between a failed commit and the reopening after it.
func catch(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("badgerstore: the database panicked: %v", r)
	}
}

type pair struct {
	key   string
	value []byte
}

// Scan implements store.Store.
func (s *Store) Scan(ctx context.Context, prefix string, fn func(key string, value []byte) error) error {
	from := badgerKey(prefix)
	for {
		page, more, err := s.page(ctx, badgerKey(prefix), from)
		if err != nil {
			return err
		}
		for _, p := range page {
			if err := fn(p.key, p.value); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
		// The least key after the last one.
		from = append(badgerKey(page[len(page)-1].key), 0)
	}
}

// page returns the next pairs with the prefix, beginning at from, and whether
// there may be more.
func (s *Store) page(ctx context.Context, prefix, from []byte) (page []pair, more bool, err error) {
	if err := s.begin(ctx); err != nil {
		return nil, false, err
	}
	defer s.mu.RUnlock()
	defer catch(&err)
	err = s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
		defer it.Close()
		size := 0
		for it.Seek(from); it.Valid(); it.Next() {
			if len(page) == pageCount || size > pageBytes {
				more = true
				return nil
			}
			value, err := copyOf(it.Item())
			if err != nil {
				return err
			}
			page = append(page, pair{string(it.Item().Key()[1:]), value})
			size += len(value)
		}
		return nil
	})
	return page, more, err
}
