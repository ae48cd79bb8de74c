package postern

import (
	"bufio"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// As much of WebSocket (RFC 6455) as an echo needs: text frames that are not
// fragmented, and the close frame as an end.

const (
	textFrame  = 0x81
	closeFrame = 0x88
)

func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func writeFrame(w io.Writer, message string, masked bool) error {
	if len(message) > 125 {
		return errors.New("message too long")
	}
	frame := []byte{textFrame, byte(len(message))}
	mask := make([]byte, 4)
	if masked {
		rand.Read(mask)
		frame[1] |= 0x80
		frame = append(frame, mask...)
	}
	for i := range len(message) {
		frame = append(frame, message[i]^mask[i%4])
	}
	_, err := w.Write(frame)
	return err
}

func readFrame(r io.Reader) (string, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", err
	}
	size := int(head[1] & 0x7f)
	if size == 126 {
		var long [2]byte
		if _, err := io.ReadFull(r, long[:]); err != nil {
			return "", err
		}
		size = int(binary.BigEndian.Uint16(long[:]))
	}
	var mask [4]byte
	if head[1]&0x80 != 0 {
		if _, err := io.ReadFull(r, mask[:]); err != nil {
			return "", err
		}
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return "", err
	}
	for i := range body {
		body[i] ^= mask[i%4]
	}
	if head[0] == closeFrame {
		return "", io.EOF
	}
	return string(body), nil
}

// WebSocket is the browser's end of one.
type WebSocket struct {
	conn     net.Conn
	buffered *bufio.Reader
}

// OpenWebSocket opens one, or returns the answer that refuses it.
func (v *Visitor) OpenWebSocket(path string) (*WebSocket, *Answer) {
	v.t.Helper()
	conn := v.connect()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nOrigin: %s\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+
		"Sec-Fetch-Mode: websocket\r\nSec-Fetch-Dest: empty\r\nSec-Fetch-Site: same-origin\r\nCookie: %s\r\n\r\n",
		path, v.Host(), v.Origin, v.Cookies())
	buffered := bufio.NewReader(conn)
	response, err := http.ReadResponse(buffered, nil)
	if err != nil {
		v.t.Fatalf("opening a WebSocket: %v", err)
	}
	if response.StatusCode == http.StatusSwitchingProtocols {
		_ = conn.SetDeadline(time.Time{})
		return &WebSocket{conn, buffered}, nil
	}
	answer, err := readAnswer(response)
	if err != nil {
		v.t.Fatalf("opening a WebSocket: %v", err)
	}
	return nil, answer
}

func (v *Visitor) connect() net.Conn {
	v.t.Helper()
	if host, ok := strings.CutPrefix(v.Origin, "https://"); ok {
		name, _, _ := net.SplitHostPort(host)
		return v.server.ConnectTLS(v.t, name)
	}
	return v.server.Connect(v.t)
}

// Echo sends a message and fails the test if it does not come back.
func (ws *WebSocket) Echo(t testing.TB, message string) {
	t.Helper()
	_ = ws.conn.SetDeadline(time.Now().Add(patience))
	if err := writeFrame(ws.conn, message, true); err != nil {
		t.Fatalf("WebSocket: %v", err)
	}
	got, err := readFrame(ws.buffered)
	if err != nil || got != message {
		t.Fatalf("WebSocket: %q came back, %v, want %q", got, err, message)
	}
	_ = ws.conn.SetDeadline(time.Time{})
}

// WaitEnd waits until the other side ends it, and returns how long that took.
func (ws *WebSocket) WaitEnd(t testing.TB) time.Duration {
	t.Helper()
	begin := time.Now()
	_ = ws.conn.SetDeadline(begin.Add(patience))
	for {
		_, err := readFrame(ws.buffered)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Fatalf("the WebSocket is still open after %v", patience)
		}
		if err != nil {
			return time.Since(begin)
		}
	}
}

// Close ends it.
func (ws *WebSocket) Close() { ws.conn.Close() }
