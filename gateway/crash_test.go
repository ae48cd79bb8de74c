package gateway_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/gatewaytest"
)

// disaster is what happens at one write to the store.
type disaster struct {
	name string
	// kills says that the process is over, and done that the write was made
	// before nobody was told.
	kills, done bool
}

var disasters = []disaster{
	{"fails", false, false},
	{"fails after it was made", false, true},
	{"is killed before", true, false},
	{"is killed after", true, true},
}

// strike has the n-th write that follows end in the disaster. It returns whether
// there was such a write.
func (d disaster) strike(s *gatewaytest.Store, n int) (struck func() bool) {
	hit := func(w gatewaytest.Write) error {
		if w.N != n {
			return nil
		}
		if d.kills {
			s.Kill()
		}
		return gatewaytest.ErrFault
	}
	if d.done {
		s.Reset(nil, hit)
	} else {
		s.Reset(hit, nil)
	}
	return func() bool { return len(s.Writes()) >= n }
}

// world is what was confirmed before a disaster, and must be true after it.
type world struct {
	*gatewaytest.Site
	in      *gatewaytest.Browser // is signed in as bob
	ended   string               // the secret of a session that was ended
	used    gatewaytest.Mail     // was answered, in usedBy
	usedBy  *gatewaytest.Browser
	visitor *gatewaytest.Browser // to whom it happens
}

func newWorld(t *testing.T, config gateway.Config) *world {
	t.Helper()
	site := gatewaytest.New(t, gatewaytest.Options{Config: config})
	w := &world{Site: site, in: site.Browser(), usedBy: site.Browser(), visitor: site.Browser()}
	w.in.SignIn(bob)
	w.usedBy.SignIn("carl@example.com")
	w.used = site.LastMail("carl@example.com")
	w.ended = w.usedBy.Cookie(gateway.SessionCookie)
	w.usedBy.SignOut().Want(t, 303)
	w.HoldMail() // so that the queue writes nothing of its own
	return w
}

// wantSound checks what must be true after any disaster.
func (w *world) wantSound(t *testing.T) {
	t.Helper()
	if w.in.SignedIn() != bob {
		t.Error("a confirmed session is lost")
	}
	wantDead(t, w.Site, w.ended)
	w.usedBy.OpenLink(w.used.Link).Want(t, 410)
	w.usedBy.Code(w.used.Code).Want(t, 410)
	stranger := w.Browser()
	stranger.IP = "203.0.113.1"
	stranger.Open("/").Want(t, 303)
	stranger.OpenLink(w.used.Link).Want(t, 410)
}

// wantGoesOn checks that the visitor can sign in, at the latest when the limits
// of a minute are over.
func (w *world) wantGoesOn(t *testing.T) {
	t.Helper()
	w.Advance(time.Minute)
	w.Settle()
	w.visitor.Start(ann).Want(t, 303)
	w.Settle()
	mails := w.Mails.To(ann)
	if page := w.visitor.Open("/.auth/code?request=" + w.visitor.Request); page.Status == 200 {
		// One that was begun may have no mail: then it can be asked for.
		w.visitor.Resend().Want(t, 303)
		w.Settle()
		mails = w.Mails.To(ann)
	}
	if len(mails) == 0 {
		t.Error("the visitor gets no mail")
		return
	}
	w.visitor.Code(mails[len(mails)-1].Code).WantLocation(t, "/")
	w.visitor.Open("/").Upstream(t)
	w.wantMailsOnce(t)
}

// wantMailsOnce checks that no mail came twice.
func (w *world) wantMailsOnce(t *testing.T) {
	t.Helper()
	seen := map[string]bool{}
	for _, mail := range w.Mails.All() {
		if seen[mail.ID] {
			t.Errorf("the mail %s came twice", mail.ID)
		}
		seen[mail.ID] = true
	}
}

