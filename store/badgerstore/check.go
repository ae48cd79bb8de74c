package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"github.com/klauspost/compress/snappy"
	"google.golang.org/protobuf/proto"

	"github.com/postern-auth/postern/store"
)

// checkTables reads all tables through and verifies every checksum. Badger would
// do so too when it opens them, but panics in a goroutine of its own on a table
// that does not end as a table does, or whose block cannot be decompressed; and
// it maps them, so that all of a large store would count as memory of the process.
// Unverified, damage would spread: compaction quietly drops what comes after a
// damaged block. Tables that the manifest does not name are leftovers, which
// Badger removes.
func checkTables(opt badger.Options) error {
	file, err := os.Open(filepath.Join(opt.Dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a new database
	}
	if err != nil {
		return err
	}
	defer file.Close()
	manifest, _, err := badger.ReplayManifestFile(file, opt.ExternalMagicVersion, opt)
	if err != nil {
		return fmt.Errorf("%w (MANIFEST: %v)", ErrDamaged, err)
	}
	for id, t := range manifest.Tables {
		path := table.NewFilename(id, opt.Dir)
		if err := checkTable(path, t.Compression); err != nil {
			return fmt.Errorf("%w (%s: %v)", ErrDamaged, filepath.Base(path), err)
		}
	}
	return nil
}

// checkTable checks the index of a table and its blocks. From the end of the file
// it reads: the length of the checksum, the checksum, the length of the index, the
// index, which says where the blocks are.
func checkTable(path string, compression options.CompressionType) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	end := info.Size()
	sum, err := lastPart(file, &end)
	if err != nil {
		return err
	}
	index, err := lastPart(file, &end)
	if err != nil {
		return err
	}
	if err := checkSum(index, sum); err != nil {
		return err
	}
	return checkBlocks(file, fb.GetRootAsTableIndex(index, 0), end, compression)
}

func checkSum(data, sum []byte) error {
	var want pb.Checksum
	if err := proto.Unmarshal(sum, &want); err != nil {
		return err
	}
	if _, known := pb.Checksum_Algorithm_name[int32(want.Algo)]; !known {
		return errors.New("its checksum is of an unknown kind")
	}
	return y.VerifyChecksum(data, &want)
}

// checkBlocks checks the blocks before end.
func checkBlocks(file *os.File, index *fb.TableIndex, end int64, compression options.CompressionType) error {
	var at fb.BlockOffset
	var stored, plain []byte
	for i := range index.OffsetsLength() {
		index.Offsets(&at, i)
		if int64(at.Offset())+int64(at.Len()) > end {
			return fmt.Errorf("block %d is beyond its end", i)
		}
		stored = slices.Grow(stored[:0], int(at.Len()))[:at.Len()]
		_, err := file.ReadAt(stored, int64(at.Offset()))
		if err == nil {
			plain, err = decompress(plain, stored, compression)
		}
		if err == nil {
			err = checkBlock(plain)
		}
		if err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
	}
	return nil
}

// maxBlock bounds what a damaged block claims to become: Badger ends one of ours
// after 4 kB, or the value that goes beyond.
const maxBlock = 4<<10 + 2*store.MaxValue

func decompress(room, stored []byte, compression options.CompressionType) ([]byte, error) {
	switch compression {
	case options.None:
		return append(room[:0], stored...), nil
	case options.Snappy:
		if n, err := snappy.DecodedLen(stored); err != nil || n > maxBlock {
			return nil, errors.New("it is no block")
		}
		return snappy.Decode(room[:cap(room)], stored)
	}
	return nil, errors.New("compressed in a way that is not ours")
}

// checkBlock checks a block, which ends with its checksum and the length of that.
func checkBlock(block []byte) error {
	if len(block) < 4 {
		return errors.New("it is cut off")
	}
	end := len(block) - 4
	n := int64(binary.BigEndian.Uint32(block[end:]))
	if n > int64(end) {
		return errors.New("it does not end as a block does")
	}
	return checkSum(block[:end-int(n)], block[end-int(n):end])
}

// lastPart reads what is before end, and its length before that, and moves end
// to where it begins.
func lastPart(file *os.File, end *int64) ([]byte, error) {
	var size [4]byte
	if *end < 4 {
		return nil, errors.New("it is cut off")
	}
	if _, err := file.ReadAt(size[:], *end-4); err != nil {
		return nil, err
	}
	n := int64(binary.BigEndian.Uint32(size[:]))
	if n == 0 || n > *end-4 {
		return nil, errors.New("it does not end as a table does")
	}
	*end -= 4 + n
	part := make([]byte, n)
	_, err := file.ReadAt(part, *end)
	return part, err
}
