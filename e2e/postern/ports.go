package postern

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

var (
	portsMu sync.Mutex
	taken   = make(map[int]bool)
)

// FreePort returns a loopback port that is free, and that no other test of this
// run gets. It is below the range that the system gives to outgoing
// connections, so that nobody takes it by chance while a server restarts.
func FreePort(t testing.TB) int {
	t.Helper()
	portsMu.Lock()
	defer portsMu.Unlock()
	for range 200 {
		port := 12000 + rand.IntN(8000)
		if taken[port] {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		l.Close()
		taken[port] = true
		return port
	}
	t.Fatal("no free port on loopback")
	return 0
}
