package gateway

import (
	"context"
	"errors"
	"fmt"
)

// Answer is an answer to a sign-in request: a code with the request's id, or a
// link token.
type Answer struct {
	Site *Site
	// Request and Code are what was typed, and for what.
	Request, Code string
	// Token is the link's; Confirmed says that a person pressed the button that
	// lets it sign in in a browser that did not ask for it.
	Token     string
	Confirmed bool
	// Browser is the one that answers, and Session the secret of the session it
	// holds, if any: that ends where a new one is opened.
	Browser *Browser
	Session string
	// ClientIP and UserAgent describe the new session's browser.
	ClientIP, UserAgent string
}

// Verified is the result of a right answer.
type Verified struct {
	// Request is the sign-in request, and ReturnTo where it leads.
	Request, ReturnTo string
	Email             string
	// Secret is that of the new session. Empty where this browser answered
	// rightly before and still holds the session that came of it.
	Secret  string
	Session Session
}

// Verify compares an answer, uses the request up and opens the session. It
// fails with ErrMalformed, ErrOtherBrowser, ErrUnknown, a *WrongCodeError, a
// *LimitError, or a failure of the store. Where it fails between using up and
// opening, the visitor has to begin anew.
func (e *Engine) Verify(ctx context.Context, in Answer) (Verified, error) {
	ctx, cancel := unhurried(ctx)
	defer cancel()
	var a answer
	var err error
	if in.Token != "" {
		a, err = e.linkAnswer(ctx, in)
	} else {
		a, err = e.codeAnswer(ctx, in)
	}
	if err != nil {
		return Verified{}, err
	}
	secret := newSecret()
	a.session, a.held = e.sessionHash(secret), e.sessionHash(in.Session)
	c := a.request
	result := Verified{Request: c.ID, ReturnTo: c.ReturnTo, Email: c.Address}
	if err := e.settle(ctx, a); err != nil {
		if errors.Is(err, errAgain) {
			return result, nil
		}
		e.logRefusal(c, err)
		return Verified{}, err
	}
	result.Secret = secret
	method := "code"
	if in.Token != "" {
		method = "link"
	}
	result.Session, err = e.Open(ctx, OpenSession{
		Site: in.Site, Secret: secret, Email: c.Address, Method: method,
		Replaces: in.Session, ClientIP: in.ClientIP, UserAgent: in.UserAgent,
	})
	if err != nil {
		return Verified{}, fmt.Errorf("opening the session of a verified sign-in request: %w", err)
	}
	e.log.Info("signed in", "request", c.ID, "site", c.Site, "email", c.Address, "method", method, "network", in.ClientIP)
	return result, nil
}

func (e *Engine) logRefusal(c *challenge, err error) {
	var wrong *WrongCodeError
	var limit *LimitError
	if errors.As(err, &wrong) || errors.As(err, &limit) {
		e.log.Warn("sign-in refused", "request", c.ID, "site", c.Site, "reason", err.Error())
	}
}

// codeAnswer checks everything about a code but whether it is right. A code
// works in the browser that asked and nowhere else.
func (e *Engine) codeAnswer(ctx context.Context, in Answer) (answer, error) {
	if in.Browser == nil || in.Browser.Binding == "" {
		return answer{}, ErrOtherBrowser
	}
	c, _, err := e.lookUp(ctx, in.Site.Host, in.Request)
	if err != nil {
		return answer{}, err
	}
	if !e.bound(c, in.Browser) {
		return answer{}, ErrOtherBrowser
	}
	return e.codeFor(c, in.Code)
}

// codeFor is a code that answers a request, or ErrMalformed.
func (e *Engine) codeFor(c *challenge, typed string) (answer, error) {
	code, ok := c.cleanCode(typed)
	if !ok {
		return answer{}, ErrMalformed
	}
	root := e.keys.current.Load().root(c.Root)
	if root == nil {
		return answer{}, ErrUnknown
	}
	return answer{request: c, code: code, right: func() bool { return root.rightCode(c, code) }}, nil
}

// linkAnswer verifies a link token.
func (e *Engine) linkAnswer(ctx context.Context, in Answer) (answer, error) {
	c, state, err := e.challengeOfToken(ctx, in.Site, in.Token)
	if err != nil {
		return answer{}, err
	}
	switch {
	case e.bound(c, in.Browser), e.config.AnyBrowser && in.Confirmed:
		return answer{request: c}, nil
	case state.used != nil && e.made(state.used, in.Session):
		return answer{request: c}, nil
	case state.used != nil:
		return answer{}, ErrUnknown
	}
	return answer{}, ErrOtherBrowser
}

// challengeOfToken returns the live request that a link token belongs to, or
// ErrUnknown.
func (e *Engine) challengeOfToken(ctx context.Context, site *Site, token string) (*challenge, laneState, error) {
	ring := e.keys.current.Load()
	for _, id := range ring.requestsOfToken(token) {
		c, state, err := e.lookUp(ctx, site.Host, id)
		if errors.Is(err, ErrUnknown) {
			continue
		}
		if err != nil {
			return nil, laneState{}, err
		}
		if root := ring.root(c.Root); root != nil && !c.Decoy && c.Method.hasLink() && root.rightToken(c, token) {
			return c, state, nil
		}
	}
	return nil, laneState{}, ErrUnknown
}

// LinkStatus says, without using anything up, what a link would do here.
type LinkStatus struct {
	Request, Email, ReturnTo string
	// Bound says that this is the browser that asked, AnyBrowser that the link
	// may sign in elsewhere too, HasCode that the mail also has a code.
	Bound, AnyBrowser, HasCode bool
}

// LinkStatus fails with ErrUnknown, or a failure of the store. A link that was
// used is unknown, but to the browser that holds the session it made.
func (e *Engine) LinkStatus(ctx context.Context, in Answer) (LinkStatus, error) {
	c, state, err := e.challengeOfToken(ctx, in.Site, in.Token)
	if err != nil {
		return LinkStatus{}, err
	}
	if state.used != nil && !e.made(state.used, in.Session) {
		return LinkStatus{}, ErrUnknown
	}
	return LinkStatus{
		Request: c.ID, Email: c.Address, ReturnTo: c.ReturnTo,
		Bound: e.bound(c, in.Browser), AnyBrowser: e.config.AnyBrowser, HasCode: c.Method.hasCode(),
	}, nil
}

// made says whether the session the browser holds came of the used request.
func (e *Engine) made(used *usedUp, secret string) bool {
	return secret != "" && used.Session == e.sessionHash(secret)
}