// everyWrite runs the act with every disaster at its every write. before makes
// the world ready; after is told whether the act was confirmed.
func everyWrite(t *testing.T, config gateway.Config, before func(*testing.T, *world), act func(*world) *gatewaytest.Answer, after func(*testing.T, *world, bool)) {
	t.Helper()
	for _, d := range disasters {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				w := newWorld(t, config)
				before(t, w)
				struck := d.strike(w.Store, n)
				a := act(w)
				kinds := w.Store.Kinds()
				if !struck() {
					if n == 1 {
						t.Error("the act writes nothing")
					}
					break
				}
				if d.done && !d.kills && kinds[n-1] == "outbox" {
					continue // see TestGivenUp
				}
				what := fmt.Sprintf("write %d (%s)", n, kinds[n-1])
				t.Run(what, func(t *testing.T) {
					w.Store.Reset(nil, nil)
					if d.kills {
						w.Restart()
					} else {
						w.ReleaseMail()
					}
					w.wantSound(t)
					after(t, w, a.Status == 303)
					w.wantGoesOn(t)
					w.wantSound(t)
				})
			}
		})
	}
}

func TestDisasterInStart(t *testing.T) {
	t.Parallel()
	everyWrite(t, gateway.Config{},
		func(*testing.T, *world) {},
		func(w *world) *gatewaytest.Answer { return w.visitor.Start(ann) },
		func(t *testing.T, w *world, confirmed bool) {
			w.Settle()
			if mails := w.Mails.To(ann); confirmed && len(mails) != 1 || len(mails) > 1 {
				t.Errorf("%d mails, confirmed: %v", len(mails), confirmed)
			}
		})
}

func TestDisasterInResend(t *testing.T) {
	t.Parallel()
	for _, renew := range []bool{false, true} {
		t.Run(fmt.Sprint("renew ", renew), func(t *testing.T) {
			everyWrite(t, gateway.Config{RenewOnResend: renew},
				func(t *testing.T, w *world) {
					w.ReleaseMail()
					w.visitor.Start(ann)
					w.Settle()
					w.HoldMail()
				},
				func(w *world) *gatewaytest.Answer { return w.visitor.Resend() },
				func(t *testing.T, w *world, confirmed bool) {
					w.Settle()
					mails := w.Mails.To(ann)
					if confirmed && len(mails) != 2 || len(mails) > 2 {
						t.Errorf("%d mails, confirmed: %v", len(mails), confirmed)
					}
					if renew && len(mails) == 2 {
						w.visitor.OpenLink(mails[0].Link).Want(t, 410)
					}
				})
		})
	}
}

func TestDisasterInVerify(t *testing.T) {
	t.Parallel()
	last := func(w *world) gatewaytest.Mail {
		mails := w.Mails.To(ann)
		return mails[len(mails)-1]
	}
	answers := map[string]func(*world) *gatewaytest.Answer{
		"code": func(w *world) *gatewaytest.Answer { return w.visitor.Code(last(w).Code) },
		"link": func(w *world) *gatewaytest.Answer { return w.visitor.OpenLink(last(w).Link) },
	}
	for _, held := range []bool{false, true} {
		for name, answer := range answers {
			t.Run(fmt.Sprint(name, ", a session before: ", held), func(t *testing.T) {
				everyWrite(t, gateway.Config{},
					func(t *testing.T, w *world) {
						w.ReleaseMail()
						if held {
							w.visitor.SignIn(ann)
							w.Advance(time.Minute)
						}
						w.visitor.Start(ann)
						w.Settle()
						w.HoldMail()
					},
					answer,
					func(t *testing.T, w *world, confirmed bool) {
						if confirmed {
							t.Error("confirmed, though a write failed")
						}
						// Of the same answer again comes one session at most.
						in := 0
						for range 3 {
							a := answer(w)
							if a.Cookie(gateway.SessionCookie) != nil {
								in++
							} else if a.Status != 410 && a.Status != 303 {
								t.Errorf("again: status %d", a.Status)
							}
						}
						if in > 1 {
							t.Errorf("%d sessions", in)
						}
						if in == 1 && w.visitor.SignedIn() != ann {
							t.Error("the session does not count")
						}
					})
			})
		}
	}
}

