package gateway

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/postern-auth/postern/pages"
)

// Door is the browser's way in: it stands in front of a site's upstream,
// passes admitted requests on, and answers all others itself.
type Door struct {
	engine *Engine
	prefix string
	pages  map[string]page
}

// NewDoor makes the door of an engine.
func NewDoor(e *Engine) *Door {
	d := &Door{engine: e, prefix: e.config.Prefix}
	d.pages = d.routes()
	return d
}

// Visit is a request at the door: what the server knows of it, and room for what
// the door finds out. It is for one request at one directive, and must not be used
// again: what comes after the door may keep parts of it.
type Visit struct {
	// Site is the one that the request is for.
	Site *Site
	// Original is the request as it came, before any rewrite: its method and URL.
	Original *http.Request
	// Server is what the server does with this request for the door.
	Server Server
	// Alone says that the request comes to no other directive, and here only once:
	// then its context need not tell of it.
	Alone bool

	// secure says that the request came by TLS; loopback that it came in plain
	// from this machine to a loopback name. Neither: no session counts.
	secure, loopback bool
	looked           bool // for the session
	now              time.Time
	session          *liveSession
	// secret is that of the session; before it was looked for, what may be one.
	secret string
	// cookies are set where there are more than that, and for pages.
	cookies *ownCookies
	out     upstreamWriter
	// values has room for those of identity headers, which a directive has set once
	// named is true: a slice of its own for them would cost as much again.
	values [5]string
	named  bool
}

// Server is the part of the server around the door for one request.
type Server interface {
	// ClientIP is the client's address, as trusted proxies tell it; "" where it is
	// not known. TrustedProxy says that the direct peer is one of them.
	ClientIP() string
	TrustedProxy() bool
	// Admitted is told who an admitted request comes from, before Expand is asked
	// to fill the placeholders of a header's value. Other requests share the
	// identity: it must not be changed.
	Admitted(*Identity)
	// Pose makes a request that another proxy asks about ready for Rule.Matches, and
	// for Expand, as if it had come itself.
	Pose(asked *http.Request)
	Expand(value string) string
	// Next passes the request on.
	Next(http.ResponseWriter, *http.Request) error
}

type visitKey struct{}

// Handle answers a request or passes it on. It is the one entrance: whatever it
// cannot decide is refused. rules are those of the directive that the request
// reached; the site may have more. An error it returns is the upstream's.
func (d *Door) Handle(w http.ResponseWriter, r *http.Request, v *Visit, rules []*Rule) error {
	if !v.Alone {
		if first, ok := r.Context().Value(visitKey{}).(*Visit); ok {
			return d.admit(w, r, first, further(rules, r, first.Original), v.Server)
		}
	}
	v.begin(r, d.engine.now())
	if !plainTarget(r) || v.Original != r && !plainTarget(v.Original) {
		d.fail(w, r, v, errPath)
		return nil
	}
	if RefusedMethod(r) || v.Original != r && RefusedMethod(v.Original) {
		d.fail(w, r, v, errMethod)
		return nil
	}
	onPage := BelowPrefix(v.Original.URL.Path, d.prefix)
	v.takeCookies(r, onPage)
	switch {
	case onPage:
		d.page(w, r, v)
		return nil
	case BelowPrefix(r.URL.Path, d.prefix):
		d.fail(w, r, v, errNoPage) // a rewrite led here; nothing below goes upstream
		return nil
	}
	return d.admit(w, r, v, judging(v.Site.rules, r, v.Original), v.Server)
}

// begin finds out how the request came.
func (v *Visit) begin(r *http.Request, now time.Time) {
	v.now = now
	v.secure = r.TLS != nil || v.Site.https() && saysHTTPS(r) && v.Server.TrustedProxy()
	v.loopback = !v.secure && v.Site.loopback && isLoopbackIP(peerIP(r))
}

// takeCookies removes what the client must not say, and takes our cookies.
func (v *Visit) takeCookies(r *http.Request, onPage bool) {
	var taken ownCookies
	if v.secure || v.loopback {
		taken.sessionName = v.sessionCookie()
		if onPage { // nobody else asks
			taken.browserName = v.browserCookie()
		}
	}
	v.Site.guard.scrub(r, &taken)
	v.secret = taken.sessions[0]
	if onPage || taken.sessions[1] != "" {
		all := taken // which would be on the heap for every request otherwise
		v.cookies = &all
	}
}

// secrets are what may be that of a session.
func (v *Visit) secrets() cookieValues {
	if v.cookies != nil {
		return v.cookies.sessions
	}
	return cookieValues{v.secret}
}

// plainTarget says whether the request names its target by a path. Another form
// ("x:http://host/admin", which has no path here, and one upstream) would be for
// no rule, and mean to an upstream what it likes. "http://host" alone has none
// either, and is "/" to an upstream.
func plainTarget(r *http.Request) bool {
	path := r.URL.Path
	return r.URL.Opaque == "" && (strings.HasPrefix(path, "/") ||
		path == "" && r.Method == http.MethodConnect ||
		path == "*" && r.Method == http.MethodOptions)
}

func saysHTTPS(r *http.Request) bool {
	said := r.Header["X-Forwarded-Proto"]
	return len(said) == 1 && strings.EqualFold(strings.TrimSpace(said[0]), "https")
}

func peerIP(r *http.Request) string {
	host := r.RemoteAddr
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	return strings.Trim(host, "[]")
}

func (v *Visit) sessionCookie() string {
	if v.secure {
		return SessionCookie
	}
	return LoopbackSessionCookie
}

