package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/postern-auth/postern/store"
)

const many = 64

// parallel runs fn in many goroutines at once.
func parallel(fn func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range many {
		wg.Go(func() {
			<-start
			fn(i)
		})
	}
	close(start)
	wg.Wait()
}

func increment(old []byte) ([]byte, error) {
	n := 0
	if old != nil {
		var err error
		if n, err = strconv.Atoi(string(old)); err != nil {
			return nil, err
		}
	}
	return strconv.AppendInt(nil, int64(n+1), 10), nil
}

// Each update sees what the one before it left: no number is seen twice.
func testIncrements(t *testing.T, s store.Store) {
	const rounds = 25
	var seen sync.Map
	parallel(func(int) {
		for range rounds {
			var got string
			err := s.Update(ctx, "n", 0, func(old []byte) ([]byte, error) {
				got = string(old)
				return increment(old)
			})
			if err != nil {
				t.Errorf("Update: %v", err)
			} else if _, twice := seen.LoadOrStore(got, true); twice {
				t.Errorf("two updates saw %q", got)
			}
		}
	})
	want(t, s, "n", []byte(strconv.Itoa(many*rounds)))
}

func testSetIfAbsent(t *testing.T, s store.Store) {
	for round := range 10 {
		key := fmt.Sprint("guard", round)
		var winner atomic.Int32
		var wins atomic.Int32
		parallel(func(i int) {
			err := s.Update(ctx, key, 0, func(old []byte) ([]byte, error) {
				if old != nil {
					return nil, errNo
				}
				return []byte(strconv.Itoa(i)), nil
			})
			switch {
			case err == nil:
				wins.Add(1)
				winner.Store(int32(i))
			case !errors.Is(err, errNo):
				t.Errorf("Update: %v", err)
			}
		})
		if wins.Load() != 1 {
			t.Fatalf("%d won, want one", wins.Load())
		}
		want(t, s, key, []byte(strconv.Itoa(int(winner.Load()))))
	}
}

// What is deleted by one update is missing for all others.
func testUseUpOnce(t *testing.T, s store.Store) {
	set(t, s, "ticket", []byte("v"))
	var used atomic.Int32
	parallel(func(int) {
		err := s.Update(ctx, "ticket", 0, func(old []byte) ([]byte, error) {
			if old == nil {
				return nil, errNo
			}
			return nil, nil
		})
		if err == nil {
			used.Add(1)
		} else if !errors.Is(err, errNo) {
			t.Errorf("Update: %v", err)
		}
	})
	if used.Load() != 1 {
		t.Fatalf("used %d times, want once", used.Load())
	}
	wantMissing(t, s, "ticket")
}

func testDifferentKeys(t *testing.T, s store.Store) {
	const rounds = 10
	parallel(func(i int) {
		key := fmt.Sprint("key", i)
		for n := range rounds {
			if err := s.Update(ctx, key, 0, increment); err != nil {
				t.Errorf("Update: %v", err)
			}
			got, err := s.Get(ctx, key)
			if err != nil || string(got) != strconv.Itoa(n+1) {
				t.Errorf("Get after Update = %q, %v; want %d", got, err, n+1)
			}
		}
	})
	if got := keys(t, s, "key"); len(got) != many {
		t.Errorf("Scan found %d keys, want %d", len(got), many)
	}
}

// An update that fails takes no other with it.
func testFailuresAmongOthers(t *testing.T, s store.Store) {
	parallel(func(i int) {
		err := s.Update(ctx, "n", 0, func(old []byte) ([]byte, error) {
			if i%2 == 0 {
				return nil, errNo
			}
			return increment(old)
		})
		if failed := errors.Is(err, errNo); failed != (i%2 == 0) || !failed && err != nil {
			t.Errorf("update %d: %v", i, err)
		}
	})
	want(t, s, "n", []byte(strconv.Itoa(many/2)))
}

func testLargeAtOnce(t *testing.T, s store.Store) {
	value := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, store.MaxValue-i) }
	parallel(func(i int) {
		err := s.Update(ctx, fmt.Sprint("large", i), 0, func([]byte) ([]byte, error) { return value(i), nil })
		if err != nil {
			t.Errorf("update %d: %v", i, err)
		}
	})
	for i := range many {
		want(t, s, fmt.Sprint("large", i), value(i))
	}
}
