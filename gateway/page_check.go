package gateway

import (
	"net/http"
	"net/url"
	"strings"
)

// checkPage is the page that other proxies ask, below the prefix.
const checkPage = "check"

// Header fields by which a proxy says which request it asks about, as Caddy's
// forward_auth and Traefik's ForwardAuth do. They count from trusted proxies
// alone, and where they come once.
const (
	forwardedMethod = "X-Forwarded-Method"
	forwardedHost   = "X-Forwarded-Host"
	forwardedURI    = "X-Forwarded-Uri"
)

// ForwardedHost is the host that a request is about where another proxy asks at
// the page for that, or "" where it names none: then the request's own counts.
// original is the request as it came, trusted says that Caddy trusts its direct
// peer, and prefix is that of the pages.
func ForwardedHost(original *http.Request, trusted func() bool, prefix string) string {
	if original.URL.Path != prefix+"/"+checkPage || len(original.Header[forwardedHost]) == 0 || !trusted() {
		return ""
	}
	if host := onlyValue(original.Header, forwardedHost); host != "" {
		return host
	}
	return "." // names no host
}

// check tells another proxy whether the request that it asks about would be
// admitted, and who it comes from. It never answers 200 to anything else.
func (d *Door) check(w http.ResponseWriter, r *http.Request, v *Visit) {
	asked := v.asked(r)
	if _, fromPage := r.Header["Sec-Fetch-Site"]; fromPage && asked == nil {
		// A script of the site could read who somebody is, signed, in the answer.
		writeProblem(w, r, problem{Status: http.StatusForbidden, Title: "This address is for proxies"})
		return
	}
	rules, path := v.judgingAsked(asked, d.prefix), v.Original.URL.Path
	if len(rules) == 0 {
		d.answerCheck(w)
		return
	}
	if asked != nil {
		path = asked.URL.Path
	}
	session, err := d.identify(r, v)
	if err != nil {
		d.fail(w, r, v, err)
		return
	}
	if session == nil {
		d.challenge(w, r, v, Decide(rules, nil, v.now))
		return
	}
	member := session.memberOf(v.Site.groups)
	visitor := Visitor{Email: session.Email, Groups: member.names, SignedIn: session.SignedIn}
	switch decision := Decide(rules, &visitor, v.now); decision.Verdict {
	case Admit:
		v.Server.Admitted(&member.identity)
		if err := d.setIdentity(w.Header(), v, member, rules, v.Server); err != nil {
			d.fail(w, r, v, err)
			return
		}
		d.answerCheck(w)
	case Refuse:
		d.refuseAddress(w, r, v, Program, path)
	default:
		d.challenge(w, r, v, decision)
	}
}

// answerCheck answers without a body: forward_auth would open a connection anew
// for each request where there is one.
func (d *Door) answerCheck(w http.ResponseWriter) {
	secureHeaders(w.Header())
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

// judgingAsked returns the rules that judge the request that a proxy asks about,
// which may be nil; none where it is a public one. All rules of the host judge what
// is not said, and what an upstream may read in another way: the request was never
// here, so that nobody knows which of them it would come to.
func (v *Visit) judgingAsked(asked *http.Request, prefix string) (rules []*Rule) {
	all := v.Site.all
	if asked == nil || BelowPrefix(asked.URL.Path, prefix) { // which nothing passes here
		return all
	}
	v.Server.Pose(asked)
	for _, rule := range all {
		if rule.Matches == nil || !rule.ByTarget || rule.Matches(asked) {
			rules = append(rules, rule)
		}
	}
	return orAll(all, rules, asked, asked)
}

// asked is the request that a trusted proxy asks about, as far as it says which,
// or nil.
func (v *Visit) asked(r *http.Request) *http.Request {
	if !v.Server.TrustedProxy() {
		return nil
	}
	method, uri := onlyValue(r.Header, forwardedMethod), onlyValue(r.Header, forwardedURI)
	target, err := url.ParseRequestURI(uri)
	if err != nil || !isToken(method) || strings.ContainsFunc(uri, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return nil // no request has such a target (RFC 9112, section 3.2)
	}
	asked := *r
	asked.Method, asked.RequestURI, asked.URL = method, uri, target
	if host := onlyValue(r.Header, forwardedHost); host != "" {
		asked.Host = host
	}
	if NormalHost(asked.Host) != v.Site.Host {
		return nil // a name of the proxy's own, perhaps
	}
	if !plainTarget(&asked) || target.Host != "" || RefusedMethod(&asked) {
		return nil
	}
	return &asked
}
