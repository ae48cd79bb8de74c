package storetest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/store"
)

func testMissing(t *testing.T, s store.Store) {
	wantMissing(t, s, "a")
	remove(t, s, "a") // which is no error
	wantMissing(t, s, "a")
}

func testSetReplaceDelete(t *testing.T, s store.Store) {
	for range 3 {
		set(t, s, "a", []byte("1"))
		set(t, s, "b", []byte("other"))
		want(t, s, "a", []byte("1"))
		err := s.Update(ctx, "a", 0, func(old []byte) ([]byte, error) {
			if string(old) != "1" {
				t.Errorf("old = %q, want 1", old)
			}
			return append(old, '2'), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want(t, s, "a", []byte("12"))
		remove(t, s, "a")
		wantMissing(t, s, "a")
		want(t, s, "b", []byte("other"))
	}
}

func testEmptyValue(t *testing.T, s store.Store) {
	set(t, s, "a", []byte{})
	want(t, s, "a", []byte{})
	err := s.Update(ctx, "a", 0, func(old []byte) ([]byte, error) {
		if old == nil || len(old) != 0 {
			t.Errorf("old = %#v, want an empty value", old)
		}
		return old, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Scan(ctx, "", func(key string, value []byte) error {
		if key != "a" || value == nil || len(value) != 0 {
			t.Errorf("Scan found %q = %#v", key, value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func testFailingUpdate(t *testing.T, s store.Store) {
	fail := func(old []byte) ([]byte, error) {
		for i := range old {
			old[i] = 'x'
		}
		return []byte("new"), errNo
	}
	if err := s.Update(ctx, "a", 0, fail); !errors.Is(err, errNo) {
		t.Fatalf("error %v, want %v", err, errNo)
	}
	wantMissing(t, s, "a")
	set(t, s, "a", []byte("1"))
	if err := s.Update(ctx, "a", 0, fail); !errors.Is(err, errNo) {
		t.Fatalf("error %v, want %v", err, errNo)
	}
	want(t, s, "a", []byte("1"))
}

func testOwnership(t *testing.T, s store.Store) {
	spoil := func(b []byte) {
		for i := range b {
			b[i] = 'x'
		}
		_ = append(b, "xxx"...)
	}
	value := []byte("value")
	set(t, s, "a", value)
	spoil(value)
	want(t, s, "a", []byte("value"))

	got, err := s.Get(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	spoil(got)
	want(t, s, "a", []byte("value"))

	var old []byte
	err = s.Update(ctx, "a", 0, func(o []byte) ([]byte, error) {
		old = o
		return o, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	spoil(old)
	want(t, s, "a", []byte("value"))

	set(t, s, "b", []byte("b"))
	err = s.Scan(ctx, "", func(_ string, value []byte) error {
		spoil(value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, "a", []byte("value"))
	want(t, s, "b", []byte("b"))
}

func testKeys(t *testing.T, s store.Store) {
	odd := []string{
		"\x00", "\x00\x00", "\xff", "\xff\xff", "a\x00b", "a/b:c*?[x]", " ", "\n", "\xc3\x28", "é",
		"!badger!x", "{a}b", strings.Repeat("k", store.MaxKey),
	}
	for _, key := range odd {
		set(t, s, key, []byte("of "+key))
	}
	for _, key := range odd {
		want(t, s, key, []byte("of "+key))
	}
	if got := keys(t, s, ""); len(got) != len(odd) {
		t.Fatalf("Scan found %q, want %d keys", got, len(odd))
	}
	if _, err := s.Get(ctx, ""); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get of the empty key: %v", err)
	}
	err := s.Update(ctx, "", 0, func([]byte) ([]byte, error) { return []byte("x"), nil })
	if err == nil {
		t.Error("Update of the empty key: no error")
	}
}

func testSizes(t *testing.T, s store.Store) {
	random := make([]byte, store.MaxValue+1)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	long := strings.Repeat("k", store.MaxKey)
	for _, n := range []int{1, 1<<15 - 1, 1 << 15, 1<<16 - 20, 1<<16 - 16, 1<<16 - 1, store.MaxValue} {
		set(t, s, long, random[:n])
		want(t, s, long, random[:n])
	}
	tooLong := func([]byte) ([]byte, error) { return random, nil }
	if err := s.Update(ctx, long, 0, tooLong); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("a value too large: %v", err)
	}
	want(t, s, long, random[:store.MaxValue])

	longer := long + "k"
	err := s.Update(ctx, longer, 0, func([]byte) ([]byte, error) {
		t.Error("fn ran for a key too large")
		return []byte("x"), nil
	})
	if !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("a key too large: %v", err)
	}
	if _, err := s.Get(ctx, longer); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("Get of a key too large: %v", err)
	}
	if got := keys(t, s, ""); !bytes.Equal([]byte(strings.Join(got, ",")), []byte(long)) {
		t.Errorf("Scan found %d keys, want one", len(got))
	}
}

// The clock of a backend may tick in whole seconds, so what is live for one
// second may be found for two.
func testExpiry(t *testing.T, s store.Store) {
	began := time.Now()
	setFor(t, s, "short", time.Millisecond, []byte("v"))
	setFor(t, s, "second", time.Second, []byte("v"))
	setFor(t, s, "more", 1100*time.Millisecond, []byte("v"))
	setFor(t, s, "hour", time.Hour, []byte("v"))
	set(t, s, "ever", []byte("v"))
	present := func(until time.Duration, names ...string) {
		t.Helper()
		for _, key := range names {
			got, err := s.Get(ctx, key)
			if time.Since(began) >= until {
				t.Logf("too slow to see %q after %s", key, until)
			} else if err != nil || string(got) != "v" {
				t.Errorf("%q after %s: %q, %v", key, time.Since(began), got, err)
			}
		}
	}
	time.Sleep(time.Until(began.Add(800 * time.Millisecond)))
	present(time.Second, "short", "second", "more")
	time.Sleep(time.Until(began.Add(1700 * time.Millisecond)))
	present(2*time.Second, "more")
	time.Sleep(time.Until(began.Add(3500 * time.Millisecond)))
	wantMissing(t, s, "short")
	wantMissing(t, s, "second")
	wantMissing(t, s, "more")
	want(t, s, "hour", []byte("v"))
	want(t, s, "ever", []byte("v"))
	set(t, s, "short", []byte("again"))
	want(t, s, "short", []byte("again"))
}

// Each update sets a new time to live.
func testExpiryReplaced(t *testing.T, s store.Store) {
	setFor(t, s, "longer", time.Second, []byte("v"))
	set(t, s, "longer", []byte("v"))
	set(t, s, "shorter", []byte("v"))
	setFor(t, s, "shorter", time.Second, []byte("v"))
	setFor(t, s, "failed", time.Second, []byte("v"))
	err := s.Update(ctx, "failed", 0, func(old []byte) ([]byte, error) { return old, errNo })
	if !errors.Is(err, errNo) {
		t.Fatal(err)
	}
	time.Sleep(2500 * time.Millisecond)
	want(t, s, "longer", []byte("v"))
	wantMissing(t, s, "shorter")
	wantMissing(t, s, "failed")
}
