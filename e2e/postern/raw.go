package postern

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Connect opens a connection to the plain port for bytes of one's own.
func (s *Server) Connect(t testing.TB) net.Conn {
	t.Helper()
	return connect(t, s.PlainAddr())
}

// ConnectTLS opens one to the port with TLS, with HTTP/1.1.
func (s *Server) ConnectTLS(t testing.TB, host string) net.Conn {
	t.Helper()
	config := s.TLSConfig()
	config.ServerName, config.NextProtos = host, []string{"http/1.1"}
	conn := tls.Client(connect(t, s.TLSAddr()), config)
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	return conn
}

func connect(t testing.TB, addr string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// Raw sends a request as it is written, line ends made CRLF, and reads one
// response. The method decides how the response is read.
func (s *Server) Raw(t testing.TB, text string) *Answer {
	t.Helper()
	conn := s.Connect(t)
	defer conn.Close()
	return RawOn(t, conn, text)
}

// RawOn is Raw on a connection of one's own.
func RawOn(t testing.TB, conn net.Conn, text string) *Answer {
	t.Helper()
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(text, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("no response to %q: %v", firstLine(text), err)
	}
	answer, err := readAnswer(response)
	if err != nil {
		t.Fatalf("half a response to %q: %v", firstLine(text), err)
	}
	answer.URL = firstLine(text)
	return answer
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\r\n")
	return line
}
