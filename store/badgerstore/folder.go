package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

// folder is where the database is. Badger makes some of its files readable for
// all and does not sync the folder when it makes a log file: both are made up
// for here.
type folder struct {
	path   string
	seen   time.Time     // the folder's time of change that was dealt with
	tables atomic.Uint64 // the size of all tables, in bytes
}

// settled is how long ago a change must be before an equal time of change means
// that there was no other: file systems take the time from a clock that steps.
const settled = 100 * time.Millisecond

// prepare makes the folder, or checks that it is one that may be used, and
// makes it and its files private.
func (f *folder) prepare() error {
	if err := os.MkdirAll(f.path, 0o700); err != nil {
		return fmt.Errorf("cannot make the folder: %w; make it yourself, owned by the user that runs this server", err)
	}
	names, err := os.ReadDir(f.path)
	if err != nil {
		return err
	}
	if err := checkNames(names); err != nil {
		return err
	}
	if err := makePrivate(f.path, 0o700); err != nil {
		return err
	}
	return f.eachFile(func(path string) error {
		if err := makePrivate(path, 0o600); err != nil {
			return err
		}
		return checkWritable(path)
	})
}

// checkNames refuses a folder that holds something else, which must not be made
// private, and a database without its manifest: Badger would take it for a new
// one and delete all the tables.
func checkNames(names []fs.DirEntry) error {
	var other, table string
	for _, n := range names {
		switch name := n.Name(); {
		case name == "MANIFEST":
			return nil
		case name == "LOCK", name == "MANIFEST-REWRITE", name == "lost+found":
		case strings.HasSuffix(name, ".sst"), strings.HasSuffix(name, ".mem"), strings.HasSuffix(name, ".vlog"):
			table = name
		default:
			other = name
		}
	}
	switch {
	case table != "":
		return fmt.Errorf("%w: there is %s but the file MANIFEST is missing", ErrDamaged, table)
	case other != "":
		return fmt.Errorf("the folder holds something else (%s): give an empty one, or one that does not exist", other)
	}
	return nil
}

// checkWritable finds the files of another user before Badger does, which would
// end the process for some of them.
func checkWritable(path string) error {
	if filepath.Base(path) == "LOCK" {
		return nil // Badger says it, and on Windows nobody else can open it
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return file.Close()
}

func makePrivate(path string, mode fs.FileMode) error {
	if runtime.GOOS == "windows" {
		return nil // permissions are inherited there
	}
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm() != mode {
		err = os.Chmod(path, mode)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot make it private (mode %#o): %w", mode, err)
	}
	return nil
}

func (f *folder) eachFile(fn func(path string) error) error {
	names, err := os.ReadDir(f.path)
	if err != nil {
		return err
	}
	for _, n := range names {
		if !n.Type().IsRegular() {
			continue
		}
		if err := fn(filepath.Join(f.path, n.Name())); err != nil {
			return err
		}
	}
	return nil
}

// afterCommit syncs the folder if there may be a new log file with the commit.
func (f *folder) afterCommit() error {
	changed, err := f.look()
	if err != nil || !changed {
		return err
	}
	if err := syncFolder(f.path); err != nil {
		return fmt.Errorf("badgerstore: syncing the folder %s: %w", f.path, err)
	}
	return nil
}

// look costs one stat, unless files came or went since the last time. Then it
// makes all files private and adds up the tables.
func (f *folder) look() (changed bool, err error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return false, fmt.Errorf("badgerstore: %w", err)
	}
	if info.ModTime().Equal(f.seen) {
		return false, nil
	}
	if time.Since(info.ModTime()) > settled {
		f.seen = info.ModTime()
	}
	var tables uint64
	err = f.eachFile(func(path string) error {
		if info, err := os.Stat(path); err == nil && filepath.Ext(path) == ".sst" {
			tables += uint64(info.Size())
		}
		return makePrivate(path, 0o600)
	})
	f.tables.Store(tables)
	return true, err
}

func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil // it cannot be done, nor need it be
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	err = dir.Sync()
	return errors.Join(err, dir.Close())
}
