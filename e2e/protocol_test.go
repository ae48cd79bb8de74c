package e2e_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"

	"github.com/postern-auth/postern/e2e/postern"
)

// spoofable is a site with TLS, a header of its own and a public path.
const spoofable = `
https://wiki.localhost:$HTTPS {
	tls internal
	@closed not path /public*
	email_auth @closed *@example.com {
		header X-WEBAUTH-USER {http.auth.user.email}
	}
	reverse_proxy $UPSTREAM
}`

// byHTTP3 is a tab of the same browser that speaks HTTP/3.
func byHTTP3(t *testing.T, server *postern.Server, v *postern.Visitor) *postern.Visitor {
	t.Helper()
	transport := http3Transport(t, server)
	return v.Over(transport)
}

func http3Transport(t *testing.T, server *postern.Server) *http3.Transport {
	t.Helper()
	// All names are this machine.
	dial := func(ctx context.Context, _ string, tlsConfig *tls.Config, config *quic.Config) (*quic.Conn, error) {
		return quic.DialAddr(ctx, server.TLSAddr(), tlsConfig, config)
	}
	transport := &http3.Transport{TLSClientConfig: server.TLSConfig(), Dial: dial}
	t.Cleanup(func() { transport.Close() })
	return transport
}

func http3TLS(server *postern.Server) *tls.Config {
	config := server.TLSConfig()
	config.ServerName, config.NextProtos = "wiki.localhost", []string{http3.NextProtoH3}
	return config
}

// byHTTP2 is a tab of the same browser that speaks HTTP/2 and nothing else.
func byHTTP2(t *testing.T, server *postern.Server, v *postern.Visitor) *postern.Visitor {
	t.Helper()
	return v.Over(http2Transport(t, server))
}

func http2Transport(t *testing.T, server *postern.Server) *http.Transport {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig: server.TLSConfig(), Protocols: new(http.Protocols),
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.TLSAddr())
		},
	}
	transport.Protocols.SetHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

func TestSpoofingOverHTTP2And3(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, spoofable, "")
	v := server.Visitor(t, server.TLS("wiki.localhost"))
	v.SignIn(ann)
	for name, tab := range map[string]*postern.Visitor{"h2": byHTTP2(t, server, v), "h3": byHTTP3(t, server, v)} {
		t.Run(name, func(t *testing.T) {
			proto := protoOf(t, tab)
			if want := map[string]string{"h2": "HTTP/2.0", "h3": "HTTP/3.0"}[name]; proto != want {
				t.Fatalf("the protocol is %s, want %s", proto, want)
			}
			for i, spelling := range spellings {
				for _, path := range []string{"/public", "/closed"} {
					uri := fmt.Sprintf("%s?%s%d", path, name, i)
					tab.Do(spoofed(tab, uri, spelling)).Want(t, http.StatusOK)
					wantUnspoofed(t, upstream.Last(t, uri), path == "/closed", spelling)
				}
			}
		})
	}
}

// spoofed is a request with a header and a trailer that are ours.
func spoofed(tab *postern.Visitor, uri, name string) *http.Request {
	request := tab.NewRequest(http.MethodPost, uri, struct{ io.Reader }{strings.NewReader("hello")})
	request.ContentLength = -1
	request.Header.Set("Accept", "application/json")
	request.Header[name] = []string{"boss@example.com"}
	request.Trailer = http.Header{name: {"root@example.com"}}
	return request
}

func protoOf(t *testing.T, v *postern.Visitor) string {
	t.Helper()
	response := v.Open(v.NewRequest(http.MethodGet, "/.auth/me", nil))
	defer response.Body.Close()
	return response.Proto
}

// A browser may speak all protocols with one session, and sign in by any.
func TestSignInOverHTTP2And3(t *testing.T) {
	t.Parallel()
	server, upstream := start(t, secure, "")
	base := server.Visitor(t, server.TLS("wiki.localhost"))
	for name, over := range map[string]func(*postern.Visitor) *postern.Visitor{
		"h2": func(v *postern.Visitor) *postern.Visitor { return byHTTP2(t, server, v) },
		"h3": func(v *postern.Visitor) *postern.Visitor { return byHTTP3(t, server, v) },
	} {
		v := over(base.Fresh())
		v.SignIn(name + "@example.com")
		v.Fetch("/by-"+name).Want(t, http.StatusOK)
		if user := upstream.Last(t, "/by-"+name).Get(t, "Remote-User"); user != name+"@example.com" {
			t.Errorf("%s: Remote-User %q", name, user)
		}
		events := openEvents(t, v)
		v.SignOut()
		events.wantEnd(t, "the sign-out by "+name)
		v.Fetch("/").Want(t, http.StatusUnauthorized)
	}
}

