package gatewaytest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/store"
	"github.com/postern-auth/postern/store/badgerstore"
)

// Host is the name of the site, unless Options give another.
const Host = "wiki.example.com"

// Options say what a site is like. All fields have a usable zero value.
type Options struct {
	// Host and Origin. Default: Host, and https:// before it.
	Host, Origin string
	// Rules of the site. Default: one that admits *@example.com.
	Rules []*gateway.Rule
	// Others are further sites on the same node. Rules as above.
	Others []gateway.SiteConfig
	// Config is that of the engine; its Clock and Log are set.
	Config gateway.Config
	// Upstream is what the site protects. Default: one that answers with an Echo.
	Upstream http.Handler
	// Rewrite changes a request before the door sees it, as a server's own
	// rewrites do.
	Rewrite func(*http.Request)
	// Database is a store to begin with. Default: an empty one in memory.
	Database store.Store
	// KeyFile holds the keys. Default: a new one.
	KeyFile string
	// Clock, where several sites share one. Default: a new one.
	Clock *Clock
}

// Site is a running site.
type Site struct {
	Clock  *Clock
	Mails  *Mails
	Keys   *gateway.Keys
	Store  *Store
	Node   *gateway.Node
	Engine *gateway.Engine
	// Origin is what browsers call the site.
	Host, Origin string
	// KeyFile is where the keys are.
	KeyFile string

	t        testing.TB
	options  Options
	database store.Store
	server   *httptest.Server
	client   *http.Client
	log      lockedBuffer
	attached *gateway.Attachment
	current  atomic.Pointer[configuration]
	reached  atomic.Int64
	skipped  atomic.Int64
}

// configuration is what a reload replaces.
type configuration struct {
	door   *gateway.Door
	sites  map[string]*gateway.Site
	prefix string
}

// New runs a site until the test ends.
func New(t testing.TB, options Options) *Site {
	t.Helper()
	s := &Site{t: t, Mails: &Mails{}, Clock: options.Clock, KeyFile: options.KeyFile, options: withDefaults(options)}
	s.Host, s.Origin = s.options.Host, s.options.Origin
	if s.Clock == nil {
		s.Clock = NewClock()
	}
	if s.KeyFile == "" {
		s.KeyFile = filepath.Join(t.TempDir(), "keys.json")
	}
	if s.database = options.Database; s.database == nil {
		s.database = NewDatabase(t)
	}
	s.open()
	t.Cleanup(func() { s.Node.Close() })
	s.server = httptest.NewServer(http.HandlerFunc(s.front))
	t.Cleanup(s.server.Close)
	s.client = s.newClient()
	return s
}

