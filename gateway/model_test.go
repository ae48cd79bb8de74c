package gateway_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/mail"
	"github.com/postern-auth/postern/store/badgerstore"
)

// TestLifeCycle interleaves what visitors, strangers, the clock and the operator
// do, at random, and checks after every step who
// gets in and who does not, and that nobody who is in is thrown out. The model
// beside the engine is kept by other means than the engine's: it remembers what
// happened, and derives from that what may happen now.
func TestLifeCycle(t *testing.T) {
	if os.Getenv("POSTERN_LONG") != "" {
		flag.Set("rapid.checks", "400")
	} else {
		flag.Set("rapid.checks", "25")
	}
	flag.Set("rapid.steps", "60")
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(rt)
		defer m.close()
		rt.Repeat(map[string]func(*rapid.T){
			"start":      m.start,
			"resend":     m.resend,
			"right code": m.rightCode,
			"wrong code": m.wrongCode,
			"open link":  m.openLink,
			"sign out":   m.signOut,
			"wait":       m.wait,
			"restart":    m.restart,
			"":           m.check,
		})
	})
}

const (
	modelAttempts = 3
	modelWindow   = 10 * time.Minute
	modelExpires  = 10 * time.Minute
	modelIdle     = 12 * time.Hour
	modelLifetime = 48 * time.Hour
)

type model struct {
	folder string
	now    time.Time
	clock  sync.Mutex
	post   *modelPost
	node   *gateway.Node
	engine *gateway.Engine
	attach *gateway.Attachment
	site   *gateway.Site
	renew  bool

	browsers []*modelBrowser
	requests []*modelRequest
	sessions []*modelSession
	// wrong holds when a wrong code was counted, by lane.
	wrong map[string][]time.Time
	typed map[string]bool // request and wrong code
}

type modelBrowser struct {
	name   string
	cookie *gateway.Browser
	secret string
	known  map[string]bool
}

type modelRequest struct {
	id, address string
	browser     *modelBrowser
	lane        string
	expires     time.Time
	deadline    time.Time
	generation  int
	used        bool
	// old are mails whose credentials were replaced.
	mails []modelMail
}

type modelMail struct {
	generation int
	code, link string
}

type modelSession struct {
	secret, address string
	request         string // that made it
	signedIn, seen  time.Time
	over            bool
}

// modelPost takes mails by the id of their sign-in request.
type modelPost struct {
	mu    sync.Mutex
	mails map[string][]modelMail
	to    map[string]string
}

func (p *modelPost) Deliver(_ context.Context, m mail.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var one modelMail
	var id string
	for line := range strings.Lines(m.Text) {
		line = strings.TrimSpace(line)
		if reference, ok := strings.CutPrefix(line, "Reference: "); ok {
			id = reference
		}
		if _, token, ok := strings.Cut(line, "token="); ok {
			one.link = token
		}
		if _, code, ok := strings.Cut(line, "@wiki.example.com #"); ok {
			one.code = code
		}
	}
	p.mails[id] = append(p.mails[id], one)
	p.to[id] = m.To
	return nil
}

func (p *modelPost) Close() error { return nil }

