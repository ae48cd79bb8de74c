package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/headless"
	"github.com/postern-auth/postern/pages"
)

// Portal answers for a site of its own: the headless API, by which applications
// that have sign-in pages of their own send and verify mails.
type Portal struct {
	// The applications. At least one.
	Clients []Client `json:"clients,omitempty"`
	// Where a Caddyfile has it, for messages.
	Source string `json:"source,omitempty"`

	app     *App
	clients []*gateway.Client
	server  *caddyhttp.Server // nil where it is not known
}

// Client is one application.
type Client struct {
	// Names the application: letters, digits, "-", "_" and ".". Required.
	ID string `json:"id,omitempty"`
	// What it is: api, an application with sign-in pages of its own. Required.
	Kind string `json:"kind,omitempty"`
	// What it authenticates with: a placeholder, the secret itself, sha256: and
	// its SHA-256 in hex, or a bcrypt hash. Required.
	Secret string `json:"secret,omitempty"`
	// Where mailed links may lead. Needed where mails carry links.
	RedirectURIs []string `json:"redirect_uris,omitempty"`
	// Who may be mailed. Default: anyone.
	Allow []string `json:"allow,omitempty"`
	// Who may not, even if allowed.
	Deny []string `json:"deny,omitempty"`
	// A folder with mails of its own. Default: those that are built in.
	Templates string `json:"templates,omitempty"`
	// Limits by name; mails is the only one. Default: mails, 1000 in 1h.
	Limits map[string]Limit `json:"limits,omitempty"`
	// Where a Caddyfile has it, and some of its options by their names, for
	// messages.
	Source  string            `json:"source,omitempty"`
	Sources map[string]string `json:"sources,omitempty"`
}

// CaddyModule returns the module's information.
func (*Portal) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers." + portalDirective, New: func() caddy.Module { return new(Portal) }}
}

// Provision checks the clients, and has the server speak HTTP/2 without TLS too.
func (p *Portal) Provision(ctx caddy.Context) error {
	app, err := ctx.App(directive)
	if err != nil {
		return err
	}
	p.app = app.(*App)
	if len(p.Clients) == 0 {
		return sourced(p.Source, errors.New(portalDirective+" serves nobody: write a client"))
	}
	for i, config := range p.Clients {
		client, err := config.provision(p.app)
		if err != nil {
			return sourced(config.Source, err)
		}
		if slices.ContainsFunc(p.clients, func(other *gateway.Client) bool { return other.ID == config.ID }) {
			return sourced(p.Clients[i].Source, fmt.Errorf("client %s is there twice: keep one", config.ID))
		}
		p.clients = append(p.clients, client)
	}
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		// Its routes are being provisioned, as those of a door: see Handler.
		if err := checkPortals(server); err != nil {
			return err
		}
		p.server = server
		speakH2C(server)
	}
	return p.app.registerPortal(p)
}

// speakH2C lets a server that takes HTTP/2 with TLS take it without, too: gRPC
// needs HTTP/2, and an SDK on this machine may come in plain. A server whose
// operator wants no HTTP/2 is left alone.
func speakH2C(server *caddyhttp.Server) {
	add := func(protocols []string) []string {
		if slices.Contains(protocols, "h2c") || !slices.Contains(protocols, "h2") {
			return protocols
		}
		return append(slices.Clone(protocols), "h2c")
	}
	server.Protocols = add(server.Protocols)
	for i := range server.ListenProtocols {
		server.ListenProtocols[i] = add(server.ListenProtocols[i])
	}
}

func (c *Client) provision(app *App) (*gateway.Client, error) {
	switch c.Kind {
	case "api":
	case "web", "native":
		return nil, fmt.Errorf("client %s: kind %s is not built yet; write api", c.ID, c.Kind)
	default:
		return nil, fmt.Errorf("client %s: kind %q: write api", c.ID, c.Kind)
	}
	config := gateway.ClientConfig{ID: c.ID, RedirectURIs: c.RedirectURIs, Groups: app.config.Groups, Source: c.Source}
	var err error
	if config.Secret, err = c.secret(); err != nil {
		return nil, sourced(c.Sources["secret"], fmt.Errorf("client %s: secret: %w", c.ID, err))
	}
	if config.Allow, err = app.whoOf(c.Allow); err != nil {
		return nil, err
	}
	if config.Deny, err = app.whoOf(c.Deny); err != nil {
		return nil, err
	}
	for name, limit := range c.Limits {
		if name != "mails" {
			return nil, fmt.Errorf("client %s: limit %q: write mails", c.ID, name)
		}
		config.Mails = gateway.Limit{Count: limit.Count, Window: time.Duration(limit.Window)}
	}
	if len(c.RedirectURIs) == 0 && app.config.Method != gateway.MethodCode {
		return nil, fmt.Errorf("client %s has no redirect_uri, and mails carry links: write where they lead, as in `%s`, or `method code` in the global option email_auth", c.ID, usages["redirect_uri"].example)
	}
	if config.Letters, err = c.letters(app.config); err != nil {
		return nil, sourced(c.Sources["templates"], fmt.Errorf("client %s: templates: %w", c.ID, err))
	}
	return gateway.NewClient(config)
}

