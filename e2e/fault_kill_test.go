package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
)

// TestKilledAtAnyMoment kills the program while visitors sign in and out and
// the configuration is reloaded, and compares what it knows afterwards with what
// it had confirmed.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	config := postern.Config{Upstream: postern.StartUpstream(t), Sites: silent, Auth: unlimited}
	server := postern.Start(t, config)
	killRounds(t, server, config, newPostbox(server.MailDir()), times(6, 200))
}

// TestKilledWhileMailing is the same with mails that go to a mail server, so that
// kills also come in the middle of a delivery. A mail that the server took over
// just before a kill comes again, as the same.
func TestKilledWhileMailing(t *testing.T) {
	t.Parallel()
	smtp := startSMTP(t)
	smtp.delay = 5 * time.Millisecond // so that most of the time a mail is under way
	config := byScript(smtp, postern.StartUpstream(t), "")
	server := postern.Start(t, config)
	killRounds(t, server, config, takenOver{smtp}, times(4, 120))
}

func killRounds(t *testing.T, server *postern.Server, config postern.Config, box inbox, rounds int) {
	t.Helper()
	l := &ledger{t: t, server: server, config: config, box: box}
	for n := range rounds {
		l.round(n)
	}
	l.check()
	t.Logf("%d rounds: %d starts confirmed, %d cut off (%d joined again), %d sessions, %d sign-outs confirmed, %d cut off, %d answers cut off, %d mails, %d of them twice",
		rounds, len(l.starts), l.cutStarts, len(l.joined), l.sessions, l.signOuts, l.cutSignOuts, l.cutAnswers, l.mails, l.twice)
	if len(l.starts) == 0 || l.sessions == 0 || l.mails < len(l.starts) {
		t.Error("too little was done for the kills to mean anything")
	}
}

// inbox is where mails arrive.
type inbox interface {
	// to returns the mails to an address. It may miss second ones until refresh.
	to(t testing.TB, email string) []*postern.Mail
	refresh(t testing.TB)
}

// takenOver are the mails that a mail server took over.
type takenOver struct{ smtp *scriptedSMTP }

func (b takenOver) to(_ testing.TB, email string) []*postern.Mail { return b.smtp.to(email) }

func (takenOver) refresh(testing.TB) {}

// ledger is what the server has confirmed.
type ledger struct {
	t      *testing.T
	server *postern.Server
	config postern.Config
	box    inbox

	mu sync.Mutex
	// starts are all confirmed ones, joined those that were cut off by a kill and
	// sent again afterwards.
	starts, joined []asked
	live           []*member
	ended          []*member
	spent          []*member // of this round: their credentials were used up
	cut            []*member // of this round: no answer to their start
	unsure         []*member // of this round: no answer to their code or link

	cutStarts, sessions, signOuts, cutSignOuts, cutAnswers, mails, twice int
}

// member is a browser with what it was given.
type member struct {
	asked
	tab     *postern.Visitor
	mail    *postern.Mail
	session string
}

func (l *ledger) note(list *[]*member, m *member, count *int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if list != nil {
		*list = append(*list, m)
	}
	if count != nil {
		*count++
	}
}

func (l *ledger) round(n int) {
	l.spent, l.cut, l.unsure = nil, nil, nil
	var killed atomic.Bool
	var group sync.WaitGroup
	for i := range 4 {
		base := visitor(l.t, l.server)
		group.Go(func() {
			for k := 0; !killed.Load(); k++ {
				l.signIn(base.Fresh(), fmt.Sprintf("r%dc%dn%d@example.com", n, i, k), k%2 == 0, &killed)
			}
		})
	}
	group.Go(func() { l.reloadUntil(&killed) })
	time.Sleep(time.Duration(50+rand.IntN(500)) * time.Millisecond)
	killed.Store(true) // before, so that no visitor sees an answer of the next process
	l.server.Kill()
	group.Wait()
	l.server.Run()
	l.checkRound()
}

func (l *ledger) reloadUntil(killed *atomic.Bool) {
	header := http.Header{"Content-Type": {"text/caddyfile"}, "Cache-Control": {"must-revalidate"}}
	for i := 0; !killed.Load(); i++ {
		changed := l.config
		changed.Auth += fmt.Sprintf("\nexpires %dm", 10+i%2)
		_, _, _ = l.server.Admin(http.MethodPost, "/load", l.server.Caddyfile(changed), header)
		time.Sleep(time.Duration(20+rand.IntN(80)) * time.Millisecond)
	}
}