// Of a verify that was cut off, the session that the browser had before lives on
// or is ended, and never both sessions are the browser's.
func TestDisasterKeepsOneSession(t *testing.T) {
	t.Parallel()
	for _, d := range disasters {
		for n := 1; n <= 8; n++ {
			w := newWorld(t, gateway.Config{})
			w.ReleaseMail()
			w.visitor.SignIn(ann)
			w.Advance(time.Minute)
			old := w.visitor.Cookie(gateway.SessionCookie)
			w.visitor.Start(ann)
			code := w.LastMail(ann).Code
			w.HoldMail()
			struck := d.strike(w.Store, n)
			a := w.visitor.Code(code)
			if !struck() {
				a.Want(t, 303)
				wantDead(t, w.Site, old)
				break
			}
			if n == 8 {
				t.Errorf("%s: more writes than were thought", d.name)
			}
			kinds := w.Store.Kinds()
			w.Store.Reset(nil, nil)
			if d.kills {
				w.Restart()
			}
			lives := w.visitor.SignedIn() == ann
			// The old one goes with the last write, and not before.
			if last := n == len(kinds) && kinds[n-1] == "session" && slices.Contains(kinds[:n-1], "session"); !lives && !(last && d.done) {
				t.Errorf("%s at write %d of %v: the session before is lost", d.name, n, kinds)
			}
		}
	}
}

func TestDisasterInSignOut(t *testing.T) {
	t.Parallel()
	everyWrite(t, gateway.Config{},
		func(t *testing.T, w *world) {
			w.ReleaseMail()
			w.visitor.SignIn(ann)
			w.HoldMail()
		},
		func(w *world) *gatewaytest.Answer {
			secret := w.visitor.Cookie(gateway.SessionCookie)
			a := w.visitor.SignOut()
			if a.Status != 303 && w.visitor.Cookie(gateway.SessionCookie) != secret {
				t.Error("the cookie went, and nobody can try again")
			}
			return a
		},
		func(t *testing.T, w *world, confirmed bool) {
			if confirmed {
				t.Error("confirmed, though the write failed")
			}
			secret := w.visitor.Cookie(gateway.SessionCookie)
			w.visitor.SignOut().Want(t, 303)
			wantDead(t, w.Site, secret)
		})
}

// The queue: a mail comes once, and twice only where the process is killed
// between handing it over and taking it off the queue.
func TestDisasterInOutbox(t *testing.T) {
	t.Parallel()
	for _, postponed := range []bool{false, true} {
		for _, d := range disasters {
			t.Run(fmt.Sprintf("%s, postponed %v", d.name, postponed), func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					w := newWorld(t, gateway.Config{Expires: time.Hour, Limits: gateway.Limits{Mails: gateway.Limit{Count: 1, Window: time.Minute}}})
					mails := 1
					if postponed {
						mails = 2
						w.ReleaseMail()
						w.Browser().Start(ann)
						w.Settle()
						w.HoldMail()
					}
					w.visitor.Start(ann).Want(t, 303)
					if postponed {
						w.Clock.Step(time.Minute)
					}
					struck := d.strike(w.Store, n)
					w.ReleaseMail()
					eventually(t, "it happened, or the mail is off the queue", func() bool { return struck() || w.Queued() == 0 })
					if !struck() {
						if n < 3 {
							t.Errorf("%d writes", n-1)
						}
						break
					}
					kinds := w.Store.Kinds()
					if d.kills {
						w.Restart()
					}
					// A mail that was counted and not noted as such costs a place: then it
					// waits for the next window, which may be one that begins late, since
					// the queue is at work while the clock is stepped.
					w.Clock.Step(time.Minute)
					eventually(t, "the mail is off the queue", func() bool { w.Advance(300 * time.Millisecond); return w.Queued() == 0 })
					w.Store.Reset(nil, nil)
					what := fmt.Sprintf("write %d of %v", n, kinds)
					copies := map[string]int{}
					for _, mail := range w.Mails.To(ann) {
						copies[mail.ID]++
					}
					// The delete is the last write, and the only one after the mail.
					twice := d.kills && !d.done && len(kinds) == n && kinds[n-1] == "outbox" && slices.Contains(kinds[:n-1], "limit")
					for id, count := range copies {
						if count != 1 && !(twice && count == 2) {
							t.Errorf("%s: %s came %d times", what, id, count)
						}
					}
					if len(copies) != mails {
						t.Errorf("%s: %d mails, want %d", what, len(copies), mails)
					}
					w.wantSound(t)
					w.visitor.Code(w.LastMail(ann).Code).WantLocation(t, "/")
				}
			})
		}
	}
}

