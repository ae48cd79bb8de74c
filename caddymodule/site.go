package caddymodule

import (
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/postern-auth/postern/gateway"
)

// siteKey names a site of a handler: its host, and how it was reached.
type siteKey struct {
	host, scheme, port string
}

// reached is how a request came, as it says: what siteKey is worked out from.
type reached struct {
	host  string // as sent
	tls   bool
	port  int    // of the TCP or UDP address that the connection reached, or 0
	local string // another kind of address
}

// site returns the site that a request is for, or nil where the name it was
// asked under is not one of ours.
func (h *Handler) site(r *http.Request) *gateway.Site {
	how := reachedBy(r)
	if site := h.requested.get(how); site != nil {
		return site
	}
	site := h.findSite(how)
	if site != nil && len(how.host) < maxHost {
		h.requested.put(how, site)
	}
	return site
}

func reachedBy(r *http.Request) reached {
	how := reached{host: r.Host, tls: r.TLS != nil}
	switch addr := r.Context().Value(http.LocalAddrContextKey).(type) {
	case *net.TCPAddr:
		how.port = addr.Port
	case *net.UDPAddr:
		how.port = addr.Port
	case net.Addr:
		how.local = addr.String()
	}
	return how
}

// siteOfPage returns the site that one of the pages is asked for, which at that
// for other proxies may be another one than the request's own.
func (h *Handler) siteOfPage(original *http.Request, own *gateway.Site, p *passage) *gateway.Site {
	host := gateway.ForwardedHost(original, p.TrustedProxy, h.app.config.Prefix)
	switch {
	case host == "":
		return own
	case h.origin != "" && !isWildcard(h.host) && gateway.NormalHost(host) != h.host:
		return nil
	}
	how := reachedBy(original)
	how.host = host
	return h.findSite(how)
}

// maxHost is the length of a host with its port that is worth remembering.
const maxHost = 260

func (h *Handler) findSite(how reached) *gateway.Site {
	key := siteKey{host: gateway.NormalHost(how.host), scheme: "http", port: how.portText()}
	if how.tls {
		key.scheme = "https"
	}
	if h.origin != "" && !isWildcard(h.host) {
		if endsWithDot(how.host) {
			return nil // which a host matcher of this site does not see through
		}
		key = siteKey{host: h.host}
	} else if !h.names(key.host) {
		return nil
	}
	return h.cached(key)
}

func endsWithDot(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	return strings.HasSuffix(host, ".")
}

func (h *Handler) cached(key siteKey) *gateway.Site {
	if site := h.sites.get(key); site != nil {
		return site
	}
	return h.sites.put(key, h.makeSite(key))
}

// maxSites bounds the sites that are kept: below a wildcard a client can name as
// many as it likes. They are quickly made.
const maxSites = 1000

// siteCache keeps sites by how they were asked for.
type siteCache[K comparable] struct {
	// latest is the one that came last, mostly the only one: comparing is quicker
	// than looking up.
	latest atomic.Pointer[keptSite[K]]
	mu     sync.RWMutex
	sites  map[K]*keptSite[K]
}

type keptSite[K comparable] struct {
	key  K
	site *gateway.Site
}

func (c *siteCache[K]) get(key K) *gateway.Site {
	if latest := c.latest.Load(); latest != nil && latest.key == key {
		return latest.site
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if kept := c.sites[key]; kept != nil {
		return kept.site
	}
	return nil
}

// put keeps a site, and returns the one that is kept.
func (c *siteCache[K]) put(key K, site *gateway.Site) *gateway.Site {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.sites[key]; known != nil {
		return known.site
	}
	if c.sites == nil || len(c.sites) >= maxSites {
		c.sites = make(map[K]*keptSite[K])
	}
	kept := &keptSite[K]{key, site}
	c.sites[key] = kept
	c.latest.Store(kept)
	return site
}

// names says whether the host is one that the configuration names, or, below a
// wildcard, declares to be its own.
func (h *Handler) names(host string) bool {
	switch {
	case host == "" || h.place.hosts != nil && !h.place.names(host):
		return false // the matchers around this handler are for other hosts
	case h.origin != "":
		return gateway.MatchesHost(h.host, host)
	}
	return h.place.hosts != nil || h.place.loopback && gateway.IsLoopbackName(host)
}

// siteOf returns a site of the host for judging addresses, or nil where the
// handler is not for the host.
func (h *Handler) siteOf(host string) *gateway.Site {
	if !h.serves(host) {
		return nil
	}
	return h.cached(siteKey{host: host})
}

// serves says whether the handler is for the site of the host.
func (h *Handler) serves(host string) bool {
	if h.origin != "" && !isWildcard(h.host) {
		return h.host == host
	}
	return h.names(host)
}

// servesExactly says whether the host is named itself, and not by a wildcard.
func (h *Handler) servesExactly(host string) bool {
	return h.serves(host) && (h.host == host || slices.Contains(h.place.hosts, host))
}

// makeSite makes the site with the rules of all directives that are for it. Those
// that no request comes to which comes here belong to it, but do not judge.
func (h *Handler) makeSite(key siteKey) *gateway.Site {
	config := gateway.SiteConfig{Host: key.host, Groups: h.app.config.Groups}
	config.Origin, config.OtherOrigins = h.originOf(key)
	for _, other := range h.app.handlers {
		switch {
		case other == h, !other.place.apart(h.place) && other.serves(key.host):
			config.Rules = append(config.Rules, other.rule)
		case h.app.isFor(other, key.host):
			config.Elsewhere = append(config.Elsewhere, other.rule)
		case !other.place.apart(h.place):
			config.Beside = append(config.Beside, other.rule)
		}
	}
	return gateway.NewSite(config)
}

// originOf returns the public origin of a site, and others that name it too.
func (h *Handler) originOf(key siteKey) (origin string, others []string) {
	if h.origin != "" {
		return strings.Replace(h.origin, h.host, key.host, 1), nil
	}
	base := gateway.FormatOrigin(key.scheme, key.host, "")
	exact := gateway.FormatOrigin(key.scheme, key.host, key.port)
	// Caddy's http_port and https_port are what its outside sees as 80 and 443,
	// as its own redirects have it; on loopback there is no outside.
	if h.isPublicPort(key) && !gateway.IsLoopbackName(key.host) {
		return base, []string{exact}
	}
	return exact, nil
}

func (h *Handler) isPublicPort(key siteKey) bool {
	app, err := h.app.httpApp()
	if err != nil {
		return false
	}
	port := app.HTTPPort
	if key.scheme == "https" {
		port = app.HTTPSPort
	}
	return port != 0 && strconv.Itoa(port) == key.port
}

// portText is the port that the connection reached, or "" on a Unix socket.
func (how reached) portText() string {
	if how.port != 0 {
		return strconv.Itoa(how.port)
	}
	_, port, err := net.SplitHostPort(how.local)
	if err != nil {
		return ""
	}
	return port
}
