package caddymodule_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// world is what the configurations of one test share. Caddy runs once in a
// process, so these tests run one after another.
type world struct {
	t *testing.T
	// folder holds the store and the mails.
	folder string
	// port and tlsPort are free ones, which are http_port and https_port too;
	// other is a further one.
	port, tlsPort, other string
	// protocols are those of all servers. Default: Caddy's.
	protocols string
	// read holds the mails that were read, by address.
	read map[string]string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	folder := t.TempDir() // first, so that it is removed after the store is closed
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &world{t: t, read: map[string]string{}, folder: folder, port: freePort(t), tlsPort: freePort(t), other: freePort(t)}
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

// caddyfile is a whole configuration: the sites, and lines of the global option
// email_auth. $PORT, $TLS, $OTHER and $FOLDER are filled in.
func (w *world) caddyfile(sites, auth string) string {
	if !strings.Contains(auth, "store ") {
		auth += "\nstore badger $FOLDER/store"
	}
	if !strings.Contains(auth, "smtp ") && !strings.Contains(auth, "mail_dir ") {
		auth += "\nmail_dir $FOLDER/mails"
	}
	protocols := ""
	if w.protocols != "" {
		protocols = "protocols " + w.protocols + "\n"
	}
	text := "{\nadmin off\npersist_config off\nskip_install_trust\nlocal_certs\ndefault_bind 127.0.0.1\n" +
		"http_port $PORT\nhttps_port $TLS\ngrace_period 1s\nlog {\noutput discard\n}\n" +
		"servers {\n" + protocols + "trusted_proxies static 127.0.0.2/32\ntrusted_proxies_unix\n}\n" +
		"email_auth {\n" + auth + "\n}\n}\n" + sites + "\n"
	return strings.NewReplacer("$PORT", w.port, "$TLS", w.tlsPort, "$OTHER", w.other, "$FOLDER", w.folder).Replace(text)
}

// try loads a configuration into the running Caddy, as a reload does.
func (w *world) try(sites, auth string) error {
	w.t.Helper()
	config, _, err := adapt(w.caddyfile(sites, auth))
	if err != nil {
		w.t.Fatal(err)
	}
	return caddy.Load(config, true)
}

func (w *world) load(sites, auth string) {
	w.t.Helper()
	if err := w.try(sites, auth); err != nil {
		w.t.Fatal(err)
	}
}

// visitor is a browser at one site.
type visitor struct {
	w      *world
	origin string
	client *http.Client
	header http.Header
	// dial is where all connections go: network and address.
	network, address string
	from             net.Addr
}

// visit is a new browser at a site whose name leads to this machine.
func (w *world) visit(origin string) *visitor {
	w.t.Helper()
	where, err := url.Parse(origin)
	if err != nil {
		w.t.Fatal(err)
	}
	port := where.Port()
	if port == "" {
		port = map[string]string{"http": w.port, "https": w.tlsPort}[where.Scheme]
	}
	jar, _ := cookiejar.New(nil)
	v := &visitor{w: w, origin: origin, header: http.Header{"Accept": {"text/html"}}, network: "tcp", address: "127.0.0.1:" + port}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // Caddy's own authority is not known here
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{LocalAddr: v.from}).DialContext(ctx, v.network, v.address)
		},
	}
	w.t.Cleanup(transport.CloseIdleConnections)
	v.client = &http.Client{Jar: jar, Transport: transport, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return v
}

// behindProxy makes the visitor's connections come from the trusted proxy.
func (v *visitor) behindProxy(scheme string) *visitor {
	v.from = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}
	v.header.Set("X-Forwarded-Proto", scheme)
	return v
}

type answer struct {
	*http.Response
	body string
}

func (v *visitor) do(method, path string, form url.Values, header ...string) answer {
	v.w.t.Helper()
	if form != nil {
		header = append([]string{"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin"}, header...)
	}
	return v.doBody(method, path, form.Encode(), header...)
}

