package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
)

// soon is how late "within a second" may be on a machine with much else to do.
const soon = 3 * time.Second

func TestWebSocketEndsWithTheSession(t *testing.T) {
	t.Parallel()
	for name, sites := range map[string]string{"plain": plain, "TLS": secure} {
		t.Run(name, func(t *testing.T) {
			server, upstream := start(t, sites, "")
			v := server.Visitor(t, server.Plain("localhost"))
			if name == "TLS" {
				v = server.Visitor(t, server.TLS("wiki.localhost"))
			}
			v.SignIn(ann)
			socket := openSocket(t, v)
			if user := upstream.Last(t, "/ws").Get(t, "Remote-User"); user != ann {
				t.Errorf("the WebSocket's Remote-User is %q", user)
			}
			time.Sleep(postern.Quiet)
			socket.Echo(t, "still open")
			v.SignOut()
			if took := socket.WaitEnd(t); took > soon {
				t.Errorf("the WebSocket ended %v after the sign-out", took)
			}
		})
	}
}

func openSocket(t *testing.T, v *postern.Visitor) *postern.WebSocket {
	t.Helper()
	socket, refused := v.OpenWebSocket("/ws")
	if refused != nil {
		t.Fatalf("the WebSocket was refused: %d\n%s", refused.Status, refused.Brief())
	}
	t.Cleanup(socket.Close)
	socket.Echo(t, "hello")
	return socket
}

// stream reads a response until it ends, in the background.
type stream struct {
	first chan struct{} // closed with the first line
	ended chan time.Time
}

func read(body io.ReadCloser) *stream {
	s := &stream{first: make(chan struct{}), ended: make(chan time.Time, 1)}
	go func() {
		defer body.Close()
		reader := bufio.NewReader(body)
		for n := 0; ; n++ {
			if _, err := reader.ReadByte(); err != nil {
				s.ended <- time.Now()
				return
			}
			if n == 0 {
				close(s.first)
			}
		}
	}()
	return s
}

func (s *stream) await(t *testing.T) {
	t.Helper()
	select {
	case <-s.first:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing of the stream came")
	}
}

// wantEnd fails the test if the stream does not end soon.
func (s *stream) wantEnd(t *testing.T, why string) {
	t.Helper()
	begin := time.Now()
	select {
	case at := <-s.ended:
		if took := at.Sub(begin); took > soon {
			t.Errorf("the stream ended %v after %s", took, why)
		}
	case <-time.After(20 * time.Second):
		t.Errorf("the stream goes on after %s", why)
	}
}

// wantOpen fails the test if the stream ended.
func (s *stream) wantOpen(t *testing.T, why string) {
	t.Helper()
	select {
	case <-s.ended:
		t.Errorf("the stream ended at %s", why)
	default:
	}
}

func openEvents(t *testing.T, v *postern.Visitor) *stream {
	t.Helper()
	request := v.NewRequest(http.MethodGet, "/sse", nil)
	request.Header.Set("Accept", "text/event-stream")
	response := v.Open(request)
	if response.StatusCode != http.StatusOK {
		t.Fatalf("event stream: status %d", response.StatusCode)
	}
	s := read(response.Body)
	s.await(t)
	return s
}

func TestEventStreamEndsWithTheSession(t *testing.T) {
	t.Parallel()
	for name, sites := range map[string]string{"HTTP 1.1": plain, "HTTP 2": secure} {
		t.Run(name, func(t *testing.T) {
			server, _ := start(t, sites, "")
			v := server.Visitor(t, server.Plain("localhost"))
			if name == "HTTP 2" {
				v = server.Visitor(t, server.TLS("wiki.localhost"))
			}
			v.SignIn(ann)
			events := openEvents(t, v)
			time.Sleep(postern.Quiet)
			events.wantOpen(t, "its beginning")
			v.SignOut()
			events.wantEnd(t, "the sign-out")
		})
	}
}

const grpcSite = `
https://wiki.localhost:$HTTPS {
	tls internal
	email_auth *@example.com
	reverse_proxy h2c://$UPSTREAM
}`

func TestGRPCCallEndsWithTheSession(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, grpcSite, "")
	v := server.Visitor(t, server.TLS("wiki.localhost"))
	v.SignIn(ann)
	reader, writer := io.Pipe()
	defer writer.Close()
	request := v.NewRequest(http.MethodPost, "/grpc", reader)
	request.Header.Set("Content-Type", "application/grpc+proto")
	request.Header.Set("TE", "trailers")
	response := v.Open(request)
	if response.StatusCode != http.StatusOK {
		t.Fatalf("status %d", response.StatusCode)
	}
	call := read(response.Body)
	call.await(t)
	if user := upstream.Last(t, "/grpc").Get(t, "Remote-User"); user != ann {
		t.Errorf("the call's Remote-User is %q", user)
	}
	time.Sleep(postern.Quiet)
	call.wantOpen(t, "its beginning")
	v.SignOut()
	call.wantEnd(t, "the sign-out")
}

