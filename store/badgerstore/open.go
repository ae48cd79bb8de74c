package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"github.com/postern-auth/postern/store"
)

var (
	// ErrInUse says that the folder is open already, here or in another process.
	ErrInUse = errors.New("the database is in use")
	// ErrDamaged says that the files in the folder are not a sound database.
	ErrDamaged = errors.New("the database is damaged")
)

// open opens the database of s, and says what an operator can do if it fails.
func (s *Store) open() (*badger.DB, error) {
	if s.cfg.InMemory {
		return openBadger(s.options())
	}
	db, err := s.openFolder()
	if err != nil {
		return nil, fmt.Errorf("badgerstore: folder %s: %w", s.cfg.Dir, err)
	}
	return db, nil
}

func (s *Store) openFolder() (*badger.DB, error) {
	if err := s.folder.prepare(); err != nil {
		return nil, advise(s.cfg.Dir, err)
	}
	full, err := s.disk.tooFull()
	if err != nil {
		return nil, err
	}
	if full {
		return nil, fmt.Errorf("%w: less than %d MB are free, and opening the database may write more than there is; free some space", store.ErrFull, s.disk.hard>>20)
	}
	if err := checkTables(s.options()); err != nil {
		if locked(s.cfg.Dir) {
			err = ErrInUse // and what was read, maybe half written
		}
		return nil, advise(s.cfg.Dir, err)
	}
	if !locked(s.cfg.Dir) {
		s.warnOfLostLog()
	}
	db, err := openBadger(s.options())
	// A kill between the making of a log file and its first byte. The first
	// attempt has repaired it.
	if err != nil && strings.Contains(err.Error(), "Create a new file") {
		db, err = openBadger(s.options())
	}
	if err != nil {
		return nil, advise(s.cfg.Dir, err)
	}
	if err := s.folder.afterCommit(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// openBadger opens in managed mode: reading at the latest version needs no
// timestamp from Badger's oracle, and so never waits for a commit.
func openBadger(opt badger.Options) (db *badger.DB, err error) {
	defer catch(&err)
	return badger.OpenManaged(opt)
}

// advise makes plain what Badger or the file system says. Badger's errors can
// be told apart by their text alone.
func advise(dir string, err error) error {
	has := func(texts ...string) bool {
		for _, t := range texts {
			if strings.Contains(err.Error(), t) {
				return true
			}
		}
		return false
	}
	switch {
	case errors.Is(err, ErrDamaged):
		return fmt.Errorf("%w; restore the folder from a backup, or move it away to begin with an empty one, which signs everybody out", err)
	case errors.Is(err, ErrInUse), has("directory lock", "Another process is using", "lock file"):
		return fmt.Errorf("%w%s: stop the other server, or give each a folder of its own", ErrInUse, owner(dir))
	case errors.Is(err, fs.ErrPermission), has("permission denied", "read-only file system", "Access is denied"):
		return fmt.Errorf("this server may not write there: %w; give the folder and all in it to the user that runs this server, on a disk that is not read-only", err)
	case has("no space left"):
		return fmt.Errorf("%w: free some space (%v)", store.ErrFull, err)
	case has("too many open files", "cannot allocate memory"):
		return fmt.Errorf("out of a resource: %w; raise the limit of this process", err)
	case has("anifest", "checksum", "panicked", "does not exist", "orrupt", "invalid", "Invalid", "registry", "EOF"):
		text := strings.Join(strings.Fields(err.Error()), " ")
		return advise(dir, fmt.Errorf("%w (%s)", ErrDamaged, text))
	}
	return err
}

// owner names the process that Badger's lock file names, if it does.
func owner(dir string) string {
	pid, err := os.ReadFile(filepath.Join(dir, "LOCK"))
	if text := strings.TrimSpace(string(pid)); err == nil && text != "" {
		return " (by process " + text + ")"
	}
	return ""
}
