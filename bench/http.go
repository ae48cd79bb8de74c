package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// As much of HTTP/1.1 (RFC 9112) as a client needs that costs next to nothing.

// answer is a response that was read to its end. Its body is valid until the
// next one is read.
type answer struct {
	status   int
	location string
	cookies  []string // name=value
	body     []byte
	chunked  bool
	length   int
}

// readAnswer reads a response. details asks for location and cookies too.
func readAnswer(r *bufio.Reader, room []byte, details bool) (answer, error) {
	a := answer{body: room[:0]}
	line, err := r.ReadSlice('\n')
	if err != nil {
		return a, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return a, fmt.Errorf("no status line: %q", line)
	}
	if a.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return a, err
	}
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return a, err
		}
		if len(line) <= 2 {
			break
		}
		if err := a.field(line, details); err != nil {
			return a, err
		}
	}
	return a, a.readBody(r)
}

func (a *answer) field(line []byte, details bool) (err error) {
	name, value, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(": "))
	switch string(name) {
	case "Content-Length":
		a.length, err = strconv.Atoi(string(value))
	case "Transfer-Encoding":
		a.chunked = true
	case "Location":
		if details {
			a.location = string(value)
		}
	case "Set-Cookie":
		if details {
			pair, _, _ := strings.Cut(string(value), ";")
			a.cookies = append(a.cookies, pair)
		}
	}
	return err
}

func (a *answer) readBody(r *bufio.Reader) error {
	if a.status == 101 || a.status == 204 || a.status == 304 {
		return nil
	}
	if !a.chunked {
		return a.readPiece(r, a.length)
	}
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
		if err != nil {
			return err
		}
		if err := a.readPiece(r, int(size)); err != nil {
			return err
		}
		if _, err := r.ReadSlice('\n'); err != nil {
			return err
		}
		if size == 0 {
			return nil
		}
	}
}

func (a *answer) readPiece(r *bufio.Reader, size int) error {
	begin := len(a.body)
	if need := begin + size; cap(a.body) < need {
		a.body = append(make([]byte, 0, 2*need), a.body...)
	}
	a.body = a.body[:begin+size]
	_, err := io.ReadFull(r, a.body[begin:])
	return err
}

// cookie returns one that the answer sets, as name=value, or "".
func (a *answer) cookie(name string) string {
	for _, pair := range a.cookies {
		if strings.HasPrefix(pair, name+"=") {
			return pair
		}
	}
	return ""
}

// headers that browsers send: with any request, with a navigation, with one of a
// script, and with a form.
const (
	anyBrowser = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0\r\n" +
		"Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
	page = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
		"Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\nUpgrade-Insecure-Requests: 1\r\n"
	xhr      = "Accept: */*\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nPriority: u=1, i\r\n"
	formPage = "Accept: text/html\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n" +
		"Content-Type: application/x-www-form-urlencoded\r\n"
)

// get writes a request. headers are further lines.
func get(host, path, headers string) []byte {
	return []byte("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n" + anyBrowser + headers + "\r\n")
}

// post writes a form.
func post(host, path, headers, form string) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\n%s%s%sContent-Length: %d\r\n\r\n%s",
		path, host, anyBrowser, formPage, headers, len(form), form)
}

// cookieHeader is a line with cookies beside those of the application.
func cookieHeader(pairs ...string) string {
	return "Cookie: " + strings.Join(append([]string{"theme=dark", "_ga=GA1.1.123456789.1700000000"}, pairs...), "; ") + "\r\n"
}

// client is a connection that is kept.
type client struct {
	conn   net.Conn
	reader *bufio.Reader
	room   []byte
}

func dial(addr string) (*client, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, reader: bufio.NewReaderSize(conn, 16<<10), room: make([]byte, 0, 32<<10)}, nil
}

// do sends a request and reads the response.
func (c *client) do(request []byte, details bool) (answer, error) {
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	if _, err := c.conn.Write(request); err != nil {
		return answer{}, err
	}
	return readAnswer(c.reader, c.room, details)
}

func (c *client) close() { c.conn.Close() }

// ask sends one request on a connection of its own.
func ask(addr string, request []byte) (answer, error) {
	c, err := dial(addr)
	if err != nil {
		return answer{}, err
	}
	defer c.close()
	return c.do(request, true)
}
