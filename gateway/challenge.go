package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postern-auth/postern/store"
)

// challenge is a sign-in request: one attempt to sign in, and who may answer
// it. Whether it was used up is not here but in the record of its lane, where
// counting, comparing and using up are one update of one key.
type challenge struct {
	ID     string `json:"id"`
	Site   string `json:"site"`
	Origin string `json:"origin"`
	// Address is the one that was typed; Decoy says that no directive admits
	// it, so that no mail goes out and no code is right.
	Address string `json:"address"`
	Decoy   bool   `json:"decoy,omitempty"`
	// Browser is the hash of the binding, and Lane the key of the counts.
	Browser string `json:"browser"`
	Lane    string `json:"lane"`

	Method      Method `json:"method"`
	CodeLength  int    `json:"code_length"`
	CodeLetters bool   `json:"code_letters,omitempty"`
	// Root is the key that credentials come from; Generation changes them.
	Root       string `json:"root"`
	Generation int    `json:"generation"`

	ReturnTo string `json:"return_to"`
	// App is set where an application asked for its own user (clientcalls.go).
	App *appRequest `json:"app,omitempty"`
	// Device and Network describe who asked, for the mail.
	Device  string `json:"device"`
	Network string `json:"network"`

	Started  time.Time `json:"started"`
	Expires  time.Time `json:"expires"`
	Deadline time.Time `json:"deadline"` // Expires never goes beyond
	Mails    int       `json:"mails"`
}

func challengeKey(id string) string { return "signin/" + id }

func browserKey(site, browser string) string { return "browser/" + site + "/" + browser }

// browserRequests is the list of one browser's open sign-in requests at one site.
type browserRequests struct {
	Requests []openRequest `json:"requests"`
}

type openRequest struct {
	ID      string    `json:"id"`
	Address string    `json:"address"`
	Expires time.Time `json:"expires"`
	// decoy is that of the request itself; dead says that its mail has nothing
	// that works for the rest of the day.
	decoy, dead bool
}

// StartRequest is what Start needs to know.
type StartRequest struct {
	Site    *Site
	Browser *Browser // who asks; its binding ties the request to it
	Email   string   // as typed
	// ReturnTo is where this sign-in leads: a clean path of the site.
	ReturnTo string
	// ClientIP and UserAgent describe who asks, for the limit and the mail.
	ClientIP, UserAgent string
}

// Started is a sign-in request that was made or joined.
type Started struct {
	ID string
	// ReturnTo is where the request itself leads: another place than was asked
	// for, where it was joined.
	ReturnTo string
}

// Start makes a sign-in request and queues its mail. A start for the same site,
// address and browser while one is open joins that. The answer and the work are
// the same whether the address may enter or not.
//
// It fails with ErrAddress, a *LimitError, or a failure of the store.
func (e *Engine) Start(ctx context.Context, in StartRequest) (Started, error) {
	ctx, cancel := unhurried(ctx)
	defer cancel()
	address, err := ParseAddress(in.Email)
	if err != nil {
		return Started{}, err
	}
	browser := e.keys.hash("binding", in.Browser.Binding)
	unlock := e.node.starts.lock(in.Site.Host + "/" + browser)
	defer unlock()

	open, err := e.openRequests(ctx, in.Site.Host, browser)
	if err != nil {
		return Started{}, err
	}
	for _, request := range open {
		// An address that was let in meanwhile needs a request that has a mail.
		if request.Address == address && request.decoy == !in.Site.MayEnter(address) && !request.dead {
			return e.join(ctx, request.ID)
		}
	}
	if len(open) >= MaxPendingPerBrowser {
		return Started{}, &LimitError{Limit: limitPending, RetryAfter: open[0].Expires.Sub(e.now())}
	}
	return e.start(ctx, in, address, browser, open)
}

