package e2e_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
	"github.com/postern-auth/postern/gateway/mail/eximtest"
)

// TestMailServerTrouble has the mail server fail in all ways. Pages stay quick,
// mails arrive once when it is well again, and the log says what was wrong.
func TestMailServerTrouble(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		what trouble
		say  string // in the log, with the request's id
		// patience is how long a try may hang before the program gives up.
		patience time.Duration
	}{
		"silent":         {silentAccept, "EHLO|greeting", 45 * time.Second},
		"slow":           {slowDrip, "EHLO|greeting", 75 * time.Second},
		"defers":         {deferRecipient, "451", 0},
		"wrong-password": {wrongPassword, "535", 0},
		"dies-in-data":   {dieInData, "DATA", 0},
	} {
		if name == "slow" && !long() {
			continue // as silent is, and takes a minute
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			smtp := startSMTP(t)
			server := postern.Start(t, byScript(smtp, postern.StartUpstream(t), ""))
			in := signedInByScript(t, server, smtp)
			healthy := startTimes(t, server, "healthy", 15)
			smtp.set(c.what)
			slow, waiting := startTimesOf(t, server, "trouble", 15)
			wantAsQuick(t, healthy, slow)
			wantDoor(t, server, in)
			postern.Eventually(t, 10*time.Second, "a try", func() bool { return smtp.tried() > 15 })
			if c.patience == 0 {
				wantReason(t, server, waiting[0], c.say, 15*time.Second)
			}
			smtp.set(noTrouble)
			wantOnce(t, smtp, waiting, delivery+c.patience)
			if c.patience > 0 { // the reason of a try that hung comes late
				wantReason(t, server, waiting[0], c.say, postern.Quiet)
			}
			wantNoSecrets(t, server, smtp, waiting)
		})
	}
}

func TestMailServerDown(t *testing.T) {
	t.Parallel()
	smtp := startSMTP(t)
	server := postern.Start(t, byScript(smtp, postern.StartUpstream(t), ""))
	in := signedInByScript(t, server, smtp)
	healthy := startTimes(t, server, "healthy", 15)
	smtp.down()
	slow, waiting := startTimesOf(t, server, "down", 15)
	wantAsQuick(t, healthy, slow)
	wantDoor(t, server, in)
	wantReason(t, server, waiting[0], "connecting", 15*time.Second)
	smtp.up()
	wantOnce(t, smtp, waiting, delivery)
	wantNoSecrets(t, server, smtp, waiting)
}

// TestMailRefusedForGood has one recipient refused: no further try, and no
// trouble for others.
func TestMailRefusedForGood(t *testing.T) {
	t.Parallel()
	smtp := startSMTP(t)
	server := postern.Start(t, byScript(smtp, postern.StartUpstream(t), ""))
	in := signedInByScript(t, server, smtp)
	smtp.set(refuseForGood)
	_, refused := startTimesOf(t, server, "refused", 3)
	for _, m := range refused {
		wantReason(t, server, m, "550", 15*time.Second)
	}
	wantDoor(t, server, in)
	smtp.set(noTrouble)
	tried := smtp.tried()
	_, others := startTimesOf(t, server, "others", 3)
	wantOnce(t, smtp, others, delivery)
	time.Sleep(2 * postern.Quiet)
	if again := smtp.tried() - tried; again != len(others) {
		t.Errorf("%d tries for %d mails: a mail that was refused for good was tried again", again, len(others))
	}
	wantNoSecrets(t, server, smtp, others)
}