// of returns the mails of a request, when there are at least n or time is up.
func (p *modelPost) of(id string, n int) []modelMail {
	for range 400 {
		p.mu.Lock()
		mails := append([]modelMail(nil), p.mails[id]...)
		p.mu.Unlock()
		if len(mails) >= n {
			return mails
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

func newModel(t *rapid.T) *model {
	folder, err := os.MkdirTemp("", "postern-model-")
	if err != nil {
		t.Fatal(err)
	}
	m := &model{
		folder: folder, now: time.Now().Truncate(time.Second),
		post:  &modelPost{mails: map[string][]modelMail{}, to: map[string]string{}},
		wrong: map[string][]time.Time{}, typed: map[string]bool{},
		renew: rapid.Bool().Draw(t, "renew"),
	}
	example, _ := gateway.ParseWho("*@example.com")
	m.site = gateway.NewSite(gateway.SiteConfig{
		Host: "wiki.example.com", Origin: "https://wiki.example.com",
		Rules: []*gateway.Rule{{Allow: []gateway.Who{example}}},
	})
	for i := range 3 {
		m.browsers = append(m.browsers, &modelBrowser{
			name: fmt.Sprint("browser", i), known: map[string]bool{},
			cookie: &gateway.Browser{Binding: fmt.Sprintf("binding-%d-%s", i, strings.Repeat("x", 32))},
		})
	}
	m.open(t)
	return m
}

func (m *model) open(t *rapid.T) {
	db, err := badgerstore.Open(badgerstore.Config{Dir: filepath.Join(m.folder, "db")})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := gateway.OpenKeys(filepath.Join(m.folder, "keys.json"), true, m.now)
	if err != nil {
		t.Fatal(err)
	}
	config := gateway.Config{
		Clock: m.time, Expires: modelExpires, RenewOnResend: m.renew,
		Session: gateway.SessionTerms{Lifetime: modelLifetime, Idle: modelIdle},
		Limits: gateway.Limits{
			Mails:    gateway.Limit{Count: 1000, Window: time.Minute},
			Attempts: gateway.Limit{Count: modelAttempts, Window: modelWindow},
			Network:  gateway.Limit{Count: 10000, Window: time.Minute},
			Total:    gateway.Limit{Count: 10000, Window: time.Hour},
		},
	}
	config, err = config.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	m.node = gateway.NewNode(db, keys, config.Log)
	if m.engine, err = gateway.NewEngine(m.node, config); err != nil {
		t.Fatal(err)
	}
	m.attach = &gateway.Attachment{Engine: m.engine, Transport: m.post, MayEnter: func(string, string) bool { return true }}
	m.node.Attach(m.attach)
}

func (m *model) close() {
	m.node.Close()
	os.RemoveAll(m.folder)
}

func (m *model) time() time.Time {
	m.clock.Lock()
	defer m.clock.Unlock()
	return m.now
}

func (m *model) browser(t *rapid.T) *modelBrowser {
	return m.browsers[rapid.IntRange(0, len(m.browsers)-1).Draw(t, "browser")]
}

// request draws one of the requests, or skips the step.
func (m *model) request(t *rapid.T) *modelRequest {
	if len(m.requests) == 0 {
		t.Skip("no request yet")
	}
	return m.requests[rapid.IntRange(max(0, len(m.requests)-6), len(m.requests)-1).Draw(t, "request")]
}

func (r *modelRequest) live(now time.Time) bool { return !r.used && now.Before(r.expires) }

func (m *model) start(t *rapid.T) {
	b := m.browser(t)
	address := rapid.SampledFrom([]string{"ann@example.com", "ann+tag@example.com", "bob@example.com", "eve@elsewhere.org"}).Draw(t, "address")
	var joined *modelRequest
	open := 0
	for _, r := range m.requests {
		if r.browser == b && r.live(m.now) {
			open++
			if r.address == address {
				joined = r
			}
		}
	}
	if sharedMails := m.sharedMails(address); sharedMails >= gateway.DailyMails {
		t.Skip("the daily cap of mails is tested elsewhere")
	}
	started, err := m.engine.Start(context.Background(), gateway.StartRequest{
		Site: m.site, Browser: b.cookie, Email: address, ReturnTo: "/", ClientIP: "192.0.2.1", UserAgent: "test",
	})
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	if joined != nil {
		if started.ID != joined.id {
			t.Fatalf("a start while one is open made another request")
		}
		return
	}
	lane := "shared " + plain(address)
	if b.known[address] {
		lane = b.name + " " + plain(address)
	}
	r := &modelRequest{
		id: started.ID, address: address, browser: b, lane: lane, generation: 1,
		expires: m.now.Add(modelExpires), deadline: m.now.Add(time.Hour),
	}
	m.requests = append(m.requests, r)
	m.takeMail(t, r)
}

func (m *model) sharedMails(address string) (n int) {
	for _, r := range m.requests {
		if r.lane == "shared "+plain(address) {
			n += max(1, len(r.mails))
		}
	}
	return n
}

// plain is the address without its suffix, as limits see it.
func plain(address string) string { return strings.Replace(address, "+tag", "", 1) }

// takeMail waits for the mail that must come, and only that.
func (m *model) takeMail(t *rapid.T, r *modelRequest) {
	if r.address == "eve@elsewhere.org" {
		r.mails = append(r.mails, modelMail{generation: r.generation})
		return
	}
	mails := m.post.of(r.id, len(r.mails)+1)
	if len(mails) != len(r.mails)+1 {
		t.Fatalf("%d mails of a request, want %d", len(mails), len(r.mails)+1)
	}
	last := mails[len(mails)-1]
	last.generation = r.generation
	if !m.renew && len(r.mails) > 0 && (last.code != r.mails[0].code || last.link != r.mails[0].link) {
		t.Fatalf("a resend that keeps carries other credentials")
	}
	if m.renew && len(r.mails) > 0 && last.link == r.mails[len(r.mails)-1].link {
		t.Fatalf("a resend that renews carries the same link")
	}
	r.mails = append(r.mails, last)
}

func (m *model) resend(t *rapid.T) {
	r, b := m.request(t), m.browser(t)
	if len(r.mails) > 3 || m.sharedMails(r.address) >= gateway.DailyMails {
		t.Skip("enough mails")
	}
	err := m.engine.Resend(context.Background(), m.site, r.id, b.cookie)
	switch {
	case !r.live(m.now):
		if !errors.Is(err, gateway.ErrUnknown) && !errors.Is(err, gateway.ErrOtherBrowser) {
			t.Fatalf("resend of a dead request: %v", err)
		}
	case b != r.browser:
		if !errors.Is(err, gateway.ErrOtherBrowser) {
			t.Fatalf("resend by another browser: %v", err)
		}
	case err != nil:
		t.Fatalf("resend: %v", err)
	default:
		if m.renew {
			r.generation++
		}
		r.expires = m.now.Add(modelExpires)
		if r.expires.After(r.deadline) {
			r.expires = r.deadline
		}
		m.takeMail(t, r)
	}
}

// attempts is how many codes a lane still compares.
func (m *model) attempts(lane string) int {
	var start time.Time
	count := 0
	for _, at := range m.wrong[lane] {
		if count == 0 || !at.Before(start.Add(modelWindow)) {
			start, count = at, 0
		}
		count++
	}
	if count > 0 && !m.now.Before(start.Add(modelWindow)) {
		count = 0
	}
	left := modelAttempts - count
	if strings.HasPrefix(lane, "shared ") && m.stopped(lane) {
		return 0
	}
	return left
}

// stopped says whether the daily cap of wrong codes was reached within a day.
func (m *model) stopped(lane string) bool {
	var start, until time.Time
	count := 0
	for _, at := range m.wrong[lane] {
		if count == 0 || !at.Before(start.Add(24*time.Hour)) {
			start, count = at, 0
		}
		if count++; count == gateway.DailyWrongCodes {
			until, count = at.Add(24*time.Hour), 0
		}
	}
	return m.now.Before(until)
}

func (m *model) verify(b *modelBrowser, answer gateway.Answer) (gateway.Verified, error) {
	answer.Site, answer.Browser, answer.Session = m.site, b.cookie, b.secret
	return m.engine.Verify(context.Background(), answer)
}

func (m *model) rightCode(t *rapid.T) {
	r, b := m.request(t), m.browser(t)
	sent := r.mails[rapid.IntRange(0, len(r.mails)-1).Draw(t, "mail")]
	if sent.code == "" {
		t.Skip("nobody got a code")
	}
	current := sent.generation == r.generation || sent.code == r.mails[len(r.mails)-1].code
	left := m.attempts(r.lane)
	verified, err := m.verify(b, gateway.Answer{Request: r.id, Code: sent.code})
	switch {
	case b != r.browser:
		m.refused(t, err, "a code in another browser")
	case r.used && verified.Secret == "" && err == nil:
		if !m.holds(b, r) {
			t.Fatalf("a used code let in a browser that does not hold its session")
		}
	case !r.live(m.now):
		m.refused(t, err, "a dead code")
	case m.typed[r.typed(sent.code)] && !current:
		m.refused(t, err, "an old code again")
	case left <= 0:
		m.refused(t, err, "a code over the limit")
	case !current:
		m.refused(t, err, "a superseded code")
		m.countWrong(r, sent.code)
	case err != nil:
		t.Fatalf("a right code in the browser that asked, with %d attempts left: %v", left, err)
	default:
		m.entered(b, r, verified.Secret)
	}
}

func (m *model) countWrong(r *modelRequest, code string) {
	if m.typed[r.typed(code)] {
		return
	}
	m.typed[r.typed(code)] = true
	m.wrong[r.lane] = append(m.wrong[r.lane], m.now)
}

// typed names a code that was typed for a request: of fresh credentials every
// code counts again.
func (r *modelRequest) typed(code string) string { return fmt.Sprint(r.id, r.generation, code) }

func (m *model) refused(t *rapid.T, err error, what string) {
	if err == nil {
		t.Fatalf("%s was taken", what)
	}
	var wrong *gateway.WrongCodeError
	var limit *gateway.LimitError
	if !errors.Is(err, gateway.ErrUnknown) && !errors.Is(err, gateway.ErrOtherBrowser) && !errors.As(err, &wrong) && !errors.As(err, &limit) {
		t.Fatalf("%s: %v", what, err)
	}
}

func (m *model) wrongCode(t *rapid.T) {
	r, b := m.request(t), m.browser(t)
	code := rapid.SampledFrom([]string{"000000", "000001", "000002", "000003", "000004"}).Draw(t, "code")
	for _, sent := range r.mails {
		if sent.code == code {
			t.Skip("right by chance")
		}
	}
	left := m.attempts(r.lane)
	_, err := m.verify(b, gateway.Answer{Request: r.id, Code: code})
	m.refused(t, err, "a wrong code")
	if b != r.browser || !r.live(m.now) {
		return
	}
	var wrong *gateway.WrongCodeError
	compared := errors.As(err, &wrong)
	switch {
	case m.typed[r.typed(code)]:
		if !compared || wrong.Left != max(0, left) {
			t.Fatalf("an equal wrong code: %v, want %d left", err, left)
		}
	case left <= 0:
		if compared {
			t.Fatalf("a code over the limit was compared")
		}
	default:
		m.countWrong(r, code)
		if !compared || wrong.Left != max(0, m.attempts(r.lane)) {
			t.Fatalf("a wrong code: %v, want %d left", err, m.attempts(r.lane))
		}
	}
}

func (m *model) openLink(t *rapid.T) {
	r, b := m.request(t), m.browser(t)
	sent := r.mails[rapid.IntRange(0, len(r.mails)-1).Draw(t, "mail")]
	if sent.link == "" {
		t.Skip("nobody got a link")
	}
	current := sent.generation == r.generation || sent.link == r.mails[len(r.mails)-1].link
	verified, err := m.verify(b, gateway.Answer{Token: sent.link})
	switch {
	case r.used && verified.Secret == "" && err == nil:
		if !m.holds(b, r) || !current {
			t.Fatalf("a used link let in a browser that does not hold its session")
		}
	case !r.live(m.now) || !current || b != r.browser:
		m.refused(t, err, "a link that is dead or in another browser")
	case err != nil:
		t.Fatalf("a right link in the browser that asked: %v", err)
	default:
		m.entered(b, r, verified.Secret)
	}
}

// holds says whether the browser's session is the one that the request became.
func (m *model) holds(b *modelBrowser, r *modelRequest) bool {
	return r.browser == b && b.secret != "" && m.requestOf(b.secret) == r.id
}

func (m *model) requestOf(secret string) string {
	session, err := m.engine.Identify(context.Background(), m.site, secret)
	if err != nil {
		for _, r := range m.requests {
			if r.used && r.browser.secret == secret {
				return r.id // the session ended; the browser still has its secret
			}
		}
		return ""
	}
	m.saw(secret)
	for _, s := range m.sessions {
		if s.secret == secret && s.address == session.Email {
			return s.request
		}
	}
	return ""
}

func (m *model) entered(b *modelBrowser, r *modelRequest, secret string) {
	r.used = true
	for _, s := range m.sessions {
		if s.secret == b.secret {
			s.over = true
		}
	}
	b.secret = secret
	b.known[r.address] = true
	b.cookie = m.engine.Remember(b.cookie, r.address)
	m.sessions = append(m.sessions, &modelSession{secret: secret, address: r.address, request: r.id, signedIn: m.now, seen: m.now})
}

func (m *model) saw(secret string) {
	for _, s := range m.sessions {
		if s.secret == secret {
			s.seen = m.now
		}
	}
}

func (m *model) signOut(t *rapid.T) {
	b := m.browser(t)
	if err := m.engine.End(context.Background(), m.site, b.secret); err != nil {
		t.Fatalf("sign-out: %v", err)
	}
	for _, s := range m.sessions {
		if s.secret == b.secret {
			s.over = true
		}
	}
	b.secret = ""
}

func (m *model) wait(t *rapid.T) {
	d := rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 4 * time.Minute, 11 * time.Minute, time.Hour, 7 * time.Hour, 30 * time.Hour}).Draw(t, "wait")
	m.clock.Lock()
	m.now = m.now.Add(d)
	m.clock.Unlock()
}

func (m *model) restart(t *rapid.T) {
	if err := m.node.Close(); err != nil {
		t.Fatalf("closing: %v", err)
	}
	m.open(t)
}

// check looks at every session: the live ones are found, the others are not.
func (m *model) check(t *rapid.T) {
	for _, s := range m.sessions {
		session, err := m.engine.Identify(context.Background(), m.site, s.secret)
		age, idle := m.now.Sub(s.signedIn), m.now.Sub(s.seen)
		mustLive := !s.over && age < modelLifetime && idle < modelIdle
		mayLive := !s.over && age < modelLifetime && idle < modelIdle+modelIdle/10
		if err != nil && mustLive {
			t.Fatalf("somebody who is in was thrown out after %s, idle %s: %v", age, idle, err)
		}
		if err == nil && !mayLive {
			t.Fatalf("a session that is over was found after %s, idle %s", age, idle)
		}
		if err == nil && session.Email != s.address {
			t.Fatalf("the session of %s is that of %s", s.address, session.Email)
		}
		if err == nil {
			s.seen = m.now
		} else {
			s.over = true
		}
	}
	if to := m.post.to; len(to) > 0 {
		m.post.mu.Lock()
		defer m.post.mu.Unlock()
		for _, address := range to {
			if address == "eve@elsewhere.org" {
				t.Fatal("a refused address got mail")
			}
		}
	}
}
