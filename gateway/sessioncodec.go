package gateway

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"
)

// sessionFormat is the first byte of a stored session. Sessions are many, and are
// read on the way of a request, so they are stored shortly. absoluteTimes is that
// of older ones, whose times are all since 1970.
const (
	sessionFormat = 2
	absoluteTimes = 1
)

var errSessionRecord = errors.New("not a session record")

// AppendBinary implements encoding.BinaryAppender: each text with its length
// before it, the first time in nanoseconds since 1970, and the others since the
// first, which is shorter and much alike in all sessions.
func (s Session) AppendBinary(to []byte) ([]byte, error) {
	to = append(to, sessionFormat)
	for _, text := range s.texts() {
		to = binary.AppendUvarint(to, uint64(len(*text)))
		to = append(to, *text...)
	}
	var since int64
	for i, at := range s.times() {
		to = binary.AppendVarint(to, at.UnixNano()-since)
		if i == 0 {
			since = at.UnixNano()
		}
	}
	return binary.AppendVarint(to, int64(s.Idle)), nil
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (s Session) MarshalBinary() ([]byte, error) { return s.AppendBinary(make([]byte, 0, 256)) }

// UnmarshalBinary implements encoding.BinaryUnmarshaler. It takes JSON too.
func (s *Session) UnmarshalBinary(data []byte) error {
	if len(data) > 0 && data[0] == '{' {
		return json.Unmarshal(data, s)
	}
	if len(data) == 0 || data[0] != sessionFormat && data[0] != absoluteTimes {
		return errSessionRecord
	}
	rest := string(data[1:]) // one copy for all texts
	for _, text := range s.texts() {
		length, n := uvarint(rest)
		if n <= 0 || length > uint64(len(rest)-n) {
			return errSessionRecord
		}
		*text, rest = rest[n:n+int(length)], rest[n+int(length):]
	}
	var since int64
	for i, at := range s.times() {
		nanoseconds, n := varint(rest)
		if n <= 0 {
			return errSessionRecord
		}
		*at, rest = time.Unix(0, since+nanoseconds).UTC(), rest[n:]
		if i == 0 && data[0] == sessionFormat {
			since = nanoseconds
		}
	}
	idle, n := varint(rest)
	if n <= 0 || n != len(rest) {
		return errSessionRecord
	}
	s.Idle = time.Duration(idle)
	return nil
}

// texts and times are the fields in the order of the record. A new one goes to
// the end of the record, with a format of its own. The one without a name was the
// sign-in request's, which nothing read.
func (s *Session) texts() [8]*string {
	return [...]*string{&s.Site, &s.Email, &s.Subject, &s.Method, &s.Device, &s.Network, new(string), &s.ReplacedBy}
}

func (s *Session) times() [3]*time.Time { return [...]*time.Time{&s.SignedIn, &s.LastSeen, &s.Expires} }

// uvarint and varint are those of encoding/binary, for a string.
func uvarint(s string) (uint64, int) {
	var buffer [binary.MaxVarintLen64]byte
	return binary.Uvarint(buffer[:copy(buffer[:], s)])
}

func varint(s string) (int64, int) {
	var buffer [binary.MaxVarintLen64]byte
	return binary.Varint(buffer[:copy(buffer[:], s)])
}