// TestMailServerDiesAfterTheDot is the one case in which a mail may come twice:
// then it is the same.
func TestMailServerDiesAfterTheDot(t *testing.T) {
	t.Parallel()
	smtp := startSMTP(t)
	server := postern.Start(t, byScript(smtp, postern.StartUpstream(t), ""))
	in := signedInByScript(t, server, smtp)
	smtp.set(dieAfterDot)
	_, waiting := startTimesOf(t, server, "dot", 5)
	wantDoor(t, server, in)
	for _, m := range waiting {
		postern.Eventually(t, delivery, "the mail", func() bool { return len(smtp.to(m.email)) > 0 })
	}
	wantReason(t, server, waiting[0], "end of DATA", 15*time.Second)
	smtp.set(noTrouble)
	for _, m := range waiting {
		postern.Eventually(t, delivery, "the mail whose end was confirmed", func() bool { return len(logLines(server, `"mailed"`, m.request)) > 0 })
	}
	time.Sleep(postern.Quiet)
	for _, m := range waiting {
		mails := smtp.to(m.email)
		for _, mail := range mails {
			if mail.MessageID != mails[0].MessageID || mail.Code != mails[0].Code || mail.Link != mails[0].Link {
				t.Errorf("%s got the mail again, but another", m.email)
			}
		}
		if m.mail = mails[0]; !m.enters() {
			t.Errorf("the code to %s is not right", m.email)
		}
	}
	wantNoSecrets(t, server, smtp, waiting)
}

// TestPasswordMendedByReload has the configuration hold a wrong password, which a
// reload mends.
func TestPasswordMendedByReload(t *testing.T) {
	t.Parallel()
	smtp := startSMTP(t)
	right := byScript(smtp, postern.StartUpstream(t), "")
	wrong := right
	wrong.Auth = strings.Replace(right.Auth, "{env.SMTP_PASSWORD}", "not-the-password-at-all", 1)
	server := postern.Start(t, wrong)
	_, waiting := startTimesOf(t, server, "password", 5)
	for _, m := range waiting {
		wantReason(t, server, m, "535", 15*time.Second)
	}
	server.Reload(right)
	wantOnce(t, smtp, waiting, delivery)
	wantNoSecrets(t, server, smtp, waiting)
	if len(logLines(server, "not-the-password-at-all")) > 0 {
		t.Error("the wrong password is in the log")
	}
}

// TestExpiredMailIsDropped leaves the mail server down for longer than the
// credentials live.
func TestExpiredMailIsDropped(t *testing.T) {
	t.Parallel()
	smtp := startSMTP(t)
	server := postern.Start(t, byScript(smtp, postern.StartUpstream(t), "expires 60s"))
	smtp.down()
	_, late := startTimesOf(t, server, "late", 2)
	time.Sleep(61 * time.Second)
	_, timely := startTimesOf(t, server, "timely", 2)
	smtp.up()
	wantOnce(t, smtp, timely, delivery)
	for _, m := range late {
		wantReason(t, server, m, "expired", delivery)
		if n := len(smtp.to(m.email)); n != 0 {
			t.Errorf("%s got %d mails whose credentials had expired", m.email, n)
		}
	}
}

// TestEximRefusesContent has a real server refuse the whole mail, and defer
// another recipient until it does not.
func TestEximRefusesContent(t *testing.T) {
	t.Parallel()
	exim := eximtest.Start(t, eximtest.Options{Defer: []string{"later"}})
	if err := exim.SetRejectData("spam"); err != nil {
		t.Fatal(err)
	}
	server := postern.Start(t, byExim(exim, postern.StartUpstream(t), exim.Addr(), "", ""))
	spam := askQuietly(visitor(t, server), "spam@example.com")
	later := visitor(t, server).Ask("later@example.com", "/")
	postern.Eventually(t, delivery, "the refusal in the log", func() bool { return len(logLines(server, "refused for good", spam.request)) > 0 })
	postern.Eventually(t, delivery, "the delay in the log", func() bool { return len(logLines(server, "trying again", later.ID)) > 0 })
	if err := exim.SetDefer(); err != nil {
		t.Fatal(err)
	}
	mail := postern.ParseMail(t, exim.WaitMail(t, "later@example.com", 1, delivery)[0])
	later.Answer(mail.Code).WantRedirect(t, "/")
}

