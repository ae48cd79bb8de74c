package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/gatewaytest"
)

// within is how soon a stream has to end; the rest is for a busy machine.
const within = time.Second + 200*time.Millisecond

// streaming is an upstream whose answers do not end by themselves.
func streaming(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Upstream", "yes")
	switch r.URL.Path {
	case "/socket":
		upgrade(w)
		return
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	case "/odd-events":
		w.Header().Set("Content-Type", "Text/Event-Stream; charset=utf-8; charset=utf-8")
	case "/pkg.Service/Call":
		w.Header().Set("Content-Type", "application/grpc")
	}
	control := http.NewResponseController(w)
	for r.Context().Err() == nil {
		if _, err := io.WriteString(w, "data: x\n\n"); err != nil || control.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func upgrade(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
	for {
		if _, err := io.WriteString(conn, "x"); err != nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

var streamKinds = map[string]gatewaytest.Sent{
	"events":  {Method: "GET", Path: "/events", Header: map[string]string{"Accept": "text/event-stream"}},
	"upgrade": {Method: "GET", Path: "/socket", Header: map[string]string{"Connection": "Upgrade", "Upgrade": "chat"}},
	"gRPC":    {Method: "POST", Path: "/pkg.Service/Call", Body: "x", ContentType: "application/grpc"},
}

// openStream opens one and returns what is closed when it ends.
func openStream(t *testing.T, site *gatewaytest.Site, b *gatewaytest.Browser, sent gatewaytest.Sent) <-chan struct{} {
	t.Helper()
	response, err := site.Client().Do(b.NewRequest(sent))
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != 200 && response.StatusCode != 101 {
		t.Fatalf("status %d", response.StatusCode)
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(response.Body, first); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		io.Copy(io.Discard, response.Body)
	}()
	t.Cleanup(func() { response.Body.Close() })
	return ended
}

func wantEnded(t *testing.T, what string, ended <-chan struct{}) {
	t.Helper()
	select {
	case <-ended:
	case <-time.After(within):
		t.Errorf("%s: the stream goes on", what)
	}
}

func wantOpen(t *testing.T, what string, ended <-chan struct{}) {
	t.Helper()
	select {
	case <-ended:
		t.Errorf("%s: the stream ended", what)
	default:
	}
}

func TestStreamsEnd(t *testing.T) {
	t.Parallel()
	endings := map[string]func(*testing.T, *gatewaytest.Site, *gatewaytest.Browser){
		"sign-out": func(t *testing.T, _ *gatewaytest.Site, b *gatewaytest.Browser) { b.SignOut().Want(t, 303) },
		"end": func(t *testing.T, site *gatewaytest.Site, b *gatewaytest.Browser) {
			if err := site.Engine.End(t.Context(), site.Site(site.Host), b.Cookie(gateway.SessionCookie)); err != nil {
				t.Error(err)
			}
		},
		"another address": func(_ *testing.T, _ *gatewaytest.Site, b *gatewaytest.Browser) { b.SignIn("carl@example.com") },
		"policy": func(t *testing.T, site *gatewaytest.Site, _ *gatewaytest.Browser) {
			site.Reload(func(o *gatewaytest.Options) { o.Rules = []*gateway.Rule{gatewaytest.Rule(t, bob)} })
		},
		"a site that is gone": func(t *testing.T, site *gatewaytest.Site, _ *gatewaytest.Browser) {
			site.Reload(func(o *gatewaytest.Options) { o.Host = "elsewhere.example.com" })
		},
	}
	for ending, end := range endings {
		for kind, sent := range streamKinds {
			t.Run(ending+"/"+kind, func(t *testing.T) {
				t.Parallel()
				site := gatewaytest.New(t, gatewaytest.Options{Upstream: http.HandlerFunc(streaming)})
				b, other := site.Browser(), site.Browser()
				b.SignIn(ann)
				other.SignIn(bob)
				stream, neighbour := openStream(t, site, b, sent), openStream(t, site, other, sent)
				end(t, site, b)
				wantEnded(t, ending, stream)
				if ending != "a site that is gone" {
					wantOpen(t, "somebody else", neighbour)
				}
			})
		}
	}
}

func TestStreamEndsWithItsSession(t *testing.T) {
	t.Parallel()
	for kind, sent := range streamKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			rule := gatewaytest.Rule(t, "*@example.com")
			rule.Session = gateway.SessionTerms{Lifetime: time.Hour, Idle: 20 * time.Minute}
			site := gatewaytest.New(t, gatewaytest.Options{Rules: []*gateway.Rule{rule}, Upstream: http.HandlerFunc(streaming)})
			b := site.Browser()
			b.SignIn(ann)
			stream := openStream(t, site, b, sent)
			// It counts as activity: nothing else happens for longer than idle.
			for range 3 {
				site.Advance(15 * time.Minute)
				time.Sleep(600 * time.Millisecond)
				wantOpen(t, "in use", stream)
			}
			site.Advance(14 * time.Minute)
			time.Sleep(600 * time.Millisecond)
			wantOpen(t, "in use", stream)
			if b.SignedIn() != ann {
				t.Error("the session is over while it is in use")
			}
			site.Advance(time.Minute)
			wantEnded(t, "expiry", stream)
		})
	}
}

func TestStreamsAreKept(t *testing.T) {
	t.Parallel()
	for kind, sent := range streamKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			site := gatewaytest.New(t, gatewaytest.Options{Upstream: http.HandlerFunc(streaming), Config: gateway.Config{Limits: gateway.Limits{Mails: gateway.Limit{Count: 20, Window: time.Minute}}}})
			b := site.Browser()
			b.SignIn(ann)
			stream := openStream(t, site, b, sent)
			for range 3 { // one after the other, faster than streams are looked at
				b.SignIn(ann)
			}
			site.Reload(func(o *gatewaytest.Options) { o.Rules = []*gateway.Rule{gatewaytest.Rule(t, ann, bob)} })
			time.Sleep(within)
			wantOpen(t, "a step-up and a reload", stream)
			b.SignOut()
			wantEnded(t, "sign-out of the session that took its place", stream)
		})
	}
}

