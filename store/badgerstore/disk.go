package badgerstore

import (
	"fmt"
	"log/slog"
	"sync/atomic"
)

// Badger writes to sparse files through memory maps. Where a page finds no room
// on the disk, the process dies of SIGBUS, so there must always be room for
// what Badger may write before the next look. With the sizes of options.go:
//
//	log files: one in use and two being flushed, 2 MB each      6 MB
//	tables flushed from them, before the logs are removed       4 MB
//	compaction of level 0: six tables and the base level       16 MB
//	compaction of a lower level, beside it: a table and the
//	ones it overlaps, at most twice the size                    6 MB
//
// which is the default floor, and a much fuller house than there ever is. What
// a delete or a counter adds is some bytes of log; the hard floor is for the
// flush that it may set off.
//
// Not seen from here: another process that takes the whole floor in the moment
// of one flush, and quotas.
const (
	defaultFreeFloor = 32 << 20
	hardFloor        = 8 << 20
	tidyFloor        = 16 << 20 // for a compaction that need not be
)

// room says what may be written.
type room int32

const (
	roomPlenty room = iota
	roomScarce      // nothing that adds to the stored data
	roomNone        // nothing at all
)

// disk watches the free space of the disk that a folder is on.
type disk struct {
	dir   string // empty: in memory
	floor uint64
	hard  uint64
	log   *slog.Logger
	last  *atomic.Int32 // the room found last, to log changes only
}

func newDisk(cfg Config) disk {
	return disk{
		dir:   cfg.Dir,
		floor: cfg.FreeFloor,
		hard:  min(cfg.FreeFloor, hardFloor),
		log:   cfg.Log,
		last:  new(atomic.Int32),
	}
}

// room costs one system call, about a microsecond.
func (d disk) room() (room, error) {
	if d.dir == "" {
		return roomPlenty, nil
	}
	free, err := freeBytes(d.dir)
	if err != nil {
		return roomNone, fmt.Errorf("badgerstore: free space of %s: %w", d.dir, err)
	}
	r := roomPlenty
	switch {
	case free < d.hard:
		r = roomNone
	case free < d.floor:
		r = roomScarce
	}
	if before := room(d.last.Swap(int32(r))); before != r {
		d.report(r, free)
	}
	return r, nil
}

func (d disk) report(r room, free uint64) {
	with := []any{"folder", d.dir, "free_mb", free >> 20, "floor_mb", d.floor >> 20}
	switch r {
	case roomPlenty:
		d.log.Info("the disk has room again, everything is stored as usual", with...)
	case roomScarce:
		d.log.Error("the disk is nearly full: nothing new is stored until there is more room", with...)
	case roomNone:
		d.log.Error("the disk is full: nothing is stored any more, not even a sign-out", with...)
	}
}
