package gateway

import (
	"encoding/binary"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

func testSession() Session {
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	return Session{
		Site: "wiki.example.com", Email: "ann@example.com", Subject: "c3ViamVjdA", Method: "code",
		SignedIn: at, LastSeen: at.Add(time.Hour), Expires: at.Add(7 * day), Idle: 3 * day,
		Device: "Firefox on Linux", Network: "192.0.2.1", ReplacedBy: "bmV4dA",
	}
}

// Every field of a session comes back: one that is forgotten in the record fails
// here, because none of them is empty.
func TestSessionRecord(t *testing.T) {
	want := testSession()
	for i := range reflect.TypeFor[Session]().NumField() {
		if reflect.ValueOf(want).Field(i).IsZero() {
			t.Fatalf("the session of this test leaves %s empty", reflect.TypeFor[Session]().Field(i).Name)
		}
	}
	for name, encode := range map[string]func() ([]byte, error){
		"binary": want.MarshalBinary,
		"older":  func() ([]byte, error) { return olderRecord(want), nil },
		"JSON":   func() ([]byte, error) { return json.Marshal(want) },
	} {
		data, err := encode()
		if err != nil {
			t.Fatal(err)
		}
		var got Session
		if err := got.UnmarshalBinary(data); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	empty := Session{Expires: time.Unix(0, 0).UTC(), SignedIn: time.Unix(0, 0).UTC(), LastSeen: time.Unix(0, 0).UTC()}
	data, _ := empty.MarshalBinary()
	var got Session
	if err := got.UnmarshalBinary(data); err != nil || got != empty {
		t.Errorf("an empty session: %+v, %v", got, err)
	}
}

// olderRecord is how sessions were stored before.
func olderRecord(s Session) []byte {
	data := []byte{1}
	for _, text := range s.texts() {
		data = append(binary.AppendUvarint(data, uint64(len(*text))), *text...)
	}
	for _, at := range s.times() {
		data = binary.AppendVarint(data, at.UnixNano())
	}
	return binary.AppendVarint(data, int64(s.Idle))
}

// Whatever is cut off or added makes no session.
func TestBrokenSessionRecord(t *testing.T) {
	data, _ := testSession().MarshalBinary()
	for n := range data {
		if err := new(Session).UnmarshalBinary(data[:n]); err == nil {
			t.Errorf("the first %d bytes make a session", n)
		}
	}
	for _, bad := range []string{"", "x", "\x02", "\x03" + string(data[1:]), string(data) + "\x00", "null", "\x01" + strings.Repeat("\xff", 100)} {
		if err := new(Session).UnmarshalBinary([]byte(bad)); err == nil {
			t.Errorf("%q makes a session", bad)
		}
	}
}

func FuzzSessionRecord(f *testing.F) {
	data, _ := testSession().MarshalBinary()
	f.Add(data)
	f.Add([]byte(`{"site":"wiki.example.com"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s Session
		if s.UnmarshalBinary(data) != nil || data[0] == '{' {
			return
		}
		again, _ := s.MarshalBinary()
		var same Session
		if err := same.UnmarshalBinary(again); err != nil || same != s {
			t.Errorf("%+v became %+v, %v", s, same, err)
		}
	})
}
