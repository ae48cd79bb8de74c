package badgerstore_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-auth/postern/store/badgerstore"
)

// The test program runs itself as a child for what may, or must, kill a
// process: POSTERN_CHILD names the part and POSTERN_DIR its folder.
var children = map[string]func(dir string) error{
	"count": countUntilKilled,
	"fill":  fillDisk,
}

func TestMain(m *testing.M) {
	part, dir := os.Getenv("POSTERN_CHILD"), os.Getenv("POSTERN_DIR")
	if part == "" {
		os.Exit(m.Run())
	}
	if err := children[part](dir); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}

func child(part, dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "POSTERN_CHILD="+part, "POSTERN_DIR="+dir)
	return cmd
}

const writers = 8

// countUntilKilled counts up a key in each of some goroutines and prints key
// and number when they are acknowledged. Each value is padded, so that log
// files and tables come and go, and says its number twice.
func countUntilKilled(dir string) error {
	s, err := badgerstore.Open(badgerstore.Config{Dir: dir})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	acknowledge := func(key string, n uint64) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(key, n)
	}
	pad := bytes.Repeat([]byte("p"), 8000)
	failed := make(chan error)
	for i := range writers {
		go func() {
			for key := fmt.Sprint("key", i); ; {
				var n uint64
				err := s.Update(context.Background(), key, time.Hour, func(old []byte) ([]byte, error) {
					n = number(old) + 1
					return numbered(n, pad[:rand.IntN(len(pad))]), nil
				})
				if err != nil {
					failed <- err
					return
				}
				acknowledge(key, n)
			}
		}()
	}
	return <-failed
}

func numbered(n uint64, pad []byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, n)
	return binary.BigEndian.AppendUint64(append(b, pad...), n)
}

// number returns what numbered was given, 0 for nil, and the largest number
// for a value that is not whole.
func number(b []byte) uint64 {
	if b == nil {
		return 0
	}
	if len(b) < 16 || !bytes.Equal(b[:8], b[len(b)-8:]) {
		return 1<<64 - 1
	}
	return binary.BigEndian.Uint64(b)
}

// TestKill kills a writing process at random moments and compares what it had
// acknowledged with what is there.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds := 6
	if os.Getenv("POSTERN_LONG") != "" {
		rounds = 100
	}
	dir, total := t.TempDir(), 0
	for round := range rounds {
		acked := killed(t, dir, 50*time.Millisecond+rand.N(500*time.Millisecond))
		s := open(t, badgerstore.Config{Dir: dir})
		for key, n := range acked {
			got, err := s.Get(context.Background(), key)
			// One more may have been under way.
			if stored := number(got); err != nil || stored < n || stored > n+1 {
				t.Errorf("round %d: %s is %d, %v; acknowledged %d", round, key, stored, err, n)
			}
			total++
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if total == 0 {
		t.Error("nothing was acknowledged in any round")
	}
}

// killed runs countUntilKilled for that time and returns the last number that
// it acknowledged of each key.
func killed(t *testing.T, dir string, after time.Duration) map[string]uint64 {
	t.Helper()
	cmd := child("count", dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { cmd.Process.Kill() })
	defer timer.Stop()
	acked := lastNumbers(out)
	cmd.Wait()
	if stderr.Len() > 0 {
		t.Fatalf("the child said: %s", stderr.String())
	}
	return acked
}

func lastNumbers(r io.Reader) map[string]uint64 {
	last := map[string]uint64{}
	for in := bufio.NewReader(r); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return last // what has no end of line was cut off by the kill
		}
		var key string
		var n uint64
		if _, err := fmt.Sscan(line, &key, &n); err == nil {
			last[key] = max(last[key], n)
		}
	}
}
