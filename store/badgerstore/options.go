package badgerstore

import (
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/postern-auth/postern/store"
)

// Badger's defaults are for hundreds of gigabytes. These are for some thousand
// small records in little memory, and for a small free floor (see disk.go): a
// flush or a compaction writes its new files before it removes the old ones,
// so their size is the room it needs.
const (
	memTableSize  = 2 << 20 // a log file is twice as long, and sparse
	baseTableSize = 1 << 20
	baseLevelSize = 4 << 20

	defaultTidyEvery = 6 * time.Hour
)

func (s *Store) options() badger.Options {
	opt := badger.DefaultOptions(s.cfg.Dir).
		WithInMemory(s.cfg.InMemory).
		WithLogger(logger{s.cfg.Log}).
		WithMetricsEnabled(false). // they are global: two stores would share them
		WithMemTableSize(memTableSize).
		WithNumMemtables(2).
		WithBaseTableSize(baseTableSize).
		WithBaseLevelSize(baseLevelSize).
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(4).
		WithNumCompactors(2). // the least that Badger takes
		// All values are in the tables and none in the value log, which then
		// needs no collecting. In memory a value as long as the threshold panics.
		WithValueThreshold(store.MaxValue + 1<<10).
		WithValueLogFileSize(1 << 20).
		// Tables are mapped, so what they take on the disk they take in memory
		// too. Snappy makes them half as large for a third more time in reading;
		// Badger wants a cache of blocks then, in which random reads find nothing.
		WithCompression(options.Snappy).
		WithBlockCacheSize(1 << 20).
		WithChecksumVerificationMode(options.NoVerification). // see checkTables
		WithIndexCacheSize(0).
		WithNumGoroutines(1).
		// The committer is the only writer, and syncs once for each batch.
		WithDetectConflicts(false).
		WithSyncWrites(false)
	opt.TableSizeMultiplier = 1 // small tables in a large database too
	return opt
}
