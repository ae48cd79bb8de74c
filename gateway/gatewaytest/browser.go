package gatewaytest

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Chrome is the User-Agent of browsers.
const Chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"

// Browser behaves as Chromium does, as far as the gateway can tell: it keeps
// cookies, sends Fetch metadata, and goes where it is sent only when told to.
// It is safe for concurrent use, as by several tabs.
type Browser struct {
	// IP is the client's address; UserAgent its name.
	IP, UserAgent string
	// Header is sent with every request, over what the browser sends itself.
	Header http.Header
	// Request is the id of the latest sign-in request that was started here.
	Request string

	site *Site
	host string
	jar  *jar
}

// Browser returns a fresh one, at the site.
func (s *Site) Browser() *Browser {
	return &Browser{IP: "192.0.2.1", UserAgent: Chrome, site: s, host: s.Host, jar: &jar{hosts: map[string]map[string]string{}}}
}

// At returns the same browser, with the same cookies, at another host.
func (b *Browser) At(host string) *Browser {
	other := *b
	other.host = host
	return &other
}

// On returns the same browser, with the cookies it has now, at a copy of the
// site.
func (b *Browser) On(s *Site) *Browser {
	other := *b
	other.site, other.jar = s, b.jar.clone()
	return &other
}

// newClient sends everything to the test's server and follows no redirect.
func (s *Site) newClient() *http.Client {
	address := s.server.Listener.Addr().String()
	transport := &http.Transport{
		MaxIdleConnsPerHost: 200, MaxConnsPerHost: 200, DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Address is where the test's server listens, for requests that no browser
// would send.
func (s *Site) Address() string { return s.server.Listener.Addr().String() }

// Sent is one request.
type Sent struct {
	Method, Path string
	// Form is sent as one; Body, with ContentType, as it is.
	Form              url.Values
	Body, ContentType string
	// Header is set over what the browser itself sends. An empty value removes.
	Header map[string]string
	// NoCookies leaves them out, as requests of other sites do.
	NoCookies bool
}

// navigation is the Fetch metadata of a page that is opened by its address, and
// of a link in another program.
var navigation = map[string]string{
	"Accept":                    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
	"Sec-Fetch-Site":            "none",
	"Sec-Fetch-Mode":            "navigate",
	"Sec-Fetch-User":            "?1",
	"Sec-Fetch-Dest":            "document",
	"Upgrade-Insecure-Requests": "1",
}

// over returns the headers with changes.
func over(headers, changes map[string]string) map[string]string {
	all := maps.Clone(headers)
	maps.Copy(all, changes)
	return all
}

// Do sends a request with nothing of its own but the cookies.
func (b *Browser) Do(sent Sent) *Answer {
	b.site.t.Helper()
	request, err := b.request(sent)
	if err != nil {
		b.site.t.Errorf("%s %s: %v", sent.Method, sent.Path, err)
		return &Answer{}
	}
	response, err := b.site.client.Do(request)
	if err != nil {
		b.site.t.Errorf("%s %s: %v", sent.Method, sent.Path, err)
		return &Answer{}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		b.site.t.Errorf("%s %s: %v", sent.Method, sent.Path, err)
	}
	b.jar.take(b.site.t, b.host, response, sent.Header["Test-Plain"] == "" && b.Header.Get("Test-Plain") == "")
	return &Answer{
		Status: response.StatusCode, Header: response.Header, Trailer: response.Trailer, Body: string(body),
		Asked: sent.Method + " " + sent.Path,
	}
}

// NewRequest makes the request that Do sends, for tests that read the answer
// themselves with Client.
func (b *Browser) NewRequest(sent Sent) *http.Request {
	b.site.t.Helper()
	request, err := b.request(sent)
	if err != nil {
		b.site.t.Fatal(err)
	}
	return request
}

// Client sends requests of NewRequest to the site.
func (s *Site) Client() *http.Client { return s.client }

func (b *Browser) request(sent Sent) (*http.Request, error) {
	var body io.Reader
	if sent.Form != nil {
		body, sent.ContentType = strings.NewReader(sent.Form.Encode()), "application/x-www-form-urlencoded"
	} else if sent.Body != "" {
		body = strings.NewReader(sent.Body)
	}
	request, err := http.NewRequest(sent.Method, "http://"+b.host+sent.Path, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", b.UserAgent)
	if sent.ContentType != "" {
		request.Header.Set("Content-Type", sent.ContentType)
	}
	if b.IP != "" {
		request.Header.Set("Test-Client-Ip", b.IP)
	}
	if !sent.NoCookies {
		if cookies := b.jar.header(b.host); cookies != "" {
			request.Header.Set("Cookie", cookies)
		}
	}
	for field, values := range b.Header {
		request.Header[field] = values
	}
	for field, value := range sent.Header {
		request.Header.Set(field, value)
		if value == "" {
			request.Header.Del(field)
		}
	}
	return request, nil
}

// Open opens a page by its address, or by a link in another program.
func (b *Browser) Open(path string) *Answer {
	b.site.t.Helper()
	return b.Do(Sent{Method: http.MethodGet, Path: path, Header: navigation})
}

// Follow opens a page and goes where it leads.
func (b *Browser) Follow(path string) *Answer {
	b.site.t.Helper()
	answer := b.Open(path)
	for range 10 {
		if answer.Status != http.StatusSeeOther {
			return answer
		}
		answer = b.Open(answer.Location())
	}
	b.site.t.Errorf("%s leads in a circle", path)
	return answer
}

// Submit sends a form of a page of the site; fields are names and values in
// turn.
func (b *Browser) Submit(path string, fields ...string) *Answer {
	b.site.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return b.Do(Sent{Method: http.MethodPost, Path: path, Form: form, Header: over(navigation, map[string]string{
		"Sec-Fetch-Site": "same-origin", "Origin": b.site.Origin,
	})})
}

// Fetch asks as a script of a page of the site does.
func (b *Browser) Fetch(path string) *Answer {
	b.site.t.Helper()
	return b.Do(Sent{Method: http.MethodGet, Path: path, Header: map[string]string{
		"Accept": "*/*", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty",
	}})
}

// Start asks for a mail, from the form, to go to / afterwards.
func (b *Browser) Start(email string) *Answer {
	b.site.t.Helper()
	return b.StartFor(email, "/")
}

// StartFor asks for a mail, to go to returnTo afterwards.
func (b *Browser) StartFor(email, returnTo string) *Answer {
	b.site.t.Helper()
	if b.jar.get(b.host, browserCookie) == "" {
		b.Open("/.auth/sign-in?prompt=login")
	}
	answer := b.Submit("/.auth/sign-in", "email", email, "return_to", returnTo)
	if request := answer.Query("request"); request != "" {
		b.Request = request
	}
	return answer
}

// Code types a code for the latest sign-in request.
func (b *Browser) Code(code string) *Answer {
	b.site.t.Helper()
	return b.CodeFor(b.Request, code)
}

// CodeFor types a code for a sign-in request.
func (b *Browser) CodeFor(request, code string) *Answer {
	b.site.t.Helper()
	return b.Submit("/.auth/verify", "request", request, "code", code)
}

// Resend asks for the mail of the latest sign-in request again.
func (b *Browser) Resend() *Answer {
	b.site.t.Helper()
	return b.Submit("/.auth/resend", "request", b.Request)
}

// OpenLink opens a mailed link.
func (b *Browser) OpenLink(link string) *Answer {
	b.site.t.Helper()
	return b.Open(LinkPath(link))
}

// LinkPath is the path and query of a mailed link.
func LinkPath(link string) string {
	u, err := url.Parse(link)
	if err != nil || u.Path == "" {
		return "/not-a-link"
	}
	return u.RequestURI()
}

// Token is the token of a mailed link.
func Token(link string) string {
	_, token, _ := strings.Cut(link, "token=")
	return token
}

// SignIn signs in by code and fails the test where that does not work.
func (b *Browser) SignIn(email string) *Answer {
	b.site.t.Helper()
	b.Start(email).Want(b.site.t, http.StatusSeeOther)
	return b.Code(b.site.LastMail(email).Code).Want(b.site.t, http.StatusSeeOther)
}

// SignOut ends the session.
func (b *Browser) SignOut() *Answer {
	b.site.t.Helper()
	return b.Submit("/.auth/sign-out")
}

// SignedIn is the address that the browser is signed in as, or "".
func (b *Browser) SignedIn() string {
	b.site.t.Helper()
	answer := b.Fetch("/.auth/me")
	if answer.Status == http.StatusUnauthorized {
		return ""
	}
	email, _ := answer.Want(b.site.t, http.StatusOK).JSON(b.site.t)["email"].(string)
	return email
}

// Cookie is the value of a cookie, or "".
func (b *Browser) Cookie(name string) string { return b.jar.get(b.host, name) }

// SetCookie plants a cookie, as an attacker might; an empty value removes it.
func (b *Browser) SetCookie(name, value string) { b.jar.set(b.host, name, value) }

// browserCookie is spelled out, so that a change of the name, which
// would forget every browser, is noticed.
const browserCookie = "__Host-postern_browser"

// jar keeps the cookies of hosts.
type jar struct {
	mu    sync.Mutex
	hosts map[string]map[string]string
}

func (j *jar) clone() *jar {
	j.mu.Lock()
	defer j.mu.Unlock()
	copied := &jar{hosts: map[string]map[string]string{}}
	for host, cookies := range j.hosts {
		copied.hosts[host] = maps.Clone(cookies)
	}
	return copied
}

func (j *jar) get(host, name string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.hosts[host][name]
}

func (j *jar) set(host, name, value string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.hosts[host] == nil {
		j.hosts[host] = map[string]string{}
	}
	j.hosts[host][name] = value
	if value == "" {
		delete(j.hosts[host], name)
	}
}

func (j *jar) header(host string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(j.hosts[host])) {
		pairs = append(pairs, name+"="+j.hosts[host][name])
	}
	return strings.Join(pairs, "; ")
}

// take keeps the cookies of an answer, if a browser would.
func (j *jar) take(t testing.TB, host string, response *http.Response, secure bool) {
	t.Helper()
	for _, cookie := range response.Cookies() {
		prefixed := strings.HasPrefix(cookie.Name, "__Host-")
		switch {
		case prefixed && (!cookie.Secure || cookie.Path != "/" || cookie.Domain != ""), cookie.Secure && !secure:
			t.Errorf("a browser would not keep %s", cookie)
		case cookie.MaxAge < 0:
			j.set(host, cookie.Name, "")
		default:
			j.set(host, cookie.Name, cookie.Value)
		}
	}
}
