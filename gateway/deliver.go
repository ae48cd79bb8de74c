package gateway

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/postern-auth/postern/gateway/mail"
	"github.com/postern-auth/postern/pages"
	"github.com/postern-auth/postern/store"
)

// queuedMail is a mail that is still to be sent. It says what to write about,
// not what: credentials are derived when it goes out. A refused address has one
// too, so that its queue looks like any other.
type queuedMail struct {
	Request    string `json:"request"`
	Site       string `json:"site"`
	Generation int    `json:"generation"`
	// MessageID is the same on each try, so that a mail that arrived twice can
	// be told.
	MessageID string    `json:"message_id"`
	Queued    time.Time `json:"queued"`
	NotBefore time.Time `json:"not_before"`
	// Counted says that the mail was counted in its lane.
	Counted bool `json:"counted"`
	// Known says that it is for a browser that is known as the address.
	Known bool `json:"known,omitempty"`
}

// queueMail stores the latest mail of a request: for now, or for when the lane
// has room again. A lane that has none while the credentials live gets none. The
// caller hands it to the outbox.
func (e *Engine) queueMail(ctx context.Context, c *challenge, wait time.Duration) (*delivery, error) {
	now := e.now()
	if wait >= c.Deadline.Sub(now) {
		e.log.Warn("not mailed", "request", c.ID, "site", c.Site, "reason", "its address has had as many mails as the limit allows")
		return nil, nil
	}
	m := queuedMail{
		Request: c.ID, Site: c.Site, Generation: c.Generation,
		MessageID: mail.NewMessageID(mailDomain(e.config.From)),
		Queued:    now, NotBefore: now.Add(wait), Counted: wait == 0, Known: !isShared(c.Lane),
	}
	key := outboxPrefix + c.ID + "/" + strconv.Itoa(c.Mails)
	if err := store.Put(ctx, e.store, key, c.Deadline.Sub(now)+time.Minute, m); err != nil {
		return nil, fmt.Errorf("queueing mail: %w", err)
	}
	if wait > 0 {
		e.log.Warn("mail postponed: its address has had as many as the limit allows", "request", c.ID, "site", c.Site, "seconds", int(wait.Seconds()))
	}
	return &delivery{key: key, known: m.Known, at: m.NotBefore, postponed: wait > 0}, nil
}

// mailDomain is the domain of a mailbox.
func mailDomain(mailbox string) string {
	_, domain, _ := strings.Cut(strings.TrimRight(mailbox, "> "), "@")
	return domain
}

// deliver sends one mail. done says that there is nothing more to do, because it
// was taken over or never can be; otherwise it is worth trying after wait.
func (e *Engine) deliver(ctx context.Context, transport mail.Transport, d *delivery) (done bool, wait time.Duration) {
	queued, err := store.Load[queuedMail](ctx, e.store, d.key)
	if errors.Is(err, store.ErrNotFound) {
		return true, 0
	}
	if err != nil {
		e.log.Error("queued mail cannot be read; trying again", "error", err)
		return false, backoff(d)
	}
	// Where the clock was set back since, the mail does not wait for it: what it
	// is postponed for is a limit, which is asked again below.
	if wait := queued.NotBefore.Sub(e.now()); wait > 0 && !e.now().Before(queued.Queued) {
		d.postponed = true
		return false, wait
	}
	c, reason, err := e.mailable(ctx, &queued)
	if reason != "" {
		e.log.Warn("not mailed", "request", queued.Request, "site", queued.Site, "reason", reason)
		return true, 0
	}
	if err == nil {
		wait, err = e.countMail(ctx, c, d, &queued)
	}
	if err == nil && wait == 0 {
		err = e.hand(ctx, transport, c, &queued)
	}
	return e.judgeDelivery(d, &queued, err == nil && c.Decoy, wait, err)
}

func (e *Engine) judgeDelivery(d *delivery, queued *queuedMail, decoy bool, wait time.Duration, err error) (bool, time.Duration) {
	log := e.log.With("request", queued.Request, "site", queued.Site)
	var failed *mail.Error
	switch {
	case err == nil && wait > 0:
		d.postponed = true
		return false, wait
	case err == nil && decoy: // visitors are not told, operators are
		log.Info("not mailed", "reason", "its address may not enter: no directive of the site admits it")
		return true, 0
	case err == nil:
		log.Info("mailed", "seconds", e.now().Sub(queued.Queued).Round(time.Millisecond).Seconds())
		return true, 0
	case errors.As(err, &failed) && failed.Permanent:
		log.Error("not mailed: refused for good", "error", err)
		return true, 0
	}
	wait = backoff(d)
	log.Error("not mailed yet; trying again", "error", err, "try", d.tries, "seconds", int(wait.Seconds()))
	return false, wait
}

// backoff is how long to wait after a failed try: 1 s, doubled up to 1 minute.
func backoff(d *delivery) time.Duration {
	d.postponed = false
	d.tries++
	return min(time.Second<<min(d.tries-1, 6), time.Minute)
}

// errNextClient says that a mail is of a client which only the next configuration
// may have.
var errNextClient = errors.New("its client is not in the configuration in force, and another one is being loaded")

