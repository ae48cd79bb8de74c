package badgerstore

import (
	"fmt"
	"log/slog"
	"sync/atomic"
)

// Badger writes to sparse files through memory maps. Where a page finds no room
// on the disk, the process dies of SIGBUS, so there must always be room for
// what Badger may write in the background before the next look, which is taken
// before each batch. With the sizes of options.go that is at most about
//
//	two memtables that are flushed to tables                     4 MB
//	compaction of level 0: four tables and the base level       14 MB
//	beside it that of a lower level: a table of 1 MB, and ten
//	to twelve that it overlaps                                  13 MB
//
// which together is the default floor; 25 MB were seen, with 64 writers of large
// values. Deletes and small updates go on below it, down to the hard floor, as
// they hardly ever set off so much. To close, Badger flushes what is in memory.
//
// Not seen from here: another process that takes the whole floor in the moment
// of one compaction, and quotas.
const (
	defaultFreeFloor = 32 << 20
	hardFloor        = 16 << 20
	closeFloor       = 8 << 20
	// What is not longer than before, nor than this, adds next to nothing.
	smallValue = 4 << 10
)

// room says what may be written.
type room int32

const (
	roomPlenty room = iota
	roomScarce      // deletes and small values that are no longer than before
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

func (d disk) tooFullToClose() bool {
	if d.dir == "" {
		return false
	}
	free, err := freeBytes(d.dir)
	return err == nil && free < closeFloor
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