// upgradable has Go's HTTP/2 server announce extended CONNECT, which it does not
// by default.
func upgradable(t *testing.T) (*postern.Server, *postern.Upstream) {
	t.Helper()
	upstream := postern.StartUpstream(t)
	return postern.Start(t, postern.Config{Sites: secure, Upstream: upstream, Env: []string{"GODEBUG=http2xconnect=1"}}), upstream
}

// connecting is a request that opens a WebSocket by extended CONNECT (RFC 8441).
func connecting(v *postern.Visitor, body io.Reader) *http.Request {
	request := v.NewRequest(http.MethodConnect, "/ws", body)
	request.Header.Set("Origin", v.Origin)
	request.Header.Set("Sec-WebSocket-Version", "13")
	request.Header.Set("Cookie", v.Cookies())
	return request
}

// connectTransport speaks HTTP/2 and knows extended CONNECT.
func connectTransport(server *postern.Server) http.RoundTripper {
	dial := func(ctx context.Context, network, _ string, config *tls.Config) (net.Conn, error) {
		return (&tls.Dialer{Config: config}).DialContext(ctx, network, server.TLSAddr())
	}
	//lint:ignore SA1019 the transport of net/http refuses the pseudo-header :protocol
	return &http2.Transport{TLSClientConfig: server.TLSConfig(), DialTLSContext: dial}
}

func TestWebSocketOverHTTP2(t *testing.T) {
	t.Parallel()
	server, upstream := upgradable(t)
	v := server.Visitor(t, server.TLS("wiki.localhost"))
	transport := connectTransport(server)
	open := func() (*http.Response, *io.PipeWriter) {
		reader, writer := io.Pipe()
		request := connecting(v, reader)
		request.Header[":protocol"] = []string{"websocket"}
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		return response, writer
	}
	response, writer := open()
	writer.Close()
	response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Fatalf("without a session: status %d", response.StatusCode)
	}
	upstream.WantNone(t, "/ws")

	v.SignIn(ann)
	response, writer = open()
	defer writer.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("status %d", response.StatusCode)
	}
	wantEchoUntilSignOut(t, v, upstream, response.Body, writer)
}

func TestWebSocketOverHTTP3(t *testing.T) {
	t.Parallel()
	server, upstream := upgradable(t)
	v := server.Visitor(t, server.TLS("wiki.localhost"))
	refused := openHTTP3(t, server, v)
	if response, err := refused.ReadResponse(); err != nil || response.StatusCode != http.StatusUnauthorized {
		t.Fatalf("without a session: %v, %v", response, err)
	}
	upstream.WantNone(t, "/ws")

	v.SignIn(ann)
	stream := openHTTP3(t, server, v)
	response, err := stream.ReadResponse()
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", response, err)
	}
	wantEchoUntilSignOut(t, v, upstream, stream, stream)
}