// NewDatabase opens a database in memory until the test ends.
func NewDatabase(t testing.TB) store.Store {
	t.Helper()
	db, err := badgerstore.Open(badgerstore.Config{InMemory: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// Rule is one that admits the entries, written as in a configuration.
func Rule(t testing.TB, allow ...string) *gateway.Rule {
	t.Helper()
	return &gateway.Rule{Allow: Who(t, allow...)}
}

// Who reads entries of a policy.
func Who(t testing.TB, entries ...string) (all []gateway.Who) {
	t.Helper()
	for _, entry := range entries {
		who, err := gateway.ParseWho(entry)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, who)
	}
	return all
}

func withDefaults(o Options) Options {
	example, _ := gateway.ParseWho("*@example.com")
	rules := []*gateway.Rule{{Allow: []gateway.Who{example}}}
	if o.Host == "" {
		o.Host = Host
	}
	if o.Origin == "" {
		o.Origin = "https://" + o.Host
	}
	if o.Rules == nil {
		o.Rules = rules
	}
	for i := range o.Others {
		if o.Others[i].Rules == nil {
			o.Others[i].Rules = rules
		}
	}
	if o.Upstream == nil {
		o.Upstream = http.HandlerFunc(echo)
	}
	return o
}

// open starts a node over the database and puts the configuration in force.
func (s *Site) open() {
	s.t.Helper()
	var err error
	if s.Keys, err = gateway.OpenKeys(s.KeyFile, true, s.Clock.Now()); err != nil {
		s.t.Fatal(err)
	}
	s.Store = Over(s.database)
	s.Node = gateway.NewNode(s.Store, s.Keys, slog.New(slog.NewTextHandler(&s.log, nil)))
	s.attached = nil
	s.load()
}

// load makes an engine and a door of the options and attaches them.
func (s *Site) load() {
	s.t.Helper()
	config := s.options.Config
	config.Clock, config.Log = s.Clock.Now, slog.New(slog.NewTextHandler(&s.log, nil))
	engine, err := gateway.NewEngine(s.Node, config)
	if err != nil {
		s.t.Fatal(err)
	}
	sites := map[string]*gateway.Site{}
	own := gateway.SiteConfig{Host: s.options.Host, Origin: s.options.Origin, Rules: s.options.Rules, Groups: config.Groups}
	for _, c := range append([]gateway.SiteConfig{own}, s.options.Others...) {
		sites[c.Host] = gateway.NewSite(c)
	}
	s.Engine = engine
	filled, _ := config.WithDefaults()
	s.current.Store(&configuration{gateway.NewDoor(engine), sites, filled.Prefix})
	next := &gateway.Attachment{Engine: engine, Transport: s.Mails, MayEnter: func(host, address string) bool {
		return sites[host] != nil && sites[host].MayEnter(address)
	}}
	s.Node.Attach(next)
	if s.attached != nil {
		s.Node.Detach(s.attached)
	}
	s.attached = next
}

// Reload puts changed options in force on the same node, as a server's reload
// does.
func (s *Site) Reload(change func(*Options)) {
	s.t.Helper()
	change(&s.options)
	s.load()
}

// Restart ends the node in peace and starts another one over the same data.
func (s *Site) Restart() {
	s.t.Helper()
	if err := s.Node.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.open()
}

// KillAndRestart takes the store away from the node, as a kill would, and starts
// another one over the same data.
func (s *Site) KillAndRestart() {
	s.t.Helper()
	s.Store.Kill()
	s.Restart()
}

// Advance lets time pass, and wakes the queue of mails.
func (s *Site) Advance(d time.Duration) {
	s.Clock.Step(d)
	s.Wake()
}

// Wake has the queue of mails looked at.
func (s *Site) Wake() {
	s.Node.Attach(s.attached)
	s.Node.Detach(s.attached)
}

// HoldMail stops the queue of mails until ReleaseMail.
func (s *Site) HoldMail() { s.Node.Detach(s.attached) }

// ReleaseMail lets the queue go on.
func (s *Site) ReleaseMail() { s.Node.Attach(s.attached) }

// Settle waits until every mail that is due is done with.
func (s *Site) Settle() {
	s.t.Helper()
	for start := time.Now(); time.Since(start) < 5*time.Second; time.Sleep(time.Millisecond) {
		if s.dueMails() == 0 {
			return
		}
	}
	s.t.Errorf("mails are still in the queue")
}

// Flush has the queue tried again and again until every mail that is due is done
// with, for a mail server that was broken before.
func (s *Site) Flush() {
	s.t.Helper()
	for start := time.Now(); time.Since(start) < 5*time.Second; time.Sleep(time.Millisecond) {
		s.Wake()
		if s.dueMails() == 0 {
			return
		}
	}
	s.t.Errorf("mails are still in the queue")
}

func (s *Site) dueMails() (due int) {
	s.Queue(func(notBefore time.Time) {
		if !notBefore.After(s.Clock.Now()) {
			due++
		}
	})
	return due
}

// Queue tells of every mail in the queue when it may go out.
func (s *Site) Queue(each func(notBefore time.Time)) {
	s.t.Helper()
	err := s.database.Scan(context.Background(), "outbox/", func(_ string, value []byte) error {
		var queued struct {
			NotBefore time.Time `json:"not_before"`
		}
		if err := json.Unmarshal(value, &queued); err != nil {
			return err
		}
		each(queued.NotBefore)
		return nil
	})
	if err != nil {
		s.t.Error(err)
	}
}

// Queued is how many mails are in the queue, due or not.
func (s *Site) Queued() (n int) {
	s.t.Helper()
	s.Queue(func(time.Time) { n++ })
	return n
}

// LastMail waits for the queue and returns the latest mail to the address.
func (s *Site) LastMail(to string) Mail {
	s.t.Helper()
	s.Settle()
	mails := s.Mails.To(to)
	if len(mails) == 0 {
		s.t.Errorf("no mail to %s", to)
		return Mail{}
	}
	return mails[len(mails)-1]
}

// Site returns the gateway's site of the host, or nil.
func (s *Site) Site(host string) *gateway.Site { return s.current.Load().sites[host] }

// Log returns everything that was logged.
func (s *Site) Log() string { return s.log.String() }

// Dump returns all keys and values of the store, for looking for secrets.
func (s *Site) Dump() string {
	s.t.Helper()
	var all strings.Builder
	err := s.database.Scan(context.Background(), "", func(key string, value []byte) error {
		all.WriteString(key + " " + string(value) + "\n")
		return nil
	})
	if err != nil {
		s.t.Error(err)
	}
	return all.String()
}

// Copy returns a second site with a copy of the data, the same keys and the same
// clock, as it would go on if something else happened.
func (s *Site) Copy() *Site {
	s.t.Helper()
	options := s.options
	options.Database, options.KeyFile, options.Clock = s.CopyDatabase(), s.KeyFile, s.Clock
	return New(s.t, options)
}

// CopyDatabase returns a copy of the data, as a thief of the files has it.
func (s *Site) CopyDatabase() store.Store {
	s.t.Helper()
	database := NewDatabase(s.t)
	err := s.database.Scan(context.Background(), "", func(key string, value []byte) error {
		return database.Update(context.Background(), key, 0, func([]byte) ([]byte, error) { return value, nil })
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return database
}

// Handler is the site without the network, for tests that bring a
// http.ResponseWriter of their own.
func (s *Site) Handler() http.Handler { return http.HandlerFunc(s.front) }

// Reached is how many requests went upstream.
func (s *Site) Reached() int { return int(s.reached.Load()) }

// Skipped is how many requests were left out of the access log.
func (s *Site) Skipped() int { return int(s.skipped.Load()) }

// front is what the server around the door does. Headers that begin with Test-
// say what a connection would.
func (s *Site) front(w http.ResponseWriter, r *http.Request) {
	current := s.current.Load()
	site := current.sites[gateway.NormalHost(r.Host)]
	if site == nil {
		http.Error(w, "no such site", http.StatusMisdirectedRequest)
		return
	}
	visit := gateway.Visit{
		Site: site, Original: r, Alone: s.options.Rewrite == nil,
		Server: &around{site: s, clientIP: take(r, "Test-Client-Ip"), trusted: take(r, "Test-Trusted") != ""},
	}
	if take(r, "Test-Plain") == "" {
		r.TLS = &tls.ConnectionState{}
	}
	if peer := take(r, "Test-Peer"); peer != "" {
		r.RemoteAddr = peer
	}
	if s.options.Rewrite != nil {
		original, url := *r, *r.URL
		visit.Original, original.URL = &original, &url
		s.options.Rewrite(r)
	}
	if gateway.HoldsToken(visit.Original, current.prefix) {
		s.skipped.Add(1)
	}
	if err := current.door.Handle(w, r, &visit, s.options.Rules); err != nil {
		s.t.Errorf("upstream: %v", err)
	}
}

// around is the gateway.Server of one request.
type around struct {
	site     *Site
	clientIP string
	trusted  bool
	identity *gateway.Identity
}

func (a *around) ClientIP() string { return a.clientIP }

func (a *around) TrustedProxy() bool { return a.trusted }

func (a *around) Admitted(id *gateway.Identity) { a.identity = id }

func (a *around) Pose(*http.Request) {}

func (a *around) Expand(value string) string {
	return strings.NewReplacer("{http.auth.user.email}", a.identity.Email, "{http.auth.user.method}", a.identity.Method).Replace(value)
}

func (a *around) Next(w http.ResponseWriter, r *http.Request) error {
	a.site.reached.Add(1)
	a.site.options.Upstream.ServeHTTP(w, r)
	return nil
}

// take reads a header and removes it.
func take(r *http.Request, field string) string {
	value := r.Header.Get(field)
	r.Header.Del(field)
	return value
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