// TestStreamsWhileLoading: while one configuration follows another, a stream goes on
// that either admits, and ends within a second where the one that stays does not.
func TestStreamsWhileLoading(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{Upstream: http.HandlerFunc(streaming)})
	b := site.Browser()
	b.SignIn(ann)
	stream := openStream(t, site, b, streamKinds["events"])
	attach := func(admits bool) *gateway.Attachment {
		a := &gateway.Attachment{Engine: site.Engine, Transport: site.Mails, MayEnter: func(string, string) bool { return admits }}
		site.Node.Attach(a)
		return a
	}
	denies, admits := attach(false), attach(true)
	site.HoldMail() // the configuration in force is now the one that denies
	time.Sleep(within)
	wantOpen(t, "either admits", stream)
	site.Node.Detach(admits)
	wantEnded(t, "the one that is left denies", stream)
	site.ReleaseMail()
	site.Node.Detach(denies)
}

// An upstream's odd spelling of the type must not keep a stream open.
func TestOddEventStreamEnds(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{Upstream: http.HandlerFunc(streaming)})
	b := site.Browser()
	b.SignIn(ann)
	stream := openStream(t, site, b, gatewaytest.Sent{Method: "GET", Path: "/odd-events"})
	b.SignOut()
	wantEnded(t, "sign-out", stream)
}

// stuckConn is a connection whose other end does not read: with TLS, closing it
// waits for the last record to go out, up to five seconds.
type stuckConn struct {
	net.Conn
	closed chan struct{}
}

func (c stuckConn) Close() error {
	close(c.closed)
	time.Sleep(3 * time.Second)
	return c.Conn.Close()
}

type stuckWriter struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (w stuckWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

func TestStuckConnectionHoldsUpNobody(t *testing.T) {
	t.Parallel()
	hijacked := make(chan struct{})
	site := gatewaytest.New(t, gatewaytest.Options{Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			http.NewResponseController(w).Hijack()
			close(hijacked)
			<-r.Context().Done()
		}
	})})
	slow, other := site.Browser(), site.Browser()
	slow.SignIn(ann)
	other.SignIn(bob)
	near, far := net.Pipe()
	defer far.Close()
	conn := stuckConn{near, make(chan struct{})}
	request := slow.NewRequest(streamKinds["upgrade"])
	request.RequestURI = "/socket"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go site.Handler().ServeHTTP(stuckWriter{httptest.NewRecorder(), conn}, request.WithContext(ctx))
	<-hijacked
	slow.SignOut()
	<-conn.closed
	begun := time.Now()
	other.Fetch("/").Want(t, 200)
	if took := time.Since(begun); took > time.Second {
		t.Errorf("a request of somebody else waited %s for a connection that does not close", took)
	}
}