// start writes the request, then its mail, then its place in the browser's list.
// Where it ends in between, the visitor's next start makes a request of its own;
// of the mail, the link works.
func (e *Engine) start(ctx context.Context, in StartRequest, address, browser string, open []openRequest) (Started, error) {
	c := e.newChallenge(in, address, browser)
	if err := e.countStart(ctx, in.ClientIP, isShared(c.Lane)); err != nil {
		return Started{}, err
	}
	state, err := e.laneState(ctx, c)
	if err != nil {
		return Started{}, err
	}
	if state.codesStopped && c.Method == MethodCode {
		c.Method = MethodLink // a code would be of no use for the rest of the day
	}
	wait, err := e.takeMail(ctx, c.Lane)
	if err != nil {
		return Started{}, err
	}
	if err := e.putChallenge(ctx, c); err != nil {
		return Started{}, err
	}
	mail, err := e.queueMail(ctx, c, wait)
	if err != nil {
		return Started{}, err
	}
	e.node.outbox.add(mail)
	open = append(open, openRequest{ID: c.ID, Address: address, Expires: c.Deadline})
	if err := store.Put(ctx, e.store, browserKey(c.Site, browser), MaxLife, browserRequests{open}); err != nil {
		return Started{}, fmt.Errorf("listing the browser's sign-in request: %w", err)
	}
	e.log.Info("sign-in requested", "request", c.ID, "site", c.Site, "network", c.Network)
	return Started{ID: c.ID, ReturnTo: c.ReturnTo}, nil
}

func (e *Engine) newChallenge(in StartRequest, address, browser string) *challenge {
	c := e.blankChallenge(in.Site, address, e.config.Expires)
	c.Browser, c.Lane = browser, e.laneOf(address, browser, in.Browser)
	c.ReturnTo, c.Device, c.Network = in.ReturnTo, DescribeDevice(in.UserAgent), in.ClientIP
	return c
}

// blankChallenge is a request of nobody yet.
func (e *Engine) blankChallenge(site *Site, address string, life time.Duration) *challenge {
	now := e.now()
	ring := e.keys.current.Load()
	return &challenge{
		ID: newRequestID(), Site: site.Host, Origin: site.Origin,
		Address: address, Decoy: !site.MayEnter(address),
		Method: e.config.Method, CodeLength: e.config.CodeLength, CodeLetters: e.config.CodeLetters,
		Root: ring.Roots[ring.active(now)].ID, Generation: 1,
		Started: now, Expires: now.Add(life), Deadline: now.Add(MaxLife),
		Mails: 1,
	}
}

func (e *Engine) putChallenge(ctx context.Context, c *challenge) error {
	keep := c.Deadline.Sub(e.now()) + 10*time.Minute
	if err := store.Put(ctx, e.store, challengeKey(c.ID), keep, c); err != nil {
		return fmt.Errorf("saving sign-in request: %w", err)
	}
	return nil
}

// openRequests lists the browser's requests that can still be answered.
func (e *Engine) openRequests(ctx context.Context, site, browser string) ([]openRequest, error) {
	listed, err := store.Load[browserRequests](ctx, e.store, browserKey(site, browser))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var open []openRequest
	for _, request := range listed.Requests {
		c, state, err := e.lookUp(ctx, site, request.ID)
		if errors.Is(err, ErrUnknown) || err == nil && state.used != nil {
			continue
		}
		if err != nil {
			return nil, err
		}
		open = append(open, openRequest{ID: c.ID, Address: c.Address, Expires: c.Expires, decoy: c.Decoy, dead: state.codesStopped && c.Method == MethodCode})
	}
	return open, nil
}

func (e *Engine) join(ctx context.Context, id string) (Started, error) {
	c, err := store.Load[challenge](ctx, e.store, challengeKey(id))
	if err != nil {
		return Started{}, fmt.Errorf("joining sign-in request: %w", err)
	}
	return Started{ID: c.ID, ReturnTo: c.ReturnTo}, nil
}

// lookUp returns a request of the site that lives or was used up, and what its
// lane says of it, or ErrUnknown.
func (e *Engine) lookUp(ctx context.Context, site, id string) (*challenge, laneState, error) {
	c, err := e.loadChallenge(ctx, site, id)
	if err != nil {
		return nil, laneState{}, err
	}
	state, err := e.laneState(ctx, c)
	if err == nil && state.used == nil && !e.now().Before(c.Expires) {
		return nil, laneState{}, ErrUnknown
	}
	return c, state, err
}

// loadChallenge returns a request of the site, be it live or not, or ErrUnknown.
func (e *Engine) loadChallenge(ctx context.Context, site, id string) (*challenge, error) {
	if len(id) > maxRequestID {
		return nil, ErrUnknown
	}
	c, err := store.Load[challenge](ctx, e.store, challengeKey(id))
	if errors.Is(err, store.ErrNotFound) || err == nil && c.Site != site {
		return nil, ErrUnknown
	}
	if err != nil {
		return nil, fmt.Errorf("loading sign-in request: %w", err)
	}
	return &c, nil
}

