// Package store is where Postern keeps what must outlive a request: bytes
// under keys, with one atomic operation. A backend knows no record type, so a
// new kind of record touches no backend.
//
// The contract below is written as tests in package storetest; a backend that
// passes them all is a Store.
package store

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrNotFound says that no live value is stored under the key.
	ErrNotFound = errors.New("store: not found")
	// ErrFull says that there is too little room left on disk to take a write
	// safely. Reads go on. The caller answers 503 and changes nothing.
	ErrFull = errors.New("store: disk is full")
	// ErrClosed says that the store was closed, or is about to be.
	ErrClosed = errors.New("store: closed")
	// ErrTooLarge says that a key or a value is larger than MaxKey or MaxValue.
	ErrTooLarge = errors.New("store: key or value too large")
)

const (
	// MaxKey is the length of the longest key, in bytes.
	MaxKey = 1024
	// MaxValue is the length of the largest value, in bytes.
	MaxValue = 64 << 10
)

// Store keeps values under keys. All methods are safe for concurrent use.
//
// Keys are non-empty strings of at most MaxKey bytes; their order is that of
// their bytes. Values are non-nil, of at most MaxValue bytes, and belong to the
// caller: a Store neither keeps nor hands out a slice that somebody else may
// change.
//
// Atomic means one key. What must happen once is an Update of one key; a change
// of two keys is ordered so that a crash between them is harmless.
type Store interface {
	// Get returns the value under key, or ErrNotFound.
	Get(ctx context.Context, key string) ([]byte, error)

	// Update replaces the value under key by what fn makes of it, atomically:
	// of any number of concurrent updates of a key each sees what the one
	// before it left. fn gets nil where there is no value, and deletes the key
	// by returning nil. Where fn returns an error, nothing is changed and
	// Update returns that error (errors.Is finds it). fn must be quick, must
	// neither block nor call the store, and may run more than once; the last
	// run counts.
	//
	// When Update returns nil, the change is durable: it survives a kill and a
	// loss of power. A value is live for keep, which is rounded up to a whole
	// second; 0 is for ever. After that it is not found. keep is for collecting
	// garbage: an expiry that security needs is kept in the value and compared
	// with the clock.
	//
	// Where ctx ends first, the error is that of ctx, and whether the change
	// happened is not known.
	Update(ctx context.Context, key string, keep time.Duration, fn func(old []byte) ([]byte, error)) error

	// Scan calls fn for each live key that begins with prefix, in the order of
	// keys, and stops at fn's first error, which it returns. What is written
	// while it runs may be seen or not. fn may call the store.
	Scan(ctx context.Context, prefix string, fn func(key string, value []byte) error) error

	// Close waits for the updates under way and releases all resources. Every
	// call after it returns ErrClosed; closing twice is fine.
	Close() error
}
