package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// checkTables finds the damage that Badger does not survive: on opening a table
// that does not end as a table does it panics in a goroutine of its own. Tables
// that the manifest does not name are leftovers, which Badger removes.
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
	for id := range manifest.Tables {
		path := table.NewFilename(id, opt.Dir)
		if err := checkTable(path); err != nil {
			return fmt.Errorf("%w (%s: %v)", ErrDamaged, filepath.Base(path), err)
		}
	}
	return nil
}

// checkTable checks the index of a table. From the end of the file it reads:
// the length of the checksum, the checksum, the length of the index, the index.
// What is before, Badger checks.
func checkTable(path string) error {
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
	var want pb.Checksum
	if err := proto.Unmarshal(sum, &want); err != nil {
		return err
	}
	if _, known := pb.Checksum_Algorithm_name[int32(want.Algo)]; !known {
		return errors.New("its checksum is of an unknown kind")
	}
	index, err := lastPart(file, &end)
	if err != nil {
		return err
	}
	return y.VerifyChecksum(index, &want)
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
