package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// folder is where the database is. Badger makes some of its files readable for
// all and does not sync the folder when it makes a log file: both are made up
// for here.
type folder struct {
	path string
	seen time.Time // the folder's time of change that was dealt with
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

// afterCommit costs one stat, unless files came or went since the last time.
// Then it syncs the folder, as the commit may be in a new log file, and makes
// the new files private.
func (f *folder) afterCommit() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return fmt.Errorf("badgerstore: %w", err)
	}
	changed := info.ModTime()
	if changed.Equal(f.seen) {
		return nil
	}
	if err := syncFolder(f.path); err != nil {
		return fmt.Errorf("badgerstore: syncing the folder %s: %w", f.path, err)
	}
	if time.Since(changed) > settled {
		f.seen = changed
	}
	return f.eachFile(func(path string) error { return makePrivate(path, 0o600) })
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
