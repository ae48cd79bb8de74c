package gateway_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/gatewaytest"
	"github.com/postern-auth/postern/store"
)

func TestMailServerFaults(t *testing.T) {
	t.Parallel()
	t.Run("temporary", func(t *testing.T) {
		t.Parallel()
		site := gatewaytest.New(t, gatewaytest.Options{})
		site.Mails.Break(gatewaytest.Temporary)
		b := site.Browser()
		b.Start(ann).Want(t, 303)
		// It is tried again by itself.
		eventually(t, "it was tried again", func() bool {
			site.Clock.Step(100 * time.Millisecond)
			return site.Mails.Tries() >= 2
		})
		site.Restart() // and by the next process
		eventually(t, "it was tried after a restart", func() bool { return site.Mails.Tries() >= 3 })
		site.Mails.Break(gatewaytest.Healthy)
		site.Flush()
		mail := site.LastMail(ann)
		if len(site.Mails.All()) != 1 {
			t.Errorf("%d mails", len(site.Mails.All()))
		}
		b.Code(mail.Code).WantLocation(t, "/")
		if !strings.Contains(site.Log(), b.Request) {
			t.Error("the log does not name the request")
		}
	})
	t.Run("temporary for too long", func(t *testing.T) {
		t.Parallel()
		site := gatewaytest.New(t, gatewaytest.Options{})
		site.Mails.Break(gatewaytest.Temporary)
		site.Browser().Start(ann)
		eventually(t, "it was tried", func() bool { return site.Mails.Tries() > 0 })
		site.Advance(10 * time.Minute)
		site.Flush()
		site.Mails.Break(gatewaytest.Healthy)
		if len(site.Mails.All()) != 0 || site.Queued() != 0 {
			t.Errorf("%d mails, %d queued", len(site.Mails.All()), site.Queued())
		}
		if !strings.Contains(site.Log(), "expired") {
			t.Error("nobody is told")
		}
	})
	t.Run("permanent", func(t *testing.T) {
		t.Parallel()
		site := gatewaytest.New(t, gatewaytest.Options{})
		site.Mails.Break(gatewaytest.Permanent)
		b := site.Browser()
		b.Start(ann).Want(t, 303)
		site.Settle()
		site.Wake()
		if site.Mails.Tries() != 1 || site.Queued() != 0 {
			t.Errorf("%d tries, %d queued", site.Mails.Tries(), site.Queued())
		}
		site.Mails.Break(gatewaytest.Healthy)
		b.Resend().Want(t, 303)
		b.Code(site.LastMail(ann).Code).WantLocation(t, "/")
	})
	t.Run("hangs", func(t *testing.T) {
		t.Parallel()
		site := gatewaytest.New(t, gatewaytest.Options{})
		known := site.Browser()
		known.SignIn(bob)
		known.SignOut().Want(t, 303)
		before := len(site.Mails.All())
		site.Mails.Break(gatewaytest.Hang)
		begun := time.Now()
		for i := range 20 { // more than are handed over at once
			site.Browser().Start(fmt.Sprintf("user%d@example.com", i)).Want(t, 303)
		}
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("the pages took %s", took)
		}
		eventually(t, "six are under way", func() bool { return site.Mails.Tries() == before+6 })
		known.Start(bob).Want(t, 303)
		eventually(t, "that of a known browser too, past fourteen that wait", func() bool { return site.Mails.Tries() == before+7 })
		if site.Queued() != 21 {
			t.Errorf("%d queued", site.Queued())
		}
		site.Mails.Break(gatewaytest.Healthy)
		site.Restart() // waits a moment for those under way, and loses none
		site.Settle()
		if got := len(site.Mails.All()) - before; got != 21 {
			t.Errorf("%d mails", got)
		}
	})
	t.Run("cut off", func(t *testing.T) {
		t.Parallel()
		site := gatewaytest.New(t, gatewaytest.Options{})
		site.Mails.Break(gatewaytest.Cut)
		site.Browser().Start(ann)
		eventually(t, "it was tried", func() bool { return site.Mails.Tries() == 1 })
		site.Mails.Break(gatewaytest.Healthy)
		site.Flush()
		mails := site.Mails.All()
		if len(mails) != 2 || mails[0].ID != mails[1].ID || mails[0].Code != mails[1].Code || mails[0].Link != mails[1].Link {
			t.Errorf("mails %v", mails)
		}
	})
}

