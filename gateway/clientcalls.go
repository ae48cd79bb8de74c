package gateway

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postern-auth/postern/pages"
)

// appRequest is what a sign-in request of an application has beside.
type appRequest struct {
	Client    string            `json:"client"`
	Mail      string            `json:"mail"` // pages.AppSignIn or pages.AppSignUp
	State     string            `json:"state,omitempty"`
	MagicLink string            `json:"magic_link,omitempty"`
	Variables map[string]string `json:"variables,omitempty"`
	Life      time.Duration     `json:"life"`
}

// ClientStart is what StartFor needs to know.
type ClientStart struct {
	Client *Client
	Email  string // as typed
	// SignUp asks for the mail of a sign-up in place of a sign-in.
	SignUp bool
	// MagicLink is where the mailed link leads: a RedirectURI of the client.
	// Required where mails carry links.
	MagicLink string
	// State is given back by VerifyFor.
	State string
	// Variables are those of the mail's template.
	Variables map[string]string
	// ExpiresIn is how long the credentials live. Default: DefaultClientExpiry.
	ExpiresIn time.Duration
}

// Sent is a sign-in request of an application, mailed.
type Sent struct {
	ID string
	// Expires is when the credentials stop working, ExpiresIn how long from now.
	Expires   time.Time
	ExpiresIn time.Duration
	Method    Method
}

// Errors of a client's request, beside those in errors.go.
var (
	// ErrNoMagicLink says that mails carry a link and it was not said where to.
	ErrNoMagicLink = errors.New("magiclink_auth_uri is required")
	// ErrMagicLink says that the link may not lead there.
	ErrMagicLink = errors.New("magiclink_auth_uri is not a redirect_uri of this client")
)

// StartFor makes a sign-in request for a user of an application and queues its
// mail. Unlike Start it joins no other, and is refused where the address has no
// mail left. The answer and the work are the same whether the client may mail
// the address or not.
//
// It fails with ErrAddress, ErrNoMagicLink, ErrMagicLink, a
// *pages.TemplateError, a *LimitError, or a failure of the store.
func (e *Engine) StartFor(ctx context.Context, in ClientStart) (Sent, error) {
	ctx, cancel := unhurried(ctx)
	defer cancel()
	c, err := e.newChallengeFor(in)
	if err != nil {
		return Sent{}, err
	}
	state, err := e.laneState(ctx, c)
	if err != nil {
		return Sent{}, err
	}
	if err := e.preparedFor(in.Client, c, state); err != nil {
		return Sent{}, err
	}
	if err := e.takeFor(ctx, in.Client, func() error { return e.takeStart(ctx, c) }); err != nil {
		return Sent{}, err
	}
	if err := e.putChallenge(ctx, c); err != nil {
		return Sent{}, err
	}
	mail, err := e.queueMail(ctx, c, 0)
	if err != nil {
		return Sent{}, err
	}
	e.node.outbox.add(mail)
	e.log.Info("sign-in requested", "request", c.ID, "site", c.Site, "client", in.Client.ID)
	return e.sent(c), nil
}

func (e *Engine) sent(c *challenge) Sent {
	return Sent{ID: c.ID, Expires: c.Expires, ExpiresIn: c.Expires.Sub(e.now()), Method: c.Method}
}

func (e *Engine) newChallengeFor(in ClientStart) (*challenge, error) {
	address, err := ParseAddress(in.Email)
	if err != nil {
		return nil, err
	}
	setDefault(&in.ExpiresIn, DefaultClientExpiry)
	c := e.blankChallenge(in.Client.site, address, in.ExpiresIn)
	c.Lane = e.laneOf(address, "", nil)
	c.App = &appRequest{
		Client: in.Client.ID, Mail: pages.AppSignIn, State: in.State,
		MagicLink: in.MagicLink, Variables: maps.Clone(in.Variables), Life: in.ExpiresIn,
	}
	if in.SignUp {
		c.App.Mail = pages.AppSignUp
	}
	switch {
	case in.MagicLink != "" && !slices.Contains(in.Client.links, in.MagicLink):
		return nil, ErrMagicLink
	case in.MagicLink == "" && c.Method.hasLink():
		return nil, ErrNoMagicLink
	}
	return c, nil
}

// preparedFor finds out, before anything is counted, whether the mail of a
// request can be written and may be sent.
func (e *Engine) preparedFor(client *Client, c *challenge, state laneState) error {
	if state.resendAfter > 0 {
		return &LimitError{Limit: limitMails, RetryAfter: state.resendAfter}
	}
	if state.codesStopped && c.Method == MethodCode {
		if c.App.MagicLink == "" {
			return &LimitError{Limit: limitAttempts, RetryAfter: state.retryAfter} // nothing in the mail would work
		}
		c.Method = MethodLink
	}
	_, _, _, err := client.letters.Render(c.App.Mail, e.appMail(client, c, c.sampleCode(), c.appLink(sampleToken)))
	return err
}

