package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/gatewaytest"
	"github.com/postern-auth/postern/store"
)

// openSession opens a session of ann at the site, and returns its secret.
func openSession(t *testing.T, site *gatewaytest.Site, number int) string {
	t.Helper()
	secret := fmt.Sprintf("%043d", number)
	_, err := site.Engine.Open(t.Context(), gateway.OpenSession{Site: site.Site(site.Host), Secret: secret, Email: ann, Method: "code"})
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// However many requests use a session while it ends, none that begins after that
// is let in.
func TestEndIsSeenByTheNextRequest(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	host := site.Site(site.Host)
	for number := range 100 {
		secret := openSession(t, site, number)
		var over atomic.Bool
		var users sync.WaitGroup
		for range 4 {
			users.Go(func() {
				for last := false; !last; {
					last = over.Load()
					if _, err := site.Engine.Identify(t.Context(), host, secret); last && !errors.Is(err, gateway.ErrNoSession) {
						t.Errorf("after the end: %v", err)
					}
				}
			})
		}
		if err := site.Engine.End(t.Context(), host, secret); err != nil {
			t.Error(err)
		}
		over.Store(true)
		users.Wait()
	}
}

// slowReads holds back what was read, until it is let go.
type slowReads struct {
	store.Store
	holding   atomic.Bool
	read, go_ chan struct{}
}

func (s *slowReads) Get(ctx context.Context, key string) ([]byte, error) {
	value, err := s.Store.Get(ctx, key)
	if strings.HasPrefix(key, "session/") && s.holding.Load() {
		s.read <- struct{}{}
		<-s.go_
	}
	return value, err
}

// What was read before a change is not kept after it.
func TestStaleReadIsNotKept(t *testing.T) {
	t.Parallel()
	db := &slowReads{Store: gatewaytest.NewDatabase(t), read: make(chan struct{}), go_: make(chan struct{})}
	site := gatewaytest.New(t, gatewaytest.Options{Database: db})
	host, secret := site.Site(site.Host), openSession(t, site, 1)
	db.holding.Store(true)
	identified := make(chan error)
	go func() {
		_, err := site.Engine.Identify(context.Background(), host, secret)
		identified <- err
	}()
	<-db.read
	if err := site.Engine.End(t.Context(), host, secret); err != nil {
		t.Fatal(err)
	}
	db.holding.Store(false)
	close(db.go_)
	if err := <-identified; err != nil {
		t.Errorf("a request that began before the end: %v", err)
	}
	if _, err := site.Engine.Identify(t.Context(), host, secret); !errors.Is(err, gateway.ErrNoSession) {
		t.Errorf("after the end: %v", err)
	}
}

// More sessions than are kept in memory are all found, and a session that was
// let go and ended is not.
func TestMoreSessionsThanAreKept(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	host := site.Site(site.Host)
	const many = 3 * gateway.MaxSessionsKept / 2
	secrets := make([]string, many)
	var opening sync.WaitGroup
	for part := range 16 {
		opening.Go(func() {
			for number := part; number < many; number += 16 {
				secrets[number] = openSession(t, site, number)
			}
		})
	}
	opening.Wait()
	for range 2 {
		for number, secret := range secrets {
			if _, err := site.Engine.Identify(t.Context(), host, secret); err != nil {
				t.Fatalf("session %d: %v", number, err)
			}
		}
	}
	if kept := gateway.SessionsKept(site.Node); kept > gateway.MaxSessionsKept || kept < gateway.MaxSessionsKept/4 {
		t.Errorf("%d sessions are kept in memory, want at most %d", kept, gateway.MaxSessionsKept)
	}
	if err := site.Engine.End(t.Context(), host, secrets[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := site.Engine.Identify(t.Context(), host, secrets[0]); !errors.Is(err, gateway.ErrNoSession) {
		t.Errorf("after the end: %v", err)
	}
}

// What an upstream's handlers do to a request changes nothing for the next.
func TestIdentityIsEachRequestsOwn(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header["Remote-User"], r.Header["Remote-Email"])
		for _, values := range r.Header {
			for i := range values {
				values[i] = "changed"
			}
			_ = append(values, "more")
		}
	})})
	b := site.Browser()
	b.SignIn(ann)
	for range 3 {
		if got, want := string(b.Fetch("/").Body), "["+ann+"] ["+ann+"]"; got != want {
			t.Fatalf("upstream saw %s, want %s", got, want)
		}
	}
}

// A session in memory follows its address's groups.
func TestGroupsOfASessionInUse(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "staff")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(ann + "\n")
	groups, err := gateway.NewGroups([]gateway.GroupConfig{{Name: "staff", File: file}, {Name: "all", Members: gatewaytest.Who(t, "*@example.com")}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	site := gatewaytest.New(t, gatewaytest.Options{
		Config: gateway.Config{Groups: groups}, Rules: []*gateway.Rule{gatewaytest.Rule(t, "group:staff", "group:all")},
		Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("Remote-Groups")) }),
	})
	b := site.Browser()
	b.SignIn(ann)
	for range 2 {
		if got := string(b.Fetch("/").Body); got != "staff,all" {
			t.Fatalf("groups %q", got)
		}
	}
	write("somebody@example.org\n")
	deadline := time.Now().Add(10 * time.Second)
	for string(b.Fetch("/").Body) != "all" {
		if time.Now().After(deadline) {
			t.Fatal("the groups of the session stay as they were")
		}
		time.Sleep(100 * time.Millisecond)
	}
}