// openHTTP3 asks for a WebSocket by extended CONNECT (RFC 9220).
func openHTTP3(t *testing.T, server *postern.Server, v *postern.Visitor) *http3.RequestStream {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	conn, err := quic.DialAddr(ctx, server.TLSAddr(), http3TLS(server), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	client := http3Transport(t, server).NewClientConn(conn)
	<-client.ReceivedSettings()
	stream, err := client.OpenRequestStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	request := connecting(v, nil)
	request.Proto = "websocket"
	if err := stream.SendRequestHeader(request); err != nil {
		t.Fatal(err)
	}
	return stream
}

// wantEchoUntilSignOut talks over a WebSocket, which must end at the sign-out.
func wantEchoUntilSignOut(t *testing.T, v *postern.Visitor, upstream *postern.Upstream, in io.Reader, out io.Writer) {
	t.Helper()
	if user := upstream.Last(t, "/ws").Get(t, "Remote-User"); user != ann {
		t.Errorf("Remote-User %q", user)
	}
	reader := bufio.NewReader(in)
	for range 2 {
		// A text frame of five bytes, masked with zeros, and what comes back.
		if _, err := io.WriteString(out, "\x81\x85\x00\x00\x00\x00hello"); err != nil {
			t.Fatal(err)
		}
		back := make([]byte, 7)
		if _, err := io.ReadFull(reader, back); err != nil || string(back) != "\x81\x05hello" {
			t.Fatalf("%q came back, %v", back, err)
		}
		time.Sleep(postern.Quiet)
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, reader)
		close(ended)
	}()
	v.SignOut()
	select {
	case <-ended:
	case <-time.After(soon):
		t.Error("the WebSocket goes on after the sign-out")
	}
}

// TestDrippingForms sends forms that never end, by all protocols: they are cut,
// and meanwhile nobody waits.
func TestDrippingForms(t *testing.T) {
	t.Parallel()
	server, _ := start(t, plain+strings.Replace(secure, "\tlog\n", "", 1), "")
	v, bystander := server.Visitor(t, server.TLS("wiki.localhost")), visitor(t, server)
	bystander.SignIn(ann)
	ways := map[string]func() time.Duration{
		"HTTP/1.1":         func() time.Duration { return dripRaw(t, server, "Content-Length: 1000\n", "%s") },
		"HTTP/1.1 chunked": func() time.Duration { return dripRaw(t, server, "Transfer-Encoding: chunked\n", "1\r\n%s\r\n") },
		"HTTP/2":           func() time.Duration { return drip(t, byHTTP2(t, server, v)) },
		"HTTP/3":           func() time.Duration { return drip(t, byHTTP3(t, server, v)) },
	}
	type result struct {
		way  string
		took time.Duration
	}
	results := make(chan result)
	n := 5
	for way, run := range ways {
		for range n {
			go func() { results <- result{way, run()} }()
		}
	}
	slowest := time.Duration(0)
	for left := len(ways) * n; left > 0; {
		select {
		case r := <-results:
			left--
			if r.took > 23*time.Second {
				t.Errorf("%s: a form that drips was cut after %v", r.way, r.took.Round(time.Second))
			}
			if r.took < 5*time.Second {
				t.Errorf("%s: a slow form was cut after %v already", r.way, r.took)
			}
		case <-time.After(200 * time.Millisecond):
			begin := time.Now()
			bystander.Fetch("/").Want(t, http.StatusOK)
			slowest = max(slowest, time.Since(begin))
		}
	}
	if slowest > 3*time.Second {
		t.Errorf("others waited %v meanwhile", slowest)
	}
}

// longestDrip is how long a form drips at the most.
const longestDrip = 40 * time.Second

// dripRaw sends a form a byte at a time, each written as piece says, and returns
// after how long the connection ended.
func dripRaw(t *testing.T, server *postern.Server, header, piece string) time.Duration {
	conn, err := net.Dial("tcp", server.PlainAddr())
	if err != nil {
		t.Error(err)
		return 0
	}
	defer conn.Close()
	begin := time.Now()
	fmt.Fprintf(conn, "%s", strings.ReplaceAll("POST /.auth/sign-in HTTP/1.1\nHost: "+hostOf(server)+
		"\nSec-Fetch-Site: same-origin\nContent-Type: application/x-www-form-urlencoded\n"+header+"\n", "\n", "\r\n"))
	go func() {
		for time.Since(begin) < longestDrip {
			if _, err := fmt.Fprintf(conn, piece, "e"); err != nil {
				return
			}
			time.Sleep(500 * time.Millisecond)
		}
	}()
	_ = conn.SetReadDeadline(begin.Add(longestDrip))
	_, _ = io.Copy(io.Discard, conn)
	return time.Since(begin)
}

