package soak_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
)

const (
	// people is how many addresses there are. With ten sign-ins a second each
	// comes again after more than six minutes, which no limit minds.
	people = 4000
	// oldest is the age at which a session is used no more, before it expires.
	oldest = 8 * time.Minute
	// afterReload is how long after a reload a connection may break: Caddy ends
	// those of the configuration before.
	afterReload = 8 * time.Second
)

// person is somebody with an address and a browser.
type person struct {
	// mu is held for reading during a request, and for writing to sign out.
	mu           sync.RWMutex
	v            *postern.Visitor
	email, addr  string
	since        time.Time
	busy, inside bool // of load.mu
}

// load is what visitors do.
type load struct {
	*notes
	t      *testing.T
	server *postern.Server
	inbox  *inbox
	plan   plan
	roots  []*postern.Visitor
	reload atomic.Int64 // when the last one was, in Unix milliseconds

	mu     sync.Mutex
	people [people]*person
	next   int
	inside []*person
}

func newLoad(t *testing.T, server *postern.Server, n *notes, in *inbox, p plan) *load {
	l := &load{notes: n, t: t, server: server, inbox: in, plan: p}
	for range 6 { // connections with HTTP/2
		l.roots = append(l.roots, server.Visitor(t, server.TLS("wiki.localhost")))
	}
	for i := range l.people {
		l.people[i] = &person{
			v: l.browser(), email: fmt.Sprintf("person%d@example.com", i),
			addr: fmt.Sprintf("10.%d.%d.%d", rand.IntN(256), i/250, i%250+1),
		}
	}
	return l
}

// browser is a new one.
func (l *load) browser() *postern.Visitor { return l.roots[rand.IntN(len(l.roots))].Fresh() }

// warmUp does everything once that makes something which stays.
func (l *load) warmUp() {
	for range 5 {
		l.signIn(0)
	}
	for range 20 {
		l.request()
	}
}

// run makes the load until observe returns.
func (l *load) run(observe func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { l.each(ctx, l.plan.signIns, func() { l.signIn(rand.IntN(100)) }) })
	all.Go(func() { l.each(ctx, l.plan.requests, l.request) })
	all.Go(func() { l.each(ctx, l.plan.forged, l.forge) })
	for i := range l.plan.streams {
		all.Go(func() {
			for l.pause(ctx, time.Second) {
				if i%2 == 0 {
					l.webSocket(ctx)
				} else {
					l.events(ctx)
				}
			}
		})
	}
	observe()
	cancel()
	all.Wait()
}

func (l *load) pause(ctx context.Context, most time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(most/4 + rand.N(most*3/4)):
		return true
	}
}

// each does something so many times a second, 64 at once at most.
func (l *load) each(ctx context.Context, rate int, do func()) {
	var all sync.WaitGroup
	defer all.Wait()
	room := make(chan struct{}, 64)
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case room <- struct{}{}:
			all.Go(func() {
				defer func() { <-room }()
				do()
			})
		default:
			l.count("left out, too much at once")
		}
	}
}

// do sends a request and wants a status. It returns nil for a wrong answer.
func (l *load) do(kind string, v *postern.Visitor, addr string, request *http.Request, status int) *postern.Answer {
	request.Header.Set("X-Forwarded-For", addr)
	begin := time.Now()
	answer, err := v.TryDo(request)
	if err != nil && l.reloadedSince(begin) {
		l.count("sent again at a reload")
		if request.GetBody != nil {
			request.Body, _ = request.GetBody()
		}
		begin = time.Now()
		answer, err = v.TryDo(request)
	}
	if err != nil {
		l.problem("%s: %s %s: %v", kind, request.Method, request.URL.Path, err)
		return nil
	}
	l.time(kind, time.Since(begin))
	if answer.Status != status {
		l.problem("%s: %s %s: status %d, want %d\n%.600s", kind, request.Method, request.URL.Path, answer.Status, status, answer.Brief())
		return nil
	}
	return answer
}

// reloadedSince says whether a reload was just before, or later.
func (l *load) reloadedSince(begin time.Time) bool {
	return l.reload.Load() > begin.Add(-afterReload).UnixMilli()
}

