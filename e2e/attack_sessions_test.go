package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/postern-auth/postern/e2e/postern"
)

// mixed is one of many who are signed in at once.
type mixed struct {
	v     *postern.Visitor
	email string
}

// TestIdentitiesAreNeverMixed has fifty people send thousands of requests at
// once over connections that they share, by all protocols. Every answer, and
// every assertion, is of the one whose cookie asked.
func TestIdentitiesAreNeverMixed(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, secure, noLimits)
	base := server.Visitor(t, server.TLS("wiki.localhost"))
	members := make([]*mixed, 50)
	for i := range members {
		m := &mixed{v: base.Fresh(), email: fmt.Sprintf("m%d@example.com", i)}
		m.v.SignIn(m.email)
		members[i] = m
	}
	h1 := http2Transport(t, server)
	h1.Protocols, h1.MaxConnsPerHost = new(http.Protocols), 4
	h1.Protocols.SetHTTP1(true)
	transports := map[string]http.RoundTripper{"h1": h1, "h2": http2Transport(t, server), "h3": http3Transport(t, server)}
	const rounds = 15
	var group sync.WaitGroup
	slots := make(chan struct{}, 48)
	for round := range rounds {
		for proto, transport := range transports {
			for i, m := range members {
				slots <- struct{}{}
				group.Go(func() {
					defer func() { <-slots }()
					uri := fmt.Sprintf("/mix?%s-%d-%d", proto, round, i)
					answer, err := m.v.Over(transport).TryDo(m.v.NewRequest(http.MethodGet, uri, nil))
					if err != nil {
						t.Errorf("%s: %v", uri, err)
						return
					}
					if answer.Status != http.StatusOK || !strings.Contains(answer.Body, "<b id=user>"+m.email+"</b>") {
						t.Errorf("%s of %s: status %d\n%s", uri, m.email, answer.Status, answer.Body)
					}
				})
			}
		}
	}
	group.Wait()
	wantOwnAssertions(t, base, upstream, members, rounds*len(transports)*len(members))
}

// wantOwnAssertions verifies the assertion of every request of the mix.
func wantOwnAssertions(t *testing.T, v *postern.Visitor, upstream *postern.Upstream, members []*mixed, want int) {
	t.Helper()
	var keys jose.JSONWebKeySet
	v.Fetch("/.auth/jwks.json").Want(t, http.StatusOK).JSON(t, &keys)
	subjects := make(map[string]string)
	n := 0
	for _, seen := range upstream.Seen() {
		var round, i int
		if _, err := fmt.Sscanf(seen.URI[strings.IndexByte(seen.URI, '-')+1:], "%d-%d", &round, &i); err != nil {
			t.Fatalf("%s: %v", seen.URI, err)
		}
		n++
		email := members[i].email
		claims, err := readAssertion(keys, seen.Get(t, "X-Postern-Jwt-Assertion"))
		if err != nil {
			t.Fatal(err)
		}
		if seen.Get(t, "Remote-User") != email || seen.Get(t, "Remote-Email") != email || claims.Email != email {
			t.Errorf("%s: of %s, but Remote-User %q, email %q", seen.URI, email, seen.Get(t, "Remote-User"), claims.Email)
		}
		if known, ok := subjects[claims.Subject]; ok && known != email {
			t.Errorf("%s and %s have one subject", known, email)
		}
		subjects[claims.Subject] = email
	}
	if n != want || len(subjects) != len(members) {
		t.Errorf("%d requests of %d subjects, want %d of %d", n, len(subjects), want, len(members))
	}
}

// TestCallsAfterTheSignOut sends gRPC calls and requests by HTTP/2 and HTTP/3 on
// connections that were open before the sign-out.
func TestCallsAfterTheSignOut(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, grpcSite, "")
	v := server.Visitor(t, server.TLS("wiki.localhost"))
	v.SignIn(ann)
	cookies := v.Cookies()
	tabs := map[string]*postern.Visitor{"h2": byHTTP2(t, server, v.Fresh()), "h3": byHTTP3(t, server, v.Fresh())}
	call := func(proto, uri, kind string) *postern.Answer {
		request := tabs[proto].NewRequest(http.MethodPost, uri+proto, strings.NewReader(""))
		request.Header.Set("Cookie", cookies)
		request.Header.Set("Content-Type", kind)
		return tabs[proto].Do(request)
	}
	for proto := range tabs {
		call(proto, "/call?before-", "application/grpc").Want(t, http.StatusOK)
		if user := upstream.Last(t, "/call?before-"+proto).Get(t, "Remote-User"); user != ann {
			t.Errorf("%s: Remote-User %q", proto, user)
		}
	}
	v.SignOut()
	for proto := range tabs {
		for _, kind := range []string{"application/grpc", "application/grpc+proto", "Application/GRPC;x=y"} {
			if answer := call(proto, "/call?after-", kind).Want(t, http.StatusOK); answer.Header.Get("Grpc-Status") != "16" {
				t.Errorf("%s, %s: grpc-status %q", proto, kind, answer.Header.Get("Grpc-Status"))
			}
		}
		call(proto, "/call?after-", "application/grpc-web").Want(t, http.StatusUnauthorized)
		upstream.WantNone(t, "/call?after-"+proto)
	}
}

// TestSignOutIsFinalUnderLoad signs out while many requests of the same session
// are on their way: none that begins after the answer passes.
func TestSignOutIsFinalUnderLoad(t *testing.T) {
	t.Parallel()
	server, _ := start(t, silent, noLimits)
	base := visitor(t, server)
	for round := range 8 {
		v := base.Fresh()
		v.SignIn(fmt.Sprintf("r%d@example.com", round))
		thief := base.Fresh() // who has the cookie, and keeps it
		thief.SetCookie(postern.LoopbackSessionCookie, v.Cookie(postern.LoopbackSessionCookie))
		var mu sync.Mutex
		var begun []time.Time // of requests that passed
		stop := make(chan struct{})
		var group sync.WaitGroup
		for range 12 {
			group.Go(func() {
				for {
					begin := time.Now()
					answer, err := thief.TryDo(thief.NewRequest(http.MethodGet, "/x", nil))
					if err == nil && answer.Status == http.StatusOK {
						mu.Lock()
						begun = append(begun, begin)
						mu.Unlock()
					}
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
		postern.Eventually(t, soon*10, "requests that pass", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(begun) > 20
		})
		v.SignOut()
		over := time.Now()
		time.Sleep(100 * time.Millisecond)
		close(stop)
		group.Wait()
		for _, begin := range begun {
			if begin.After(over) {
				t.Errorf("round %d: a request passed that began %v after the sign-out", round, begin.Sub(over))
			}
		}
	}
}
