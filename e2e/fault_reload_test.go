package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
)

// change is one kind of reload.
type change struct {
	name string
	text string // the Caddyfile
	// refused says that it must be, and the configuration before it go on.
	refused bool
	say     string // in the refusal
}

// TestReloadsOfAllKinds reloads under load: nobody who is signed in is thrown
// out, nothing that was confirmed is lost, and nobody sees a fault.
func TestReloadsOfAllKinds(t *testing.T) {
	t.Parallel()
	first, second := startSMTP(t), startSMTP(t)
	config := byScript(first, postern.StartUpstream(t), "")
	server := postern.Start(t, config)
	changes := reloadChanges(server, config, first, second)

	v := signedInByScript(t, server, first)
	visitors := startLoad(t, server, v, first, second)
	reloads := times(8, 100)
	for i := range reloads {
		c := changes[i%len(changes)]
		status, body := load(t, server, "text/caddyfile", c.text)
		switch {
		case c.refused && (status == http.StatusOK || !strings.Contains(body, c.say)):
			t.Errorf("%s: status %d, want a refusal that says %q: %s", c.name, status, c.say, body)
		case !c.refused && status != http.StatusOK:
			t.Errorf("%s: refused: %d %s", c.name, status, body)
		}
		time.Sleep(250 * time.Millisecond)
	}
	if status, body := load(t, server, "text/caddyfile", server.Caddyfile(config)); status != http.StatusOK {
		t.Errorf("the first configuration: refused: %d %s", status, body)
	}
	visitors.stop.Store(true)
	visitors.group.Wait()
	close(visitors.faults)
	for fault := range visitors.faults {
		t.Error(fault)
	}
	visitors.check()
	if v.Me() != ann {
		t.Error("the session is lost")
	}
	t.Logf("%d reloads: %d requests served, %d starts confirmed, %d signed in, %d connections lost by Caddy",
		reloads, visitors.served.Load(), len(visitors.members), visitors.entered.Load(), visitors.lost.Load())
}

// reloadChanges are the kinds of reload, in an order in which each follows a
// configuration that differs from it.
func reloadChanges(server *postern.Server, config postern.Config, first, second *scriptedSMTP) []change {
	policy, moved, away, mistake, unknown := config, config, config, config, config
	policy.Sites = strings.Replace(config.Sites, "*@example.com", "*@example.com *@other.example {\n\t\tdeny eve@example.com\n\t}", 1)
	policy.Auth += "\nsession 2d\nexpires 11m"
	moved.Auth = strings.Replace(config.Auth, first.addr, second.addr, 1)
	away.Sites = strings.Replace(config.Sites, "email_auth *@example.com", "", 1)
	mistake.Auth += "\nexpires 3 apples"
	unknown.Sites = strings.Replace(config.Sites, "*@example.com", "group:nobody", 1)
	elsewhere := config
	elsewhere.Auth += "\nstore badger $DIR/elsewhere"
	return []change{
		{name: "another policy", text: server.Caddyfile(policy)},
		{name: "mail server moved", text: server.Caddyfile(moved)},
		{name: "a mistake", text: server.Caddyfile(mistake), refused: true, say: "expires"},
		{name: "another store", text: server.Caddyfile(elsewhere), refused: true, say: "restart"},
		{name: "directive removed", text: server.Caddyfile(away)},
		{name: "an unknown group", text: server.Caddyfile(unknown), refused: true, say: "nobody"},
		{name: "all of email_auth removed", text: withoutOption(server.Caddyfile(away))},
		{name: "all as before", text: server.Caddyfile(config)},
	}
}

// withoutOption cuts the global option email_auth out of a Caddyfile.
func withoutOption(text string) string {
	before, rest, _ := strings.Cut(text, "\temail_auth {")
	_, after, _ := strings.Cut(rest, "\n\t}\n}\n")
	return before + "\n}\n" + after
}

func signInByScript(t *testing.T, v *postern.Visitor, smtp *scriptedSMTP, email string) {
	t.Helper()
	m := &member{asked: askQuietly(v, email), tab: v}
	wantOnce(t, smtp, []*member{m}, delivery)
}

// reloadLoad is what visitors do meanwhile.
type reloadLoad struct {
	t                     *testing.T
	servers               []*scriptedSMTP
	stop                  atomic.Bool
	group                 sync.WaitGroup
	faults                chan string
	served, lost, entered atomic.Int64

	mu      sync.Mutex
	members []*member
}

func startLoad(t *testing.T, server *postern.Server, signedIn *postern.Visitor, servers ...*scriptedSMTP) *reloadLoad {
	l := &reloadLoad{t: t, servers: servers, faults: make(chan string, 20)}
	for range 2 {
		l.group.Go(func() { getUntil(signedIn.Clone(), &l.stop, &l.served, l.faults) })
	}
	for i := range 2 {
		base := visitor(t, server)
		l.group.Go(func() {
			for k := 0; !l.stop.Load(); k++ {
				l.signIn(base.Fresh(), fmt.Sprintf("w%dn%d@example.com", i, k))
			}
		})
	}
	return l
}

// signIn asks for a mail and enters by it, through whatever configurations come.
// While the directive is away, its pages are the upstream's.
func (l *reloadLoad) signIn(tab *postern.Visitor, email string) {
	m := &member{asked: askQuietly(tab, email), tab: tab}
	time.Sleep(10 * time.Millisecond)
	switch {
	case m.status == 0:
		l.lost.Add(1)
		return
	case m.status >= 500:
		report(l.faults, fmt.Sprintf("a start got status %d", m.status))
		return
	case m.request == "":
		return
	}
	l.mu.Lock()
	l.members = append(l.members, m)
	l.mu.Unlock()
	// Not all wait for their mail, so that some are under way at each reload.
	if !within(300*time.Millisecond, func() bool { return len(l.to(email)) > 0 }) {
		return
	}
	m.mail = l.to(email)[0]
	answer, err := tab.TryDo(m.answer(tab, true))
	switch {
	case err != nil:
		l.lost.Add(1)
	case answer.Status >= 500:
		report(l.faults, fmt.Sprintf("a right code got status %d\n%s", answer.Status, answer.Brief()))
	case holds(answer):
		m.session = tab.Cookie(postern.LoopbackSessionCookie)
		l.entered.Add(1)
	}
}

func (l *reloadLoad) to(email string) (mails []*postern.Mail) {
	for _, server := range l.servers {
		mails = append(mails, server.to(email)...)
	}
	return mails
}

// check looks whether each confirmed start was mailed once, and each session
// lives.
func (l *reloadLoad) check() {
	for _, m := range l.members {
		if !within(30*time.Second, func() bool { return len(l.to(m.email)) > 0 }) {
			l.t.Errorf("a confirmed start was not mailed: %s, request %s", m.email, m.request)
		}
		if n := len(l.to(m.email)); n > 1 {
			l.t.Errorf("%s got %d mails", m.email, n)
		}
		if m.session != "" && m.me(m.session) != m.email {
			l.t.Errorf("the session of %s is lost", m.email)
		}
	}
}
