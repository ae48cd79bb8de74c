package e2e_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/postern-auth/postern/e2e/postern"
)

// TestLateEndsEndNothing opens GETs by HTTP/2 that announce hundreds of trailers
// and end their bodies just when the proxy gives up to wait for them, after 200
// ms. Caddy 2.11.9 reads and writes one map at once there, which would end the
// whole process.
func TestLateEndsEndNothing(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, spoofable, "")
	end := time.Now().Add(8 * time.Second)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for time.Now().Before(end) && server.Alive() {
				if err := sendLateEnds(server); err != nil && server.Alive() {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	if !server.Alive() {
		t.Fatalf("the program has ended after %d requests", len(upstream.Seen()))
	}
	if n := len(upstream.Seen()); n < 50 {
		t.Errorf("the upstream saw %d requests: that is no test", n)
	}
	for _, seen := range upstream.Seen() {
		if len(seen.Trailer) > 0 {
			t.Fatalf("a GET reached the upstream with %d trailers", len(seen.Trailer))
		}
	}
	server.Visitor(t, server.TLS("wiki.localhost")).Fetch("/public").Want(t, http.StatusOK)
}

// sendLateEnds sends 40 such requests on one connection.
func sendLateEnds(server *postern.Server) error {
	config := server.TLSConfig()
	config.ServerName, config.NextProtos = "wiki.localhost", []string{"h2"}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: longestDrip}, "tcp", server.TLSAddr(), config)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(longestDrip))
	var head bytes.Buffer
	encoder, framer := hpack.NewEncoder(&head), http2.NewFramer(conn, nil)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return err
	}
	if err := framer.WriteSettings(); err != nil {
		return err
	}
	go io.Copy(io.Discard, conn) // what it answers does not matter
	var trailers []string
	for i := range 240 {
		trailers = append(trailers, fmt.Sprint("t", i))
	}
	fields := [][2]string{
		{":method", "GET"}, {":scheme", "https"}, {":authority", strings.TrimPrefix(server.TLS("wiki.localhost"), "https://")}, {":path", "/public"}, {"trailer", strings.Join(trailers, ",")},
	}
	const streams = 40
	for i := range uint32(streams) {
		head.Reset()
		for _, field := range fields {
			if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
				return err
			}
		}
		if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: head.Bytes(), EndHeaders: true}); err != nil {
			return err
		}
	}
	time.Sleep(199*time.Millisecond + rand.N(4*time.Millisecond))
	for i := range uint32(streams) {
		_ = framer.WriteData(2*i+1, true, nil) // the stream may be over
		time.Sleep(rand.N(60 * time.Microsecond))
	}
	time.Sleep(20 * time.Millisecond)
	return nil
}

// TestTrailersNeedABody sends trailers with methods that have no body, by HTTP/2
// and HTTP/3: none arrives. With others they do.
func TestTrailersNeedABody(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, spoofable, "")
	v := server.Visitor(t, server.TLS("wiki.localhost"))
	for proto, tab := range map[string]*postern.Visitor{"h2": byHTTP2(t, server, v), "h3": byHTTP3(t, server, v)} {
		for method, want := range map[string]int{"GET": 0, "DELETE": 0, "OPTIONS": 0, "PROPFIND": 0, "POST": 1, "PUT": 1} {
			uri := "/public?" + proto + method
			request := tab.NewRequest(method, uri, struct{ io.Reader }{strings.NewReader("hello")})
			request.ContentLength = -1
			request.Trailer = http.Header{"X-Checksum": {"123"}}
			tab.Do(request).Want(t, http.StatusOK)
			if seen := upstream.Last(t, uri); len(seen.Trailer) != want || seen.Length != 5 {
				t.Errorf("%s %s: %d bytes, trailers %v, want %d", proto, method, seen.Length, seen.Trailer, want)
			}
		}
	}
}