// drip is dripRaw by the protocol of a visitor, until the answer.
func drip(t *testing.T, v *postern.Visitor) time.Duration {
	reader, writer := io.Pipe()
	begin := time.Now()
	go func() {
		for time.Since(begin) < longestDrip {
			if _, err := writer.Write([]byte("e")); err != nil {
				return
			}
			time.Sleep(500 * time.Millisecond)
		}
		writer.CloseWithError(context.DeadlineExceeded)
	}()
	request := v.Form("/.auth/sign-in", nil)
	request.Body, request.ContentLength, request.GetBody = reader, -1, nil
	_, _ = v.TryDo(request)
	reader.Close()
	return time.Since(begin)
}

// from has a browser connect to an address of its own choice.
func from(v *postern.Visitor, server *postern.Server, ip string) *postern.Visitor {
	return v.Over(&http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(ip, fmt.Sprint(server.HTTPPort)))
		},
	})
}

func TestIPv6Client(t *testing.T) {
	t.Parallel()
	server, upstream := plainSite(t, "")
	v := from(visitor(t, server), server, "::1")
	pending := v.Ask(ann, "/report")
	mail := pending.Mail()
	if !strings.Contains(mail.Text, "::1") {
		t.Errorf("the mail does not say who asked:\n%s", mail.Text)
	}
	pending.Answer(mail.Code).WantRedirect(t, "/report")
	v.Fetch("/six").Want(t, http.StatusOK)
	if user := upstream.Last(t, "/six").Get(t, "Remote-User"); user != ann {
		t.Errorf("Remote-User %q", user)
	}
	v.Navigate("/.auth/").Want(t, http.StatusOK)

	// The site by its address alone, as the Host says it.
	other, _ := start(t, strings.Replace(plain, "http://localhost:$HTTP", "http://[::1]:$HTTP", 1), "")
	literal := from(other.Visitor(t, fmt.Sprintf("http://[::1]:%d", other.HTTPPort)), other, "::1")
	asked := literal.Ask(ann, "/")
	if link := asked.Mail().Link; !strings.HasPrefix(link, literal.Origin+"/.auth/link?") {
		t.Errorf("the link is %q, want one of %s", link, literal.Origin)
	}
	asked.Answer(asked.Mail().Code).WantRedirect(t, "/")
	if literal.Me() != ann {
		t.Error("no session at an IPv6 address")
	}
}

// TestNetworkLimitBuckets counts an IPv6 /64 as one client, and an IPv4 address.
func TestNetworkLimitBuckets(t *testing.T) {
	t.Parallel()
	upstream := postern.StartUpstream(t)
	server := postern.Start(t, postern.Config{
		Upstream: upstream, Sites: silent, Auth: "limit network 3 10m",
		Global: "servers {\n\t\ttrusted_proxies static 127.0.0.1/32\n\t}",
	})
	n := 0
	ask := func(client string) int {
		n++
		v := visitor(t, server)
		request := v.Form("/.auth/sign-in", url.Values{"email": {fmt.Sprintf("u%d@example.com", n)}, "return_to": {"/"}})
		request.Header.Set("X-Forwarded-For", client)
		return v.Do(request).Status
	}
	for _, bucket := range [][]string{
		{"2001:db8:1:2::1", "2001:db8:1:2::2", "2001:DB8:1:2:ffff::3", "2001:db8:1:2:dead:beef:0:1"},
		{"2001:db8:1:3::1", "2001:db8:1:3::1", "2001:db8:1:3::1", "2001:0db8:0001:0003:0000:0000:0000:0001"},
		{"198.51.100.7", "198.51.100.7", "::ffff:198.51.100.7", "::ffff:c633:6407"},
		{"198.51.100.8", "198.51.100.8", "198.51.100.8", "198.51.100.8"},
	} {
		for i, client := range bucket {
			want := http.StatusSeeOther
			if i == 3 {
				want = http.StatusTooManyRequests
			}
			if got := ask(client); got != want {
				t.Errorf("start %d of %v: status %d, want %d", i+1, bucket, got, want)
			}
		}
	}
	// A client that is no proxy is counted by its own address, whatever it says.
	for i := range 4 {
		v := from(visitor(t, server), server, "::1")
		request := v.Form("/.auth/sign-in", url.Values{"email": {fmt.Sprintf("six%d@example.com", i)}, "return_to": {"/"}})
		request.Header.Set("X-Forwarded-For", fmt.Sprintf("203.0.113.%d", i))
		want := http.StatusSeeOther
		if i == 3 {
			want = http.StatusTooManyRequests
		}
		v.Do(request).Want(t, want)
	}
}

