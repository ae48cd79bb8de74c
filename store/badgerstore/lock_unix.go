//go:build linux || darwin || freebsd

package badgerstore

import (
	"os"
	"syscall"
)

// locked says whether somebody has the database in dir open.
func locked(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close() // which gives up the lock
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == syscall.EWOULDBLOCK
}
