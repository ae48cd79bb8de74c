package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// upstream is the application behind all sites. It costs next to nothing, since
// it shares the machine with what is measured:
//
//	/verify           200 with a Remote-User and no body, as forward_auth asks
//	/download/<n>     n bytes
//	an Upgrade        echoes
//	everything else   reads the body, and says what it knows of the user
type upstream struct {
	addr     string
	listener net.Listener
	// assertion is the size in bytes of the last one that came.
	assertion atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func startUpstream() (*upstream, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := &upstream{addr: listener.Addr().String(), listener: listener, conns: map[net.Conn]bool{}}
	go u.accept()
	return u, nil
}

func (u *upstream) accept() {
	for {
		conn, err := u.listener.Accept()
		if err != nil {
			return
		}
		u.mu.Lock()
		u.conns[conn] = true
		u.mu.Unlock()
		go u.serve(conn)
	}
}

func (u *upstream) close() {
	u.listener.Close()
	u.mu.Lock()
	defer u.mu.Unlock()
	for conn := range u.conns {
		conn.Close()
	}
}

// Bodies of answers: what the application knows of the user.
const (
	knowsNobody   = "hello; user no, assertion no."
	knowsUser     = "hello; user yes, assertion no."
	knowsAsserted = "hello; user yes, assertion yes."
)

func response(headers, body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n%sContent-Length: %d\r\n\r\n%s", headers, len(body), body)
}

var (
	verified  = response("Remote-User: ann@example.com\r\n", "")
	responses = map[[2]bool][]byte{
		{false, false}: response("", knowsNobody), {true, false}: response("", knowsUser),
		{true, true}: response("", knowsAsserted), {false, true}: response("", "hello; an assertion and no user."),
	}
	switching = []byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
)

func (u *upstream) serve(conn net.Conn) {
	defer func() {
		conn.Close()
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.conns, conn)
	}()
	reader := bufio.NewReaderSize(conn, 64<<10)
	for {
		r, err := readIncoming(reader)
		if err != nil {
			return
		}
		if r.assertion > 0 {
			u.assertion.Store(int64(r.assertion))
		}
		switch {
		case r.upgrade:
			if _, err := conn.Write(switching); err == nil {
				echo(conn, reader)
			}
			return
		case r.download > 0:
			err = send(conn, r.download)
		case r.verify:
			_, err = conn.Write(verified)
		default:
			_, err = conn.Write(responses[[2]bool{r.user, r.assertion > 0}])
		}
		if err != nil {
			return
		}
	}
}

// incoming is what matters of a request.
type incoming struct {
	upgrade, verify, user bool
	assertion             int // its size in bytes
	download, length      int64
}

func readIncoming(reader *bufio.Reader) (incoming, error) {
	var r incoming
	line, err := reader.ReadSlice('\n')
	if err != nil {
		return r, err
	}
	r.verify = bytes.Contains(line, []byte(" /verify"))
	if _, size, ok := bytes.Cut(line, []byte(" /download/")); ok {
		size, _, _ = bytes.Cut(size, []byte(" "))
		r.download, _ = strconv.ParseInt(string(size), 10, 64)
	}
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return r, err
		}
		if len(line) <= 2 {
			break
		}
		r.field(line)
	}
	_, err = io.CopyN(io.Discard, reader, r.length)
	return r, err
}

func (r *incoming) field(line []byte) {
	name, value, _ := bytes.Cut(line, []byte(": "))
	switch string(name) {
	case "Remote-User":
		r.user = len(value) > 2
	case "X-Postern-Jwt-Assertion":
		if bytes.Count(value, []byte(".")) == 2 {
			r.assertion = len(bytes.TrimSpace(value))
		}
	case "Upgrade":
		r.upgrade = true
	case "Content-Length":
		r.length, _ = strconv.ParseInt(strings.TrimSpace(string(value)), 10, 64)
	}
}

func echo(conn net.Conn, reader *bufio.Reader) {
	room := make([]byte, 64<<10)
	for {
		n, err := reader.Read(room)
		if err != nil {
			return
		}
		if _, err := conn.Write(room[:n]); err != nil {
			return
		}
	}
}

var zeroes = make([]byte, 256<<10)

func send(conn net.Conn, size int64) error {
	if _, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", size); err != nil {
		return err
	}
	for size > 0 {
		n, err := conn.Write(zeroes[:min(size, int64(len(zeroes)))])
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}
