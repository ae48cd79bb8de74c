package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/headless"
	"github.com/postern-auth/postern/gateway/mail"
)

// App keeps what all sites with a sign-in by email share: the mail, the store,
// the limits, the groups. Every field has a usable default, so that an empty app
// serves for trying it out.
type App struct {
	// The mailbox that mails come from. Required with smtp.
	From string `json:"from,omitempty"`
	// How to reach the mail server. Default: none; mails go to mail_dir.
	SMTP *SMTP `json:"smtp,omitempty"`
	// The folder that mails are written to where there is no mail server.
	// Default: email_auth/mail in Caddy's data folder.
	MailDir string `json:"mail_dir,omitempty"`
	// Where state is kept. Default: Badger in email_auth in Caddy's data folder.
	Store *Store `json:"store,omitempty"`
	// What a mail carries: both, code or link. Default: both.
	Method string `json:"method,omitempty"`
	// What codes look like. Default: 6 digits.
	Code *Code `json:"code,omitempty"`
	// How long credentials live, 1m to 1h. Default: 10m.
	Expires caddy.Duration `json:"expires,omitempty"`
	// Whether a link works only in the browser that asked: on or off. Default: on.
	SameBrowser string `json:"same_browser,omitempty"`
	// Whether a resend keeps the credentials or renews them: keep or renew.
	// Default: keep.
	Resend string `json:"resend,omitempty"`
	// How long sessions live. Default: 7d, idle 3d.
	Session *Session `json:"session,omitempty"`
	// Limits by name: mails, attempts, network, total.
	Limits map[string]Limit `json:"limits,omitempty"`
	// Named groups of addresses.
	Groups []Group `json:"groups,omitempty"`
	// What pages and mails show of the installation. Default: nothing.
	Brand *Brand `json:"brand,omitempty"`
	// A folder with templates of pages and mails. Default: those that are built in.
	Templates string `json:"templates,omitempty"`
	// The path that all pages are below. Default: /.auth.
	Prefix string `json:"prefix,omitempty"`
	// Where a Caddyfile has it, and some of its options by their names, for
	// messages.
	Source  string            `json:"source,omitempty"`
	Sources map[string]string `json:"sources,omitempty"`

	log    *slog.Logger
	config gateway.Config
	folder string // of the store
	mails  string // the folder of mails, without a mail server
	ctx    caddy.Context

	mu       sync.Mutex
	handlers []*Handler
	portals  []*Portal

	transport  mail.Transport
	node       *sharedNode
	attachment *gateway.Attachment
	before     *slog.Logger // of the node, until this configuration started
	engine     *gateway.Engine
	door       *gateway.Door
	headless   *headless.Handler // nil without a portal
	ready      chan struct{}
}

// SMTP is a mail server.
type SMTP struct {
	// host:port of the server. Required.
	Address string `json:"address,omitempty"`
	// The name to sign in with. Default: no sign-in.
	Username string `json:"username,omitempty"`
	// The password, or the token for OAuth; placeholders are read anew for each
	// connection.
	Password string `json:"password,omitempty"`
	// auto, plain, login, oauthbearer, xoauth2 or none. Default: auto.
	Auth string `json:"auth,omitempty"`
	// starttls, implicit or none. Default: starttls; implicit on port 465.
	TLS string `json:"tls,omitempty"`
	// Signatures to add.
	DKIM []DKIM `json:"dkim,omitempty"`
	// Where a Caddyfile has it, and some of its options by their names, for
	// messages.
	Source  string            `json:"source,omitempty"`
	Sources map[string]string `json:"sources,omitempty"`
}

// DKIM is a signature that mails carry (RFC 6376).
type DKIM struct {
	Domain   string `json:"domain,omitempty"`
	Selector string `json:"selector,omitempty"`
	// A PEM file with an RSA or Ed25519 key.
	KeyFile string `json:"key_file,omitempty"`
	// Where a Caddyfile has it, for messages.
	Source string `json:"source,omitempty"`
}

// Store is where state is kept.
type Store struct {
	// badger is the only one there is yet.
	Backend string `json:"backend,omitempty"`
	// The folder, of mode 0700. Default: email_auth in Caddy's data folder.
	Folder string `json:"folder,omitempty"`
}

// Code says what codes look like.
type Code struct {
	// 6 to 12 characters. Default: 6.
	Length int `json:"length,omitempty"`
	// digits or letters. Default: digits.
	Alphabet string `json:"alphabet,omitempty"`
}

// Session says how long sessions live.
type Session struct {
	// After the sign-in. Default: 7d.
	Lifetime caddy.Duration `json:"lifetime,omitempty"`
	// Without a request. Default: 3d, or lifetime where that is shorter.
	Idle caddy.Duration `json:"idle,omitempty"`
}

func (s *Session) terms() gateway.SessionTerms {
	if s == nil {
		return gateway.SessionTerms{}
	}
	return gateway.SessionTerms{Lifetime: time.Duration(s.Lifetime), Idle: time.Duration(s.Idle)}
}

// Limit is a number of events in a window of time.
type Limit struct {
	Count  int            `json:"count,omitempty"`
	Window caddy.Duration `json:"window,omitempty"`
}

// Group is a named group of addresses.
type Group struct {
	Name string `json:"name,omitempty"`
	// Addresses and domains.
	Who []string `json:"who,omitempty"`
	// A file with one of them a line.
	File string `json:"file,omitempty"`
	// Where a Caddyfile has it, or the file if there is one, for messages.
	Source string `json:"source,omitempty"`
}

// CaddyModule returns the module's information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: directive, New: func() caddy.Module { return new(App) }}
}

