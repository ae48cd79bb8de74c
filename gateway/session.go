package gateway

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/postern-auth/postern/store"
)

// Session is what a verified sign-in request becomes: one browser signed in at
// one site. The store knows it by a hash of its secret.
type Session struct {
	Site  string `json:"site"`
	Email string `json:"email"`
	// Subject is the random id of the address, the same at all sites.
	Subject string `json:"subject"`
	// Method is "code" or "link".
	Method   string    `json:"method"`
	SignedIn time.Time `json:"signed_in"`
	// LastSeen is written now and then, not at every request.
	LastSeen time.Time     `json:"last_seen"`
	Expires  time.Time     `json:"expires"`
	Idle     time.Duration `json:"idle"`
	Device   string        `json:"device"`
	Network  string        `json:"network"`
	// ReplacedBy is the hash of the session that took this one's place in the
	// same browser for the same address. This one is over; open streams live on
	// with that one.
	ReplacedBy string `json:"replaced_by,omitempty"`
}

const (
	// secretLength is that of a session's or a binding's secret, in bytes: 256
	// bits. secretTextLength is that of its text, in unpadded Base64.
	secretLength     = 32
	secretTextLength = (secretLength*8 + 5) / 6
)

func newSecret() string { return base64.RawURLEncoding.EncodeToString(randomBytes(secretLength)) }

// sessionHash returns "" for "".
func (e *Engine) sessionHash(secret string) string {
	if secret == "" {
		return ""
	}
	return e.keys.hash("session", secret)
}

// touchEvery is how exact LastSeen is: a twentieth of the idle time, and at
// most 5 minutes.
func touchEvery(idle time.Duration) time.Duration { return min(idle/20, 5*time.Minute) }

// OpenSession is what Open needs to know.
type OpenSession struct {
	Site *Site
	// Secret is the new session's; the caller hands it to the browser.
	Secret, Email, Method string
	// Replaces is the secret of the session that ends in that browser, if any.
	Replaces            string
	ClientIP, UserAgent string
}

// Open makes a session of a verified sign-in, and then ends the one that the
// browser had before.
func (e *Engine) Open(ctx context.Context, in OpenSession) (Session, error) {
	subject, err := e.subject(ctx, in.Email)
	if err != nil {
		return Session{}, err
	}
	now := e.now()
	terms := in.Site.terms(in.Email, e.config.Session)
	session := Session{
		Site: in.Site.Host, Email: in.Email, Subject: subject, Method: in.Method,
		SignedIn: now, LastSeen: now, Expires: now.Add(terms.Lifetime), Idle: terms.Idle,
		Device: DescribeDevice(in.UserAgent), Network: in.ClientIP,
	}
	hash := e.sessionHash(in.Secret)
	if err := e.sessions.open(ctx, &session, hash, terms.Lifetime); err != nil {
		return Session{}, fmt.Errorf("saving session: %w", err)
	}
	if err := e.replace(ctx, in.Site, in.Replaces, session.Email, hash); err != nil {
		return Session{}, err
	}
	return session, nil
}

// replace ends the session that another one, of the address and with the hash,
// follows in the same browser.
func (e *Engine) replace(ctx context.Context, site *Site, secret, email, by string) error {
	if secret == "" {
		return nil
	}
	err := e.sessions.change(ctx, e.sessionHash(secret), time.Hour, func(old *Session) (*Session, error) {
		switch {
		case old == nil || old.Site != site.Host:
			return nil, ErrNoSession
		case old.Email != email:
			return nil, nil // nobody's streams live on
		}
		old.ReplacedBy = by
		return old, nil
	})
	if err != nil && !errors.Is(err, ErrNoSession) {
		return fmt.Errorf("ending the session before: %w", err)
	}
	e.node.streams.sweep()
	return nil
}

// Identify returns the live session of the site that the secret belongs to, or
// ErrNoSession. It counts as activity. The session is shared: it must not be
// changed.
func (e *Engine) Identify(ctx context.Context, site *Site, secret string) (*Session, error) {
	session, err := e.identify(ctx, site, secret, e.now())
	if err != nil {
		return nil, err
	}
	return &session.Session, nil
}

func (e *Engine) identify(ctx context.Context, site *Site, secret string, now time.Time) (*liveSession, error) {
	if len(secret) != secretTextLength {
		return nil, ErrNoSession
	}
	hash := e.sessions.hashes.get(secret)
	known := hash != ""
	if !known {
		hash = e.sessionHash(secret)
	}
	session, err := e.sessions.load(ctx, hash)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNoSession
	}
	if err != nil {
		return nil, err
	}
	if session.Site != site.Host || !session.live(now) {
		return nil, ErrNoSession
	}
	if !known { // only of sessions that there are: others would fill the memory
		e.sessions.hashes.put(secret, hash)
	}
	e.touch(ctx, session, now)
	return session, nil
}

// touchTime bounds how long a request waits for LastSeen to be written.
const touchTime = time.Second

// touch notes that the session was used. Failing to is no reason to refuse
// anybody: a full disk keeps serving those who are in.
func (e *Engine) touch(ctx context.Context, s *liveSession, now time.Time) {
	if now.Before(s.touchFrom) || now.Unix() < e.touchAfter.Load() || !s.noting.CompareAndSwap(false, true) {
		return
	}
	defer s.noting.Store(false)
	writing, cancel := context.WithTimeout(ctx, touchTime)
	defer cancel()
	err := e.sessions.change(writing, s.hash, s.Expires.Sub(now), func(old *Session) (*Session, error) {
		if old == nil || old.ReplacedBy != "" {
			return nil, ErrNoSession // ended meanwhile: it must not come back
		}
		old.LastSeen = now
		return old, nil
	})
	if err != nil && !errors.Is(err, ErrNoSession) && ctx.Err() == nil {
		e.touchAfter.Store(now.Unix() + 10)
		e.log.Warn("cannot note that a session was used", "site", s.Site, "error", err)
	}
}

// End ends the session that the secret belongs to, if it is one of the site.
// When it returns nil, the session is over for good.
func (e *Engine) End(ctx context.Context, site *Site, secret string) error {
	if secret == "" {
		return nil
	}
	ctx, cancel := unhurried(ctx)
	defer cancel()
	if err := e.end(ctx, site.Host, e.sessionHash(secret)); err != nil {
		return fmt.Errorf("ending session: %w", err)
	}
	return nil
}

// user is what is kept of an address beyond its sessions.
type user struct {
	Subject string `json:"subject"`
}

// subject returns the random id of an address, which its first sign-in makes.
func (e *Engine) subject(ctx context.Context, email string) (string, error) {
	known, err := store.Load[user](ctx, e.store, "user/"+email)
	if err == nil {
		return known.Subject, nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return "", fmt.Errorf("loading the subject of an address: %w", err)
	}
	var subject string
	err = store.Change(ctx, e.store, "user/"+email, 0, func(old *user) (*user, error) {
		if old == nil {
			old = &user{Subject: base64.RawURLEncoding.EncodeToString(randomBytes(16))}
		}
		subject = old.Subject
		return old, nil
	})
	if err != nil {
		return "", fmt.Errorf("saving the subject of an address: %w", err)
	}
	return subject, nil
}
