package badgerstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-auth/postern/store"
	"github.com/postern-auth/postern/store/badgerstore"
)

// tmpfs mounts a disk of that many megabytes, which takes root.
func tmpfs(t *testing.T, mb int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root; TestBelowFloor runs without")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mb)); err != nil {
		t.Fatalf("mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}

// takeAllBut fills the disk up to so many free megabytes.
func takeAllBut(t *testing.T, dir string, mb int) {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	free := int64(st.Bavail) * st.Bsize
	err := os.WriteFile(filepath.Join(dir, "other"), make([]byte, free-int64(mb)<<20), 0o600)
	if err != nil {
		t.Fatal(err)
	}
}

func TestDiskFull(t *testing.T) {
	for _, mb := range []int{40, 64, 128} {
		t.Run(fmt.Sprint(mb, "MB"), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(tmpfs(t, mb), "store")
			for range 2 { // the second begins on a disk that is full
				if out, err := child("fill", dir).CombinedOutput(); err != nil {
					t.Fatalf("the child: %v\n%s", err, out)
				}
			}
		})
	}
}

func TestDiskRefilled(t *testing.T) {
	for _, mb := range []int{64, 96, 160} {
		t.Run(fmt.Sprint(mb, "MB"), func(t *testing.T) { refill(t, filepath.Join(tmpfs(t, mb), "store")) })
	}
}

// Somebody else fills the disk: reads go on, and so does Close.
func TestDiskFilledByOthers(t *testing.T) {
	disk := tmpfs(t, 64)
	dir := filepath.Join(disk, "store")
	s, err := badgerstore.Open(badgerstore.Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	set(t, s, "a", 0, []byte("value"))
	takeAllBut(t, disk, 1)
	wantFull(t, s, "b", []byte("v"))
	wantFull(t, s, "a", nil)
	if got, err := s.Get(context.Background(), "a"); err != nil || string(got) != "value" {
		t.Fatalf("%q, %v", got, err)
	}
	if err := s.Close(); !errors.Is(err, store.ErrFull) {
		t.Errorf("Close: %v, want ErrFull", err)
	}
	fresh := filepath.Join(disk, "fresh")
	if err := failure(t, badgerstore.Config{Dir: fresh}, "free"); !errors.Is(err, store.ErrFull) {
		t.Error(err)
	}
}

func TestReadOnlyDisk(t *testing.T) {
	disk := tmpfs(t, 64)
	dir := filepath.Join(disk, "store")
	s := open(t, badgerstore.Config{Dir: dir})
	set(t, s, "a", 0, []byte("v"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	failure(t, badgerstore.Config{Dir: dir}, "may not write", "read-only")
	failure(t, badgerstore.Config{Dir: filepath.Join(disk, "fresh")}, "read-only")
}

// TestOutOfFiles: where Badger cannot make its next log file, it is unusable
// and would end the process at the next write. The store opens it anew.
func TestOutOfFiles(t *testing.T) {
	if out, err := child("files", t.TempDir()).CombinedOutput(); err != nil {
		t.Fatalf("the child: %v\n%s", err, out)
	}
}

// TestCloseWithoutFiles: closing ends, though Badger would try for ever.
func TestCloseWithoutFiles(t *testing.T) {
	if out, err := child("no files for good", t.TempDir()).CombinedOutput(); err != nil {
		t.Fatalf("the child: %v\n%s", err, out)
	}
}

func runOutOfFiles(dir string) error {
	s, err := badgerstore.Open(badgerstore.Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	put := func(i int) error {
		return s.Update(context.Background(), fmt.Sprint("k", i), 0, func([]byte) ([]byte, error) {
			return make([]byte, store.MaxValue), nil
		})
	}
	for range 2 { // the store looks at its folder again after a change
		if err := put(0); err != nil {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		return err
	}
	none := syscall.Rlimit{Cur: 3, Max: before.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		return err
	}
	n := 0
	for err = nil; err == nil && n < 1000; n++ {
		err = put(n)
	}
	if err != nil && !strings.Contains(err.Error(), "committing") {
		return fmt.Errorf("not the error that this is about: %w", err)
	}
	if err == nil {
		return errors.New("1000 large values needed no new file")
	}
	if _, err := s.Get(context.Background(), "k0"); err == nil || errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("reading the failed database: %v", err)
	}
	if put(n) == nil {
		return errors.New("the failed database took an update")
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		return err
	}
	for range 100 {
		if time.Sleep(100 * time.Millisecond); put(n-1) == nil {
			break
		}
	}
	for i := range n {
		if _, err := s.Get(context.Background(), fmt.Sprint("k", i)); err != nil {
			return fmt.Errorf("value %d of %d: %w", i, n, err)
		}
	}
	return s.Close()
}

func init() {
	children["files"] = runOutOfFiles
	children["no files for good"] = closeWithoutFiles
}

// closeWithoutFiles closes a database that failed and stays that way.
func closeWithoutFiles(folder string) error {
	s, err := badgerstore.Open(badgerstore.Config{Dir: folder, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = 3
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	for n := 0; err == nil && n < 1000; n++ {
		err = s.Update(context.Background(), fmt.Sprint("k", n), 0, func([]byte) ([]byte, error) {
			return make([]byte, store.MaxValue), nil
		})
	}
	if err == nil {
		return errors.New("1000 large values needed no new file")
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err == nil {
			return errors.New("closed without a word of the files that cannot be written")
		}
		return nil
	case <-time.After(30 * time.Second):
		return errors.New("closing does not end")
	}
}

// As another user than root: a file of somebody else's in the folder.
func TestNotWritable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere; TestReadOnlyDisk needs root")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	err := failure(t, badgerstore.Config{Dir: filepath.Join(dir, "store")})
	if !strings.Contains(err.Error(), "permission") {
		t.Error(err)
	}
}
