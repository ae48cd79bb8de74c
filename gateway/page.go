package gateway

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/postern-auth/postern/pages"
)

const (
	maxBody = 16 << 10 // bytes
	// bodyTime is how long a form may take to arrive.
	bodyTime = 15 * time.Second
)

// page is one address below the prefix: what it does on GET and HEAD, and on
// POST. Nil: another method is not allowed.
type page struct {
	get  func(http.ResponseWriter, *http.Request, *Visit)
	post func(http.ResponseWriter, *http.Request, *Visit, url.Values)
	// machine says that no secure connection is needed.
	machine bool
}

// routes is the table of all pages, by their path below the prefix.
func (d *Door) routes() map[string]page {
	return map[string]page{
		"":           {get: d.account},
		"sign-in":    {get: d.signIn, post: d.submitEmail},
		"code":       {get: d.checkMail},
		"verify":     {post: d.submitCode},
		"resend":     {post: d.resend},
		"link":       {get: d.openLink, post: d.confirmLink},
		"sessions":   {post: d.endSessions},
		"sign-out":   {post: d.signOut},
		"signed-out": {get: d.signedOut},
		"me":         {get: d.me, machine: true},
		checkPage:    {get: d.check, machine: true},
		"jwks.json":  {get: d.jwks, machine: true},
	}
}

// HoldsToken says whether the address of a request, as it came, or one that another
// proxy asks about, is that of a mailed link, mistyped ones among them: an access
// log must not have it. prefix is that of the pages.
func HoldsToken(original *http.Request, prefix string) bool {
	if !BelowPrefix(original.URL.Path, prefix) {
		return false
	}
	if strings.HasPrefix(original.URL.Path, prefix+"/link") || strings.Contains(lowerASCII(original.URL.RawQuery), "token") {
		return true
	}
	return slices.ContainsFunc(original.Header[forwardedURI], func(asked string) bool { // by another proxy
		return strings.Contains(lowerASCII(asked), "token")
	})
}

// page answers a request below the prefix. Nothing of it goes upstream.
func (d *Door) page(w http.ResponseWriter, r *http.Request, v *Visit) {
	name, below := strings.CutPrefix(v.Original.URL.Path, d.prefix+"/")
	p, ok := d.pages[name]
	if !below {
		d.redirect(w, d.prefix+"/")
		return
	}
	method := v.Original.Method
	isGet := method == http.MethodGet || method == http.MethodHead
	switch {
	case !ok:
		d.fail(w, r, v, errNoPage)
	case isGet && p.get == nil, !isGet && (method != http.MethodPost || p.post == nil):
		w.Header().Set("Allow", p.allowed())
		d.fail(w, r, v, errMethod)
	case !v.secure && !v.loopback && !p.machine:
		d.engine.log.Warn("no sign-in over plain HTTP: serve the site by TLS, or set its origin to https and trusted_proxies to the proxy that ends TLS", "site", v.Site.Host)
		d.fail(w, r, v, errInsecure)
	case isGet:
		p.get(w, r, v)
	case !SameOriginPost(r, v.Site.origins...):
		d.fail(w, r, v, errCrossSite)
	default:
		d.post(w, r, v, p)
	}
}

func (p page) allowed() string {
	switch {
	case p.get == nil:
		return "POST"
	case p.post == nil:
		return "GET, HEAD"
	}
	return "GET, HEAD, POST"
}

func (d *Door) post(w http.ResponseWriter, r *http.Request, v *Visit, p page) {
	form, err := readForm(w, r)
	if err != nil {
		d.fail(w, r, v, err)
		return
	}
	p.post(w, r, v, form)
}

// readForm reads a form, bounded in size and time.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.ContentLength > maxBody {
		return nil, errBodySize
	}
	if r.ContentLength != 0 && (err != nil || kind != "application/x-www-form-urlencoded") {
		return nil, errBody
	}
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Now().Add(bodyTime))
	defer control.SetReadDeadline(time.Time{})
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, errBodySize
	}
	if err != nil {
		return nil, errBody
	}
	return parseForm(string(body)), nil
}

// parseForm reads of a form what can be read: ";" parts nothing, and a field with
// a broken escape, which no browser sends, is empty.
func parseForm(body string) url.Values {
	form := url.Values{}
	for field := range strings.SplitSeq(body, "&") {
		name, value, _ := strings.Cut(field, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			continue
		}
		value, _ = url.QueryUnescape(value) // "" where it fails
		form.Add(name, value)
	}
	return form
}

// setCookie sets one of our cookies, for maxAge seconds; a negative maxAge ends
// it.
func (v *Visit) setCookie(w http.ResponseWriter, name, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: maxAge,
		Secure: v.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

func (d *Door) setBrowser(w http.ResponseWriter, v *Visit, b *Browser) error {
	value, err := d.engine.sealBrowser(v.Site, v.browserCookie(), b)
	if err != nil {
		return err
	}
	v.setCookie(w, v.browserCookie(), value, cookieMaxAge)
	return nil
}

// signedOut is where a sign-out leads.
func (d *Door) signedOut(w http.ResponseWriter, r *http.Request, v *Visit) {
	d.show(w, r, v, http.StatusOK, &pages.SignedOut{Common: d.common(v)})
}