func TestMailIsNotSent(t *testing.T) {
	t.Parallel()
	t.Run("when the request was answered", func(t *testing.T) {
		t.Parallel()
		site := gatewaytest.New(t, gatewaytest.Options{})
		b := site.Browser()
		b.Start(ann)
		mail := site.LastMail(ann)
		site.HoldMail()
		b.Resend().Want(t, 303)
		b.Code(mail.Code).Want(t, 303)
		site.ReleaseMail()
		site.Settle()
		if len(site.Mails.All()) != 1 {
			t.Errorf("%d mails", len(site.Mails.All()))
		}
	})
	t.Run("when a later one replaces it", func(t *testing.T) {
		t.Parallel()
		site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{RenewOnResend: true}})
		site.HoldMail()
		b := site.Browser()
		b.Start(ann)
		b.Resend().Want(t, 303)
		site.ReleaseMail()
		mail := site.LastMail(ann)
		if len(site.Mails.All()) != 1 {
			t.Errorf("%d mails", len(site.Mails.All()))
		}
		b.Code(mail.Code).Want(t, 303)
	})
}

// slowScan is a store whose Scan waits, so that requests come in while a new
// process still looks for what the one before left.
type slowScan struct {
	store.Store
	wait chan struct{}
}

func (s slowScan) Scan(ctx context.Context, prefix string, fn func(string, []byte) error) error {
	if prefix == "outbox/" {
		<-s.wait
	}
	return s.Store.Scan(ctx, prefix, fn)
}

// A mail that is queued while a new process reads the queue is in both.
func TestMailAtStartComesOnce(t *testing.T) {
	t.Parallel()
	database := slowScan{gatewaytest.NewDatabase(t), make(chan struct{})}
	site := gatewaytest.New(t, gatewaytest.Options{Database: database})
	site.Mails.Delay(20 * time.Millisecond)
	for i := range 20 {
		site.Browser().Start(fmt.Sprintf("user%d@example.com", i)).Want(t, 303)
	}
	close(database.wait)
	site.Settle()
	for i := range 20 {
		if n := len(site.Mails.To(fmt.Sprintf("user%d@example.com", i))); n != 1 {
			t.Errorf("user%d got %d mails", i, n)
		}
	}
}

// brokenScan fails in the middle, the first time.
type brokenScan struct {
	store.Store
	failed *atomic.Bool
}

func (s brokenScan) Scan(ctx context.Context, prefix string, fn func(string, []byte) error) error {
	n := 0
	return s.Store.Scan(ctx, prefix, func(key string, value []byte) error {
		if n++; prefix == "outbox/" && n == 4 && s.failed.CompareAndSwap(false, true) {
			return gatewaytest.ErrFault
		}
		return fn(key, value)
	})
}

// What was found before reading the queue failed is found again.
func TestQueueThatIsReadTwice(t *testing.T) {
	t.Parallel()
	before := gatewaytest.New(t, gatewaytest.Options{})
	before.HoldMail()
	for i := range 5 {
		before.Browser().Start(fmt.Sprintf("user%d@example.com", i)).Want(t, 303)
	}
	var failed atomic.Bool
	after := gatewaytest.New(t, gatewaytest.Options{Database: brokenScan{before.CopyDatabase(), &failed}, KeyFile: before.KeyFile, Clock: before.Clock})
	after.Mails.Delay(20 * time.Millisecond)
	eventually(t, "reading failed", failed.Load)
	after.Settle()
	for i := range 5 {
		if n := len(after.Mails.To(fmt.Sprintf("user%d@example.com", i))); n != 1 {
			t.Errorf("user%d got %d mails", i, n)
		}
	}
}

