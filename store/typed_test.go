package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/postern-auth/postern/store"
	"github.com/postern-auth/postern/store/badgerstore"
)

type record struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

func open(t testing.TB) store.Store {
	t.Helper()
	s, err := badgerstore.Open(badgerstore.Config{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestTyped(t *testing.T) {
	ctx, s := context.Background(), open(t)
	if _, err := store.Load[record](ctx, s, "r"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("missing: %v", err)
	}
	if err := store.Put(ctx, s, "r", time.Hour, record{"a", 1}); err != nil {
		t.Fatal(err)
	}
	err := store.Change(ctx, s, "r", 0, func(old *record) (*record, error) {
		old.Count++
		return old, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := store.Load[record](ctx, s, "r"); err != nil || r != (record{"a", 2}) {
		t.Fatal(r, err)
	}
	if err := store.Delete(ctx, s, "r"); err != nil {
		t.Fatal(err)
	}
	if err := store.Delete(ctx, s, "r"); err != nil {
		t.Fatalf("deleting what is gone: %v", err)
	}
	if _, err := store.Load[record](ctx, s, "r"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("deleted: %v", err)
	}
}

func TestChangeOfMissing(t *testing.T) {
	ctx, s := context.Background(), open(t)
	make1 := func(old *record) (*record, error) {
		if old != nil {
			t.Errorf("old = %v, want nil", old)
		}
		return &record{Count: 1}, nil
	}
	if err := store.Change(ctx, s, "r", 0, make1); err != nil {
		t.Fatal(err)
	}
	remove := func(*record) (*record, error) { return nil, nil }
	if err := store.Change(ctx, s, "r", 0, remove); err != nil {
		t.Fatal(err)
	}
	if err := store.Change(ctx, s, "r", 0, make1); err != nil {
		t.Fatal(err)
	}
}

func TestChangeRefused(t *testing.T) {
	ctx, s := context.Background(), open(t)
	no := errors.New("no")
	if err := store.Put(ctx, s, "r", 0, record{"a", 1}); err != nil {
		t.Fatal(err)
	}
	err := store.Change(ctx, s, "r", 0, func(old *record) (*record, error) {
		old.Count = 9
		return old, no
	})
	if !errors.Is(err, no) {
		t.Fatalf("error %v, want %v", err, no)
	}
	if r, err := store.Load[record](ctx, s, "r"); err != nil || r.Count != 1 {
		t.Fatal(r, err)
	}
}

// What does not parse is an error and stays as it is.
func TestUnreadable(t *testing.T) {
	ctx, s := context.Background(), open(t)
	for _, bad := range []string{"", "null", " null\n", "{", `{"count":"x"}`, `{} {}`, `[]`} {
		err := s.Update(ctx, "r", 0, func([]byte) ([]byte, error) { return []byte(bad), nil })
		if err != nil {
			t.Fatal(err)
		}
		r, err := store.Load[record](ctx, s, "r")
		if err == nil || errors.Is(err, store.ErrNotFound) || r != (record{}) {
			t.Errorf("%q: loaded %v, %v", bad, r, err)
		}
		err = store.Change(ctx, s, "r", 0, func(*record) (*record, error) {
			t.Errorf("%q: fn was called", bad)
			return nil, nil
		})
		if err == nil || errors.Is(err, store.ErrNotFound) {
			t.Errorf("%q: changed, %v", bad, err)
		}
		if got, err := s.Get(ctx, "r"); err != nil || string(got) != bad {
			t.Errorf("%q became %q, %v", bad, got, err)
		}
	}
}

// FuzzLoad reads bytes that may be no record: an error, or what their JSON says,
// and never a change by a function that was given something else.
func FuzzLoad(f *testing.F) {
	for _, value := range []string{`{"name":"a","count":1}`, `{"NAME":"a"}`, `{"count":1e99}`, `{}`, " null ", "null", "", "[]", `"x"`, `{"name":`, `{"name":"a"}{"name":"b"}`, "\x00", "\xff"} {
		f.Add([]byte(value))
	}
	ctx, s := context.Background(), open(f)
	f.Fuzz(func(t *testing.T, value []byte) {
		if value == nil {
			value = []byte{}
		}
		if err := s.Update(ctx, "r", 0, func([]byte) ([]byte, error) { return value, nil }); err != nil {
			t.Skip() // larger than a value may be
		}
		var want record
		sound := json.Unmarshal(value, &want) == nil && string(bytes.TrimSpace(value)) != "null"
		got, err := store.Load[record](ctx, s, "r")
		if (err == nil) != sound || err == nil && got != want || errors.Is(err, store.ErrNotFound) {
			t.Errorf("%q loads as %+v, %v", value, got, err)
		}
		ran := false
		err = store.Change(ctx, s, "r", 0, func(old *record) (*record, error) {
			ran = true
			return old, nil
		})
		if ran != sound || (err == nil) != sound {
			t.Errorf("%q was changed: %t, %v", value, ran, err)
		}
	})
}