func TestStreamsAndStepUp(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	v.SignIn(ann)
	socket, events := openSocket(t, v), openEvents(t, v)
	v.SignIn(ann)
	time.Sleep(postern.Quiet)
	socket.Echo(t, "after the step-up")
	events.wantOpen(t, "a step-up to the same address")
	v.SignIn("bob@example.com")
	events.wantEnd(t, "a sign-in as somebody else")
	if took := socket.WaitEnd(t); took > soon {
		t.Errorf("the WebSocket ended %v after a sign-in as somebody else", took)
	}
}

func TestStreamsEndWithTheLifetime(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "session 5s")
	v := visitor(t, server)
	v.SignIn(ann)
	begin := time.Now()
	socket, events := openSocket(t, v), openEvents(t, v)
	socket.WaitEnd(t)
	events.wantEnd(t, "the end of the session")
	if took := time.Since(begin); took < 3*time.Second || took > 5*time.Second+soon {
		t.Errorf("a session of 5s ended its streams after %v", took)
	}
	v.Fetch("/").Want(t, http.StatusUnauthorized)
}

func TestStreamsCountAsActivity(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "session 1h idle 4s")
	busy, idle := visitor(t, server), visitor(t, server)
	busy.SignIn(ann)
	idle.SignIn("bob@example.com")
	socket := openSocket(t, busy)
	time.Sleep(6 * time.Second)
	socket.Echo(t, "I am here all the time")
	if busy.Me() != ann {
		t.Error("an open WebSocket did not keep the session")
	}
	if idle.Me() != "" {
		t.Error("an idle session lives on")
	}
}

func TestStreamsAndReloads(t *testing.T) {
	t.Parallel()
	upstream := postern.StartUpstream(t)
	config := postern.Config{Upstream: upstream, Sites: lasting}
	server := postern.Start(t, config)
	v := visitor(t, server)
	v.SignIn(ann)
	socket, events := openSocket(t, v), openEvents(t, v)

	server.Reload(config)
	wider := config
	wider.Sites = strings.Replace(lasting, "*@example.com", "*@example.com *@other.example", 1)
	server.Reload(wider)
	time.Sleep(postern.Quiet)
	socket.Echo(t, "after two reloads")
	events.wantOpen(t, "a reload that still admits the address")
	v.Fetch("/").Want(t, http.StatusOK)

	closed := config
	closed.Sites = strings.Replace(lasting, "*@example.com", "bob@example.com", 1)
	server.Reload(closed)
	events.wantEnd(t, "a reload that no longer admits the address")
	if took := socket.WaitEnd(t); took > soon {
		t.Errorf("the WebSocket ended %v after the reload", took)
	}
	v.Fetch("/").Want(t, http.StatusForbidden)
}

func TestStreamsThroughOldConfiguration(t *testing.T) {
	t.Parallel()
	upstream := postern.StartUpstream(t)
	config := postern.Config{Upstream: upstream, Sites: lasting}
	server := postern.Start(t, config)
	v := visitor(t, server)
	v.SignIn(ann)
	socket := openSocket(t, v)
	for range 5 {
		server.Reload(config)
	}
	time.Sleep(postern.Quiet) // Caddy closes idle connections of the old servers
	socket.Echo(t, "hello")
	// The sign-out is answered by another configuration than the WebSocket.
	v.SignOut()
	if took := socket.WaitEnd(t); took > soon {
		t.Errorf("the WebSocket ended %v after the sign-out", took)
	}
}

func TestSlowUploadOutlivesAReload(t *testing.T) {
	t.Parallel()
	upstream := postern.StartUpstream(t)
	config := postern.Config{Upstream: upstream, Sites: lasting}
	server := postern.Start(t, config)
	v := visitor(t, server)
	v.SignIn(ann)
	reader, writer := io.Pipe()
	done := make(chan *postern.Answer, 1)
	request := v.NewRequest(http.MethodPut, "/slow", reader)
	go func() {
		answer, err := v.TryDo(request)
		if err != nil {
			answer = &postern.Answer{Body: err.Error()}
		}
		done <- answer
	}()
	for i := range 10 {
		fmt.Fprintf(writer, "piece %d\n", i)
		if i == 4 {
			server.Reload(config)
		}
		time.Sleep(100 * time.Millisecond)
	}
	writer.Close()
	(<-done).Want(t, http.StatusOK)
	if got := upstream.Last(t, "/slow").Length; got != 80 {
		t.Errorf("the upstream got %d bytes, want 80", got)
	}
}