func TestMailText(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{Origin: "https://wiki.example.com:8443", Config: gateway.Config{From: "Example <signin@example.com>"}})
	b := site.Browser()
	b.IP = "203.0.113.7"
	b.Header = map[string][]string{"Origin": {"https://wiki.example.com:8443"}}
	b.Start("Ann@Example.com").Want(t, 303)
	mail := site.LastMail(ann)
	for _, text := range []string{mail.Text, mail.HTML} {
		for _, want := range []string{"wiki.example.com:8443", "Chrome on Linux", "203.0.113.7", "10 minutes", "not you", b.Request} {
			if !strings.Contains(strings.Join(strings.Fields(text), " "), want) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
	}
	if !strings.HasSuffix(strings.TrimRight(mail.Text, "\n"), "\n@wiki.example.com #"+mail.Code) {
		t.Errorf("the last line of\n%s", mail.Text)
	}
	if mail.From != "Example <signin@example.com>" || !strings.HasSuffix(mail.ID, "@example.com") || !mail.Date.Equal(site.Clock.Now()) {
		t.Errorf("%+v", mail.Message)
	}
	if !strings.HasPrefix(mail.Link, "https://wiki.example.com:8443/.auth/link?token=") || strings.Contains(mail.Link, b.Request) || strings.Contains(mail.Link, "ann") {
		t.Errorf("link %q", mail.Link)
	}
}

// TestQueueFollowsWhatIsInForce: while a server changes its configuration, the next
// one sends nothing until the one before is gone, since it may still fail to load.
func TestQueueFollowsWhatIsInForce(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	next := &gatewaytest.Mails{}
	announced := &gateway.Attachment{Engine: site.Engine, Transport: next, MayEnter: func(string, string) bool { return false }}
	site.Node.Attach(announced)
	site.Browser().Start(ann)
	site.Settle()
	if here, there := len(site.Mails.All()), len(next.All()); here != 1 || there != 0 {
		t.Errorf("%d mails by the configuration in force, %d by the next", here, there)
	}
	site.HoldMail() // the one in force is gone
	site.Browser().Start(bob)
	site.Settle()
	if here, there := len(site.Mails.All()), len(next.All()); here != 1 || there != 1 {
		t.Errorf("%d mails by the configuration before, %d by the one in force", here, there)
	}
	site.ReleaseMail()
	site.Node.Detach(announced)
}

// TestMailOfNextClient: a mail that the next configuration accepted already is not
// lost because the one in force does not know its client.
func TestMailOfNextClient(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	secret, err := gateway.ParseSecret("secret")
	if err != nil {
		t.Fatal(err)
	}
	const link = "https://shop.example.com/link"
	client, err := gateway.NewClient(gateway.ClientConfig{ID: "shop", Secret: secret, RedirectURIs: []string{link}})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := gateway.NewEngine(site.Node, gateway.Config{Clients: map[string]*gateway.Client{"shop": client}, Clock: site.Clock.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	next := &gatewaytest.Mails{}
	announced := &gateway.Attachment{Engine: engine, Transport: next, MayEnter: func(string, string) bool { return true }}
	site.Node.Attach(announced)
	if _, err := engine.StartFor(t.Context(), gateway.ClientStart{Client: client, Email: ann, MagicLink: link}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is known that another configuration is being loaded", func() bool { return strings.Contains(site.Log(), "another one is being loaded") })
	site.HoldMail() // the configuration in force is gone
	eventually(t, "the mail is sent", func() bool { return len(next.To(ann)) == 1 })
	site.ReleaseMail()
	site.Node.Detach(announced)
}
