package soak_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/postern-auth/postern/e2e/postern"
)

// startUpstream runs an application that answers with the path and the user, and
// returns its host:port. Below /ws and at /sse it streams.
func startUpstream(t *testing.T) string {
	streams := new(postern.Upstream)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" || r.URL.Path == "/sse" {
			streams.ServeHTTP(w, r)
			return
		}
		fmt.Fprintf(w, "%s for %s", r.URL.Path, r.Header.Get("Remote-User"))
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// inbox is a mail server that keeps only mails that somebody waits for.
type inbox struct {
	addr string

	mu      sync.Mutex
	waiting map[string]chan []byte
}

func startInbox(t *testing.T) *inbox {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	in := &inbox{addr: listener.Addr().String(), waiting: make(map[string]chan []byte)}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &delivery{inbox: in}, nil }))
	server.Domain, server.ReadTimeout, server.WriteTimeout = "localhost", time.Minute, time.Minute
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return in
}

// expect has mails to an address kept, until forget.
func (in *inbox) expect(email string) <-chan []byte {
	in.mu.Lock()
	defer in.mu.Unlock()
	mails := make(chan []byte, 10)
	in.waiting[email] = mails
	return mails
}

func (in *inbox) forget(email string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.waiting, email)
}

type delivery struct {
	inbox *inbox
	to    []string
}

func (d *delivery) Reset()        { d.to = nil }
func (d *delivery) Logout() error { return nil }

func (d *delivery) Mail(string, *smtp.MailOptions) error { return nil }

func (d *delivery) Rcpt(to string, _ *smtp.RcptOptions) error {
	d.to = append(d.to, strings.ToLower(to))
	return nil
}

func (d *delivery) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	d.inbox.mu.Lock()
	defer d.inbox.mu.Unlock()
	for _, to := range d.to {
		select {
		case d.inbox.waiting[to] <- raw:
		default:
		}
	}
	return nil
}
