package badgerstore_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-auth/postern/store"
	"github.com/postern-auth/postern/store/badgerstore"
)

// Below the floor nothing is added; what does not add goes on.
func TestBelowFloor(t *testing.T) {
	dir := t.TempDir()
	s := open(t, badgerstore.Config{Dir: dir})
	for _, key := range []string{"a", "b"} {
		set(t, s, key, 0, []byte("value"))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	s = open(t, badgerstore.Config{Dir: dir, FreeFloor: math.MaxUint64, Log: slog.New(slog.NewTextHandler(&log, nil))})
	wantFull(t, s, "new", []byte("v"))
	wantFull(t, s, "a", []byte("longer value"))
	if got, err := s.Get(context.Background(), "a"); err != nil || string(got) != "value" {
		t.Fatalf("%q, %v", got, err)
	}
	set(t, s, "a", 0, []byte("fresh"))
	set(t, s, "b", 0, nil)
	if _, err := s.Get(context.Background(), "b"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("not deleted: %v", err)
	}
	if n := strings.Count(log.String(), "nearly full"); n != 1 {
		t.Errorf("said %d times that the disk is full, want once:\n%s", n, log.String())
	}
}

func wantFull(t *testing.T, s store.Store, key string, value []byte) {
	t.Helper()
	err := s.Update(context.Background(), key, 0, func([]byte) ([]byte, error) { return value, nil })
	if !errors.Is(err, store.ErrFull) {
		t.Errorf("Update(%q): %v, want ErrFull", key, err)
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// fillDisk writes until the disk is full, from many goroutines, and goes on for
// a while with what is allowed then. Badger must not die of it.
func fillDisk(dir string) error {
	s, err := badgerstore.Open(badgerstore.Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make(chan error, 16)
	for w := range cap(errs) {
		wg.Go(func() { errs <- fillAndChurn(s, w) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return s.Close()
}

// noise is the same for the same seed, and cannot be compressed: what it takes in
// memory it takes on the disk.
func noise(seed, n int) []byte {
	value := make([]byte, 0, n+8)
	for source := rand.NewPCG(uint64(seed), 0); len(value) < n; {
		value = binary.LittleEndian.AppendUint64(value, source.Uint64())
	}
	return value[:n]
}

func fillAndChurn(s store.Store, w int) error {
	put := func(key string, value []byte) error {
		return s.Update(context.Background(), key, 0, func([]byte) ([]byte, error) { return value, nil })
	}
	key := func(i int) string { return fmt.Sprintf("%d/%d", w, i) }
	n := 0
	for ; ; n++ {
		err := put(key(n), noise(n, 1000+n%20_000))
		if errors.Is(err, store.ErrFull) {
			break
		}
		if err != nil || n > 100_000 {
			return fmt.Errorf("after %d: %w", n, err)
		}
	}
	for i := range n { // deletes of every second, and replacing of the others
		value := noise(i, 1000)
		if i%2 == 0 {
			value = nil
		}
		if err := put(key(i), value); err != nil && !errors.Is(err, store.ErrFull) {
			return fmt.Errorf("churning: %w", err)
		}
	}
	for i := range n {
		_, err := s.Get(context.Background(), key(i))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("reading: %w", err)
		}
	}
	return nil
}

// A database that expires as a whole makes room again on a disk of its own.
func refill(t *testing.T, dir string) {
	s := open(t, badgerstore.Config{Dir: dir, TidyEvery: 200 * time.Millisecond})
	value := make([]byte, 50_000)
	add := func(i int) error {
		return s.Update(context.Background(), fmt.Sprint("r", i), time.Second, func([]byte) ([]byte, error) { return value, nil })
	}
	i := 0
	for ; i < 10_000; i++ {
		if err := add(i); errors.Is(err, store.ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("full after %d values", i)
	for range 100 {
		time.Sleep(100 * time.Millisecond)
		if add(i) == nil {
			return
		}
	}
	t.Error("still full ten seconds after all had expired")
}
