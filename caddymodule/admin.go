package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/mail"
)

// Paths of the admin API that `caddy email-auth` asks.
const (
	adminSessions = "/" + directive + "/sessions"
	adminRevoke   = "/" + directive + "/revoke"
	adminRotate   = "/" + directive + "/keys/rotate"
	adminTestMail = "/" + directive + "/test-mail"
	adminAssert   = "/" + directive + "/assertion"
	adminCheck    = "/" + directive + "/check"
)

// AdminAPI are the routes of Caddy's admin API for `caddy email-auth`. They are for
// whoever may use that API, which can load another configuration as well.
type AdminAPI struct{}

// CaddyModule returns the module's information.
func (AdminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api." + directive, New: func() caddy.Module { return new(AdminAPI) }}
}

// Routes are those of the admin API.
func (AdminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: adminSessions, Handler: adminHandler(http.MethodGet, listSessions)},
		{Pattern: adminRevoke, Handler: adminHandler(http.MethodPost, revokeSessions)},
		{Pattern: adminRotate, Handler: adminHandler(http.MethodPost, rotateKeys)},
		{Pattern: adminTestMail, Handler: adminHandler(http.MethodPost, testMail)},
		{Pattern: adminCheck, Handler: adminHandler(http.MethodGet, checkAddress)},
		{Pattern: adminAssert, Handler: adminHandler(http.MethodPost, testAssertion)},
	}
}

// adminHandler answers with JSON of what call returns. The app is that of the
// configuration in force: these routes may be of one that failed to load.
func adminHandler(method string, call func(*App, *http.Request) (any, error)) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != method {
			return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: fmt.Errorf("%s takes %s", r.URL.Path, method)}
		}
		if method == http.MethodPost && r.Header.Get("Content-Type") != "application/json" {
			// What a page of another site can send without being asked first.
			return caddy.APIError{HTTPStatus: http.StatusUnsupportedMediaType, Err: errors.New("send application/json")}
		}
		app, err := caddy.ActiveContext().AppIfConfigured(directive)
		if err != nil {
			return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("the configuration in force has no email_auth")}
		}
		answer, err := call(app.(*App), r)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(answer)
	}
}

// sessionQuery is whose sessions a call is about.
type sessionQuery struct {
	// An address, or *@ and a domain.
	Address string `json:"address,omitempty"`
	Site    string `json:"site,omitempty"`
	Session string `json:"session,omitempty"`
}

func (q sessionQuery) parse() (gateway.SessionQuery, error) {
	query := gateway.SessionQuery{Site: q.Site, ID: q.Session}
	var err error
	if domain, ok := strings.CutPrefix(q.Address, "*@"); ok {
		query.Domain, err = gateway.ParseDomain(domain)
	} else if q.Address != "" {
		query.Email, err = gateway.ParseAddress(q.Address)
	}
	switch {
	case err != nil:
		return query, badRequest(fmt.Errorf("%q: %w", q.Address, err))
	case q.Site != "" && gateway.NormalHost(q.Site) != q.Site:
		return query, badRequest(fmt.Errorf("site %q: write its host alone, as in wiki.example.com", q.Site))
	case q.Session != "" && len(q.Session) != gateway.SessionIDLength:
		return query, badRequest(fmt.Errorf("session %q: write an id as `caddy email-auth sessions` lists it", q.Session))
	}
	return query, nil
}

func badRequest(err error) error { return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err} }

// foundSession is a session as the admin API tells of it.
type foundSession struct {
	ID       string    `json:"id"`
	Address  string    `json:"address"`
	Site     string    `json:"site"`
	Method   string    `json:"method"`
	Device   string    `json:"device"`
	Network  string    `json:"network"`
	SignedIn time.Time `json:"signed_in"`
	LastSeen time.Time `json:"last_seen"`
	Expires  time.Time `json:"expires"`
}

type foundSessions struct {
	Sessions []foundSession `json:"sessions"`
	// More says that there are more than were asked for.
	More bool `json:"more"`
}

// maxFound is how many sessions a call lists where it names no number.
const maxFound = 1000

var errEnough = errors.New("enough were found")