// appMail is what the mail of a request says, with these credentials.
func (e *Engine) appMail(client *Client, c *challenge, code, link string) pages.AppMail {
	m := pages.AppMail{
		AppName: client.name, Email: c.Address, ExpiresIn: c.Expires.Sub(e.now()),
		SameBrowser: !e.config.AnyBrowser, Variables: c.App.Variables,
	}
	if c.Method.hasCode() {
		m.Code = code
	}
	if c.Method.hasLink() {
		m.Link = link
	}
	return m
}

// appLink is the link of a mail.
func (c *challenge) appLink(token string) string {
	separator := "?"
	if strings.Contains(c.App.MagicLink, "?") {
		separator = "&"
	}
	return c.App.MagicLink + separator + "link_token=" + token
}

// limitClient is the limit of one client's mails.
const limitClient = "client"

// takeFor counts a mail of the client, unless what it is counted for is refused
// by another limit.
func (e *Engine) takeFor(ctx context.Context, client *Client, do func() error) error {
	return e.takeAnd(ctx, limitClient, client.site.Host, client.mails, do)
}

// takeStart counts a request of an application of the server, and its mail.
func (e *Engine) takeStart(ctx context.Context, c *challenge) error {
	return e.takeAnd(ctx, limitStarts, "starts", Limit{MaxStartsPerHour, time.Hour}, func() error {
		wait, err := e.takeMail(ctx, c.Lane)
		if err == nil && wait > 0 {
			return &LimitError{Limit: limitMails, RetryAfter: wait}
		}
		return err
	})
}

// ResendFor mails the credentials of a client's request again, or fresh ones. It
// fails with ErrUnknown, a *pages.TemplateError, a *LimitError, or a failure of
// the store.
func (e *Engine) ResendFor(ctx context.Context, client *Client, id string) (Sent, error) {
	ctx, cancel := unhurried(ctx)
	defer cancel()
	c, state, err := e.lookUpFor(ctx, client, id)
	if err != nil {
		return Sent{}, err
	}
	if state.used != nil {
		return Sent{}, ErrUnknown
	}
	if err := e.preparedFor(client, c, state); err != nil {
		return Sent{}, err
	}
	var renewed *challenge
	err = e.takeFor(ctx, client, func() error {
		renewed, err = e.resend(ctx, c, state, c.App.Life)
		return err
	})
	if err != nil {
		return Sent{}, err
	}
	e.log.Info("mail asked for again", "request", c.ID, "site", c.Site, "client", client.ID)
	return e.sent(renewed), nil
}

// lookUpFor is lookUp of a client's request.
func (e *Engine) lookUpFor(ctx context.Context, client *Client, id string) (*challenge, laneState, error) {
	c, state, err := e.lookUp(ctx, client.site.Host, id)
	if err == nil && c.App == nil {
		return nil, laneState{}, ErrUnknown
	}
	return c, state, err
}

// ClientAnswer is an answer that an application passes on: a code with the id
// of its request, or a link token, with the id where links work only for whom
// they were asked for.
type ClientAnswer struct {
	Client        *Client
	Request, Code string
	Token         string
}

// ClientVerified is the result of a right answer.
type ClientVerified struct {
	Request, Email, State string
	SignUp                bool
	// Method is what was verified: MethodCode or MethodLink.
	Method Method
}

// VerifyFor compares an answer and uses the request up. It fails as Verify does:
// ErrOtherBrowser is a link without the id of its request.
func (e *Engine) VerifyFor(ctx context.Context, in ClientAnswer) (ClientVerified, error) {
	ctx, cancel := unhurried(ctx)
	defer cancel()
	method := MethodCode
	answerFor := e.codeAnswerFor
	if in.Token != "" {
		method, answerFor = MethodLink, e.linkAnswerFor
	}
	a, err := answerFor(ctx, in)
	if err != nil {
		return ClientVerified{}, err
	}
	c := a.request
	if err := e.settle(ctx, a); err != nil {
		e.logRefusal(c, err)
		return ClientVerified{}, err
	}
	e.log.Info("verified", "request", c.ID, "site", c.Site, "client", in.Client.ID, "email", c.Address, "method", string(method))
	return ClientVerified{
		Request: c.ID, Email: c.Address, State: c.App.State, SignUp: c.App.Mail == pages.AppSignUp, Method: method,
	}, nil
}

func (e *Engine) codeAnswerFor(ctx context.Context, in ClientAnswer) (answer, error) {
	c, state, err := e.lookUpFor(ctx, in.Client, in.Request)
	if err != nil {
		return answer{}, err
	}
	if state.used != nil {
		return answer{}, ErrUnknown // whatever the code is like
	}
	return e.codeFor(c, in.Code)
}

func (e *Engine) linkAnswerFor(ctx context.Context, in ClientAnswer) (answer, error) {
	c, state, err := e.challengeOfToken(ctx, in.Client.site, in.Token)
	if err != nil {
		return answer{}, err
	}
	switch {
	case state.used != nil || c.App == nil:
		return answer{}, ErrUnknown
	case in.Request != c.ID && !e.config.AnyBrowser:
		return answer{}, ErrOtherBrowser
	}
	return answer{request: c}, nil
}