var prefixedLink = regexp.MustCompile(`(?m)^http://\S+/auth/link\?token=\S+$`)

func TestAnotherPrefix(t *testing.T) {
	t.Parallel()
	server, upstream := plainSite(t, "prefix /auth")
	v := visitor(t, server)
	v.Navigate("/report?a=b").WantRedirect(t, "/auth/sign-in?return_to=%2Freport%3Fa%3Db")
	v.Fetch("/report").Want(t, http.StatusUnauthorized).WantText(t, server.Plain("localhost")+"/auth/sign-in")
	form := v.Navigate("/auth/sign-in?return_to=%2Freport").Want(t, http.StatusOK)
	wantOnlyPrefix(t, form)
	code := v.Submit("/auth/sign-in", url.Values{"email": {ann}, "return_to": {"/report"}}).Want(t, http.StatusSeeOther)
	if !strings.HasPrefix(code.Location(), "/auth/code?request=") {
		t.Fatalf("Location %q", code.Location())
	}
	if cookie := code.Cookie(postern.LoopbackBrowserCookie); cookie == nil || cookie.Path != "/" {
		t.Errorf("cookie %v", cookie)
	}
	wantOnlyPrefix(t, v.Navigate(code.Location()).Want(t, http.StatusOK))
	location, _ := url.Parse(code.Location())
	request := location.Query().Get("request")
	mail := server.WaitMails(t, ann, 1)[0]
	link := prefixedLink.FindString(mail.Text)
	if link == "" || strings.Contains(mail.Text+mail.HTML, "/.auth") {
		t.Fatalf("the link in the mail: %q\n%s", link, mail.Text)
	}
	wantOnlyPrefix(t, visitor(t, server).OpenLink(link).Want(t, http.StatusOK))
	wantOnlyPrefix(t, v.Submit("/auth/verify", url.Values{"request": {request}, "code": {"12"}}).Want(t, http.StatusUnprocessableEntity))
	v.OpenLink(link).WantRedirect(t, "/report")
	wantOnlyPrefix(t, visitor(t, server).OpenLink(link).Want(t, http.StatusGone))

	// What the default prefix has is the upstream's here.
	for _, path := range []string{"/.auth/me", "/authors", "/auth.txt"} {
		v.Fetch(path).Want(t, http.StatusOK)
		upstream.Last(t, path)
	}
	for _, path := range []string{"/auth/me", "/auth/", "/auth/jwks.json"} {
		wantOnlyPrefix(t, v.Fetch(path).Want(t, http.StatusOK))
		upstream.WantNone(t, path)
	}
	v.Fetch("/auth/nothing").Want(t, http.StatusNotFound)
	for from, to := range map[string]string{
		"/auth/sign-in": "/", "/auth/": "/auth/", "/auth/code?request=x": "/",
		"/.auth/": "/.auth/", "/authors": "/authors", "//evil.example": "/",
	} {
		v.Navigate("/auth/sign-in?return_to="+url.QueryEscape(from)).WantRedirect(t, to)
	}
	v.Submit("/auth/sign-out", nil).WantRedirect(t, "/auth/signed-out")
	wantOnlyPrefix(t, v.Navigate("/auth/signed-out").Want(t, http.StatusOK))
	v.Fetch("/auth/me").Want(t, http.StatusUnauthorized).WantText(t, "/auth/sign-in")
}

func wantOnlyPrefix(t *testing.T, answer *postern.Answer) {
	t.Helper()
	if strings.Contains(answer.Body+answer.Location(), "/.auth") {
		t.Errorf("%s names the default prefix:\n%s", answer.URL, answer.Brief())
	}
}

