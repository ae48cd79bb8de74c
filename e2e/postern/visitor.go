package postern

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Names of the cookies: those of sites with TLS, and of plain loopback ones.
const (
	SessionCookie         = "__Host-postern_session"
	BrowserCookie         = "__Host-postern_browser"
	LoopbackSessionCookie = "postern_session"
	LoopbackBrowserCookie = "postern_browser"
)

// Visitor is somebody with a browser of their own at one site. It sends what
// browsers send and keeps cookies, but follows no redirect by itself. It is not
// safe for concurrent use, but Clone gives another tab of the same browser.
type Visitor struct {
	// Origin is the site's: scheme, host and port.
	Origin string
	// UserAgent is the browser's name.
	UserAgent string
	// OldBrowser sends no Fetch metadata.
	OldBrowser bool

	t      testing.TB
	server *Server
	client *http.Client
}

const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"

// Visitor returns a new browser at a site.
func (s *Server) Visitor(t testing.TB, origin string) *Visitor {
	jar, _ := cookiejar.New(nil)
	transport := &http.Transport{
		TLSClientConfig: s.TLSConfig(), ForceAttemptHTTP2: true, DisableCompression: true,
		// All names are this machine.
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &Visitor{
		Origin: origin, UserAgent: firefox, t: t, server: s,
		client: &http.Client{
			Jar: jar, Transport: transport, Timeout: 2 * patience,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Clone returns another tab of the same browser.
func (v *Visitor) Clone() *Visitor {
	clone := *v
	return &clone
}

// Fresh returns another browser at the same site.
func (v *Visitor) Fresh() *Visitor {
	fresh, client := *v, *v.client
	client.Jar, _ = cookiejar.New(nil)
	fresh.client = &client
	return &fresh
}

// At returns a tab of the same browser at another site.
func (v *Visitor) At(origin string) *Visitor {
	clone := v.Clone()
	clone.Origin = origin
	return clone
}

// Host is the site's host and port.
func (v *Visitor) Host() string {
	_, host, _ := strings.Cut(v.Origin, "://")
	return host
}

// NewRequest makes a request for a path of the site, or for a whole address.
func (v *Visitor) NewRequest(method, path string, body io.Reader) *http.Request {
	v.t.Helper()
	if strings.HasPrefix(path, "/") {
		path = v.Origin + path
	}
	request, err := http.NewRequest(method, path, body)
	if err != nil {
		v.t.Fatal(err)
	}
	request.Header.Set("User-Agent", v.UserAgent)
	return request
}

// Do sends a request with the browser's cookies.
func (v *Visitor) Do(request *http.Request) *Answer {
	v.t.Helper()
	response, err := v.client.Do(request)
	if err != nil {
		v.t.Fatal(err)
	}
	answer, err := readAnswer(response)
	if err != nil {
		v.t.Fatalf("%s: %v", request.URL, err)
	}
	return answer
}

// TryDo is Do that leaves a failed connection to the caller.
func (v *Visitor) TryDo(request *http.Request) (*Answer, error) {
	response, err := v.client.Do(request)
	if err != nil {
		return nil, err
	}
	return readAnswer(response)
}

// Open is Do for a response that is read while it comes.
func (v *Visitor) Open(request *http.Request) *http.Response {
	v.t.Helper()
	client := *v.client
	client.Timeout = 0
	response, err := client.Do(request)
	if err != nil {
		v.t.Fatal(err)
	}
	return response
}

// AsNavigation gives a request the headers of somebody who opens a page.
func (v *Visitor) AsNavigation(request *http.Request, site string) *http.Request {
	request.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	if !v.OldBrowser {
		request.Header.Set("Sec-Fetch-Site", site)
		request.Header.Set("Sec-Fetch-Mode", "navigate")
		request.Header.Set("Sec-Fetch-Dest", "document")
		request.Header.Set("Sec-Fetch-User", "?1")
	}
	return request
}

// Navigate opens a page as a person does who types its address.
func (v *Visitor) Navigate(path string) *Answer {
	v.t.Helper()
	return v.Do(v.AsNavigation(v.NewRequest(http.MethodGet, path, nil), "none"))
}

// Follow opens a page and goes on where redirects lead.
func (v *Visitor) Follow(path string) *Answer {
	v.t.Helper()
	for range 10 {
		answer := v.Navigate(path)
		if answer.Status != http.StatusSeeOther {
			return answer
		}
		path = answer.Location()
	}
	v.t.Fatalf("too many redirects at %s", path)
	return nil
}

// OpenLink opens a mailed link as a webmail page's visitor does.
func (v *Visitor) OpenLink(link string) *Answer {
	v.t.Helper()
	return v.Do(v.AsNavigation(v.NewRequest(http.MethodGet, link, nil), "cross-site"))
}

// Form makes the request of a form that a page of the site sends.
func (v *Visitor) Form(path string, form url.Values) *http.Request {
	v.t.Helper()
	request := v.AsNavigation(v.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode())), "same-origin")
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Origin", v.Origin)
	return request
}

// Submit sends a form of the site.
func (v *Visitor) Submit(path string, form url.Values) *Answer {
	v.t.Helper()
	return v.Do(v.Form(path, form))
}

// Fetch asks as a program does, with the browser's cookies.
func (v *Visitor) Fetch(path string) *Answer {
	v.t.Helper()
	request := v.NewRequest(http.MethodGet, path, nil)
	request.Header.Set("Accept", "application/json")
	return v.Do(request)
}

// Pending is a sign-in request that waits for its answer.
type Pending struct {
	Email, ID, Page string
	visitor         *Visitor
	before          int // mails to the address before it
}

// Ask begins a sign-in: the form, and its sending.
func (v *Visitor) Ask(email, returnTo string) *Pending {
	v.t.Helper()
	v.Navigate("/.auth/sign-in?return_to="+url.QueryEscape(returnTo)+"&prompt=login").Want(v.t, http.StatusOK)
	pending := &Pending{Email: email, visitor: v, before: len(v.server.Mails(email))}
	answer := v.Submit("/.auth/sign-in", url.Values{"email": {email}, "return_to": {returnTo}}).Want(v.t, http.StatusSeeOther)
	pending.Page = answer.Location()
	location, err := url.Parse(pending.Page)
	if err != nil || location.Path != "/.auth/code" || location.Query().Get("request") == "" {
		v.t.Fatalf("asking for a mail led to %q, want /.auth/code?request=…", pending.Page)
	}
	pending.ID = location.Query().Get("request")
	return pending
}

// Mail waits for the mail of the request.
func (p *Pending) Mail() *Mail {
	p.visitor.t.Helper()
	mails := p.visitor.server.WaitMails(p.visitor.t, p.Email, p.before+1)
	return mails[p.before]
}

// Answer sends a code.
func (p *Pending) Answer(code string) *Answer {
	p.visitor.t.Helper()
	return p.visitor.Submit("/.auth/verify", url.Values{"request": {p.ID}, "code": {code}})
}

// Resend asks for the mail again.
func (p *Pending) Resend() *Answer {
	p.visitor.t.Helper()
	return p.visitor.Submit("/.auth/resend", url.Values{"request": {p.ID}})
}

// SignIn signs in by code.
func (v *Visitor) SignIn(email string) *Answer {
	v.t.Helper()
	pending := v.Ask(email, "/")
	answer := pending.Answer(pending.Mail().Code)
	return answer.WantRedirect(v.t, "/")
}

// SignOut presses the button.
func (v *Visitor) SignOut() *Answer {
	v.t.Helper()
	return v.Submit("/.auth/sign-out", nil).Want(v.t, http.StatusSeeOther)
}

// Me asks who is signed in, and returns "" for nobody.
func (v *Visitor) Me() string {
	v.t.Helper()
	answer := v.Fetch("/.auth/me")
	if answer.Status == http.StatusUnauthorized {
		return ""
	}
	var me struct{ Email string }
	answer.Want(v.t, http.StatusOK).JSON(v.t, &me)
	return me.Email
}

// Cookie returns the value of a cookie the browser holds, or "".
func (v *Visitor) Cookie(name string) string {
	u, _ := url.Parse(v.Origin)
	for _, cookie := range v.client.Jar.Cookies(u) {
		if cookie.Name == name {
			return cookie.Value
		}
	}
	return ""
}

// SetCookie puts a cookie into the browser, or changes it.
func (v *Visitor) SetCookie(name, value string) {
	u, _ := url.Parse(v.Origin)
	v.client.Jar.SetCookies(u, []*http.Cookie{{
		Name: name, Value: value, Path: "/", Secure: u.Scheme == "https", Expires: time.Now().Add(time.Hour),
	}})
}

// Cookies is the header that the browser would send.
func (v *Visitor) Cookies() string {
	u, _ := url.Parse(v.Origin)
	var pairs []string
	for _, cookie := range v.client.Jar.Cookies(u) {
		pairs = append(pairs, cookie.Name+"="+cookie.Value)
	}
	return strings.Join(pairs, "; ")
}