func (c *Client) secret() (gateway.Secret, error) {
	if c.Secret == "" {
		return gateway.Secret{}, fmt.Errorf("write one, as in `%s`", usages["secret"].example)
	}
	expanded, err := expand(c.Secret)
	if err != nil {
		return gateway.Secret{}, err
	}
	return gateway.ParseSecret(expanded)
}

func (c *Client) letters(shared gateway.Config) (*pages.AppMails, error) {
	folder, err := expandOptional(c.Templates)
	if err != nil || folder == "" {
		return nil, err
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return nil, err
	}
	letters, err := pages.LoadAppMails(os.DirFS(folder), shared.MailForms(len(c.RedirectURIs) > 0)...)
	if err != nil {
		return nil, fmt.Errorf("in %s: %w", folder, err)
	}
	return letters, nil
}

// whoOf reads entries, of which groups must be there.
func (a *App) whoOf(texts []string) ([]gateway.Who, error) {
	all, err := parseAll(texts)
	if err != nil {
		return nil, err
	}
	for _, who := range all {
		if name, ok := who.Group(); ok && !a.config.Groups.Has(name) {
			return nil, noSuchGroup(name)
		}
	}
	return all, nil
}

func noSuchGroup(name string) error {
	return fmt.Errorf("group:%s: there is no such group; define it in the global option email_auth, as in `group %s ann@example.com`", name, name)
}

// ServeHTTP answers every request for the portal's host.
func (p *Portal) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	ctx := r.Context()
	if holdsSecret(r.URL.RawQuery) {
		caddyhttp.SetVar(ctx, caddyhttp.LogSkipVar, true) // a client's mistake must not leave it in the access log
	}
	if !p.app.started(ctx) {
		gateway.Unserved(w, r, false, http.StatusServiceUnavailable, startingUp)
		return nil
	}
	clientIP, _ := caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string)
	trusted, _ := caddyhttp.GetVar(ctx, caddyhttp.TrustedProxyVarKey).(bool)
	p.app.headless.Handle(w, r, headless.Incoming{ClientIP: clientIP, TrustedProxy: trusted})
	return nil
}

// holdsSecret says whether a query may hold a token, a secret or a code.
func holdsSecret(query string) bool {
	query = strings.ToLower(query)
	return strings.Contains(query, "token") || strings.Contains(query, "secret") || strings.Contains(query, "code=")
}

// public says whether others than this machine reach the portal.
func (p *Portal) public() bool {
	if p.server == nil || listensOnLoopback(p.server.Listen) {
		return p.server == nil
	}
	hosts, found := p.hosts(p.server.Routes, nil)
	return !found || len(hosts) == 0 || slices.ContainsFunc(hosts, func(host string) bool { return !gateway.IsLoopbackName(host) })
}

// hosts are those that the matchers around the portal name, in provisioned
// routes inside those for the hosts above.
func (p *Portal) hosts(routes caddyhttp.RouteList, above []string) (hosts []string, found bool) {
	for _, route := range routes {
		inside := above
		if sets, err := matcherSets(route); err == nil && len(sets) > 0 && len(sets[0].hosts) > 0 {
			inside = sets[0].hosts
		}
		for _, handler := range route.Handlers {
			switch h := handler.(type) {
			case *Portal:
				if h == p {
					return inside, true
				}
			case *caddyhttp.Subroute:
				if hosts, found := p.hosts(h.Routes, inside); found {
					return hosts, true
				}
			}
		}
	}
	return nil, false
}

// registerPortal notes the portal of this configuration. A site with several
// addresses has it several times over.
func (a *App) registerPortal(p *Portal) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, other := range a.portals {
		if other.Source != p.Source || !reflect.DeepEqual(other.Clients, p.Clients) {
			return sourced(p.Source, fmt.Errorf("there is another %s (%s): put all clients into one", portalDirective, other.Source))
		}
	}
	a.portals = append(a.portals, p)
	return nil
}

// clients are those of the portal, by their id.
func (a *App) clients() map[string]*gateway.Client {
	clients := make(map[string]*gateway.Client)
	for _, portal := range a.portals {
		for _, client := range portal.clients {
			clients[client.ID] = client
		}
	}
	return clients
}

// openPortal makes what answers for the portal, where there is one.
func (a *App) openPortal(engine *gateway.Engine) error {
	if len(a.portals) == 0 {
		return nil
	}
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "postern", Subsystem: "headless", Name: "requests_total",
		Help: "Calls of the headless API, by client, call and result.",
	}, []string{"client", "call", "result"})
	if err := a.ctx.GetMetricsRegistry().Register(requests); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	a.headless = headless.New(headless.Config{
		Engine: engine, Log: a.log,
		Observe: func(client, call, result string) { requests.WithLabelValues(client, call, result).Inc() },
	})
	return nil
}

var (
	_ caddy.Provisioner           = (*Portal)(nil)
	_ caddyhttp.MiddlewareHandler = (*Portal)(nil)
)