// signedInByScript is a visitor who signed in while the mail server was well.
func signedInByScript(t *testing.T, server *postern.Server, smtp *scriptedSMTP) *postern.Visitor {
	t.Helper()
	v := visitor(t, server)
	signInByScript(t, v, smtp, ann)
	return v
}

// startTimes sends some starts and returns how long each took.
func startTimes(t *testing.T, server *postern.Server, name string, n int) []time.Duration {
	t.Helper()
	took, _ := startTimesOf(t, server, name, n)
	return took
}

// startTimesOf is startTimes that returns the visitors too.
func startTimesOf(t *testing.T, server *postern.Server, name string, n int) (took []time.Duration, members []*member) {
	t.Helper()
	base := visitor(t, server)
	for i := range n {
		tab := base.Fresh()
		begin := time.Now()
		result := askQuietly(tab, fmt.Sprintf("%s%d@example.com", name, i))
		took = append(took, time.Since(begin))
		if result.request == "" {
			t.Fatalf("start %d: status %d", i, result.status)
		}
		members = append(members, &member{asked: result, tab: tab})
	}
	return took, members
}

// wantAsQuick compares times with those of a healthy server. The machine may
// have much else to do, so only what is far off counts.
func wantAsQuick(t *testing.T, healthy, now []time.Duration) {
	t.Helper()
	before, after := median(healthy), median(now)
	t.Logf("a start takes %v, in trouble %v", before, after)
	if after > 5*before && after > 100*time.Millisecond {
		t.Errorf("a start takes %v while the mail server is in trouble, and %v otherwise", after, before)
	}
}

// wantReason waits for a line under the request's id that says what is wrong, in
// one of the ways that are given.
func wantReason(t *testing.T, server *postern.Server, m *member, say string, patience time.Duration) {
	t.Helper()
	said := func() bool {
		return slices.ContainsFunc(strings.Split(say, "|"), func(one string) bool { return len(logLines(server, "not mailed", m.request, one)) > 0 })
	}
	if !within(patience, said) {
		t.Errorf("the log does not say %q of request %s:\n%s", say, m.request, strings.Join(logLines(server, m.request), "\n"))
	}
}

// wantOnce waits until each visitor has one mail, by whose code it signs in.
func wantOnce(t *testing.T, smtp *scriptedSMTP, members []*member, patience time.Duration) {
	t.Helper()
	for _, m := range members {
		if !within(patience, func() bool { return len(smtp.to(m.email)) > 0 }) {
			t.Fatalf("no mail to %s", m.email)
		}
	}
	time.Sleep(postern.Quiet)
	for _, m := range members {
		mails := smtp.to(m.email)
		if len(mails) != 1 {
			t.Errorf("%s got %d mails", m.email, len(mails))
		}
		if m.mail = mails[0]; !m.enters() {
			t.Errorf("the code to %s is not right", m.email)
		}
	}
}

// enters signs in by the mail's code.
func (m *member) enters() bool {
	answer, err := m.tab.TryDo(m.answer(m.tab, true))
	return err == nil && answer.Status == http.StatusSeeOther && holds(answer)
}

// wantNoSecrets looks in the log for what the mails and the configuration hold.
func wantNoSecrets(t *testing.T, server *postern.Server, smtp *scriptedSMTP, members []*member) {
	t.Helper()
	text := server.Logs.Text()
	secrets := []string{scriptedPassword}
	for _, m := range members {
		for _, mail := range smtp.to(m.email) {
			// Six digits are in many a number: a code counts where it stands alone.
			secrets = append(secrets, `"`+mail.Code+`"`, " "+mail.Code+" ", tokenOf(t, mail.Link))
		}
		secrets = append(secrets, m.tab.Cookie(postern.LoopbackSessionCookie), m.tab.Cookie(postern.LoopbackBrowserCookie))
	}
	for _, secret := range secrets {
		if i := strings.Index(text, secret); secret != "" && i >= 0 {
			t.Errorf("%q is in the log: …%s…", secret, text[max(0, i-200):min(len(text), i+100)])
		}
	}
}