// signIn begins a sign-in of the next person, and mostly goes on to its end.
func (l *load) signIn(kind int) {
	l.mu.Lock()
	p := l.people[l.next%people]
	l.next++
	taken := p.busy
	p.busy = true
	if !taken && p.inside {
		l.dropLocked(p)
	}
	l.mu.Unlock()
	if taken {
		l.count("left out, busy")
		return
	}
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		p.busy = false
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	if rand.IntN(3) == 0 {
		p.v = l.browser()
	}
	if kind >= 90 {
		l.refused(p)
		return
	}
	mails := l.inbox.expect(p.email)
	defer l.inbox.forget(p.email)
	id := l.ask(p, p.email)
	if id == "" {
		return
	}
	begin := time.Now()
	var mail *postern.Mail
	select {
	case raw := <-mails:
		l.time("mail", time.Since(begin))
		mail = postern.ParseMail(l.t, raw)
	case <-time.After(30 * time.Second):
		l.problem("no mail to %s within 30 s", p.email)
		return
	}
	switch {
	case kind >= 75:
		l.count("abandoned")
		return
	case kind >= 60:
		l.count("wrong code")
		wrong := fmt.Sprintf("%06d", (number(mail.Code)+1+rand.IntN(999_998))%1_000_000)
		if l.answer(p.v, p.addr, id, wrong, http.StatusUnprocessableEntity) == nil ||
			l.answer(l.browser(), p.addr, id, mail.Code, http.StatusForbidden) == nil ||
			l.answer(p.v, p.addr, id, mail.Code, http.StatusSeeOther) == nil {
			return
		}
	case kind >= 35:
		l.count("code")
		if l.answer(p.v, p.addr, id, mail.Code, http.StatusSeeOther) == nil {
			return
		}
	default:
		l.count("link")
		request := p.v.AsNavigation(p.v.NewRequest(http.MethodGet, mail.Link, nil), "cross-site")
		if l.do("sign-in", p.v, p.addr, request, http.StatusSeeOther) == nil {
			return
		}
	}
	p.since = time.Now()
	l.admit(p, "/first")
	l.enter(p)
}

func number(code string) (n int) {
	fmt.Sscanf(code, "%d", &n)
	return n
}

// ask opens the form, sends it and returns the id of the sign-in request.
func (l *load) ask(p *person, email string) string {
	page := p.v.AsNavigation(p.v.NewRequest(http.MethodGet, "/.auth/sign-in?return_to=/&prompt=login", nil), "none")
	if l.do("sign-in", p.v, p.addr, page, http.StatusOK) == nil {
		return ""
	}
	form := p.v.Form("/.auth/sign-in", url.Values{"email": {email}, "return_to": {"/"}})
	answer := l.do("sign-in", p.v, p.addr, form, http.StatusSeeOther)
	if answer == nil {
		return ""
	}
	_, id, found := strings.Cut(answer.Location(), "/.auth/code?request=")
	if !found {
		l.problem("asking for a mail led to %q", answer.Location())
	}
	return id
}

func (l *load) answer(v *postern.Visitor, addr, id, code string, status int) *postern.Answer {
	return l.do("sign-in", v, addr, v.Form("/.auth/verify", url.Values{"request": {id}, "code": {code}}), status)
}

// refused is somebody with an address that may not enter, who guesses.
func (l *load) refused(p *person) {
	l.count("refused address")
	email := strings.Replace(p.email, "@example.com", "@example.org", 1)
	if id := l.ask(p, email); id != "" {
		l.answer(p.v, p.addr, id, fmt.Sprintf("%06d", rand.IntN(1_000_000)), http.StatusUnprocessableEntity)
	}
}

// enter adds a session, and ends another one where there are enough: half of
// them by signing out, half by never coming again.
func (l *load) enter(p *person) {
	l.mu.Lock()
	var other *person
	if len(l.inside) >= l.plan.sessions {
		other = l.inside[rand.IntN(len(l.inside))]
		l.dropLocked(other)
	}
	p.inside = true
	l.inside = append(l.inside, p)
	if other != nil && rand.IntN(2) == 0 && !other.busy {
		other.busy = true
	} else {
		other = nil
	}
	l.mu.Unlock()
	if other != nil {
		other.mu.Lock()
		l.signOut(other)
		other.mu.Unlock()
		l.mu.Lock()
		other.busy = false
		l.mu.Unlock()
	}
}

func (l *load) dropLocked(p *person) {
	for i, other := range l.inside {
		if other == p {
			l.inside[i] = l.inside[len(l.inside)-1]
			l.inside = l.inside[:len(l.inside)-1]
			p.inside = false
			return
		}
	}
}

// signOut ends a session, and tries its cookie once more. p.mu is held.
func (l *load) signOut(p *person) {
	l.count("signed out")
	cookie := p.v.Cookie(postern.SessionCookie)
	if l.do("sign-out", p.v, p.addr, p.v.Form("/.auth/sign-out", nil), http.StatusSeeOther) == nil {
		return
	}
	thief := l.browser()
	thief.SetCookie(postern.SessionCookie, cookie)
	l.do("refusal", thief, p.addr, l.fetch(thief, "/report"), http.StatusUnauthorized)
}

func (l *load) fetch(v *postern.Visitor, path string) *http.Request {
	request := v.NewRequest(http.MethodGet, path, nil)
	request.Header.Set("Accept", "application/json")
	return request
}

// admit sends a request with a session. p.mu is held.
func (l *load) admit(p *person, path string) {
	answer := l.do("admitted", p.v, p.addr, l.fetch(p.v, path), http.StatusOK)
	if answer != nil && answer.Body != path+" for "+p.email {
		l.problem("the upstream saw %q, want %s for %s", answer.Body, path, p.email)
	}
}

