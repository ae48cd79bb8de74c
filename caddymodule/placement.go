package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/postern-auth/postern/gateway"
)

// placement is where a handler stands in the routes of a server: what the
// matchers around it let through.
type placement struct {
	// server is the name of the server, once the app has started.
	server string
	// hosts are those that the matchers around name, wildcards included. Nil:
	// none does, so any host comes through.
	hosts []string
	// loopback says that the server is reached from this machine alone.
	loopback bool
	// blocked is a matcher around that keeps the pages away, if there is one.
	blocked string
	// route numbers the server's route that names the hosts, from 1: Caddy gives
	// each site one. 0: none does. terminal says that no other follows it.
	route    int
	terminal bool
	// choices are the routes around of which Caddy runs one in each group at most,
	// as it does with handle.
	choices []choice
	// again says that a request may come here more than once: by a named route.
	again bool
}

// choice is a route of a group, of which only the first that matches is run.
type choice struct {
	group string
	route int // numbers all routes of a server that are in groups
}

// apart says whether no request comes to both: they are in routes of different
// hosts that end there, as a wildcard site and one below it, or in two handle
// blocks of one site. Then they are of two sites.
func (p placement) apart(other placement) bool {
	if p.server != other.server {
		return true
	}
	if p.again || other.again {
		return false
	}
	if p.route != 0 && other.route != 0 && p.route != other.route && p.terminal && other.terminal {
		return true
	}
	for _, one := range p.choices {
		for _, another := range other.choices {
			if one.group == another.group && one.route != another.route {
				return true
			}
		}
	}
	return false
}

func (p placement) names(host string) bool {
	return slices.ContainsFunc(p.hosts, func(pattern string) bool { return gateway.MatchesHost(pattern, host) })
}

// found is told of each *Handler and *Portal in the routes. It is not provisioned
// where the routes are not yet.
type found func(placement, caddyhttp.MiddlewareHandler) error

// doors passes on what is a door of a site.
func doors(fn func(placement, *Handler) error) found {
	return func(at placement, h caddyhttp.MiddlewareHandler) error {
		if door, ok := h.(*Handler); ok {
			return fn(at, door)
		}
		return nil
	}
}

// walkServer finds the doors in the routes of a server, whether they are
// provisioned or not. prefix is that of the pages.
func walkServer(server *caddyhttp.Server, prefix string, fn func(placement, *Handler) error) error {
	at := placement{loopback: listensOnLoopback(server.Listen)}
	lets := func(set matcherSet) bool { return set.lets(prefix) }
	var all []spot
	walk := walker{lets: lets, found: doors(func(at placement, h *Handler) error {
		all = append(all, spot{at, h})
		return nil
	})}
	for i, route := range server.Routes {
		inside, err := at.within(route, lets)
		if err != nil {
			return err
		}
		numbered := at
		if inside.hosts != nil {
			numbered.route, numbered.terminal = i+1, route.Terminal
		}
		if err := walk.list(caddyhttp.RouteList{route}, numbered); err != nil {
			return err
		}
	}
	for _, route := range server.NamedRoutes {
		// Where a named route is invoked is not known here: any host may come.
		named := at
		named.again = true
		if err := walk.list(caddyhttp.RouteList{*route}, named); err != nil {
			return err
		}
	}
	if server.Errors != nil {
		inErrors := walker{lets: lets, found: doors(refuseInErrors)}
		if err := inErrors.list(server.Errors.Routes, at); err != nil {
			return err
		}
	}
	if err := shareOrigins(all); err != nil {
		return err
	}
	for _, p := range all {
		if err := fn(p.at, p.h); err != nil {
			return err
		}
	}
	return nil
}

// refuseInErrors refuses a handler that would be reached when all is over.
func refuseInErrors(_ placement, h *Handler) error {
	return fmt.Errorf("%semail_auth stands in handle_errors, where it protects nothing; put it at the level of the site", h.at())
}

// spot is a handler where it stands.
type spot struct {
	at placement
	h  *Handler
}

// shareOrigins gives an origin that one directive of a site states to the
// others, since it is the site's, and finds two that differ.
func shareOrigins(all []spot) error {
	for _, one := range all {
		if one.h.Origin == "" {
			continue
		}
		for _, other := range all {
			if !one.at.shares(other.at) {
				continue
			}
			if other.h.Origin != "" && other.h.Origin != one.h.Origin {
				return fmt.Errorf("%sorigin %s differs from that of another email_auth of the same site, %s (%s); write one origin", other.h.at(), other.h.Origin, one.h.Origin, one.h.Source)
			}
			other.h.Origin = one.h.Origin
		}
	}
	return nil
}