// signIn signs a new browser in, and every third out again, as far as it gets.
func (l *ledger) signIn(tab *postern.Visitor, email string, byCode bool, killed *atomic.Bool) {
	m := &member{tab: tab}
	if _, err := tab.TryDo(tab.AsNavigation(tab.NewRequest(http.MethodGet, "/.auth/sign-in", nil), "none")); err != nil {
		return // the page gives the browser its cookie, so that a lost start can be joined
	}
	m.asked = askQuietly(tab, email)
	if m.request == "" {
		l.wantNoFault(m.status, "a start")
		l.note(&l.cut, m, &l.cutStarts)
		return
	}
	l.mu.Lock()
	l.starts = append(l.starts, m.asked)
	l.mu.Unlock()
	for m.mail == nil && !killed.Load() {
		time.Sleep(5 * time.Millisecond)
		if mails := l.box.to(l.t, email); len(mails) > 0 {
			m.mail = mails[0]
		}
	}
	if m.mail == nil {
		return
	}
	answer, err := tab.TryDo(m.answer(tab, byCode))
	if err != nil {
		l.note(&l.unsure, m, &l.cutAnswers)
		return
	}
	if !holds(answer) {
		l.wantNoFault(answer.Status, "a right answer")
		l.note(&l.unsure, m, &l.cutAnswers)
		return
	}
	m.session = tab.Cookie(postern.LoopbackSessionCookie)
	l.note(&l.spent, m, &l.sessions)
	if rand.IntN(3) == 0 {
		l.signOut(m)
		return
	}
	l.note(&l.live, m, nil)
}

// wantNoFault fails the test for an answer that says that something went wrong.
func (l *ledger) wantNoFault(status int, what string) {
	if status >= 500 {
		l.t.Errorf("%s got status %d", what, status)
	}
}

func (m *member) answer(tab *postern.Visitor, byCode bool) *http.Request {
	if byCode {
		return tab.Form("/.auth/verify", url.Values{"request": {m.request}, "code": {m.mail.Code}})
	}
	return tab.AsNavigation(tab.NewRequest(http.MethodGet, m.mail.Link, nil), "cross-site")
}

func (l *ledger) signOut(m *member) {
	answer, err := m.tab.TryDo(m.tab.Form("/.auth/sign-out", nil))
	if err != nil || answer.Status != http.StatusSeeOther {
		if err == nil {
			l.wantNoFault(answer.Status, "a sign-out")
		}
		l.note(nil, m, &l.cutSignOuts)
		return
	}
	l.note(&l.ended, m, &l.signOuts)
}

// checkRound compares what the new process knows with what was confirmed.
func (l *ledger) checkRound() {
	for _, m := range recent(l.live, len(l.spent), 10) {
		if got := m.me(m.session); got != m.email {
			l.t.Errorf("the session of %s is lost: it belongs to %q", m.email, got)
		}
	}
	for _, m := range recent(l.ended, len(l.spent), 10) {
		if got := m.me(m.session); got != "" {
			l.t.Errorf("%s signed out, and the session is back", m.email)
		}
	}
	for _, m := range l.spent {
		l.wantSpent(m)
	}
	for _, m := range l.unsure {
		l.answerAgain(m)
	}
	for _, m := range l.cut {
		again := askQuietly(m.tab, m.email)
		if again.request == "" {
			l.t.Errorf("a start that was cut off cannot be sent again: status %d", again.status)
			continue
		}
		m.asked = again
		l.joined = append(l.joined, again)
	}
	// What was confirmed in this round is mailed by the new process at the latest.
	for _, start := range recentStarts(l.starts, 40) {
		l.wantMailed(start, "a confirmed start")
	}
	for _, m := range l.cut {
		if m.request != "" && l.wantMailed(m.asked, "a start that was cut off and sent again") {
			l.wantRight(m)
		}
	}
}

func (l *ledger) wantMailed(start asked, what string) bool {
	mailed := within(10*time.Second, func() bool { return len(l.box.to(l.t, start.email)) > 0 })
	if !mailed {
		l.t.Errorf("%s was not mailed: %s, request %s", what, start.email, start.request)
	}
	return mailed
}

