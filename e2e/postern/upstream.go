package postern

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Seen is a request as the upstream got it.
type Seen struct {
	Method, URI, Host, Proto string
	Header, Trailer          http.Header
	Length                   int64
	Hash                     string // SHA-256 of the body, in hex
}

// Get returns a header's only value, and fails the test where there are more.
func (s Seen) Get(t testing.TB, name string) string {
	t.Helper()
	values := s.Header.Values(name)
	if len(values) > 1 {
		t.Errorf("the upstream got %s %d times: %q", name, len(values), values)
	}
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// Upstream is the application behind a site: it remembers all that reaches it.
// Below /ws it echoes WebSocket messages, at /sse it sends events, at /grpc a
// stream, at /cookies it tries to set our cookies; elsewhere it answers with a
// page that names the path and the user.
type Upstream struct {
	// Addr is its host:port.
	Addr string

	mu     sync.Mutex
	seen   []Seen
	closed chan struct{}
}

// StartUpstream runs an upstream until the test ends.
func StartUpstream(t testing.TB) *Upstream {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &Upstream{Addr: listener.Addr().String(), closed: make(chan struct{})}
	server := &http.Server{Handler: u, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	go server.Serve(listener)
	t.Cleanup(func() {
		close(u.closed)
		server.Close()
	})
	return u
}

// ServeHTTP answers a request.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/ws"):
		u.record(r, nil)
		u.echoWebSocket(w, r)
		return
	case r.URL.Path == "/sse":
		u.record(r, nil)
		u.sendEvents(w, r)
		return
	case r.URL.Path == "/grpc":
		u.record(r, nil)
		u.streamCall(w, r)
		return
	}
	hash := sha256.New()
	n, err := io.Copy(hash, r.Body)
	if err != nil {
		return
	}
	seen := u.record(r, func(s *Seen) { s.Length, s.Hash = n, hex.EncodeToString(hash.Sum(nil)) })
	if r.URL.Path == "/cookies" {
		for _, name := range []string{SessionCookie, BrowserCookie, LoopbackSessionCookie, LoopbackBrowserCookie} {
			w.Header().Add("Set-Cookie", name+"=stolen; Path=/")
		}
		w.Header().Add("Set-Cookie", "app=own; Path=/")
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, "<!doctype html><title>Behind the door</title><link rel=icon href='data:,'><h1>%s</h1><p>Hello <b id=user>%s</b>, %d bytes %s</p>",
		html.EscapeString(seen.URI), html.EscapeString(r.Header.Get("Remote-User")), seen.Length, seen.Hash)
}

func (u *Upstream) record(r *http.Request, more func(*Seen)) Seen {
	s := Seen{
		Method: r.Method, URI: r.RequestURI, Host: r.Host, Proto: r.Proto,
		Header: r.Header.Clone(), Trailer: r.Trailer.Clone(),
	}
	if more != nil {
		more(&s)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.seen = append(u.seen, s)
	return s
}

// Seen returns all requests so far.
func (u *Upstream) Seen() []Seen {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.seen)
}

// Last returns the last request for a URI, and fails the test if there is none.
func (u *Upstream) Last(t testing.TB, uri string) Seen {
	t.Helper()
	seen := u.Seen()
	for i := len(seen) - 1; i >= 0; i-- {
		if seen[i].URI == uri {
			return seen[i]
		}
	}
	t.Fatalf("the upstream did not see %s", uri)
	return Seen{}
}

// WantNone fails the test if a request for a URI has arrived.
func (u *Upstream) WantNone(t testing.TB, uri string) {
	t.Helper()
	for _, seen := range u.Seen() {
		if seen.URI == uri {
			t.Errorf("the upstream saw %s %s", seen.Method, uri)
		}
	}
}

// sendEvents sends an event ten times a second until somebody ends it.
func (u *Upstream) sendEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	u.drip(w, r, func(i int) []byte { return fmt.Appendf(nil, "data: %d\n\n", i) })
}

// streamCall is a gRPC call whose server sends messages without end.
func (u *Upstream) streamCall(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	u.drip(w, r, func(int) []byte { return append([]byte{0, 0, 0, 0, 5}, "hello"...) })
	w.Header().Set("Grpc-Status", "0")
}

func (u *Upstream) drip(w http.ResponseWriter, r *http.Request, piece func(int) []byte) {
	control := http.NewResponseController(w)
	for i := 0; ; i++ {
		if _, err := w.Write(piece(i)); err != nil {
			return
		}
		if control.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-u.closed:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (u *Upstream) echoWebSocket(w http.ResponseWriter, r *http.Request) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	var out bytes.Buffer
	fmt.Fprintf(&out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		acceptKey(r.Header.Get("Sec-WebSocket-Key")))
	if _, err := conn.Write(out.Bytes()); err != nil {
		return
	}
	for {
		message, err := readFrame(buffered)
		if err != nil || writeFrame(conn, message, false) != nil {
			return
		}
	}
}
