package badgerstore_test

import (
	"log/slog"
	"testing"

	"github.com/postern-auth/postern/store"
	"github.com/postern-auth/postern/store/badgerstore"
	"github.com/postern-auth/postern/store/storetest"
)

func open(t testing.TB, cfg badgerstore.Config) *badgerstore.Store {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s, err := badgerstore.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestOnDisk(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, badgerstore.Config{Dir: t.TempDir()})
	})
}

func TestInMemory(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, badgerstore.Config{InMemory: true})
	})
}

func TestDurable(t *testing.T) {
	t.Parallel()
	storetest.RunDurable(t, func(t *testing.T, dir string) store.Store {
		return open(t, badgerstore.Config{Dir: dir})
	})
}
