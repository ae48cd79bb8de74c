package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-auth/postern/store"
)

func testEndedContext(t *testing.T, s store.Store) {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	err := s.Update(ended, "a", 0, func([]byte) ([]byte, error) { return []byte("v"), nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Update: %v", err)
	}
	late, cancel := context.WithTimeout(ctx, -time.Second)
	defer cancel()
	err = s.Update(late, "b", 0, func([]byte) ([]byte, error) { return []byte("v"), nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Update: %v", err)
	}
	set(t, s, "c", []byte("v")) // the store is none the worse
	want(t, s, "c", []byte("v"))
}

// An update whose context ends while it is under way happened or not, and the
// error is that of the context; one that returns nil happened.
func testContextEndsMeanwhile(t *testing.T, s store.Store) {
	var sure, maybe atomic.Int64
	parallel(func(i int) {
		for j := range 20 {
			short, cancel := context.WithTimeout(ctx, time.Duration(i*j)*time.Microsecond)
			err := s.Update(short, "n", 0, increment)
			cancel()
			switch {
			case err == nil:
				sure.Add(1)
			case errors.Is(err, context.DeadlineExceeded):
				maybe.Add(1)
			default:
				t.Errorf("Update: %v", err)
			}
		}
	})
	set(t, s, "after", []byte("v"))
	n := 0
	if got, err := s.Get(ctx, "n"); err == nil {
		n, _ = strconv.Atoi(string(got))
	} else if !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	if least, most := int(sure.Load()), int(sure.Load()+maybe.Load()); n < least || n > most {
		t.Errorf("counted %d, want %d to %d", n, least, most)
	}
}

func testClosed(t *testing.T, s store.Store) {
	set(t, s, "a", []byte("v"))
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	wantClosed(t, s)
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	wantClosed(t, s)
}

func wantClosed(t *testing.T, s store.Store) {
	t.Helper()
	if _, err := s.Get(ctx, "a"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Get: %v", err)
	}
	err := s.Update(ctx, "a", 0, func([]byte) ([]byte, error) {
		t.Error("fn ran after Close")
		return nil, nil
	})
	if !errors.Is(err, store.ErrClosed) {
		t.Errorf("Update: %v", err)
	}
	err = s.Scan(ctx, "", func(string, []byte) error {
		t.Error("fn ran after Close")
		return nil
	})
	if !errors.Is(err, store.ErrClosed) {
		t.Errorf("Scan: %v", err)
	}
}

// Updates under way succeed or are refused, and none runs when Close is back.
func testCloseDuringUpdates(t *testing.T, s store.Store) {
	updateAndClose(t, s)
	wantClosed(t, s)
}

// updateAndClose closes s, twice, while updates go on, and returns the numbers
// acknowledged for each key.
func updateAndClose(t *testing.T, s store.Store) []int {
	t.Helper()
	var done atomic.Bool
	acked := make([]int, many)
	closed := make(chan error, 2)
	var under sync.WaitGroup
	under.Add(many)
	go func() {
		under.Wait() // each has one update behind it
		go func() { closed <- s.Close() }()
		closed <- s.Close()
		done.Store(true)
	}()
	parallel(func(i int) {
		key := fmt.Sprint("key", i)
		for n := 1; ; n++ {
			err := s.Update(ctx, key, 0, func(old []byte) ([]byte, error) {
				if done.Load() {
					t.Error("fn ran after Close")
				}
				return increment(old)
			})
			if n == 1 {
				under.Done()
			}
			if err != nil {
				if !errors.Is(err, store.ErrClosed) {
					t.Errorf("Update: %v", err)
				}
				return
			}
			acked[i] = n
		}
	})
	for range 2 {
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	return acked
}

func testCloseDuringReads(t *testing.T, s store.Store) {
	for i := range 500 {
		set(t, s, fmt.Sprintf("key%04d", i), bytes.Repeat([]byte("v"), 1000))
	}
	time.AfterFunc(20*time.Millisecond, func() { s.Close() })
	parallel(func(i int) {
		for {
			var err error
			if i%2 == 0 {
				_, err = s.Get(ctx, fmt.Sprintf("key%04d", i))
			} else {
				err = s.Scan(ctx, "key", func(string, []byte) error { return nil })
			}
			if err != nil {
				if !errors.Is(err, store.ErrClosed) {
					t.Errorf("reading: %v", err)
				}
				return
			}
		}
	})
	wantClosed(t, s)
}

// RunDurable tests that what was acknowledged is there after reopening. open
// opens the store in dir, each time with what was there before; RunDurable
// closes it.
func RunDurable(t *testing.T, open func(t *testing.T, dir string) store.Store) {
	t.Run("Values", func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir)
		set(t, s, "empty", []byte{})
		set(t, s, "deleted", []byte("v"))
		set(t, s, "replaced", []byte("v"))
		set(t, s, "large", bytes.Repeat([]byte("v"), store.MaxValue))
		setFor(t, s, "hour", time.Hour, []byte("v"))
		setFor(t, s, "second", time.Second, []byte("v"))
		remove(t, s, "deleted")
		set(t, s, "replaced", []byte("v2"))
		time.Sleep(2500 * time.Millisecond)
		for range 3 {
			if err := s.Close(); err != nil {
				t.Fatalf("Close: %v", err)
			}
			s = open(t, dir)
			want(t, s, "empty", []byte{})
			want(t, s, "replaced", []byte("v2"))
			want(t, s, "large", bytes.Repeat([]byte("v"), store.MaxValue))
			want(t, s, "hour", []byte("v"))
			wantMissing(t, s, "deleted")
			wantMissing(t, s, "second")
			set(t, s, "hour", []byte("v"))
		}
		s.Close()
	})
	t.Run("CloseDuringUpdates", func(t *testing.T) {
		dir := t.TempDir()
		acked := updateAndClose(t, open(t, dir))
		s := open(t, dir)
		defer s.Close()
		for i, n := range acked {
			if n > 0 {
				want(t, s, fmt.Sprint("key", i), []byte(strconv.Itoa(n)))
			}
		}
	})
}
