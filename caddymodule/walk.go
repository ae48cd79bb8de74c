package caddymodule

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

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
	return walkAll(server, prefix, fn, nil)
}

// walkAll tells of all other handlers of provisioned routes too.
func walkAll(server *caddyhttp.Server, prefix string, fn func(placement, *Handler) error, other func(placement, caddyhttp.MiddlewareHandler)) error {
	at := placement{loopback: listensOnLoopback(server.Listen), whole: true}
	lets := func(set matcherSet) bool { return set.lets(prefix) }
	var all []spot
	walk := walker{lets: lets, other: other, found: doors(func(at placement, h *Handler) error {
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
			numbered.route, numbered.terminal, numbered.ends = i+1, route.Terminal, route.Terminal && inside.whole
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

// walker goes through the routes of a server.
type walker struct {
	// lets says whether a matcher set lets through what has to come.
	lets   func(matcherSet) bool
	found  found
	other  func(placement, caddyhttp.MiddlewareHandler) // may be nil
	routes int                                          // seen so far
}

func (w *walker) list(routes caddyhttp.RouteList, at placement) error {
	for _, route := range routes {
		inside, err := at.within(route, w.lets)
		if err != nil {
			return err
		}
		w.routes++
		if route.Group != "" {
			inside.choices = append(slices.Clone(at.choices), choice{route.Group, w.routes, inside.whole})
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
		if w.other != nil && h.Errors != nil {
			w.other(at, h) // its error routes go on with what follows
		}
		return w.list(h.Routes, at)
	}
	if w.other != nil {
		w.other(at, handler)
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