func (v *Visit) browserCookie() string {
	if v.secure {
		return BrowserCookie
	}
	return LoopbackBrowserCookie
}

// matching returns the rules that the request is for, as it came or as rewrites
// left it: either protects.
func matching(rules []*Rule, r, original *http.Request) []*Rule {
	all := true
	for _, rule := range rules {
		all = all && rule.Matches == nil
	}
	if all {
		return rules
	}
	var for_ []*Rule
	for _, rule := range rules {
		if rule.Matches == nil || rule.matches(r, original) || rule.Matches(r) {
			for_ = append(for_, rule)
		}
	}
	return for_
}

// judging returns the rules that judge a request: those that it is for, or all
// where an upstream may take it for one that further rules are for. None: no rule
// is for it.
func judging(rules []*Rule, r, original *http.Request) []*Rule {
	if matched := matching(rules, r, original); len(matched) > 0 {
		return orAll(rules, matched, r, original)
	}
	return nil
}

// further returns those of the rules of a further directive that judge a request.
// The first one has judged it, so that all do where an upstream may take it for
// another one.
func further(rules []*Rule, r, original *http.Request) []*Rule {
	return orAll(rules, matching(rules, r, original), r, original)
}

func orAll(rules, matched []*Rule, r, original *http.Request) []*Rule {
	if len(matched) < len(rules) && mayBeAnother(rules, matched, r, original) {
		return rules
	}
	return matched
}

// mayBeAnother says whether an upstream may take a request for one that further
// rules are for than those that matched.
func mayBeAnother(rules, matched []*Rule, r, original *http.Request) bool {
	return oddMethod(r) || mayMeanMore(rules, matched, r) || original != r && mayMeanMore(rules, matched, original)
}

// admit decides by the rules and passes the request on or answers it. The server
// is that of the directive which was reached: the visit has that of the first.
func (d *Door) admit(w http.ResponseWriter, r *http.Request, v *Visit, rules []*Rule, server Server) error {
	if len(rules) == 0 {
		return d.public(w, r, v, server)
	}
	session, err := d.identify(r, v)
	if err != nil {
		d.fail(w, r, v, err)
		return nil
	}
	if session == nil {
		d.refuse(w, r, v, Decide(rules, nil, v.now))
		return nil
	}
	member := session.memberOf(v.Site.groups)
	visitor := Visitor{Email: session.Email, Groups: member.names, SignedIn: session.SignedIn}
	if decision := Decide(rules, &visitor, v.now); decision.Verdict != Admit {
		d.refuse(w, r, v, decision)
		return nil
	}
	server.Admitted(&member.identity)
	if err := d.setIdentity(r.Header, v, member, rules, server); err != nil {
		d.fail(w, r, v, err)
		return nil
	}
	return d.passOn(w, r, v, server)
}

// public passes on a request that no rule is for, unless an upstream might read
// its path as one that a rule is for.
func (d *Door) public(w http.ResponseWriter, r *http.Request, v *Visit, server Server) error {
	switch {
	case v.Site.partlyPublic && oddMethod(r):
		d.fail(w, r, v, errMethod)
		return nil
	case v.Site.partlyPublic && mayBeAnother(v.Site.rules, nil, r, v.Original):
		d.fail(w, r, v, errPath)
		return nil
	}
	out := v.writer(w)
	defer out.after()
	return server.Next(out, v.toldOf(r))
}

// oddMethod says whether an upstream may take a request's method for another one,
// which a rule may be for.
func oddMethod(r *http.Request) bool { return r.Method != strings.ToUpper(r.Method) }

// mayMeanMore says whether an upstream may take the path of a request for one
// that further rules are for than those that matched: it is ambiguous, or such a
// rule is for what a credulous reader makes of it.
func mayMeanMore(rules, matched []*Rule, r *http.Request) bool {
	raw := r.URL.EscapedPath()
	if isPlain(raw) {
		return false
	}
	if AmbiguousPath(raw) {
		return true
	}
	return slices.ContainsFunc(credulousPaths(raw), func(path string) bool {
		return path != r.URL.Path && slices.ContainsFunc(rules, func(rule *Rule) bool {
			return !slices.Contains(matched, rule) && rule.matchesAs(r, path)
		})
	})
}

// toldOf returns the request with the visit in its context, where another
// directive may need it.
func (v *Visit) toldOf(r *http.Request) *http.Request {
	if v.Alone {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), visitKey{}, v))
}

// identify returns the session of the request, or nil where there is none.
func (d *Door) identify(r *http.Request, v *Visit) (*liveSession, error) {
	if v.looked {
		return v.session, nil
	}
	for _, secret := range v.secrets() {
		session, err := d.engine.identify(r.Context(), v.Site, secret, v.now)
		if err == nil {
			v.looked, v.session, v.secret = true, session, secret
			return session, nil
		}
		if !isNoSession(err) {
			return nil, err
		}
	}
	v.looked, v.secret = true, ""
	return nil, nil
}

// browser returns the browser that asks, or nil where it has no valid cookie.
func (d *Door) browser(v *Visit) *Browser {
	if v.cookies == nil {
		return nil
	}
	for _, value := range v.cookies.browsers {
		if b := d.engine.openBrowser(v.Site, v.browserCookie(), value); b != nil {
			return b
		}
	}
	return nil
}

func (d *Door) common(v *Visit) pages.Common {
	return pages.Common{Site: v.Site.Host, Prefix: d.prefix}
}