// mailable returns the request that a queued mail is for, or why it is not sent.
// The mail of a refused address is counted as any other, but never handed over.
func (e *Engine) mailable(ctx context.Context, queued *queuedMail) (c *challenge, reason string, err error) {
	c, state, err := e.lookUp(ctx, queued.Site, queued.Request)
	switch {
	case errors.Is(err, ErrUnknown):
		return nil, "its sign-in request expired", nil
	case err != nil:
		return nil, "", err
	case state.used != nil:
		return nil, "its sign-in request was answered meanwhile", nil
	case c.App != nil && e.config.Clients[c.App.Client] == nil && len(e.node.announced()) > 1:
		return nil, "", errNextClient
	case c.App != nil && e.config.Clients[c.App.Client] == nil:
		return nil, "its client is not configured any more", nil
	case c.Generation != queued.Generation:
		return nil, "a later mail replaces it", nil
	}
	return c, "", nil
}

// countMail counts a mail that was not counted yet, and returns how long it has
// to wait where a limit leaves no room for it. That it was counted is written down
// only where it waits: a mail whose process ends before it is handed over may be
// counted twice, and a write for each mail would cost all of them.
func (e *Engine) countMail(ctx context.Context, c *challenge, d *delivery, queued *queuedMail) (wait time.Duration, err error) {
	if d.counted = d.counted || queued.Counted; !d.counted {
		if wait, err = e.takeMail(ctx, c.Lane); err != nil {
			return 0, err
		}
		d.counted = wait == 0
	}
	if wait == 0 && !d.inTotal {
		if wait, err = e.takeTotal(ctx, c); err != nil {
			return 0, err
		}
		d.inTotal = wait == 0
	}
	if wait == 0 || d.counted == queued.Counted {
		return wait, nil
	}
	queued.Counted, queued.NotBefore = d.counted, e.now().Add(wait)
	return wait, store.Put(ctx, e.store, d.key, c.Deadline.Sub(e.now())+time.Minute, queued)
}

// takeTotal counts a mail of the server, or returns how long it has to wait. Mails
// that are never handed over are counted apart: the work is the same, or the next
// request would be quicker for a refused address, and they leave the others their
// room.
func (e *Engine) takeTotal(ctx context.Context, c *challenge) (wait time.Duration, err error) {
	counter := "total"
	switch {
	case c.Decoy:
		counter = "decoys"
	case !isShared(c.Lane):
		counter = "total known" // strangers cannot use it up
	}
	err = e.take(ctx, "total", counter, e.config.Limits.Total)
	var over *LimitError
	switch {
	case errors.As(err, &over) && c.Decoy:
		return 0, nil
	case errors.As(err, &over):
		e.log.Error("mails wait: the server has sent as many as limit total allows", "seconds", int(over.RetryAfter.Seconds()))
		return over.RetryAfter, nil
	}
	return 0, err
}

// hand writes the mail and hands it to the transport, unless the address was
// refused.
func (e *Engine) hand(ctx context.Context, transport mail.Transport, c *challenge, queued *queuedMail) error {
	message, err := e.compose(c, queued)
	if err != nil {
		return fmt.Errorf("writing the mail: %w", err)
	}
	if c.Decoy {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, deliveryTime)
	defer cancel()
	return transport.Deliver(ctx, message)
}

func (e *Engine) compose(c *challenge, queued *queuedMail) (mail.Message, error) {
	root := e.keys.current.Load().root(c.Root)
	if root == nil {
		return mail.Message{}, errors.New("the key of the sign-in request is gone")
	}
	var code, token string
	if c.Method.hasCode() {
		code = root.code(c)
	}
	if c.Method.hasLink() {
		var err error
		if token, err = root.token(c); err != nil {
			return mail.Message{}, err
		}
	}
	subject, text, html, err := e.write(c, code, token)
	return mail.Message{
		ID: queued.MessageID, From: e.config.From, To: c.Address,
		Subject: subject, Text: text, HTML: html, Date: e.now(),
	}, err
}

// write writes the mail of a request with its credentials, of which one may be
// empty.
func (e *Engine) write(c *challenge, code, token string) (subject, text, html string, err error) {
	if c.App != nil {
		client := e.config.Clients[c.App.Client]
		return client.letters.Render(c.App.Mail, e.appMail(client, c, code, c.appLink(token)))
	}
	view := pages.Mail{
		Site: c.Site, Email: c.Address, Browser: c.Device, Network: c.Network,
		Requested: c.Started, ExpiresIn: c.Expires.Sub(e.now()),
		SameBrowser: !e.config.AnyBrowser, RequestID: c.ID, Code: code,
	}
	if token != "" {
		view.Link = c.Origin + e.config.Prefix + "/link?token=" + token
	}
	return e.config.look.RenderMail(view)
}

// TestMail hands over a mail that signs nobody in, without the queue and its
// limits. Its error is that of the transport.
func (e *Engine) TestMail(ctx context.Context, transport mail.Transport, to string) error {
	return transport.Deliver(ctx, mail.Message{
		ID: mail.NewMessageID(mailDomain(e.config.From)), From: e.config.From, To: to, Date: e.now(),
		Subject: "Test of sign-in mails",
		Text:    "This is a test: sign-in mails can reach you.\n\nNobody can sign in with it. An administrator has asked for it.\n",
	})
}