func (v *visitor) doBody(method, path, body string, header ...string) answer {
	v.w.t.Helper()
	request, err := http.NewRequest(method, v.origin+path, strings.NewReader(body))
	if err != nil {
		v.w.t.Fatal(err)
	}
	request.Header = v.header.Clone()
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			request.Host = header[i+1]
		}
	}
	response, err := v.send(request)
	if err != nil {
		v.w.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		v.w.t.Fatal(err)
	}
	return answer{response, string(content)}
}

// send tries again while a certificate is being made, and where Caddy has closed
// a listener with the connection still in its queue, as it does on reloads.
func (v *visitor) send(request *http.Request) (*http.Response, error) {
	for tries := 1; ; tries++ {
		response, err := v.client.Do(request)
		if err == nil || tries == 100 || !transient(err) {
			return response, err
		}
		time.Sleep(50 * time.Millisecond)
		request.Body, _ = request.GetBody()
	}
}

func transient(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || strings.Contains(err.Error(), "tls: internal error")
}

// get is a page navigation.
func (v *visitor) get(path string, header ...string) answer {
	v.w.t.Helper()
	return v.do(http.MethodGet, path, nil, header...)
}

// fetch is a program's request.
func (v *visitor) fetch(path string, header ...string) answer {
	v.w.t.Helper()
	return v.get(path, append([]string{"Accept", "application/json"}, header...)...)
}

// signInURL is the address that a program is told.
func (v *visitor) signInURL(path string, header ...string) string {
	v.w.t.Helper()
	got := v.fetch(path, header...).want(v.w.t, http.StatusUnauthorized)
	var problem struct {
		SignInURL string `json:"sign_in_url"`
	}
	if err := json.Unmarshal([]byte(got.body), &problem); err != nil {
		v.w.t.Fatalf("%v: %s", err, got.body)
	}
	return problem.SignInURL
}

// ask asks for a mail and returns the id of the sign-in request.
func (v *visitor) ask(email string) string {
	v.w.t.Helper()
	got := v.do(http.MethodPost, "/.auth/sign-in", url.Values{"email": {email}}).want(v.w.t, http.StatusSeeOther)
	_, id, _ := strings.Cut(got.Header.Get("Location"), "request=")
	return id
}

// signIn signs in with the code of a mail in the folder.
func (v *visitor) signIn(email, folder string) answer {
	v.w.t.Helper()
	id := v.ask(email)
	code := v.w.mail(folder, strings.ToLower(email)).code
	return v.do(http.MethodPost, "/.auth/verify", url.Values{"request": {id}, "code": {code}}).want(v.w.t, http.StatusSeeOther)
}

func (a answer) want(t *testing.T, status int) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s: status %d, want %d: %s", a.Request.URL, a.StatusCode, status, a.body)
	}
	return a
}

func (a answer) wantText(t *testing.T, text string) answer {
	t.Helper()
	if !strings.Contains(a.body, text) {
		t.Errorf("%s: %q is missing in %s", a.Request.URL, text, a.body)
	}
	return a
}

type mailed struct{ code, link string }

var (
	codeOf = regexp.MustCompile(`(?m)^Subject: (\d{6}) is`)
	linkOf = regexp.MustCompile(`(?m)^http\S+/link\?token=\S+`)
)

// mail waits for a mail to the address, in a folder below the test's, that was
// not read yet.
func (w *world) mail(folder, to string) mailed {
	w.t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if text := w.newest(folder, to); text != "" && text != w.read[to] {
			w.read[to] = text
			var m mailed
			if found := codeOf.FindStringSubmatch(text); found != nil {
				m.code = found[1]
			}
			m.link = strings.TrimSpace(linkOf.FindString(text))
			return m
		}
	}
	w.t.Fatalf("no mail to %s in %s", to, folder)
	return mailed{}
}

// newest reads the mail, without the soft line ends of quoted-printable.
func (w *world) newest(folder, to string) string {
	names, _ := filepath.Glob(filepath.Join(w.folder, folder, "*.eml"))
	for i := len(names) - 1; i >= 0; i-- {
		content, err := os.ReadFile(names[i])
		if err != nil {
			continue
		}
		text := strings.NewReplacer("=\r\n", "", "=3D", "=").Replace(string(content))
		if strings.Contains(text, "\r\nTo: "+to+"\r\n") {
			return text
		}
	}
	return ""
}