// request is one of somebody inside.
func (l *load) request() {
	l.mu.Lock()
	if len(l.inside) == 0 {
		l.mu.Unlock()
		return
	}
	p := l.inside[rand.IntN(len(l.inside))]
	if time.Since(p.since) > oldest {
		l.dropLocked(p)
		l.mu.Unlock()
		return
	}
	free := p.mu.TryRLock()
	l.mu.Unlock()
	if !free {
		return
	}
	defer p.mu.RUnlock()
	l.admit(p, fmt.Sprintf("/page/%d", rand.IntN(1000)))
}

// forge sends what must be refused: no cookie, a made-up one, a changed one.
func (l *load) forge() {
	v := l.browser()
	addr := fmt.Sprintf("10.%d.%d.%d", rand.IntN(256), rand.IntN(256), rand.IntN(256))
	switch rand.IntN(3) {
	case 0:
		l.do("refusal", v, addr, v.AsNavigation(v.NewRequest(http.MethodGet, "/report?a=b", nil), "none"), http.StatusSeeOther)
		return
	case 1:
		v.SetCookie(postern.SessionCookie, strings.Repeat("Ab3_", 11)[:43])
	case 2:
		l.mu.Lock()
		if len(l.inside) > 0 {
			cookie := []byte(l.inside[rand.IntN(len(l.inside))].v.Cookie(postern.SessionCookie))
			if len(cookie) > 20 {
				cookie[10] = "ab"[cookie[10]&1] // one of these two is another letter
				cookie[11] = "ba"[cookie[11]&1]
				cookie[12] = "cd"[cookie[12]&1]
			}
			v.SetCookie(postern.SessionCookie, string(cookie))
		}
		l.mu.Unlock()
	}
	l.do("refusal", v, addr, l.fetch(v, "/report"), http.StatusUnauthorized)
}

// borrow takes somebody with a young session from those inside.
func (l *load) borrow() *person {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.inside) == 0 {
		return nil
	}
	p := l.inside[rand.IntN(len(l.inside))]
	if p.busy || time.Since(p.since) > oldest {
		return nil
	}
	l.dropLocked(p)
	p.busy = true
	return p
}

// giveBack ends what borrow began.
func (l *load) giveBack(p *person, inside bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.busy = false
	if inside {
		p.inside = true
		l.inside = append(l.inside, p)
	}
}

// webSocket holds one open for a while. Some end it by signing out.
func (l *load) webSocket(ctx context.Context) {
	p := l.borrow()
	if p == nil {
		return
	}
	out := rand.IntN(4) == 0
	defer func() { l.giveBack(p, !out) }()
	ws, refusal := p.v.OpenWebSocket("/ws")
	if refusal != nil {
		l.problem("a WebSocket was refused: %d\n%s", refusal.Status, refusal.Brief())
		return
	}
	defer ws.Close()
	l.count("WebSocket")
	for range 2 + rand.IntN(25) {
		ws.Echo(l.t, "hello")
		if !l.pause(ctx, 2*time.Second) {
			break
		}
	}
	if !out {
		return
	}
	p.mu.Lock()
	l.signOut(p)
	p.mu.Unlock()
	if took := ws.WaitEnd(l.t); took > 5*time.Second {
		l.problem("a WebSocket ended %v after the sign-out", took)
	}
}

// events reads an event stream for a while.
func (l *load) events(ctx context.Context) {
	p := l.borrow()
	if p == nil {
		return
	}
	out := rand.IntN(4) == 0
	defer func() { l.giveBack(p, !out) }()
	begin := time.Now()
	reading, stop := context.WithTimeout(ctx, time.Second+rand.N(30*time.Second))
	defer stop()
	request := p.v.NewRequest(http.MethodGet, "/sse", nil).WithContext(context.WithoutCancel(ctx))
	request.Header.Set("Accept", "text/event-stream")
	request.Header.Set("X-Forwarded-For", p.addr)
	response := p.v.Open(request)
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		l.problem("an event stream was refused: %d", response.StatusCode)
		return
	}
	l.count("event stream")
	ended := make(chan error, 1)
	go func() {
		for buf := make([]byte, 4096); ; {
			if _, err := response.Body.Read(buf); err != nil {
				ended <- err
				return
			}
		}
	}()
	select {
	case err := <-ended:
		if l.reloadedSince(time.Now()) {
			l.count("event stream ended by Caddy at a reload")
		} else {
			l.problem("an event stream ended after %v: %v", time.Since(begin), err)
		}
		return
	case <-reading.Done():
	}
	if !out {
		return
	}
	p.mu.Lock()
	l.signOut(p)
	p.mu.Unlock()
	signedOut := time.Now()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
	}
	if took := time.Since(signedOut); took > 5*time.Second {
		l.problem("an event stream was open %v after the sign-out", took)
	}
}
