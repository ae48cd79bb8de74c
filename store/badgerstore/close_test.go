package badgerstore_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/postern-auth/postern/store"
	"github.com/postern-auth/postern/store/badgerstore"
)

// TestCloseEnds removes the folder of an open database: Badger alone would try
// to write its files for ever, and the process could not end.
func TestCloseEnds(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "db")
	s, err := badgerstore.Open(badgerstore.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(context.Background(), s, "key", 0, "value"); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Close() }()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("closing a database without a folder was no error")
		}
	case <-time.After(time.Minute):
		t.Fatal("closing does not end")
	}
}