// Noting that many streams are in use must not delay the end of one. A disk may
// well take 20 ms for a sync.
func TestSlowStoreDelaysNoEnd(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{Upstream: http.HandlerFunc(streaming)})
	streams := map[string]<-chan struct{}{}
	for i := range 150 {
		secret := fmt.Sprintf("%043d", i)
		if _, err := site.Engine.Open(t.Context(), gateway.OpenSession{Site: site.Site(site.Host), Secret: secret, Email: ann, Method: "code"}); err != nil {
			t.Fatal(err)
		}
		b := site.Browser()
		b.SetCookie(gateway.SessionCookie, secret)
		streams[secret] = openStream(t, site, b, streamKinds["events"])
	}
	site.Store.Reset(func(w gatewaytest.Write) error {
		time.Sleep(20 * time.Millisecond)
		return nil
	}, nil)
	site.Advance(10 * time.Minute) // all are due to be noted
	eventually(t, "that begins", func() bool { return len(site.Store.Writes()) > 10 })
	deadline := time.Now().Add(within)
	for i := range 5 {
		secret := fmt.Sprintf("%043d", i)
		if err := site.Engine.End(t.Context(), site.Site(site.Host), secret); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Until(deadline))
	for i := range 5 {
		select {
		case <-streams[fmt.Sprintf("%043d", i)]:
		default:
			t.Errorf("stream %d goes on a second after its session ended", i)
		}
	}
}

// The request of a program that reads slowly, or a plain long answer, is none of
// the streams' business.
func TestPlainAnswersAreLeftAlone(t *testing.T) {
	t.Parallel()
	size := 8 << 20
	site := gatewaytest.New(t, gatewaytest.Options{Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(600 * time.Millisecond)
		io.Copy(w, io.LimitReader(strings.NewReader(strings.Repeat("x", size)), int64(size)))
	})})
	b := site.Browser()
	b.SignIn(ann)
	answer := make(chan int)
	go func() { answer <- len(b.Fetch("/").Body) }()
	eventually(t, "it is upstream", func() bool { return site.Reached() == 1 })
	b.SignOut()
	if got := <-answer; got != size {
		t.Errorf("%d bytes", got)
	}
}

// Where nothing is sent any more, the deadlines of the connection have to end
// the request upstream too, over every version of HTTP.
func TestSilentEventStreamEnds(t *testing.T) {
	t.Parallel()
	for _, kind := range []struct {
		name, method, contentType string
		http2                     bool
	}{
		{"HTTP/1.1", "GET", "text/event-stream", false},
		{"HTTP/2", "GET", "text/event-stream", true},
		{"HTTP/1.1 POST", "POST", "Text/Event-Stream ; x", false},
		{"HTTP/2 POST", "POST", "text/event-stream", true},
		{"lines of JSON", "GET", "application/x-ndjson", false},
		{"pictures", "GET", "multipart/x-mixed-replace; boundary=x", true},
		{"gRPC-Web", "POST", "application/grpc-web+proto", true},
		{"Connect", "POST", "application/connect+json", false},
	} {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			over := make(chan struct{})
			site := gatewaytest.New(t, gatewaytest.Options{Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", kind.contentType)
				io.WriteString(w, "first")
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
				close(over)
			})})
			server := httptest.NewUnstartedServer(site.Handler())
			server.EnableHTTP2 = kind.http2
			server.StartTLS()
			defer server.Close()
			b := site.Browser()
			b.SignIn(ann)
			var body io.Reader
			if kind.method == "POST" {
				body = strings.NewReader("a body that nobody reads")
			}
			request, err := http.NewRequest(kind.method, server.URL+"/", body)
			if err != nil {
				t.Fatal(err)
			}
			request.Host = site.Host
			request.Header.Set("Cookie", gateway.SessionCookie+"="+b.Cookie(gateway.SessionCookie))
			response, err := server.Client().Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if (response.ProtoMajor == 2) != kind.http2 || response.StatusCode != 200 {
				t.Fatalf("%s, status %d", response.Proto, response.StatusCode)
			}
			if _, err := io.ReadFull(response.Body, make([]byte, len("first"))); err != nil {
				t.Fatal(err)
			}
			b.SignOut()
			wantEnded(t, "the request upstream", over)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				io.Copy(io.Discard, response.Body)
			}()
			wantEnded(t, "the answer", ended)
		})
	}
}