// Provision checks the configuration. It opens nothing, so that `caddy validate`
// works beside a running server.
func (a *App) Provision(ctx caddy.Context) error {
	a.log = ctx.Slogger()
	a.ctx = ctx
	a.ready = make(chan struct{})
	var err error
	if a.folder, err = a.storeFolder(); err != nil {
		return sourced(a.at("store"), err)
	}
	if a.config, err = a.gatewayConfig(); err != nil {
		return sourced(a.Source, err)
	}
	if a.SMTP == nil {
		a.mails, err = a.mailFolder()
		return sourced(a.at("mail_dir"), err)
	}
	return sourced(a.SMTP.Source, a.checkMail())
}

// at is where a Caddyfile has an option, or the app where it has not.
func (a *App) at(option string) string { return cmp.Or(a.Sources[option], a.Source) }

// sourcedError says where a Caddyfile has what the error is about.
type sourcedError struct {
	source string
	err    error
}

func (e *sourcedError) Error() string { return e.source + ": " + e.err.Error() }

func (e *sourcedError) Unwrap() error { return e.err }

// sourced adds where a Caddyfile has what the error is about. An error that says
// so already is left as it is: it knows better.
func sourced(source string, err error) error {
	_, knows := errors.AsType[*sourcedError](err)
	if err == nil || source == "" || knows {
		return err
	}
	return &sourcedError{source, err}
}

// Start opens the store, which is shared with the configuration before, and puts
// this configuration in force.
func (a *App) Start() error {
	if err := a.bind(); err != nil {
		return err
	}
	var err error
	if a.node, err = openNode(a.folder, a.log); err != nil {
		return sourced(a.at("store"), err) // before anything is made
	}
	transport, err := a.newTransport()
	if err != nil {
		return sourced(a.at("mail_dir"), err)
	}
	a.transport = transport // only now: of a failed one there is nothing to close
	a.config.Clients = a.clients()
	engine, err := gateway.NewEngine(a.node.Node, a.config)
	if err != nil {
		return err
	}
	if err := a.openPortal(engine); err != nil {
		return err
	}
	a.engine, a.door = engine, gateway.NewDoor(engine)
	a.attachment = &gateway.Attachment{Engine: engine, Transport: a.transport, MayEnter: a.mayEnter}
	a.node.Attach(a.attachment)
	a.before = a.node.log.Swap(a.log)
	close(a.ready)
	return nil
}

// Stop does nothing: requests under way still need everything. Cleanup follows.
func (a *App) Stop() error { return nil }

// Cleanup releases what this configuration acquired, however far it came.
func (a *App) Cleanup() error {
	if a.attachment != nil && a.node.Detach(a.attachment) {
		a.node.log.CompareAndSwap(a.log, a.before) // where this one failed to load
	}
	var err error
	if a.node != nil {
		err = a.node.release()
	}
	if a.transport != nil {
		err = errors.Join(err, a.transport.Close())
	}
	return err
}

// bind finds the handlers in the provisioned routes of the HTTP app.
func (a *App) bind() error {
	if len(a.handlers) == 0 {
		return nil
	}
	app, err := a.httpApp()
	if err != nil {
		return err
	}
	bound := make(map[*Handler]bool)
	for name, server := range app.Servers {
		var here []*Handler
		var changing []placement
		err := walkAll(server, a.config.Prefix, func(place placement, h *Handler) error {
			place.server = name
			here = append(here, h) // each place in the routes has a handler of its own
			bound[h], h.place = true, place
			return h.parseOrigin() // which it may have of another one of its site
		}, func(place placement, other caddyhttp.MiddlewareHandler) {
			if place.server = name; changesTarget(other) {
				changing = append(changing, place)
			}
		})
		if err != nil {
			return err
		}
		for _, h := range here {
			h.rule.ByTarget = h.rule.ByTarget && !h.place.again && !slices.ContainsFunc(changing, func(other placement) bool { return !h.place.apart(other) })
			h.alone = !h.place.again && !slices.ContainsFunc(here, func(other *Handler) bool {
				return other != h && !h.place.apart(other.place)
			})
		}
	}
	for _, h := range a.handlers {
		if !bound[h] {
			return fmt.Errorf("%semail_auth stands where it cannot be found; put it at the level of a site", h.at())
		}
	}
	return nil
}

func (a *App) httpApp() (*caddyhttp.App, error) {
	app, err := a.ctx.App("http")
	if err != nil {
		return nil, err
	}
	return app.(*caddyhttp.App), nil
}

// mayEnter says whether any directive that is for the host admits the address.
func (a *App) mayEnter(host, address string) bool {
	for _, h := range a.handlers {
		if a.isFor(h, host) && h.siteOf(host).MayEnter(address) {
			return true
		}
	}
	return false
}

// isFor says whether the handler is one of the host's: where one of its server
// names the host, and all requests for it end there, none comes to a wildcard.
func (a *App) isFor(h *Handler, host string) bool {
	if h.servesExactly(host) {
		return true
	}
	return h.serves(host) && !slices.ContainsFunc(a.handlers, func(other *Handler) bool {
		return other.servesExactly(host) && other.place.takesFrom(h.place)
	})
}

// register notes a handler of this configuration.
func (a *App) register(h *Handler) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.handlers = append(a.handlers, h)
}

// startTime is how long a request waits for the app: Caddy starts apps in no
// fixed order.
const startTime = 10 * time.Second

// wait returns the door once the app has started, or nil where it does not.
func (a *App) wait(ctx context.Context) *gateway.Door {
	if !a.started(ctx) {
		return nil
	}
	return a.door
}

// started waits until the app has started, or says that it does not.
func (a *App) started(ctx context.Context) bool {
	select {
	case <-a.ready:
		return true
	default:
	}
	timer := time.NewTimer(startTime)
	defer timer.Stop()
	select {
	case <-a.ready:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return false
}

var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
