package gateway

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SiteConfig is what a Site is made of.
type SiteConfig struct {
	// Host is the site's name, in lower case and without a port. Required.
	Host string
	// Origin is the public origin: scheme, host and port. Required.
	Origin string
	// OtherOrigins name the same site too, as the origin of a form.
	OtherOrigins []string
	// Rules are those of the directives that judge its requests. At least one.
	Rules []*Rule
	// Elsewhere are those of further directives of the same host, which requests
	// come to in other places: what they set is kept from clients here too, and
	// whom they admit is worth a mail.
	Elsewhere []*Rule
	// Beside are those of directives of other hosts that requests may come to too:
	// what they set is kept from clients.
	Beside []*Rule
	// Groups are those that the rules name.
	Groups *Groups
}

// Site is a host with at least one directive. Sessions, sign-in requests and
// credentials belong to one site. It does not change once it is made.
type Site struct {
	Host   string
	Origin string

	origins []string
	rules   []*Rule
	all     []*Rule // those elsewhere too
	groups  *Groups
	guard   *HeaderGuard
	// partlyPublic says that a request can be for no rule; loopback that the site
	// is served in plain to this machine.
	partlyPublic, loopback bool
}

// NewSite makes a site.
func NewSite(c SiteConfig) *Site {
	s := &Site{Host: c.Host, Origin: c.Origin, rules: c.Rules, groups: c.Groups}
	s.origins = append([]string{c.Origin}, c.OtherOrigins...)
	s.all = slices.Concat(c.Rules, c.Elsewhere)
	if s.groups == nil {
		s.groups = &Groups{}
	}
	var fields []string
	s.partlyPublic = true
	for _, rule := range slices.Concat(s.all, c.Beside) {
		for _, field := range rule.Header {
			fields = append(fields, field.Name)
		}
		if rule.Matches != nil {
			fields = append(fields, otherAddress...)
		}
	}
	for _, rule := range s.rules {
		s.partlyPublic = s.partlyPublic && rule.Matches != nil
	}
	s.guard = NewHeaderGuard(fields)
	s.loopback = !s.https() && IsLoopbackName(s.Host)
	return s
}

// otherAddress are header fields by which some frameworks take the address of a
// request for another one, past the rules that are for it.
var otherAddress = []string{"X-Original-URL", "X-Rewrite-URL"}

// MayEnter says whether any rule of the host admits the address: then a mail
// is worth sending.
func (s *Site) MayEnter(address string) bool {
	groups := s.groups.Of(address)
	return slices.ContainsFunc(s.all, func(r *Rule) bool { return r.admits(address, groups) })
}

// terms are those of a session that the address opens: the shortest that any
// rule which admits it sets, or the configuration's.
func (s *Site) terms(address string, fallback SessionTerms) SessionTerms {
	groups := s.groups.Of(address)
	var shortest SessionTerms
	for _, rule := range s.all {
		if rule.admits(address, groups) {
			shortest.Lifetime = shorter(shortest.Lifetime, rule.Session.Lifetime)
			shortest.Idle = shorter(shortest.Idle, rule.Session.Idle)
		}
	}
	return shortest.orElse(fallback)
}

// https says whether the site is reached by TLS, here or at a proxy in front.
func (s *Site) https() bool { return strings.HasPrefix(s.Origin, "https://") }

// ParseOrigin reads a public origin: https://host[:port], with http:// for a
// loopback name alone. The host may begin with "*." where wildcard is set. It
// returns the origin in its serialised form (WHATWG URL: no default port) and
// its host.
func ParseOrigin(text string, wildcard bool) (origin, host string, err error) {
	bad := func(why string) (string, string, error) {
		return "", "", fmt.Errorf("origin %q: %s; write it as in https://wiki.example.com", text, why)
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return bad("this is no origin")
	}
	host = lowerASCII(u.Hostname())
	switch {
	case u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.User != nil || strings.HasSuffix(text, "#"):
		return bad("an origin has no path, query or user")
	case u.Scheme != "https" && !(u.Scheme == "http" && IsLoopbackName(host)):
		return bad("only https works, but on loopback")
	case strings.HasPrefix(host, "*.") && !wildcard:
		return bad("a wildcard is not possible here")
	case !validHost(strings.TrimPrefix(host, "*.")):
		return bad("its host is not valid")
	case strings.HasSuffix(u.Host, ":"), !validPort(u.Port()):
		return bad("its port is not valid")
	}
	return FormatOrigin(u.Scheme, host, u.Port()), host, nil
}

func validPort(port string) bool {
	number, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && number > 0
}

// FormatOrigin writes an origin (WHATWG URL: the scheme's own port is left out).
// port may be empty.
func FormatOrigin(scheme, host, port string) string {
	origin := scheme + "://" + bracketed(host)
	if port == "" || scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		return origin
	}
	return origin + ":" + port
}

// shorter returns the smaller of two durations of which zero means not set.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}
