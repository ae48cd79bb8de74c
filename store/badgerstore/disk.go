package badgerstore

import (
	"fmt"
	"log/slog"
	"sync/atomic"
)

// Badger writes to sparse files through memory maps. Where a page finds no room
// on the disk, the process dies of SIGBUS, so there must always be room for
// what Badger may write in the background before the next look, which is taken
// before each batch:
//
//   - two memtables of 2 MB each, flushed to tables;
//   - all tables once more. A compaction writes new tables before it removes
//     the old ones, and it may be of most of them: some small new values over
//     the whole range of keys are enough.
//
// So the floors are added to the size of the tables. The hard floor is for the
// memtables; what is between it and FreeFloor is for everybody else on the disk.
//
// Not seen from here: another process that takes all the rest during one
// compaction, and quotas.
const (
	defaultFreeFloor = 32 << 20
	hardFloor        = 8 << 20
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

// room says what may be written beside tables of that many bytes. It costs one
// system call, about a microsecond.
func (d disk) room(tables uint64) (room, error) {
	if d.dir == "" {
		return roomPlenty, nil
	}
	free, err := freeBytes(d.dir)
	if err != nil {
		return roomNone, fmt.Errorf("badgerstore: free space of %s: %w", d.dir, err)
	}
	r := roomPlenty
	switch {
	case free < d.hard+tables:
		r = roomNone
	case free < d.floor || free-d.floor < tables: // floor may be anything
		r = roomScarce
	}
	if before := room(d.last.Swap(int32(r))); before != r {
		d.report(r, free, tables)
	}
	return r, nil
}

// tooFull says whether not even what is in memory can be flushed, as on opening
// and closing.
func (d disk) tooFull() (bool, error) {
	if d.dir == "" {
		return false, nil
	}
	free, err := freeBytes(d.dir)
	if err != nil {
		return false, fmt.Errorf("badgerstore: free space of %s: %w", d.dir, err)
	}
	return free < d.hard, nil
}

func (d disk) report(r room, free, tables uint64) {
	with := []any{"folder", d.dir, "free_mb", free >> 20, "tables_mb", tables >> 20, "floor_mb", d.floor >> 20}
	switch r {
	case roomPlenty:
		d.log.Info("the disk has room again, everything is stored as usual", with...)
	case roomScarce:
		d.log.Error("the disk is nearly full: nothing new is stored until there is more room", with...)
	case roomNone:
		d.log.Error("the disk is full: nothing is stored any more, not even a sign-out", with...)
	}
}
