package headless_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/headless"
	pb "github.com/postern-auth/postern/gateway/headless/headlesspb"
)

const (
	restSend   = "/api/v1/passwordless/email/send"
	restVerify = "/api/v1/passwordless/email/verify"
	grpcSend   = "/scalekit.v1.auth.passwordless.PasswordlessService/SendPasswordlessEmail"
	grpcVerify = "/scalekit.v1.auth.passwordless.PasswordlessService/VerifyPasswordlessEmail"
)

func TestJSON(t *testing.T) {
	t.Parallel()
	p := newPortal(t, gateway.Config{Limits: gateway.Limits{Mails: gateway.Limit{Count: 20, Window: 600e9}}})
	auth := []string{"Authorization", "Bearer " + p.token("shop"), "Content-Type", "application/json; charset=utf-8"}
	status, header, body := p.do(http.MethodPost, restSend, `{"email": "ann@example.com", "template": "SIGNUP", "magiclink_auth_uri": "`+linkURI+`",
		"expires_in": 120, "state": null, "nosuch": {"a": [1]}, "template_variables": {"user_name": "Ann"}}`, auth...)
	if status != http.StatusOK || header.Get("Content-Type") != "application/json" || header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v %s", status, header, body)
	}
	// An int64 is a string, an uint32 a number, an enum its name.
	if !regexp.MustCompile(`^\{"auth_request_id":"[\w-]{22}","expires_at":"\d{10}","expires_in":120,"passwordless_type":"LINK_OTP"\}\n$`).MatchString(body) {
		t.Errorf("send answers %s", body)
	}
	var answer struct {
		ID string `json:"auth_request_id"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	code, _ := p.credentials("ann@example.com")
	_, _, body = p.do(http.MethodPost, restVerify, `{"code":"`+code+`","auth_request_id":"`+answer.ID+`"}`, auth...)
	if body != `{"email":"ann@example.com","state":"","template":"SIGNUP","passwordless_type":"OTP"}`+"\n" {
		t.Errorf("verify answers %s", body)
	}

	for body, field := range map[string]string{
		`{"email": 5}`:                                                   "email",
		`{"email": ["ann@example.com"]}`:                                 "email",
		`{"email": "ann@example.com", "template": "X"}`:                  "template",
		`{"email": "ann@example.com", "template": 7}`:                    "template",
		`{"email": "a@example.com", "expires_in": -1}`:                   "expires_in",
		`{"email": "a@example.com", "expires_in": 1e10}`:                 "expires_in",
		`{"email": "a@example.com", "expires_in": "soon"}`:               "expires_in",
		`{"email": "a@example.com", "template_variables": ["x"]}`:        "template_variables",
		`{"email": "a@example.com", "template_variables": {"plan": 1}}`:  "template_variables",
		`{"email": "a@example.com", "template_variables": {"plan": {}}}`: "template_variables",
		`{"Email": "a@example.com"}`:                                     "email",
		`{}`:                                                             "email", `[]`: "", `null`: "", ``: "", `{"email"`: "", `{"email":"a@example.com"} x`: "",
	} {
		status, _, content := p.do(http.MethodPost, restSend, body, auth...)
		failed := readStatus(t, content)
		failed.want(t, 3, "INVALID_ARGUMENT", "")
		if status != http.StatusBadRequest || failed.field != field {
			t.Errorf("%s: %d %s", body, status, content)
		}
		if field == "template" && failed.message != "template: write SIGNIN or SIGNUP" {
			t.Errorf("%s: %s", body, content)
		}
	}
	_, _, content := p.do(http.MethodPost, restVerify, `{"code":"123456","link_token":"x","auth_request_id":"y"}`, auth...)
	readStatus(t, content).want(t, 3, "INVALID_ARGUMENT", "exclude each other")

	status, _, content = p.do(http.MethodPost, restSend, `{"email":"`+strings.Repeat("a", 128<<10)+`"}`, auth...)
	readStatus(t, content).want(t, 3, "INVALID_ARGUMENT", "larger than")
	if status != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body: %d", status)
	}
	status, _, content = p.do(http.MethodPost, restSend, `email=ann`, auth[0], auth[1], "Content-Type", "application/x-www-form-urlencoded")
	readStatus(t, content).want(t, 3, "INVALID_ARGUMENT", "application/json")
	if status != http.StatusUnsupportedMediaType {
		t.Errorf("a form: %d", status)
	}
	status, header, content = p.do(http.MethodPost, restSend, `{`, "Authorization", "Basic c2hvcDpzaG9wLXNlY3JldA==")
	readStatus(t, content).want(t, 16, "UNAUTHENTICATED", "")
	if status != http.StatusUnauthorized || header.Get("WWW-Authenticate") != `Bearer realm="`+strings.TrimPrefix(p.url, "http://")+`"` {
		t.Errorf("%d %v", status, header)
	}
	if n := len(p.Mails.All()); n != 1 {
		t.Errorf("%d mails, want 1", n)
	}
}

// TestEmptyText: an empty text is the same as none, whatever else is there.
func TestEmptyText(t *testing.T) {
	t.Parallel()
	p := newPortal(t, gateway.Config{})
	auth := []string{"Authorization", "Bearer " + p.token("shop")}
	call := func(path, body string) (answer struct {
		ID       string `json:"auth_request_id"`
		Template string
	}) {
		t.Helper()
		status, _, content := p.do(http.MethodPost, path, body, auth...)
		if err := json.Unmarshal([]byte(content), &answer); err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %s", body, status, content)
		}
		return answer
	}
	const send = `{"email":"ann@example.com","template":"","state":"","magiclink_auth_uri":"` + linkURI + `"}`
	id := call(restSend, send).ID
	code, link := p.credentials("ann@example.com")
	for _, none := range []string{
		`{"auth_request_id":"` + id + `","code":"","link_token":""}`, `{"auth_request_id":"` + id + `","code":""}`, `{"link_token":"","code":null}`,
	} {
		_, _, content := p.do(http.MethodPost, restVerify, none, auth...)
		readStatus(t, content).want(t, 3, "INVALID_ARGUMENT", "code or link_token is required")
	}
	_, _, content := p.do(http.MethodPost, restVerify, `{"code":"`+code+`","auth_request_id":""}`, auth...)
	readStatus(t, content).want(t, 3, "INVALID_ARGUMENT", "auth_request_id is required")
	if got := call(restVerify, `{"code":"","link_token":"`+link+`","auth_request_id":"`+id+`"}`); got.Template != "SIGNIN" {
		t.Errorf("got %v", got)
	}
	id = call(restSend, send).ID
	code, _ = p.credentials("ann@example.com")
	call(restVerify, `{"link_token":"","code":"`+code+`","auth_request_id":"`+id+`"}`)
}

