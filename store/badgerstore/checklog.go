package badgerstore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

const (
	logHeader = 20      // bytes at the beginning of a log
	maxKey    = 1 << 16 // as Badger has it
	maxEntry  = 16 << 20
)

var errNoEntry = errors.New("badgerstore: no entry")

// warnOfLostLog says how much of the logs Badger will leave out. It reads a log
// up to the first entry that is not whole and forgets the rest without a word.
// A kill leaves at most the beginning of what was not confirmed; more is damage,
// which cannot be told from that for sure.
func (s *Store) warnOfLostLog() {
	logs, _ := filepath.Glob(filepath.Join(s.cfg.Dir, "*.mem"))
	for _, path := range logs {
		if lost, err := unreadable(path); err == nil && lost > 0 {
			s.cfg.Log.Warn("the end of the database's log cannot be read and is left out: if the program was not killed or cut off from power just before, the disk has damaged it, and signing in and out may have been undone; restore the folder from a backup then",
				"file", path, "bytes", lost)
		}
	}
}

// unreadable is how many bytes of a log are from its first broken entry on.
func unreadable(path string) (bytes int64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	end := int64(logHeader)
	r := bufio.NewReader(io.NewSectionReader(file, end, 1<<62))
	for {
		n, err := entryLength(r)
		if err != nil {
			break
		}
		end += n
	}
	return upToZeros(bufio.NewReader(io.NewSectionReader(file, end, 1<<62)))
}

// upToZeros is how many bytes there are before the zeros at the end, which were
// never written.
func upToZeros(r io.ByteReader) (bytes int64, err error) {
	for n := int64(1); ; n++ {
		b, err := r.ReadByte()
		if err == io.EOF {
			return bytes, nil
		}
		if err != nil {
			return 0, err
		}
		if b != 0 {
			bytes = n
		}
	}
}

// entryLength reads an entry: two bytes of flags, the lengths of key and value
// and the expiry as varints, key, value, and a checksum of all that.
func entryLength(r *bufio.Reader) (int64, error) {
	in := &summed{r: r, sum: crc32.New(crc32.MakeTable(crc32.Castagnoli))}
	for range 2 {
		if _, err := in.ReadByte(); err != nil {
			return 0, err
		}
	}
	var fields [3]uint64 // lengths of key and value, expiry
	for i := range fields {
		var err error
		if fields[i], err = binary.ReadUvarint(in); err != nil {
			return 0, err
		}
	}
	if fields[0] > maxKey || fields[1] > maxEntry {
		return 0, errNoEntry
	}
	if _, err := io.CopyN(in.sum, r, int64(fields[0]+fields[1])); err != nil {
		return 0, err
	}
	var sum [crc32.Size]byte
	if _, err := io.ReadFull(r, sum[:]); err != nil {
		return 0, err
	}
	if binary.BigEndian.Uint32(sum[:]) != in.sum.Sum32() {
		return 0, errNoEntry
	}
	return in.n + int64(fields[0]+fields[1]) + crc32.Size, nil
}

// summed counts and sums the bytes that are read one by one.
type summed struct {
	r   *bufio.Reader
	sum hash.Hash32
	n   int64
}

// ReadByte implements io.ByteReader.
func (s *summed) ReadByte() (byte, error) {
	b, err := s.r.ReadByte()
	if err == nil {
		s.sum.Write([]byte{b})
		s.n++
	}
	return b, err
}