// TestGivenUp: somebody clicks twice. The browser gives up the first request
// wherever it is and sends another, which must not wait for a mail that nobody
// has queued.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	for _, done := range []bool{false, true} {
		for n := 1; ; n++ {
			w := newWorld(t, gateway.Config{})
			w.ReleaseMail()
			browser := aBrowser("ann")
			ctx, giveUp := context.WithCancel(t.Context())
			hit := func(write gatewaytest.Write) error {
				if write.N == n {
					giveUp()
				}
				return nil
			}
			if done {
				w.Store.Reset(nil, hit)
			} else {
				w.Store.Reset(hit, nil)
			}
			start := gateway.StartRequest{Site: w.Site.Site(w.Host), Browser: browser, Email: ann, ReturnTo: "/", ClientIP: "192.0.2.1"}
			_, err := w.Engine.Start(ctx, start)
			kinds := w.Store.Kinds()
			giveUp()
			w.Store.Reset(nil, nil)
			if len(kinds) < n {
				if err != nil || n < 5 {
					t.Errorf("%d writes, %v", len(kinds), err)
				}
				break
			}
			if _, err := w.Engine.Start(t.Context(), start); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the mails are sent", func() bool { return w.Queued() == 0 })
			if len(w.Mails.To(ann)) == 0 {
				t.Errorf("given up at write %d (%s, made: %v): the next request has no mail", n, kinds[n-1], done)
			}
		}
	}
}

// Neither must what was given up in the middle take a code away.
func TestGivenUpVerify(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		w := newWorld(t, gateway.Config{})
		w.ReleaseMail()
		a := ask(t, w.Site, aBrowser("ann"), ann)
		code := w.LastMail(ann).Code
		ctx, giveUp := context.WithCancel(t.Context())
		w.Store.Reset(nil, func(write gatewaytest.Write) error {
			if write.N == n {
				giveUp()
			}
			return nil
		})
		_, err := w.Engine.Verify(ctx, gateway.Answer{Site: w.Site.Site(w.Host), Browser: a.browser, Request: a.id, Code: code})
		kinds := w.Store.Kinds()
		giveUp()
		if len(kinds) < n {
			if err != nil || n < 3 {
				t.Errorf("%d writes, %v", len(kinds), err)
			}
			return
		}
		used, err2 := a.code(code)
		if err != nil && (err2 != nil || used.Secret == "") {
			t.Errorf("given up after write %d (%s): the code is used up (%v) and there is no session (%v)", n, kinds[n-1], err2, err)
		}
	}
}

// A session that the store cannot note as used is still one, and what it could
// not write does not bring an ended one back.
func TestActivityCannotBeNoted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gateway.Config{})
	w.Advance(time.Hour)
	w.Store.Reset(func(gatewaytest.Write) error { return gatewaytest.ErrFault }, nil)
	w.in.Open("/").Upstream(t)
	w.wantSound(t)
	secret := w.in.Cookie(gateway.SessionCookie)
	w.in.SignOut().Want(t, 503).WantText(t, "still signed in")
	w.Store.Reset(nil, nil)
	w.in.SignOut().Want(t, 303)
	wantDead(t, w.Site, secret)
}
