package badgerstore_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-auth/postern/store"
	"github.com/postern-auth/postern/store/badgerstore"
)

// A panic fails its own update and no other.
func TestPanic(t *testing.T) {
	s := open(t, badgerstore.Config{InMemory: true})
	set(t, s, "a", 0, []byte("v"))
	err := s.Update(context.Background(), "a", 0, func([]byte) ([]byte, error) { panic("ouch") })
	if err == nil || !strings.Contains(err.Error(), "ouch") {
		t.Fatalf("error %v", err)
	}
	if got, err := s.Get(context.Background(), "a"); err != nil || string(got) != "v" {
		t.Fatalf("%q, %v", got, err)
	}
	set(t, s, "a", 0, []byte("w"))
}

// fn does not run once Update has returned, so it may write to its caller's
// variables.
func TestNoRunAfterReturn(t *testing.T) {
	s := open(t, badgerstore.Config{InMemory: true})
	hold, held := make(chan struct{}), make(chan struct{})
	go s.Update(context.Background(), "a", 0, func([]byte) ([]byte, error) {
		close(held)
		<-hold
		return []byte("v"), nil
	})
	<-held
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	var ran atomic.Bool
	err := s.Update(ctx, "b", 0, func([]byte) ([]byte, error) {
		ran.Store(true)
		return []byte("v"), nil
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v", err)
	}
	close(hold)
	set(t, s, "c", 0, []byte("v"))
	if _, err := s.Get(context.Background(), "b"); !errors.Is(err, store.ErrNotFound) || ran.Load() {
		t.Fatalf("it ran: %v, %v", ran.Load(), err)
	}
}

func TestCloseInScan(t *testing.T) {
	s := open(t, badgerstore.Config{InMemory: true})
	for _, key := range []string{"a", "b"} {
		set(t, s, key, 0, []byte("v"))
	}
	err := s.Scan(context.Background(), "", func(key string, _ []byte) error {
		if err := s.Close(); err != nil {
			return err
		}
		_, err := s.Get(context.Background(), key)
		return err
	})
	if !errors.Is(err, store.ErrClosed) {
		t.Fatalf("error %v", err)
	}
}

// A keep that is past does not become one that never ends.
func TestNegativeKeep(t *testing.T) {
	s := open(t, badgerstore.Config{InMemory: true})
	past := map[string]time.Duration{"ns": -1, "s": -time.Second, "h": -time.Hour}
	for key, keep := range past {
		set(t, s, key, keep, []byte("v"))
	}
	time.Sleep(2100 * time.Millisecond)
	for key, keep := range past {
		if got, err := s.Get(context.Background(), key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("keep %s: %q, %v", keep, got, err)
		}
	}
}

func TestNoGoroutineLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, cfg := range []badgerstore.Config{{InMemory: true}, {Dir: t.TempDir()}} {
		s := open(t, cfg)
		set(t, s, "a", 0, []byte("v"))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
}
