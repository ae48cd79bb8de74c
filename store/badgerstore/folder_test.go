package badgerstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/postern-auth/postern/store"
	"github.com/postern-auth/postern/store/badgerstore"
)

func set(t testing.TB, s store.Store, key string, keep time.Duration, value []byte) {
	t.Helper()
	err := s.Update(context.Background(), key, keep, func([]byte) ([]byte, error) { return value, nil })
	if err != nil {
		t.Fatal(err)
	}
}

// failure opens what cannot be opened. The error must name the folder.
func failure(t *testing.T, cfg badgerstore.Config, says ...string) error {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	s, err := badgerstore.Open(cfg)
	if err == nil {
		s.Close()
		t.Fatal("Open succeeded")
	}
	for _, text := range append(says, cfg.Dir) {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error does not say %q: %v", text, err)
		}
	}
	return err
}

func wantModes(t *testing.T, dir string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		return
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", d.Name(), info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "store")
	s := open(t, badgerstore.Config{Dir: dir})
	wantModes(t, dir)
	for i := range 100 { // enough for new log files and tables
		set(t, s, fmt.Sprint("k", i), 0, noise(i, store.MaxValue))
	}
	if logs, _ := filepath.Glob(filepath.Join(dir, "00001.mem")); len(logs) > 0 {
		t.Error("the first log file is still in use: nothing was tested")
	}
	time.Sleep(200 * time.Millisecond)
	set(t, s, "k", 0, []byte("v"))
	wantModes(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// What became public in between is made private again.
	os.Chmod(dir, 0o755)
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		os.Chmod(filepath.Join(dir, n.Name()), 0o644)
	}
	open(t, badgerstore.Config{Dir: dir})
	wantModes(t, dir)
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, badgerstore.Config{Dir: dir})
	set(t, s, "a", 0, []byte("v"))
	if err := failure(t, badgerstore.Config{Dir: dir}, "in use", fmt.Sprint(os.Getpid())); !errors.Is(err, badgerstore.ErrInUse) {
		t.Error(err)
	}
	set(t, s, "b", 0, []byte("v")) // the first one is none the worse
}

func TestFileInPlaceOfFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	failure(t, badgerstore.Config{Dir: path})
	failure(t, badgerstore.Config{Dir: filepath.Join(path, "below")})
}

// A folder of something else is left alone.
func TestForeignFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "letter.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	failure(t, badgerstore.Config{Dir: dir}, "letter.txt")
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode of the folder: %v, %v", info.Mode(), err)
	}
}

func TestConfig(t *testing.T) {
	for _, cfg := range []badgerstore.Config{{}, {Dir: t.TempDir(), InMemory: true}} {
		if s, err := badgerstore.Open(cfg); err == nil {
			s.Close()
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

// filled returns a folder with a closed database, with values in its tables.
func filled(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := open(t, badgerstore.Config{Dir: dir})
	for i := range 60 {
		set(t, s, fmt.Sprint("k", i), 0, noise(i, store.MaxValue))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestDamaged(t *testing.T) {
	cut := func(path string) error { return os.Truncate(path, 10) }
	empty := func(path string) error { return os.Truncate(path, 0) }
	garbage := func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("garbage!", 1000)), 0o600) }
	torn := func(path string) error { // in the middle, the end being sound
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = file.WriteAt(make([]byte, 100), 3000)
		return err
	}
	tests := []struct {
		name, file string
		do         func(path string) error
	}{
		{"EmptyManifest", "MANIFEST", empty},
		{"GarbageManifest", "MANIFEST", garbage},
		{"NoManifest", "MANIFEST", os.Remove},
		{"EmptyRegistry", "KEYREGISTRY", empty},
		{"NoTable", "*.sst", os.Remove},
		{"EmptyTable", "*.sst", empty},
		{"CutTable", "*.sst", cut},
		{"GarbageTable", "*.sst", garbage},
		{"TornTable", "*.sst", torn},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filled(t)
			files, err := filepath.Glob(filepath.Join(dir, tt.file))
			if err != nil || len(files) == 0 {
				t.Fatal(files, err)
			}
			if err := tt.do(files[0]); err != nil {
				t.Fatal(err)
			}
			err = failure(t, badgerstore.Config{Dir: dir}, "backup")
			if !errors.Is(err, badgerstore.ErrDamaged) {
				t.Error(err)
			}
			t.Log(err)
		})
	}
}

