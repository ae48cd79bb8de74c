// Package storetest is the contract of store.Store as tests. A backend that
// passes Run, and RunDurable where it keeps its data somewhere, is a Store.
//
//	storetest.go  how to run it, and helpers
//	values.go     one caller: values, sizes, ownership, expiry
//	concurrent.go many callers of Update
//	scan.go       prefixes and the order of keys
//	closing.go    Close, contexts that end, reopening
package storetest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/store"
)

// Run tests the contract. open returns an empty store each time it is called;
// Run closes it, maybe more than once.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	tests := []struct {
		name string
		test func(t *testing.T, s store.Store)
	}{
		{"Missing", testMissing},
		{"SetReplaceDelete", testSetReplaceDelete},
		{"EmptyValue", testEmptyValue},
		{"FailingUpdate", testFailingUpdate},
		{"Ownership", testOwnership},
		{"Keys", testKeys},
		{"Sizes", testSizes},
		{"Expiry", testExpiry},
		{"ExpiryReplaced", testExpiryReplaced},
		{"Increments", testIncrements},
		{"SetIfAbsent", testSetIfAbsent},
		{"UseUpOnce", testUseUpOnce},
		{"DifferentKeys", testDifferentKeys},
		{"FailuresAmongOthers", testFailuresAmongOthers},
		{"LargeAtOnce", testLargeAtOnce},
		{"ScanPrefix", testScanPrefix},
		{"ScanOrder", testScanOrder},
		{"ScanStops", testScanStops},
		{"ScanMany", testScanMany},
		{"ScanCallsStore", testScanCallsStore},
		{"ScanWhileWriting", testScanWhileWriting},
		{"EndedContext", testEndedContext},
		{"ContextEndsMeanwhile", testContextEndsMeanwhile},
		{"Closed", testClosed},
		{"CloseDuringUpdates", testCloseDuringUpdates},
		{"CloseDuringReads", testCloseDuringReads},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if strings.HasPrefix(tt.name, "Expiry") {
				t.Parallel() // they sleep most of the time
			}
			s := open(t)
			t.Cleanup(func() { s.Close() })
			tt.test(t, s)
		})
	}
}

var (
	ctx   = context.Background()
	errNo = errors.New("no")
)

func set(t testing.TB, s store.Store, key string, value []byte) {
	t.Helper()
	setFor(t, s, key, 0, value)
}

func setFor(t testing.TB, s store.Store, key string, keep time.Duration, value []byte) {
	t.Helper()
	err := s.Update(ctx, key, keep, func([]byte) ([]byte, error) { return value, nil })
	if err != nil {
		t.Fatalf("setting %.20q: %v", key, err)
	}
}

func remove(t testing.TB, s store.Store, key string) {
	t.Helper()
	set(t, s, key, nil)
}

func want(t testing.TB, s store.Store, key string, value []byte) {
	t.Helper()
	got, err := s.Get(ctx, key)
	if err != nil || got == nil || !bytes.Equal(got, value) {
		t.Fatalf("Get(%.20q) = %.40q, %v; want %.40q", key, got, err, value)
	}
}

// wantMissing asks Get, Update and Scan alike.
func wantMissing(t testing.TB, s store.Store, key string) {
	t.Helper()
	if got, err := s.Get(ctx, key); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Get(%.20q) = %.40q, %v; want ErrNotFound", key, got, err)
	}
	err := s.Update(ctx, key, 0, func(old []byte) ([]byte, error) {
		if old != nil {
			t.Errorf("Update(%.20q) got %.40q, want nil", key, old)
		}
		return nil, errNo
	})
	if !errors.Is(err, errNo) {
		t.Fatalf("Update(%.20q): %v, want %v", key, err, errNo)
	}
	err = s.Scan(ctx, key, func(k string, v []byte) error {
		if k == key {
			t.Errorf("Scan found %.20q = %.40q", k, v)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("Scan(%.20q): %v", key, err)
	}
}

func keys(t testing.TB, s store.Store, prefix string) []string {
	t.Helper()
	var found []string
	err := s.Scan(ctx, prefix, func(key string, _ []byte) error {
		found = append(found, key)
		return nil
	})
	if err != nil {
		t.Fatalf("Scan(%q): %v", prefix, err)
	}
	return found
}