// wantRight signs in by a code that came for a start that was sent again. The
// mail of the request that nobody was told of may come too.
func (l *ledger) wantRight(m *member) {
	tried := make(map[string]bool)
	right := within(10*time.Second, func() bool {
		l.box.refresh(l.t)
		for _, mail := range l.box.to(l.t, m.email) {
			if tried[mail.Code] {
				continue
			}
			tried[mail.Code] = true
			m.mail = mail
			if answer, err := m.tab.TryDo(m.answer(m.tab, true)); err == nil && holds(answer) {
				return true
			}
		}
		return false
	})
	if !right {
		l.t.Errorf("no mail to %s had the code of request %s", m.email, m.request)
	}
}

// wantSpent tries used credentials in the browser that asked, which has no
// session any more.
func (l *ledger) wantSpent(m *member) {
	for _, byCode := range []bool{true, false} {
		tab := m.tab.Fresh()
		tab.SetCookie(postern.LoopbackBrowserCookie, m.tab.Cookie(postern.LoopbackBrowserCookie))
		answer, err := tab.TryDo(m.answer(tab, byCode))
		if err != nil {
			l.t.Errorf("using credentials again: %v", err)
		} else if answer.Status != http.StatusGone || holds(answer) {
			l.t.Errorf("used credentials of %s (code: %t) got status %d", m.email, byCode, answer.Status)
		}
	}
}

// answerAgain sends an answer that was cut off. It may have been used up or not,
// but not twice.
func (l *ledger) answerAgain(m *member) {
	tab := m.tab.Fresh()
	tab.SetCookie(postern.LoopbackBrowserCookie, m.tab.Cookie(postern.LoopbackBrowserCookie))
	answer, err := tab.TryDo(m.answer(tab, true))
	switch {
	case err != nil:
		l.t.Errorf("sending an answer again: %v", err)
	case !holds(answer) && answer.Status != http.StatusGone:
		l.t.Errorf("an answer that was cut off got status %d when it was sent again", answer.Status)
	default:
		l.wantSpent(m)
	}
}

// me asks whose session it is, in a browser that has nothing else.
func (m *member) me(session string) string {
	tab := m.tab.Fresh()
	tab.SetCookie(postern.LoopbackSessionCookie, session)
	return tab.Me()
}

// recent returns the last n of a list, and some chosen at random.
func recent(list []*member, n, more int) []*member {
	first := max(0, len(list)-n)
	chosen := list[first:]
	for range min(more, first) {
		chosen = append(chosen[:len(chosen):len(chosen)], list[rand.IntN(first)])
	}
	return chosen
}

func recentStarts(list []asked, n int) []asked { return list[max(0, len(list)-n):] }

// checkMails checks that an address got a mail for each of at most so many
// requests. One that was handed over when a kill came may be there twice, but is
// the same.
func (l *ledger) checkMails(start asked, requests int) {
	mails := l.box.to(l.t, start.email)
	if len(mails) == 0 {
		l.t.Errorf("%s got no mail", start.email)
		return
	}
	l.mails += len(mails)
	first := make(map[string]*postern.Mail)
	for _, mail := range mails {
		same := first[mail.MessageID]
		first[mail.MessageID] = mail
		if same == nil {
			continue
		}
		l.twice++
		if mail.Code != same.Code || mail.Link != same.Link {
			l.t.Errorf("%s got one mail twice, with other credentials", start.email)
		}
	}
	if len(first) > requests || len(mails) > 2*requests {
		l.t.Errorf("%s got %d mails with %d ids, for %d requests", start.email, len(mails), len(first), requests)
	}
}

// check looks at everything once more at the end: all sessions, all mails.
func (l *ledger) check() {
	time.Sleep(postern.Quiet)
	l.box.refresh(l.t)
	for _, start := range l.starts {
		l.checkMails(start, 1)
	}
	for _, start := range l.joined {
		l.checkMails(start, 2) // the request that was cut off may have its own
	}
	for _, m := range l.live {
		if m.me(m.session) != m.email {
			l.t.Errorf("at the end, the session of %s is lost", m.email)
		}
	}
	for _, m := range l.ended {
		if m.me(m.session) != "" {
			l.t.Errorf("at the end, the session of %s is back after its sign-out", m.email)
		}
	}
}
