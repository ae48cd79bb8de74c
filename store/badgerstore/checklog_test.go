package badgerstore_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/store/badgerstore"
)

// TestDamagedLog copies a folder as a kill leaves it, with all changes in the log
// and none in a table: nothing is said of it as it is, and that something is
// lost where a byte of it is another.
func TestDamagedLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, badgerstore.Config{Dir: dir})
	const keys = 100
	for i := range keys {
		storeText(t, s, fmt.Sprint("key", i), strings.Repeat("v", 500))
	}
	for _, c := range []struct {
		name string
		at   int64 // of the byte that is changed; 0: none
		all  bool
	}{{"sound", 0, true}, {"first entry", 40, false}, {"in the middle", 20_000, false}} {
		t.Run(c.name, func(t *testing.T) {
			copied := t.TempDir()
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			if c.at > 0 {
				flip(t, copied, c.at)
			}
			var log lockedBuffer
			s := open(t, badgerstore.Config{Dir: copied, Log: slog.New(slog.NewTextHandler(&log, nil))})
			found := 0
			for i := range keys {
				if _, err := s.Get(context.Background(), fmt.Sprint("key", i)); err == nil {
					found++
				}
			}
			if (found == keys) != c.all {
				t.Errorf("%d of %d keys", found, keys)
			}
			if said := strings.Contains(log.String(), "log cannot be read") && strings.Contains(log.String(), copied); said == c.all {
				t.Errorf("with %d of %d keys the log says: %s", found, keys, log.String())
			}
		})
	}
}

func storeText(t *testing.T, s *badgerstore.Store, key, value string) {
	t.Helper()
	err := s.Update(context.Background(), key, time.Hour, func([]byte) ([]byte, error) { return []byte(value), nil })
	if err != nil {
		t.Fatal(err)
	}
}

// flip changes one byte of the log.
func flip(t *testing.T, dir string, at int64) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	file, err := os.OpenFile(logs[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var b [1]byte
	if _, err := file.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x5a
	if _, err := file.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}