// shares says whether both stand in the same site: the matchers around name a
// host for both, or none for either.
func (p placement) shares(other placement) bool {
	if p.hosts == nil || other.hosts == nil {
		return p.hosts == nil && other.hosts == nil
	}
	return slices.ContainsFunc(p.hosts, func(host string) bool { return slices.Contains(other.hosts, host) })
}

func listensOnLoopback(addresses []string) bool {
	for _, address := range addresses {
		parsed, err := caddy.ParseNetworkAddress(address)
		if err != nil || parsed.IsUnixNetwork() {
			return false
		}
		ip, err := netip.ParseAddr(parsed.Host)
		if parsed.Host != "localhost" && (err != nil || !ip.IsLoopback()) {
			return false
		}
	}
	return len(addresses) > 0
}

// walker goes through the routes of a server.
type walker struct {
	// lets says whether a matcher set lets through what has to come.
	lets   func(matcherSet) bool
	found  found
	routes int // seen so far
}

func (w *walker) list(routes caddyhttp.RouteList, at placement) error {
	for _, route := range routes {
		inside, err := at.within(route, w.lets)
		if err != nil {
			return err
		}
		w.routes++
		if route.Group != "" {
			inside.choices = append(slices.Clone(at.choices), choice{route.Group, w.routes})
		}
		for _, handler := range route.Handlers {
			if err := w.handler(handler, inside); err != nil {
				return err
			}
		}
		if len(route.Handlers) > 0 {
			continue
		}
		for _, raw := range route.HandlersRaw {
			if err := w.raw(raw, inside); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *walker) handler(handler caddyhttp.MiddlewareHandler, at placement) error {
	switch h := handler.(type) {
	case *Handler, *Portal:
		return w.found(at, handler)
	case *caddyhttp.Subroute:
		return w.list(h.Routes, at)
	}
	return nil
}

func (w *walker) raw(raw json.RawMessage, at placement) error {
	var module struct {
		Handler string `json:"handler"`
	}
	if err := json.Unmarshal(raw, &module); err != nil {
		return fmt.Errorf("reading a handler: %w", err)
	}
	switch module.Handler {
	case directive:
		return w.rawHandler(raw, at, new(Handler))
	case portalDirective:
		return w.rawHandler(raw, at, new(Portal))
	case "subroute":
		var routes caddyhttp.Subroute
		if err := json.Unmarshal(raw, &routes); err != nil {
			return fmt.Errorf("reading a subroute: %w", err)
		}
		return w.list(routes.Routes, at)
	}
	return nil
}

// rawHandler finds one that is not provisioned yet.
func (w *walker) rawHandler(raw json.RawMessage, at placement, h caddyhttp.MiddlewareHandler) error {
	if err := json.Unmarshal(raw, h); err != nil {
		return fmt.Errorf("reading a handler: %w", err)
	}
	return w.found(at, h)
}

// within is the placement inside a route, which what has to come reaches where
// one of its matcher sets lets it through.
func (p placement) within(route caddyhttp.Route, lets func(matcherSet) bool) (placement, error) {
	sets, err := matcherSets(route)
	if err != nil || len(sets) == 0 {
		return p, err
	}
	inside, open, anyHost := p, false, false
	inside.hosts = nil
	for _, set := range sets {
		if lets(set) {
			open = true
			anyHost = anyHost || set.hosts == nil
			inside.hosts = append(inside.hosts, set.hosts...)
		}
	}
	if !open {
		inside.blocked = sets[0].text
	}
	if anyHost || !open {
		inside.hosts = p.hosts
	}
	return inside, nil
}

// matcherSet is what one of a route's matcher sets cares for.
type matcherSet struct {
	hosts []string // nil: not for the host
	paths []string // nil: not for the path
	other bool     // for something else
	text  string
}

// lets says whether a request for a page below the prefix can come through: where
// the set cares for nothing but the host, or for a path that covers the pages.
func (s matcherSet) lets(prefix string) bool {
	if s.other {
		return false
	}
	return s.paths == nil || slices.ContainsFunc(s.paths, func(path string) bool {
		stem, wild := strings.CutSuffix(path, "*")
		return wild && strings.HasPrefix(prefix+"/", stem)
	})
}

// letsAll says whether requests for any path can come through. What else the set
// cares for, such as the client's address, may be meant so.
func (s matcherSet) letsAll() bool {
	return s.paths == nil || slices.ContainsFunc(s.paths, func(path string) bool { return path == "*" || path == "/*" })
}

// matcherSets reads the matchers of a route in either form.
func matcherSets(route caddyhttp.Route) ([]matcherSet, error) {
	var sets []matcherSet
	for _, matchers := range route.MatcherSets {
		var set matcherSet
		for _, matcher := range matchers {
			set.add(matcher)
		}
		sets = append(sets, set)
	}
	if len(sets) > 0 {
		return sets, nil
	}
	for _, raw := range route.MatcherSetsRaw {
		var set matcherSet
		if err := set.addRaw(raw); err != nil {
			return nil, err
		}
		sets = append(sets, set)
	}
	return sets, nil
}

func (s *matcherSet) add(matcher any) {
	switch m := matcher.(type) {
	case *caddyhttp.MatchHost:
		s.addHosts(*m)
	case caddyhttp.MatchHost:
		s.addHosts(m)
	case *caddyhttp.MatchPath:
		s.addPaths(*m)
	case caddyhttp.MatchPath:
		s.addPaths(m)
	default:
		s.other = true
		if module, ok := matcher.(caddy.Module); ok {
			s.text = module.CaddyModule().ID.Name()
		}
	}
}

func (s *matcherSet) addRaw(raw caddy.ModuleMap) error {
	for name, value := range raw {
		var list []string
		switch name {
		case "host", "path":
			if err := json.Unmarshal(value, &list); err != nil {
				return fmt.Errorf("reading the matcher %s: %w", name, err)
			}
		}
		switch name {
		case "host":
			s.addHosts(list)
		case "path":
			s.addPaths(list)
		default:
			s.other, s.text = true, name
		}
	}
	return nil
}

func (s *matcherSet) addHosts(hosts []string) {
	for _, host := range hosts {
		s.hosts = append(s.hosts, strings.ToLower(host))
	}
}

func (s *matcherSet) addPaths(paths []string) {
	s.paths = append(s.paths, paths...)
	s.text = "path " + strings.Join(paths, " ")
}

// checkPlace says whether a handler can work where it stands.
func checkPlace(at placement, h *Handler) error {
	if at.blocked != "" {
		return fmt.Errorf("%semail_auth stands inside a block that keeps its own pages away (matcher: %s); put it at the level of the site, with the matcher after its name, as in `email_auth /admin/* group:admins`", h.at(), at.blocked)
	}
	if h.Origin != "" {
		return checkOrigin(at, h)
	}
	if at.loopback && at.hosts == nil {
		return nil
	}
	if at.hosts == nil {
		return fmt.Errorf("%semail_auth does not know the public address of this site, which answers for every host; say it, as in `origin https://wiki.example.com`", h.at())
	}
	for _, host := range at.hosts {
		if strings.ContainsAny(host, "*{") && !gateway.IsLoopbackName(host) {
			return fmt.Errorf("%semail_auth does not know which hosts of %s are yours; if all are, write `origin https://%s`", h.at(), host, host)
		}
	}
	return nil
}

// checkOrigin finds an origin that cannot be that of the site's hosts.
func checkOrigin(at placement, h *Handler) error {
	_, named, err := gateway.ParseOrigin(h.Origin, true)
	if err != nil {
		return fmt.Errorf("%s%w", h.at(), err)
	}
	for _, host := range at.hosts {
		if isWildcard(named) && host != named && !gateway.MatchesHost(named, host) {
			return fmt.Errorf("%sorigin %s does not cover %s, a host of this site; write `origin https://%s`, or leave origin out", h.at(), h.Origin, host, host)
		}
	}
	if isWildcard(named) {
		return nil
	}
	for _, host := range at.hosts {
		if len(at.hosts) > 1 && host != named {
			return fmt.Errorf("%sorigin %s is one of several hosts of this site (%s): give each host a site of its own, or leave origin out", h.at(), h.Origin, strings.Join(at.hosts, ", "))
		}
	}
	return nil
}

func isWildcard(host string) bool { return strings.HasPrefix(host, "*.") }