// maxRequestID bounds the ids that are looked up, in bytes.
const maxRequestID = 64

// Recall returns the address and destination of a request that need not live
// any more, named by its id or by a link token, to the browser that asked; to
// any other nothing. It is for offering that browser a fresh start.
func (e *Engine) Recall(ctx context.Context, site *Site, idOrToken string, browser *Browser) (email, returnTo string) {
	for _, id := range append([]string{idOrToken}, e.keys.current.Load().requestsOfToken(idOrToken)...) {
		if c, err := e.loadChallenge(ctx, site.Host, id); err == nil && e.bound(c, browser) {
			return c.Address, c.ReturnTo
		}
	}
	return "", ""
}

// Status is what a page about a sign-in request shows.
type Status struct {
	ID, Email, ReturnTo    string
	HasCode, HasLink       bool
	CodeLength             int
	CodeLetters            bool
	AttemptsLeft           int
	RetryAfter             time.Duration // until there are attempts again
	ResendAfter, ExpiresIn time.Duration
	// Done says that the session this browser holds came from this request.
	Done bool
}

// Status tells the browser that asked how its sign-in request stands. It fails
// with ErrUnknown, also where the request was used for a session that this
// browser does not hold, or ErrOtherBrowser.
func (e *Engine) Status(ctx context.Context, site *Site, id string, browser *Browser, session string) (Status, error) {
	c, state, err := e.lookUp(ctx, site.Host, id)
	if err != nil {
		return Status{}, err
	}
	if !e.bound(c, browser) {
		return Status{}, ErrOtherBrowser
	}
	if state.used != nil && !e.made(state.used, session) {
		return Status{}, ErrUnknown
	}
	now := e.now()
	return Status{
		ID: c.ID, Email: c.Address, ReturnTo: c.ReturnTo,
		HasCode: c.Method.hasCode(), HasLink: c.Method.hasLink(),
		CodeLength: c.CodeLength, CodeLetters: c.CodeLetters,
		AttemptsLeft: state.attemptsLeft, RetryAfter: state.retryAfter,
		ResendAfter: state.resendAfter, ExpiresIn: c.Expires.Sub(now),
		Done: state.used != nil,
	}, nil
}

// bound says whether the browser is the one that asked.
func (e *Engine) bound(c *challenge, browser *Browser) bool {
	return browser != nil && browser.Binding != "" && e.keys.hash("binding", browser.Binding) == c.Browser
}

// Resend queues the mail of a request again, with the same credentials or
// fresh ones, and lets them live longer. It fails with ErrUnknown,
// ErrOtherBrowser, a *LimitError, or a failure of the store.
func (e *Engine) Resend(ctx context.Context, site *Site, id string, browser *Browser) error {
	ctx, cancel := unhurried(ctx)
	defer cancel()
	c, state, err := e.lookUp(ctx, site.Host, id)
	if err != nil {
		return err
	}
	if !e.bound(c, browser) {
		return ErrOtherBrowser
	}
	_, err = e.resend(ctx, c, state, e.config.Expires)
	return err
}

// resend is Resend for whoever may ask for it. It returns the request as it is
// afterwards, which lives for life again.
func (e *Engine) resend(ctx context.Context, c *challenge, state laneState, life time.Duration) (*challenge, error) {
	if state.used != nil {
		return nil, ErrUnknown
	}
	wait, err := e.takeMail(ctx, c.Lane)
	if err != nil {
		return nil, err
	}
	if wait > 0 {
		return nil, &LimitError{Limit: limitMails, RetryAfter: wait}
	}
	var renewed challenge
	err = store.Change(ctx, e.store, challengeKey(c.ID), c.Deadline.Sub(e.now())+10*time.Minute, func(old *challenge) (*challenge, error) {
		if old == nil {
			return nil, ErrUnknown
		}
		renewed = *old
		renewed.Mails++
		renewed.Expires = earlier(e.now().Add(life), renewed.Deadline)
		if e.config.RenewOnResend {
			renewed.Generation++
		}
		if state.codesStopped && renewed.Method == MethodCode {
			renewed.Method = MethodLink
		}
		return &renewed, nil
	})
	if err != nil {
		return nil, fmt.Errorf("saving sign-in request: %w", err)
	}
	mail, err := e.queueMail(ctx, &renewed, 0)
	if err != nil {
		return nil, err
	}
	e.node.outbox.add(mail)
	return &renewed, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