// native is a configuration as a program would write it, without a Caddyfile.
const native = `{
	"admin": {"listen": %q, "config": {"persist": false}},
	"apps": {
		"email_auth": {
			"mail_dir": %q,
			"store": {"backend": "badger", "folder": %q},
			"method": "both",
			"code": {"length": 8, "alphabet": "digits"},
			"expires": "5m",
			"session": {"lifetime": "2h", "idle": "1h"},
			"limits": {"mails": {"count": 5, "window": "1m"}},
			"groups": [{"name": "staff", "who": ["*@example.com"]}],
			"prefix": "/door"
		},
		"http": {"servers": {"main": {
			"listen": ["127.0.0.1:%d"],
			"automatic_https": {"disable": true},
			"routes": [{
				"match": [{"host": ["localhost"]}],
				"handle": [
					{"handler": "email_auth", "allow": ["group:staff"], "deny": ["eve@example.com"], "origin": %q,
					 "header": [{"field": "X-Webauth-User", "value": "{http.auth.user.email}"}],
					 "match": [{"not": [{"path": ["/public*"]}]}]},
					{"handler": "reverse_proxy", "upstreams": [{"dial": %q}]}
				],
				"terminal": true
			}]
		}}}
	}
}`

func TestNativeJSON(t *testing.T) {
	t.Parallel()
	upstream := postern.StartUpstream(t)
	server := postern.New(t, postern.Config{Upstream: upstream, Sites: silent})
	file := filepath.Join(server.Dir, "native.json")
	text := fmt.Sprintf(native, adminAddr(t, server), server.MailDir(), filepath.Join(server.Dir, "store"),
		server.HTTPPort, server.Plain("localhost"), upstream.Addr)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, messages, err := server.Command("validate", "--config", file); err != nil {
		t.Fatalf("caddy validate: %v\n%s", err, messages)
	}
	server.RunConfig(file)
	v := visitor(t, server)
	v.Navigate("/x").WantRedirect(t, "/door/sign-in?return_to=%2Fx")
	v.Fetch("/public").Want(t, http.StatusOK)
	answer := v.Submit("/door/sign-in", url.Values{"email": {ann}, "return_to": {"/x"}}).Want(t, http.StatusSeeOther)
	location, _ := url.Parse(answer.Location())
	mail := server.WaitMails(t, ann, 1)[0]
	if len(mail.Code) != 8 {
		t.Errorf("code %q", mail.Code)
	}
	v.Submit("/door/verify", url.Values{"request": {location.Query().Get("request")}, "code": {mail.Code}}).WantRedirect(t, "/x")
	v.Fetch("/x").Want(t, http.StatusOK)
	seen := upstream.Last(t, "/x")
	if seen.Get(t, "Remote-User") != ann || seen.Get(t, "X-Webauth-User") != ann || seen.Get(t, "Remote-Groups") != "staff" {
		t.Errorf("headers: %v", seen.Header)
	}
	eve := visitor(t, server)
	eve.Submit("/door/sign-in", url.Values{"email": {"eve@example.com"}, "return_to": {"/"}}).Want(t, http.StatusSeeOther)
	time.Sleep(postern.Quiet)
	if n := len(server.Mails("eve@example.com")); n != 0 {
		t.Errorf("%d mails to an address that is denied", n)
	}

	// The same by the admin API, changed; and with a word that is none.
	changed := strings.Replace(text, `"expires": "5m"`, `"expires": "6m"`, 1)
	if status, body := load(t, server, "application/json", changed); status != http.StatusOK {
		t.Fatalf("reload: %d %s", status, body)
	}
	for _, mistake := range []string{
		strings.Replace(text, `"prefix"`, `"prefixx"`, 1), strings.Replace(text, `"deny"`, `"denied"`, 1),
		strings.Replace(text, `"expires": "5m"`, `"expires": "5s"`, 1), strings.Replace(text, "group:staff", "group:nobody", 1),
	} {
		if status, body := load(t, server, "application/json", mistake); status == http.StatusOK {
			t.Errorf("a mistake was taken: %s", body)
		}
	}
	v.Fetch("/x").Want(t, http.StatusOK)
}

// adminAddr is where the program's admin API is to listen.
func adminAddr(t *testing.T, server *postern.Server) string {
	t.Helper()
	output, messages, err := server.Command("adapt", "--config", server.ConfigFile(), "--adapter", "caddyfile")
	if err != nil {
		t.Fatalf("caddy adapt: %v\n%s", err, messages)
	}
	var config struct{ Admin struct{ Listen string } }
	if err := json.Unmarshal([]byte(output), &config); err != nil {
		t.Fatal(err)
	}
	return config.Admin.Listen
}