func listSessions(app *App, r *http.Request) (any, error) {
	asked := r.URL.Query()
	for name := range asked {
		if !slices.Contains([]string{"address", "site", "session", "limit"}, name) {
			return nil, badRequest(fmt.Errorf("%q: write address, site, session or limit", name))
		}
	}
	query, err := sessionQuery{asked.Get("address"), asked.Get("site"), asked.Get("session")}.parse()
	if err != nil {
		return nil, err
	}
	limit := maxFound
	if text := asked.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 {
			return nil, badRequest(fmt.Errorf("limit %q: write a number from 1", text))
		}
	}
	found := foundSessions{Sessions: []foundSession{}}
	err = app.engine.FindSessions(r.Context(), query, func(s gateway.ListedSession) error {
		if len(found.Sessions) == limit {
			found.More = true
			return errEnough
		}
		found.Sessions = append(found.Sessions, foundSession{
			s.ID, s.Email, s.Site, s.Method, s.Device, s.Network, s.SignedIn, s.LastSeen, s.Expires,
		})
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	return found, nil
}

func revokeSessions(app *App, r *http.Request) (any, error) {
	var asked sessionQuery
	if err := readJSON(r, &asked); err != nil {
		return nil, err
	}
	query, err := asked.parse()
	if err != nil {
		return nil, err
	}
	if query == (gateway.SessionQuery{Site: query.Site}) {
		return nil, badRequest(errors.New("name an address, a domain or a session"))
	}
	revoked, err := app.engine.Revoke(r.Context(), query)
	if err != nil {
		return nil, err
	}
	app.log.Info("sessions revoked", "who", asked.Address, "site", query.Site, "session", query.ID, "number", revoked)
	return map[string]int{"revoked": revoked}, nil
}

func rotateKeys(app *App, _ *http.Request) (any, error) {
	from, err := app.engine.RotateKeys()
	if err != nil {
		return nil, err
	}
	return map[string]time.Time{"active_from": from}, nil
}

// testMailTime bounds how long the mail server may take.
const testMailTime = time.Minute

func testMail(app *App, r *http.Request) (any, error) {
	var asked struct {
		Address string `json:"address"`
	}
	if err := readJSON(r, &asked); err != nil {
		return nil, err
	}
	address, err := gateway.ParseAddress(asked.Address)
	if err != nil {
		return nil, badRequest(fmt.Errorf("%q: %w", asked.Address, err))
	}
	ctx, cancel := context.WithTimeout(r.Context(), testMailTime)
	defer cancel()
	began := time.Now()
	if err := app.engine.TestMail(ctx, app.transport, address); err != nil {
		reason := err.Error()
		if known, ok := errors.AsType[*mail.Error](err); ok {
			reason = known.Reason
		}
		return nil, caddy.APIError{HTTPStatus: http.StatusBadGateway, Err: fmt.Errorf("the mail was not taken: %s", reason)}
	}
	answer := map[string]any{"address": address, "seconds": time.Since(began).Seconds()}
	if app.SMTP == nil {
		answer["mail_dir"] = app.mails
	}
	return answer, nil
}

func testAssertion(app *App, r *http.Request) (any, error) {
	var asked struct {
		Address string `json:"address"`
		Site    string `json:"site"`
		Broken  string `json:"broken"`
	}
	if err := readJSON(r, &asked); err != nil {
		return nil, err
	}
	address, err := gateway.ParseAddress(asked.Address)
	if err != nil {
		return nil, badRequest(fmt.Errorf("%q: %w", asked.Address, err))
	}
	site := app.publicSite(asked.Site)
	if site == nil {
		return nil, badRequest(fmt.Errorf("site %q: there is none; write the host of one, as in wiki.example.com", asked.Site))
	}
	token, err := app.engine.TestAssertion(r.Context(), site, address, asked.Broken)
	if err != nil {
		return nil, badRequest(err)
	}
	app.log.Warn("an assertion was made to test an upstream with", "site", asked.Site, "email", address, "broken", asked.Broken)
	return map[string]string{"assertion": token, "origin": site.Origin}, nil
}

func checkAddress(app *App, r *http.Request) (any, error) {
	asked := r.URL.Query()
	address, err := gateway.ParseAddress(asked.Get("address"))
	if err != nil {
		return nil, badRequest(fmt.Errorf("%q: %w", asked.Get("address"), err))
	}
	return app.explain(address, asked.Get("url"))
}

// publicSite is the site of the host as its visitors reach it: with the origin that
// it states, or by the port that its server listens at. Nil: there is none.
func (a *App) publicSite(host string) *gateway.Site {
	app, err := a.httpApp()
	if err != nil {
		return nil
	}
	for _, h := range a.handlers {
		server := app.Servers[h.place.server]
		if server == nil || !a.isFor(h, host) {
			continue
		}
		key := siteKey{host: host, scheme: "http", port: onlyPort(server)}
		if len(server.TLSConnPolicies) > 0 {
			key.scheme = "https"
		}
		if h.origin != "" && !isWildcard(h.host) {
			key = siteKey{host: host}
		}
		return h.cached(key)
	}
	return nil
}

// onlyPort is the port that a server listens at, or "" where there are several.
func onlyPort(server *caddyhttp.Server) string {
	port := uint(0)
	for _, address := range server.Listen {
		parsed, err := caddy.ParseNetworkAddress(address)
		if err != nil || parsed.IsUnixNetwork() || parsed.PortRangeSize() != 1 || port != 0 && parsed.StartPort != port {
			return ""
		}
		port = parsed.StartPort
	}
	return strconv.Itoa(int(port))
}

// maxAdminBody is more than any call needs, in bytes.
const maxAdminBody = 4 << 10

func readJSON(r *http.Request, to any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxAdminBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(to); err != nil {
		return badRequest(fmt.Errorf("reading the request: %w", err))
	}
	return nil
}

var _ caddy.AdminRouter = AdminAPI{}
