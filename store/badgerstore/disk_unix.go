//go:build linux || darwin || freebsd

package badgerstore

import (
	"math"
	"syscall"
)

// freeBytes returns the space that this process may still use on the disk of
// dir.
func freeBytes(dir string) (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	if st.Blocks == 0 {
		return math.MaxUint64, nil // the file system does not say
	}
	return uint64(max(0, int64(st.Bavail))) * uint64(st.Bsize), nil
}