// TestLogOfACall: the log has the request_id of the answer and the field that
// was wrong, and never what was in it.
func TestLogOfACall(t *testing.T) {
	t.Parallel()
	p := newPortal(t, gateway.Config{})
	var log bytes.Buffer
	handler := headless.New(headless.Config{Engine: p.Engine, Log: slog.New(slog.NewTextHandler(&log, nil))})
	token := p.token("shop")
	for body, field := range map[string]string{
		`{"email":"hidden value"}`:                                                     "field=email ",
		`{"email":"ann@example.com","template":"hidden value"}`:                        "field=template ",
		`{"email":"ann@example.com","template_variables":{"otp":"hidden value"}}`:      "field=template_variables constraint=reserved ",
		`{"email":"ann@example.com","magiclink_auth_uri":"https://hidden value.com/"}`: "field=magiclink_auth_uri ",
	} {
		log.Reset()
		r := httptest.NewRequest(http.MethodPost, "https://login.example.com"+restSend, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		handler.Handle(w, r, headless.Incoming{})
		id := regexp.MustCompile(`"request_id":"(\w+)"`).FindStringSubmatch(w.Body.String())
		if id == nil || !strings.Contains(log.String(), "request_id="+id[1]+" ") || !strings.Contains(log.String(), field) || strings.Contains(log.String(), "hidden") {
			t.Errorf("%s is answered %s and logged %s", body, w.Body, &log)
		}
	}
}

// TestLogOfALimit: the log says which limit a call is over.
func TestLogOfALimit(t *testing.T) {
	t.Parallel()
	p := newPortal(t, gateway.Config{}, client(t, "shop", func(c *gateway.ClientConfig) { c.Mails = gateway.Limit{Count: 3, Window: time.Hour} }))
	var log bytes.Buffer
	handler := headless.New(headless.Config{Engine: p.Engine, Log: slog.New(slog.NewTextHandler(&log, nil))})
	token := p.token("shop")
	call := func(path, body, want string) (content string) {
		t.Helper()
		log.Reset()
		r := httptest.NewRequest(http.MethodPost, "https://login.example.com"+path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		handler.Handle(w, r, headless.Incoming{ClientIP: "192.0.2.1"})
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s: %q is not in %s", body, want, &log)
		}
		return w.Body.String()
	}
	send := func(email, want string) string {
		return call(restSend, `{"email":"`+email+`","magiclink_auth_uri":"`+linkURI+`"}`, want)
	}
	id := regexp.MustCompile(`"auth_request_id":"([\w-]+)"`).FindStringSubmatch(send("ann@example.com", ""))[1]
	send("ann@example.com", "")
	send("ann@example.com", "limit=mails result=RATE_LIMITED")
	send("bob@example.com", "")
	send("cid@example.com", "limit=client result=RATE_LIMITED")
	code, _ := p.credentials("ann@example.com")
	for n := range 6 {
		want := "result=INVALID_CODE"
		if n == 5 {
			want = "limit=attempts result=RATE_LIMITED"
		}
		call(restVerify, `{"code":"`+wrong(code, n+1)+`","auth_request_id":"`+id+`"}`, want)
	}
}

// TestLargest: a request with everything as large as it may be, and every
// character escaped, is taken and kept.
func TestLargest(t *testing.T) {
	t.Parallel()
	p := newPortal(t, gateway.Config{})
	for email, character := range map[string]string{"ann@example.com": "😀", "bob@example.com": "<", "cid@example.com": "\x01"} {
		variables := map[string]string{}
		for i := range 30 {
			variables[strings.Repeat("v", 23)+string(rune('a'+i%26))+string(rune('a'+i/26))] = strings.Repeat(character, 256)
		}
		state := strings.Repeat(character, 1000)
		content, err := json.Marshal(map[string]any{"email": email, "magiclink_auth_uri": linkURI, "state": state, "template_variables": variables})
		if err != nil {
			t.Fatal(err)
		}
		escaped := strings.ReplaceAll(string(content), "😀", `\ud83d\ude00`)
		auth := []string{"Authorization", "Bearer " + p.token("shop")}
		status, _, answer := p.do(http.MethodPost, restSend, escaped, auth...)
		if status != http.StatusOK {
			t.Fatalf("%d bytes: %d %s", len(escaped), status, answer)
		}
		var sent struct {
			ID string `json:"auth_request_id"`
		}
		if err := json.Unmarshal([]byte(answer), &sent); err != nil {
			t.Fatal(err)
		}
		code, _ := p.credentials(email)
		status, _, answer = p.do(http.MethodPost, restVerify, `{"code":"`+code+`","auth_request_id":"`+sent.ID+`"}`, auth...)
		var verified struct{ State string }
		if err := json.Unmarshal([]byte(answer), &verified); err != nil || status != http.StatusOK || verified.State != state {
			t.Errorf("%d %v %.100s", status, err, answer)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	p := newPortal(t, gateway.Config{})
	token := p.token("shop")
	for i := range 3 {
		status, header, body := p.do(http.MethodPost, restSend, `{"email":"ann@example.com","magiclink_auth_uri":"`+linkURI+`"}`, "Authorization", "Bearer "+token)
		if i < 2 {
			continue
		}
		readStatus(t, body).want(t, 8, "RATE_LIMITED", "60 seconds")
		if status != http.StatusTooManyRequests || header.Get("Retry-After") != "60" {
			t.Errorf("%d %v", status, header)
		}
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	p := newPortal(t, gateway.Config{})
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/", 404}, {"POST", "/oauth/authorize", 404}, {"GET", "/.auth/sign-in", 404}, {"POST", "/api/v1/passwordless/email/", 404},
		{"POST", restSend + "/", 404}, {"POST", "/api/v1/passwordless/email/delete", 404},
		{"POST", "/scalekit.v1.auth.passwordless.PasswordlessService/Nothing", 404},
		{"GET", restSend, 405}, {"PUT", "/oauth/token", 405}, {"GET", "/oauth/revoke", 405}, {"GET", grpcSend, 405}, {"POST", "/api/v1/openapi.json", 405},
		{"POST", grpcSend, 415},
		{"GET", "/api/v1/openapi.json", 200}, {"HEAD", "/api/v1/openapi.json", 200},
	} {
		status, header, body := p.do(c.method, c.path, "{}", "Content-Type", "application/json")
		if status != c.status {
			t.Errorf("%s %s: %d %s", c.method, c.path, status, body)
		}
		if status != 200 && header.Get("Content-Type") != "application/problem+json" || status == 405 && header.Get("Allow") == "" {
			t.Errorf("%s %s: %v", c.method, c.path, header)
		}
		for _, field := range []string{"Cache-Control", "Content-Security-Policy", "Referrer-Policy", "X-Frame-Options", "X-Content-Type-Options", "X-Robots-Tag"} {
			if header.Get(field) == "" {
				t.Errorf("%s %s: no %s", c.method, c.path, field)
			}
		}
	}
}

// TestPlain: what came without TLS is answered on loopback alone, and not even a
// right token or secret helps.
func TestPlain(t *testing.T) {
	t.Parallel()
	p := newPortal(t, gateway.Config{})
	token := "Bearer " + p.token("shop")
	send := `{"email":"ann@example.com","magiclink_auth_uri":"` + linkURI + `"}`
	status, _, body := p.do("POST", restSend, send, "Authorization", token, "Host", "login.example.com")
	readStatus(t, body).want(t, 7, "TLS_REQUIRED", "https")
	if status != http.StatusForbidden {
		t.Errorf("status %d", status)
	}
	status, _, body = p.do("POST", "/oauth/token", "grant_type=client_credentials&client_id=shop&client_secret=shop-secret",
		"Content-Type", "application/x-www-form-urlencoded", "Host", "login.example.com")
	if status != http.StatusForbidden || !strings.Contains(body, "HTTPS") {
		t.Errorf("%d %s", status, body)
	}
	r, _ := http.NewRequest("POST", p.url+grpcSend, strings.NewReader(""))
	r.Host = "login.example.com"
	r.Header.Set("Content-Type", "application/grpc")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	if got := response.Header.Get("Grpc-Status") + response.Trailer.Get("Grpc-Status"); got != "7" || response.StatusCode != 200 {
		t.Errorf("gRPC: %d %v %v", response.StatusCode, response.Header, response.Trailer)
	}
	for _, header := range [][]string{
		{"Test-Tls", "1"}, {"Test-Trusted", "1", "X-Forwarded-Proto", "https"},
	} {
		if status, _, body := p.do("POST", restSend, send, append(header, "Authorization", token, "Host", "login.example.com")...); status != 200 {
			t.Errorf("%v: %d %s", header, status, body)
		}
	}
	if status, _, _ := p.do("POST", restSend, send, "X-Forwarded-Proto", "https", "Authorization", token, "Host", "login.example.com"); status != 403 {
		t.Errorf("a peer that is not trusted says https: %d", status)
	}
}

// TestGRPCOnTheWire looks at answers as SDKs get them: HTTP 200 whatever
// happens, the status in trailers, also over HTTP/1.1 in plain.
func TestGRPCOnTheWire(t *testing.T) {
	t.Parallel()
	p := newPortal(t, gateway.Config{})
	auth := []string{"Authorization", "Bearer " + p.token("shop")}
	status := func(r *http.Response) string { return r.Header.Get("Grpc-Status") + r.Trailer.Get("Grpc-Status") }
	message, _ := proto.Marshal(to("ann@example.com"))
	for i, want := range []string{"0", "0", "8"} {
		r := p.rawGRPC(grpcSend, message, auth...)
		if r.ProtoMajor != 1 || r.StatusCode != http.StatusOK || status(r) != want {
			t.Errorf("call %d: %s %d, status %q", i, r.Proto, r.StatusCode, status(r))
		}
	}
	if r := p.rawGRPC(grpcSend, message); r.StatusCode != http.StatusOK || status(r) != "16" {
		t.Errorf("no token: %d, status %q", r.StatusCode, status(r))
	}
	if r := p.rawGRPC(grpcSend, []byte("\xff\xff\xff"), auth...); r.StatusCode != http.StatusOK || status(r) != "3" {
		t.Errorf("no message: %d, status %q", r.StatusCode, status(r))
	}
	large, _ := proto.Marshal(&pb.SendPasswordlessRequest{Email: strings.Repeat("a", 60<<10)})
	if r := p.rawGRPC(grpcSend, large, auth...); r.StatusCode != http.StatusOK || status(r) != "3" {
		t.Errorf("a large message: %d, status %q", r.StatusCode, status(r))
	}
	// Other protocols that a library may know have statuses of their own.
	for _, contentType := range []string{"application/json", "application/proto", "application/connect+proto"} {
		got, _, _ := p.do("POST", grpcSend, "{}", append(auth, "Content-Type", contentType)...)
		if got != http.StatusUnsupportedMediaType {
			t.Errorf("%s: %d", contentType, got)
		}
	}
}

// TestGRPCBodies: a body that is no message of the call is an error like all
// others, with details, and is counted.
func TestGRPCBodies(t *testing.T) {
	t.Parallel()
	p := newPortal(t, gateway.Config{})
	auth := []string{"Authorization", "Bearer " + p.token("shop")}
	zip := func(plain []byte) []byte {
		var out bytes.Buffer
		writer := gzip.NewWriter(&out)
		_, _ = writer.Write(plain)
		_ = writer.Close()
		zipped := frame(out.Bytes())
		zipped[0] = 1
		return zipped
	}
	message, _ := proto.Marshal(to("ann@example.com"))
	good, zipped := frame(message), zip(message)
	for name, c := range map[string]struct {
		body           []byte
		encoding, want string
	}{
		"empty":                 {nil, "", "the body has no message"},
		"half a head":           {good[:4], "", "the body has no message"},
		"cut off":               {good[:len(good)-1], "", "the frame of the message is broken"},
		"a length beyond all":   {[]byte{0, 255, 255, 255, 255}, "", "the frame of the message is broken"},
		"an unknown flag":       {append([]byte{2}, good[1:]...), "", "the frame of the message is broken"},
		"packed and unsaid":     {zipped, "", "the frame of the message is broken"},
		"packed and denied":     {zipped, "identity", "the frame of the message is broken"},
		"two":                   {append(frame(message), good...), "", "the body has more than one message"},
		"something after":       {append(frame(message), 0), "", "the body has more than one message"},
		"no protobuf":           {frame([]byte("\xff\xff\xff")), "", "the body is not the message of this call"},
		"no UTF-8":              {frame([]byte("\x0a\x02\xff\xff")), "", "the body is not the message of this call"},
		"not packed":            {append([]byte{1}, good[1:]...), "gzip", "the message cannot be unpacked"},
		"packed and cut off":    {append([]byte{1, 0, 0, 0, 20}, zipped[5:25]...), "gzip", "the message cannot be unpacked"},
		"too large":             {frame(make([]byte, 128<<10)), "", "the body is larger than 131072 bytes"},
		"too large when opened": {zip(make([]byte, 64<<20)), "gzip", "the body is larger than 131072 bytes"},
	} {
		p.observed.Store("")
		r := p.rawBody(grpcSend, c.body, append(auth, "Grpc-Encoding", c.encoding)...)
		read(t, r).want(t, 3, "INVALID_ARGUMENT", strings.ToLower(c.want))
		if got := p.observed.Load(); r.StatusCode != http.StatusOK || got != "shop/send/INVALID_ARGUMENT" {
			t.Errorf("%s: %d, observed %v", name, r.StatusCode, got)
		}
	}
	for name, c := range map[string]struct {
		body                   []byte
		encoding, kind, status string
	}{
		"plain":               {good, "", "", "0"},
		"packed":              {zipped, "gzip", "", "0"},
		"JSON":                {frame([]byte(`{"email":"bob@example.com","magiclink_auth_uri":"` + linkURI + `","nosuch":1}`)), "", "+json", "0"},
		"an empty message":    {frame(nil), "", "", "3"}, // email is required
		"unknown compression": {good, "br", "", "12"},
	} {
		r := p.rawBody(grpcSend, c.body, append(auth, "Grpc-Encoding", c.encoding, "Content-Type", "application/grpc"+c.kind)...)
		if got := r.Header.Get("Grpc-Status") + r.Trailer.Get("Grpc-Status"); got != c.status {
			t.Errorf("%s: status %s, want %s: %v %v", name, got, c.status, r.Header, r.Trailer)
		}
	}
}

var codeInDetails = regexp.MustCompile(`(?s)scalekit\.v1\.errdetails\.ErrorInfo.*?([A-Z]{3,}_[A-Z_]+)`)

// read reads the error of a gRPC answer.
func read(t *testing.T, r *http.Response) *told {
	t.Helper()
	field := func(name string) string { return r.Header.Get(name) + r.Trailer.Get(name) }
	e := &told{message: field("Grpc-Message")}
	e.code, _ = strconv.Atoi(field("Grpc-Status"))
	details, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(field("Grpc-Status-Details-Bin"), "="))
	if err != nil {
		t.Fatal(err)
	}
	if found := codeInDetails.FindSubmatch(details); found != nil {
		e.errorCode = string(found[1])
	}
	return e
}

// TestOnlyATokenIsUnauthenticated: SDKs ask for a new token and repeat a call
// after 16, and repeat it after 14.
func TestOnlyATokenIsUnauthenticated(t *testing.T) {
	t.Parallel()
	overAll(t, gateway.Config{}, func(t *testing.T, p *portal, shop api) {
		id, code, _ := sent(t, p, shop, to("ann@example.com"))
		var failures []*told
		for n := range 7 {
			_, failed := shop.verify(byCode(id, wrong(code, n+1)))
			failures = append(failures, failed)
		}
		for range 3 {
			_, failed := shop.send(to("ann@example.com"))
			failures = append(failures, failed)
		}
		_, failed := shop.send(&pb.SendPasswordlessRequest{})
		for _, failed := range append(failures, failed) {
			if failed != nil && (failed.code == int(connect.CodeUnauthenticated) || failed.code == int(connect.CodeUnavailable)) {
				t.Errorf("%+v would be repeated", *failed)
			}
		}
	})
}
