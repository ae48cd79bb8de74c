package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postern-auth/postern/store"
)

func testScanPrefix(t *testing.T, s store.Store) {
	if got := keys(t, s, ""); len(got) != 0 {
		t.Fatalf("an empty store has %q", got)
	}
	for _, key := range []string{"a", "a/", "a/1", "a/2", "a0", "b/1", "A/1", "\xff", "\xff\xff", "\xff\xff1", "\xff0"} {
		set(t, s, key, []byte("v"))
	}
	tests := []struct {
		prefix string
		want   []string
	}{
		{"a/", []string{"a/", "a/1", "a/2"}},
		{"a", []string{"a", "a/", "a/1", "a/2", "a0"}},
		{"a/1", []string{"a/1"}},
		{"a/11", nil},
		{"c", nil},
		{"\xff", []string{"\xff", "\xff0", "\xff\xff", "\xff\xff1"}},
		{"\xff\xff", []string{"\xff\xff", "\xff\xff1"}},
		{"\xff\xff\xff", nil},
		{"", []string{"A/1", "a", "a/", "a/1", "a/2", "a0", "b/1", "\xff", "\xff0", "\xff\xff", "\xff\xff1"}},
	}
	for _, tt := range tests {
		if got := keys(t, s, tt.prefix); !slices.Equal(got, tt.want) {
			t.Errorf("Scan(%q) found %q, want %q", tt.prefix, got, tt.want)
		}
	}
	remove(t, s, "a/1")
	if got := keys(t, s, "a/"); !slices.Equal(got, []string{"a/", "a/2"}) {
		t.Errorf("after a delete: %q", got)
	}
}

// The order is that of the bytes, whatever the order of writing.
func testScanOrder(t *testing.T, s store.Store) {
	var all []string
	for a := 0; a < 256; a += 15 {
		all = append(all, string([]byte{byte(a)}))
		for _, b := range []byte{0, 1, 'a', 0xfe, 0xff} {
			all = append(all, string([]byte{byte(a), b}), string([]byte{byte(a), b, 0xff}))
		}
	}
	for i := range all {
		set(t, s, all[(i*7)%len(all)], []byte(all[(i*7)%len(all)]))
	}
	slices.Sort(all)
	i := 0
	err := s.Scan(ctx, "", func(key string, value []byte) error {
		if i >= len(all) || key != all[i] || string(value) != key {
			t.Fatalf("place %d of %d: %q = %q", i, len(all), key, value)
		}
		i++
		return nil
	})
	if err != nil || i != len(all) {
		t.Fatalf("%d of %d keys, %v", i, len(all), err)
	}
}

func testScanStops(t *testing.T, s store.Store) {
	for i := range 9 {
		set(t, s, fmt.Sprint("k", i), []byte("v"))
	}
	calls := 0
	err := s.Scan(ctx, "k", func(string, []byte) error {
		if calls++; calls == 3 {
			return errNo
		}
		return nil
	})
	if !errors.Is(err, errNo) || calls != 3 {
		t.Fatalf("%d calls, %v; want 3, %v", calls, err, errNo)
	}
}

// More than any backend fetches at once, in number and in bytes.
func testScanMany(t *testing.T, s store.Store) {
	const n = 2500
	pad := strings.Repeat("x", 2000)
	parallel(func(i int) {
		for j := i; j < n; j += many {
			key := fmt.Sprintf("k%05d", j)
			err := s.Update(ctx, key, 0, func([]byte) ([]byte, error) { return []byte(key + pad), nil })
			if err != nil {
				t.Errorf("Update: %v", err)
			}
		}
	})
	i := 0
	err := s.Scan(ctx, "k", func(key string, value []byte) error {
		if key != fmt.Sprintf("k%05d", i) || string(value) != key+pad {
			t.Fatalf("place %d: %q = %.20q", i, key, value)
		}
		i++
		return nil
	})
	if err != nil || i != n {
		t.Fatalf("%d of %d keys, %v", i, n, err)
	}
}

func testScanCallsStore(t *testing.T, s store.Store) {
	const n = 600
	for i := range n {
		set(t, s, fmt.Sprintf("k%05d", i), []byte("v"))
	}
	seen := 0
	err := s.Scan(ctx, "k", func(key string, value []byte) error {
		seen++
		if _, err := s.Get(ctx, key); err != nil {
			return err
		}
		remove(t, s, key)
		set(t, s, "moved/"+key, value)
		return s.Scan(ctx, "moved/"+key, func(string, []byte) error { return nil })
	})
	if err != nil || seen != n {
		t.Fatalf("%d of %d keys, %v", seen, n, err)
	}
	if left, moved := keys(t, s, "k"), keys(t, s, "moved/"); len(left) != 0 || len(moved) != n {
		t.Fatalf("%d left, %d moved", len(left), len(moved))
	}
}

// Keys that stay are seen, once and in order, whatever comes and goes.
func testScanWhileWriting(t *testing.T, s store.Store) {
	const n = 500
	for i := range n {
		set(t, s, fmt.Sprintf("k%05d", i), []byte("v"))
	}
	parallel(func(i int) {
		if i%8 != 0 {
			key := fmt.Sprintf("k%05d-new", i*7)
			set(t, s, key, []byte("v"))
			remove(t, s, key)
			return
		}
		last, old := "", 0
		err := s.Scan(ctx, "k", func(key string, value []byte) error {
			if key <= last || string(value) != "v" {
				t.Errorf("%q = %q after %q", key, value, last)
			}
			if last = key; !strings.HasSuffix(key, "-new") {
				old++
			}
			return nil
		})
		if err != nil || old != n {
			t.Errorf("%d of %d keys, %v", old, n, err)
		}
	})
}
