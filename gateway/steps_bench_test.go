package gateway_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/gatewaytest"
	"github.com/postern-auth/postern/gateway/mail"
	"github.com/postern-auth/postern/store/badgerstore"
)

// The steps of an admitted request, one by one. BenchmarkScrub,
// BenchmarkOwnCookies, BenchmarkStripOwnSetCookies, BenchmarkKindOf and
// BenchmarkAmbiguousPath are beside their tests.

// diskEngine is an engine over a database on disk, as a server has it.
type diskEngine struct {
	*gateway.Engine
	node *gateway.Node
	site *gateway.Site
}

// onDisk opens the engine over a folder, where it also closes it.
func onDisk(b *testing.B, folder string, config gateway.Config, transport mail.Transport) *diskEngine {
	b.Helper()
	quiet := slog.New(slog.DiscardHandler)
	db, err := badgerstore.Open(badgerstore.Config{Dir: filepath.Join(folder, "db"), Log: quiet})
	if err != nil {
		b.Fatal(err)
	}
	keys, err := gateway.OpenKeys(filepath.Join(folder, "keys.json"), true, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	node := gateway.NewNode(db, keys, quiet)
	engine, err := gateway.NewEngine(node, config)
	if err != nil {
		b.Fatal(err)
	}
	site := gateway.NewSite(gateway.SiteConfig{
		Host: gatewaytest.Host, Origin: "https://" + gatewaytest.Host,
		Rules: []*gateway.Rule{gatewaytest.Rule(b, "*@example.com")},
	})
	if transport != nil {
		node.Attach(&gateway.Attachment{Engine: engine, Transport: transport, MayEnter: func(string, string) bool { return true }})
	}
	return &diskEngine{engine, node, site}
}

func (e *diskEngine) close(b *testing.B) {
	b.Helper()
	if err := e.node.Close(); err != nil {
		b.Error(err)
	}
}

// openSessions opens n sessions and returns their secrets.
func (e *diskEngine) openSessions(b *testing.B, n int) []string {
	b.Helper()
	secrets := make([]string, n)
	var group sync.WaitGroup
	for part := range 64 {
		group.Go(func() {
			for i := part; i < n; i += 64 {
				secrets[i] = randomSecret()
				_, err := e.Open(context.Background(), gateway.OpenSession{
					Site: e.site, Secret: secrets[i], Email: fmt.Sprintf("visitor%d@example.com", i), Method: "code",
					ClientIP: "192.0.2.1", UserAgent: gatewaytest.Chrome,
				})
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	group.Wait()
	return secrets
}

func randomSecret() string {
	secret := make([]byte, 32)
	rand.Read(secret)
	return base64.RawURLEncoding.EncodeToString(secret)
}

// BenchmarkIdentify looks sessions up: one that is asked for all the time (hot),
// each of many in turn after a restart (cold), and secrets that nobody has,
// which takes the hash and a look into the store.
func BenchmarkIdentify(b *testing.B) {
	const sessions = 2000
	folder := b.TempDir()
	e := onDisk(b, folder, gateway.Config{}, nil)
	secrets := e.openSessions(b, sessions)
	e.close(b)
	e = onDisk(b, folder, gateway.Config{}, nil)
	defer func() { e.close(b) }()
	identify := func(b *testing.B, secret string, want error) {
		if _, err := e.Identify(context.Background(), e.site, secret); !errors.Is(err, want) {
			b.Fatalf("%v, want %v", err, want)
		}
	}
	b.Run("cold", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if i%sessions == 0 {
				b.StopTimer()
				e.close(b)
				e = onDisk(b, folder, gateway.Config{}, nil)
				b.StartTimer()
			}
			identify(b, secrets[i%sessions], nil)
		}
	})
	b.Run("hot", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			identify(b, secrets[0], nil)
		}
	})
	b.Run("hot/parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				identify(b, secrets[0], nil)
			}
		})
	})
	b.Run("unknown", func(b *testing.B) {
		unknown := make([]string, 1024)
		for i := range unknown {
			unknown[i] = randomSecret()
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			identify(b, unknown[i%len(unknown)], gateway.ErrNoSession)
		}
	})
}

// BenchmarkRemember takes one keyed hash, as a token's look-up does.
func BenchmarkRemember(b *testing.B) {
	e := gatewaytest.New(b, gatewaytest.Options{}).Engine
	browser := &gateway.Browser{Binding: randomSecret()}
	b.ReportAllocs()
	for b.Loop() {
		e.Remember(browser, "ann@example.com")
	}
}

func BenchmarkDecide(b *testing.B) {
	rule := gatewaytest.Rule(b, "group:staff", "ann@example.org", "*@example.net", "*@example.com")
	rule.Deny = gatewaytest.Who(b, "eve@example.com")
	now := time.Now()
	visitor := &gateway.Visitor{Email: "ann@example.com", Groups: []string{"ops"}, SignedIn: now}
	b.ReportAllocs()
	for b.Loop() {
		if gateway.Decide([]*gateway.Rule{rule}, visitor, now).Verdict != gateway.Admit {
			b.Fatal("not admitted")
		}
	}
}

func BenchmarkGroupsOf(b *testing.B) {
	var configs []gateway.GroupConfig
	for _, name := range []string{"staff", "ops", "board"} {
		configs = append(configs, gateway.GroupConfig{Name: name, Members: gatewaytest.Who(b, "ann@example.com", "*@example.org")})
	}
	groups, err := gateway.NewGroups(configs, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if len(groups.Of("ann@example.com")) != 3 {
			b.Fatal("not in all groups")
		}
	}
}

// BenchmarkHandle is the whole way through the door, with the little that the
// test's server does around it: a public path, which passes by all that needs a
// session; an admitted request, whose assertion is at hand; and one that needs a
// new one, with its signature.
func BenchmarkHandle(b *testing.B) {
	private := gatewaytest.Rule(b, "*@example.com")
	private.Matches = func(r *http.Request) bool { return r.URL.Path != "/public" }
	private.Header = []gateway.HeaderField{{Name: "X-Webauth-User", Value: "{http.auth.user.email}"}}
	site := gatewaytest.New(b, gatewaytest.Options{
		Rules:    []*gateway.Rule{private},
		Config:   gateway.Config{Session: gateway.SessionTerms{Lifetime: 400 * 24 * time.Hour, Idle: 400 * 24 * time.Hour}},
		Upstream: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }),
	})
	ann := site.Browser()
	ann.SignIn("ann@example.com")
	cookie := gateway.SessionCookie + "=" + ann.Cookie(gateway.SessionCookie)
	send := func(b *testing.B, path string, status int) {
		r := httptest.NewRequest(http.MethodGet, "https://"+site.Host+path, nil)
		r.Header["Cookie"] = []string{cookie}
		w := httptest.NewRecorder()
		if site.Handler().ServeHTTP(w, r); w.Code != status {
			b.Fatalf("%s: status %d, want %d", path, w.Code, status)
		}
	}
	b.Run("public", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			send(b, "/public", http.StatusNoContent)
		}
	})
	b.Run("admitted", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			send(b, "/report", http.StatusNoContent)
		}
	})
	b.Run("signed anew", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			site.Clock.Step(4 * time.Minute)
			send(b, "/.auth/me", http.StatusOK) // notes that the session was used
			b.StartTimer()
			send(b, "/report", http.StatusNoContent)
		}
	})
}
