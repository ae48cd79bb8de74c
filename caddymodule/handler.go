package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/postern-auth/postern/gateway"
)

// Handler puts a sign-in by email in front of a site: requests that its matchers
// are for, as they came or as rewrites left them, pass with verified identity
// headers or not at all, and it answers below the prefix. Where a site has
// several, every one whose matchers match must admit.
type Handler struct {
	// Requests that the handler protects. Default: all.
	MatcherSetsRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`
	// Who may enter: addresses, *@domains, group:names or anyone. Required.
	Allow []string `json:"allow,omitempty"`
	// Who may not, even if allowed.
	Deny []string `json:"deny,omitempty"`
	// How old the sign-in may be. Default: as old as the session.
	MaxAge caddy.Duration `json:"max_age,omitempty"`
	// How long sessions of this site live. Default: as the app says.
	Session *Session `json:"session,omitempty"`
	// Further identity headers.
	Header []HeaderField `json:"header,omitempty"`
	// The public origin. Default: that of the site's address.
	Origin string `json:"origin,omitempty"`
	// Where a Caddyfile has it, for messages.
	Source string `json:"source,omitempty"`

	app    *App
	rule   *gateway.Rule
	rules  []*gateway.Rule // rule alone
	origin string          // "" where it is derived
	host   string          // of origin; may begin with "*."

	// place is set when the app starts: where in the routes this handler is.
	place placement
	// alone says that no request comes to another one too, or here again.
	alone     bool
	sites     siteCache[siteKey]
	requested siteCache[reached]
}

// HeaderField is one identity header.
type HeaderField struct {
	Field string `json:"field,omitempty"`
	// May hold placeholders, such as {http.auth.user.email}.
	Value string `json:"value,omitempty"`
}

// CaddyModule returns the module's information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers." + directive, New: func() caddy.Module { return new(Handler) }}
}

// Provision checks the handler and where it stands.
func (h *Handler) Provision(ctx caddy.Context) error {
	app, err := ctx.App(directive)
	if err != nil {
		return err
	}
	h.app = app.(*App)
	if err := h.provisionRule(ctx); err != nil {
		return fmt.Errorf("%s%w", h.at(), err)
	}
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		// This server's routes are being provisioned: its handlers, this one
		// among them, are still there as they were written.
		if err := walkServer(server, h.app.config.Prefix, checkPlace); err != nil {
			return err
		}
	}
	h.app.register(h)
	return nil
}

func (h *Handler) provisionRule(ctx caddy.Context) (err error) {
	rule := &gateway.Rule{MaxAge: time.Duration(h.MaxAge), Session: h.Session.terms(), Source: h.Source}
	if rule.Allow, err = h.app.whoOf(h.Allow); err != nil {
		return err
	}
	if rule.Deny, err = h.app.whoOf(h.Deny); err != nil {
		return err
	}
	rule.Header = h.fields()
	if err := h.parseOrigin(); err != nil {
		return err
	}
	if h.MatcherSetsRaw != nil {
		rule.ByTarget = byTarget(h.MatcherSetsRaw) // the raw text is gone when it is loaded
		if rule.Matches, err = h.loadMatchers(ctx); err != nil {
			return err
		}
		rule.Reread = reread
	}
	h.rule, h.rules = rule, []*gateway.Rule{rule}
	return rule.Validate()
}

// fields are the further identity headers, as the gateway takes them.
func (h *Handler) fields() []gateway.HeaderField {
	var fields []gateway.HeaderField
	for _, field := range h.Header {
		fields = append(fields, gateway.HeaderField{Name: http.CanonicalHeaderKey(field.Field), Value: field.Value})
	}
	return fields
}

// parseOrigin reads the origin, where there is one.
func (h *Handler) parseOrigin() (err error) {
	if h.Origin != "" {
		h.origin, h.host, err = gateway.ParseOrigin(h.Origin, true)
	}
	return err
}

// loadMatchers returns a function that fails closed: a matcher that cannot tell
// protects.
func (h *Handler) loadMatchers(ctx caddy.Context) (func(*http.Request) bool, error) {
	readsQuery := h.readsQuery() // the raw text is gone when it is loaded
	loaded, err := ctx.LoadModule(h, "MatcherSetsRaw")
	if err != nil {
		return nil, fmt.Errorf("matcher: %w", err)
	}
	var sets caddyhttp.MatcherSets
	if err := sets.FromInterface(loaded); err != nil {
		return nil, fmt.Errorf("matcher: %w", err)
	}
	return func(r *http.Request) bool {
		match, err := sets.AnyMatchWithError(r)
		return match || err != nil || readsQuery && malformedQuery(r)
	}, nil
}

// readsQuery says whether a matcher may decide by the query. Caddy's own takes one
// that cannot be read for one that does not match.
func (h *Handler) readsQuery() bool {
	return slices.ContainsFunc(h.MatcherSetsRaw, func(set caddy.ModuleMap) bool {
		text, err := json.Marshal(set)
		return err != nil || bytes.Contains(text, []byte("query"))
	})
}

func malformedQuery(r *http.Request) bool {
	_, err := url.ParseQuery(r.URL.RawQuery)
	return err != nil
}

// at is where the handler was written, for the beginning of a message.
func (h *Handler) at() string {
	if h.Source == "" {
		return ""
	}
	return h.Source + ": "
}

const startingUp = "This site is just being started. Please try again in a moment."

// ServeHTTP answers the request or passes it on.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	was := original(r)
	onPage := gateway.BelowPrefix(was.URL.Path, h.app.config.Prefix)
	if onPage && gateway.HoldsToken(was, h.app.config.Prefix) {
		caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	}
	door := h.app.wait(r.Context())
	if door == nil {
		gateway.Unserved(w, r, onPage, http.StatusServiceUnavailable, startingUp)
		return nil
	}
	p := &passage{request: r, next: next}
	site := h.site(r)
	if onPage {
		site = h.siteOfPage(was, site, p)
	}
	if site == nil {
		gateway.Unserved(w, r, onPage, http.StatusMisdirectedRequest, "This site is not served here under that name.")
		return nil
	}
	v := &p.visit
	v.Site, v.Original, v.Alone, v.Server = site, was, h.alone, p
	if onPage {
		v.Server = &pagePassage{passage: p}
	}
	return door.Handle(w, r, v, h.rules)
}

// passage is what Caddy does for the door with one request.
type passage struct {
	visit    gateway.Visit
	request  *http.Request // as it came here
	next     caddyhttp.Handler
	identity *gateway.Identity
}

// ClientIP is what Caddy takes for the client's address.
func (p *passage) ClientIP() string {
	ip, _ := caddyhttp.GetVar(p.request.Context(), caddyhttp.ClientIPVarKey).(string)
	return ip
}

// TrustedProxy says whether Caddy trusts the direct peer.
func (p *passage) TrustedProxy() bool {
	trusted, _ := caddyhttp.GetVar(p.request.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}

// Admitted tells Caddy who the user is, as its own authentication does, and that
// it is nobody else, whatever a handler before this one has said. Placeholders are
// worked out when they are asked for, which is cheaper than to set them.
func (p *passage) Admitted(id *gateway.Identity) {
	p.identity = id
	repl := replacerOf(p.request)
	repl.DeleteByPrefix(userPlaceholder)
	repl.Map(p.placeholder)
}

const userPlaceholder = "http.auth.user."

func (p *passage) placeholder(key string) (any, bool) {
	if value, ok := p.user(key); ok {
		return value, true
	}
	return nil, false
}

// user is the value of a placeholder that is ours.
func (p *passage) user(key string) (string, bool) {
	field, ok := strings.CutPrefix(key, userPlaceholder)
	if !ok {
		return "", false
	}
	switch field {
	case "id", "email":
		return p.identity.Email, true
	case "groups":
		return p.identity.Groups, true
	case "method":
		return p.identity.Method, true
	}
	return "", false
}

// Expand fills the placeholders of a header's value, which mostly is one of ours.
func (p *passage) Expand(value string) string {
	if strings.HasPrefix(value, "{"+userPlaceholder) && strings.IndexByte(value, '}') == len(value)-1 {
		if own, ok := p.user(value[1 : len(value)-1]); ok {
			return own
		}
	}
	return replacerOf(p.request).ReplaceAll(value, "")
}

// Pose is for pages alone.
func (p *passage) Pose(*http.Request) {}

// pagePassage is that of a request for one of the door's own pages, at which
// another proxy may ask about a request.
type pagePassage struct {
	*passage
	asked *http.Request
}

// Pose gives the request placeholders of its own.
func (p *pagePassage) Pose(asked *http.Request) {
	original := http.Request{Method: asked.Method, RemoteAddr: asked.RemoteAddr, RequestURI: asked.RequestURI, URL: asked.URL}
	*asked = *asked.WithContext(context.WithValue(asked.Context(), caddyhttp.OriginalRequestCtxKey, original))
	reread(asked)
	p.asked = asked
}

// Expand fills the placeholders of the request that is asked about.
func (p *pagePassage) Expand(value string) string {
	if p.asked == nil {
		return p.passage.Expand(value)
	}
	repl := replacerOf(p.asked)
	repl.Map(p.placeholder)
	return repl.ReplaceAll(value, "")
}

func (p *passage) Next(w http.ResponseWriter, r *http.Request) error { return p.next.ServeHTTP(w, r) }

func replacerOf(r *http.Request) *caddy.Replacer {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
}

// original returns the request as it came, before rewrites.
func original(r *http.Request) *http.Request {
	was, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || was.Method == r.Method && was.RequestURI == r.RequestURI && sameTarget(was.URL, r.URL) {
		return r
	}
	before := *r
	before.Method, before.URL, before.RequestURI = was.Method, was.URL, was.RequestURI
	reread(&before)
	return &before
}

// sameTarget compares what of a URL a server reads from a request.
func sameTarget(a, b *url.URL) bool {
	return a.Path == b.Path && a.RawPath == b.RawPath && a.RawQuery == b.RawQuery && a.Opaque == b.Opaque && a.Host == b.Host && a.Scheme == b.Scheme
}

// reread makes a changed copy of a request ready for matchers, which read
// placeholders such as {path} of the context's replacer.
func reread(r *http.Request) {
	const began = "start_time" // which a new replacer sets anew
	start := caddyhttp.GetVar(r.Context(), began)
	caddyhttp.NewTestReplacer(r)
	caddyhttp.SetVar(r.Context(), began, start)
}

// public says whether others than this machine reach the site.
func (h *Handler) public() bool {
	if h.place.loopback || h.host != "" && gateway.IsLoopbackName(h.host) {
		return false
	}
	for _, host := range h.place.hosts {
		if !gateway.IsLoopbackName(host) {
			return true
		}
	}
	return len(h.place.hosts) == 0
}

var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
