package caddymodule

import (
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
	// whole says that the matchers around care for nothing but the host, ends that
	// those of the server's route do, and that no other route follows it.
	whole, ends bool
	// choices are the routes around of which Caddy runs one in each group at most,
	// as it does with handle.
	choices []choice
	// again says that a request may come here more than once: by a named route.
	again bool
}

// choice is a route of a group, of which only the first that matches is run.
type choice struct {
	group string
	route int  // its number among all routes of the server
	whole bool // the matchers up to it care for nothing but the host
}

// apart says whether no request comes to both: they are in routes of different
// hosts that end there, as a wildcard site and one below it, or in two handle
// blocks of one site. Then neither judges what comes to the other.
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

// takesFrom says whether no request for a host that is named here comes to the
// other place: it ends here, or in the choice that this one is in, which comes
// first.
func (p placement) takesFrom(other placement) bool {
	if p.server != other.server || p.again {
		return false
	}
	if p.ends && p.route != other.route {
		return true
	}
	for _, one := range p.choices {
		for _, another := range other.choices {
			if one.whole && one.group == another.group && one.route < another.route {
				return true
			}
		}
	}
	return false
}

func (p placement) names(host string) bool {
	return slices.ContainsFunc(p.hosts, func(pattern string) bool { return gateway.MatchesHost(pattern, host) })
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
		inside.whole = inside.whole && set.paths == nil && !set.other
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
