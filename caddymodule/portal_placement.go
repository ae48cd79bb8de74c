package caddymodule

import (
	"fmt"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// checkPortals finds a portal in the routes of a server that stands where it
// cannot work: what it answers for is not below one path.
func checkPortals(server *caddyhttp.Server) error {
	routes := slices.Clone(server.Routes)
	for _, name := range slices.Sorted(maps.Keys(server.NamedRoutes)) {
		routes = append(routes, *server.NamedRoutes[name])
	}
	walk := walker{lets: matcherSet.letsAll, found: portals(checkPortalPlace)}
	if err := walk.list(routes, placement{}); err != nil || server.Errors == nil {
		return err
	}
	inErrors := walker{lets: matcherSet.letsAll, found: portals(refusePortalInErrors)}
	return inErrors.list(server.Errors.Routes, placement{})
}

// portals passes on what is a portal.
func portals(fn func(placement, *Portal) error) found {
	return func(at placement, h caddyhttp.MiddlewareHandler) error {
		if portal, ok := h.(*Portal); ok {
			return fn(at, portal)
		}
		return nil
	}
}

func checkPortalPlace(at placement, p *Portal) error {
	if at.blocked == "" {
		return nil
	}
	return sourced(p.Source, fmt.Errorf("%s stands inside a block that keeps its own addresses away (matcher: %s); give it a site of its own, and put it at the level of the site", portalDirective, at.blocked))
}

func refusePortalInErrors(_ placement, p *Portal) error {
	return sourced(p.Source, fmt.Errorf("%s stands in handle_errors, where it answers nobody; put it at the level of the site", portalDirective))
}