// Wherever a byte of a table is another one, it is found before Badger opens the
// table, which could end the process.
func TestDamagedByte(t *testing.T) {
	dir := filled(t)
	files, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	sound, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for at := len(sound) - 1; at >= 0; at -= 1 + len(sound)/61 {
		damaged := bytes.Clone(sound)
		damaged[at] ^= 0xff
		if err := os.WriteFile(files[0], damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := failure(t, badgerstore.Config{Dir: dir}); !errors.Is(err, badgerstore.ErrDamaged) {
			t.Errorf("byte %d of %d: %v", at, len(sound), err)
		}
	}
	if err := os.WriteFile(files[0], sound, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, badgerstore.Config{Dir: dir})
	for i := range 60 {
		if value, err := s.Get(context.Background(), fmt.Sprint("k", i)); err != nil || !bytes.Equal(value, noise(i, store.MaxValue)) {
			t.Errorf("k%d: %v", i, err)
		}
	}
}

// A database whose tables are not compressed, as they once were not, is read on.
func TestUncompressedTables(t *testing.T) {
	dir := t.TempDir()
	old, err := badger.OpenManaged(badger.DefaultOptions(dir).WithCompression(options.None).WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		txn := old.NewTransactionAt(uint64(i), true)
		if err := errors.Join(txn.Set(fmt.Appendf(nil, "kold%d", i), []byte("value")), txn.CommitAt(uint64(i+1), nil)); err != nil {
			t.Fatal(err)
		}
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time, with tables of both kinds
		s := open(t, badgerstore.Config{Dir: dir})
		set(t, s, "new", 0, bytes.Repeat([]byte("new"), 1000))
		for i := range 1000 {
			if value, err := s.Get(context.Background(), fmt.Sprint("old", i)); err != nil || string(value) != "value" {
				t.Fatalf("old%d: %q, %v", i, value, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A table that was being made when the process was killed is no damage.
func TestLeftoverTable(t *testing.T) {
	dir := filled(t)
	if err := os.WriteFile(filepath.Join(dir, "000999.sst"), make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, badgerstore.Config{Dir: dir})
	if _, err := s.Get(context.Background(), "k1"); err != nil {
		t.Error(err)
	}
}

// A kill between the making of a log file and its first byte leaves it empty.
func TestEmptyLogFile(t *testing.T) {
	for _, name := range []string{"00077.mem", "000077.vlog"} {
		dir := filled(t)
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, badgerstore.Config{Dir: dir})
		for i := range 60 {
			if _, err := s.Get(context.Background(), fmt.Sprint("k", i)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		set(t, s, "a", 0, []byte("v"))
	}
}

// What is expired leaves the disk.
func TestTidy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, badgerstore.Config{Dir: dir, TidyEvery: 100 * time.Millisecond})
	for i := range 300 {
		set(t, s, fmt.Sprint("k", i), time.Second, noise(i, store.MaxValue))
	}
	set(t, s, "ever", 0, []byte("v"))
	before := tables(t, dir)
	for range 100 {
		time.Sleep(100 * time.Millisecond)
		if tables(t, dir) < before/4 {
			if _, err := s.Get(context.Background(), "ever"); err != nil {
				t.Error(err)
			}
			return
		}
	}
	t.Errorf("tables take %d bytes, before the values expired %d", tables(t, dir), before)
}

// tables returns the size of all tables, in bytes.
func tables(t *testing.T, dir string) (size int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			size += info.Size()
		}
	}
	return size
}
