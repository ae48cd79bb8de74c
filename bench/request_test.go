package main_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func freePort(b *testing.B) string {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

// request is one that is sent again and again. Handlers change what they get, so
// each time it is made anew.
type request struct {
	method, host string
	body         string
	url          *url.URL
	fields       []string
	values       []string

	ctx      context.Context
	header   http.Header
	backing  []string
	sentURL  url.URL
	response response
}

// page and xhr are what browsers send for a navigation and for a script.
var (
	page = []string{
		"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
		"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-User", "?1", "Sec-Fetch-Dest", "document",
		"Upgrade-Insecure-Requests", "1",
	}
	xhr = []string{
		"Accept", "*/*", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty",
		"Referer", "https://wiki.example.com/projects", "Priority", "u=1, i",
	}
	anyBrowser = []string{
		"User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
		"Accept-Language", "en-GB,en;q=0.7,de;q=0.3", "Accept-Encoding", "gzip, deflate, br, zstd",
	}
	form = []string{"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin"}
)

// newRequest makes a request for a host. cookie may be empty; headers are names
// and values in turn.
func newRequest(method, host, path, cookie string, headers ...[]string) *request {
	target, err := url.Parse(path)
	if err != nil {
		panic(err)
	}
	r := &request{method: method, host: host, url: target, response: response{header: http.Header{}}}
	r.ctx = context.WithValue(context.Background(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443})
	if cookie != "" {
		headers = append(headers, []string{"Cookie", cookie})
	}
	for _, pairs := range append(headers, anyBrowser) {
		for i := 0; i < len(pairs); i += 2 {
			r.fields, r.values = append(r.fields, pairs[i]), append(r.values, pairs[i+1])
		}
	}
	r.backing = make([]string, len(r.fields))
	return r
}

// setCookie changes the cookies.
func (r *request) setCookie(cookie string) { r.values[len(r.values)-len(anyBrowser)/2-1] = cookie }

var connection = &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true}

// send has a server answer the request, and returns the status.
func (r *request) send(server *caddyhttp.Server) int {
	r.header = make(http.Header, len(r.fields)+1) // as net/http does, which counts Host in
	copy(r.backing, r.values)
	for i, field := range r.fields {
		r.header[field] = r.backing[i : i+1 : i+1]
	}
	r.sentURL = *r.url
	incoming := &http.Request{
		Method: r.method, Host: r.host, URL: &r.sentURL, RequestURI: r.url.RequestURI(), RemoteAddr: "192.0.2.1:4711",
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: r.header, Body: http.NoBody, TLS: connection,
	}
	if r.body != "" {
		incoming.Body, incoming.ContentLength = io.NopCloser(strings.NewReader(r.body)), int64(len(r.body))
	}
	r.response.reset()
	server.ServeHTTP(&r.response, incoming.WithContext(r.ctx))
	return r.response.status
}

// repeat sends the request as often as the benchmark wants, each with the next
// of the cookies, if there are any.
func (r *request) repeat(b *testing.B, server *caddyhttp.Server, status int, cookies ...string) {
	b.Helper()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if len(cookies) > 0 {
			r.setCookie(cookies[i%len(cookies)])
		}
		if got := r.send(server); got != status {
			b.Fatalf("status %d, want %d: %s", got, status, r.response.brief())
		}
	}
}

// response is a http.ResponseWriter without a connection.
type response struct {
	header http.Header
	status int
	text   []byte
}

func (w *response) reset() {
	clear(w.header)
	w.status, w.text = 0, w.text[:0]
}

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.text = append(w.text, p...)
	return len(p), nil
}

// brief is the text in short, for messages.
func (w *response) brief() []byte { return w.text[:min(len(w.text), 300)] }

// What http.ResponseController asks of a server's writer.

func (w *response) FlushError() error                { return nil }
func (w *response) SetReadDeadline(time.Time) error  { return nil }
func (w *response) SetWriteDeadline(time.Time) error { return nil }
func (w *response) EnableFullDuplex() error          { return nil }

// cookie returns one that the response set, as a browser sends it back.
func (w *response) cookie(name string) string {
	for _, cookie := range (&http.Response{Header: w.header}).Cookies() {
		if cookie.Name == name {
			return name + "=" + cookie.Value
		}
	}
	return ""
}
