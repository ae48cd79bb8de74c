package headless_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/gatewaytest"
	"github.com/postern-auth/postern/gateway/headless"
	pb "github.com/postern-auth/postern/gateway/headless/headlesspb"
)

const (
	linkURI  = "https://shop.example.com/sign-in/link"
	queryURI = "https://shop.example.com/sign-in?by=link"
)

// portal is a portal with two clients, shop and blog, in front of a whole site.
type portal struct {
	t *testing.T
	*gatewaytest.Site
	url      string
	observed atomic.Value // the last call, as client/call/result
	// lastStatus is the HTTP status of the last answer.
	lastStatus atomic.Int64
	handler    atomic.Pointer[headless.Handler]
}

// client is a client with the secret "<id>-secret", changed by the functions.
func client(t *testing.T, id string, change ...func(*gateway.ClientConfig)) *gateway.Client {
	t.Helper()
	secret, err := gateway.ParseSecret(id + "-secret")
	if err != nil {
		t.Fatal(err)
	}
	config := gateway.ClientConfig{ID: id, Secret: secret, RedirectURIs: []string{linkURI, queryURI}}
	for _, f := range change {
		f(&config)
	}
	made, err := gateway.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func newPortal(t *testing.T, config gateway.Config, clients ...*gateway.Client) *portal {
	t.Helper()
	if clients == nil {
		clients = []*gateway.Client{client(t, "shop"), client(t, "blog")}
	}
	config.Clients = byID(clients)
	p := &portal{t: t, Site: gatewaytest.New(t, gatewaytest.Options{Config: config})}
	p.open()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if take(r, "Test-Tls") != "" {
			r.TLS = &tls.ConnectionState{}
		}
		in := headless.Incoming{ClientIP: take(r, "Test-Client-Ip"), TrustedProxy: take(r, "Test-Trusted") != ""}
		p.handler.Load().Handle(wrapped{w}, r, in)
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

// wrapped is a writer as servers hand it on: it is no http.Flusher itself.
type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func byID(clients []*gateway.Client) map[string]*gateway.Client {
	all := make(map[string]*gateway.Client)
	for _, c := range clients {
		all[c.ID] = c
	}
	return all
}

// open makes the handler of the site's present engine.
func (p *portal) open() {
	p.handler.Store(headless.New(headless.Config{Engine: p.Engine, Observe: func(client, call, result string) {
		p.observed.Store(client + "/" + call + "/" + result)
	}}))
}

// reload puts other clients in force.
func (p *portal) reload(clients ...*gateway.Client) {
	p.t.Helper()
	p.Reload(func(o *gatewaytest.Options) { o.Config.Clients = byID(clients) })
	p.open()
}

func take(r *http.Request, field string) string {
	value := r.Header.Get(field)
	r.Header.Del(field)
	return value
}

// token gets an access token.
func (p *portal) token(id string) string {
	p.t.Helper()
	status, _, body := p.form("/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {id + "-secret"}})
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK || answer.AccessToken == "" {
		p.t.Fatalf("token: %d %s", status, body)
	}
	return answer.AccessToken
}

// form sends a form.
func (p *portal) form(path string, form url.Values, header ...string) (int, http.Header, string) {
	p.t.Helper()
	return p.do(http.MethodPost, path, form.Encode(), append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)...)
}

func (p *portal) do(method, path, body string, header ...string) (int, http.Header, string) {
	p.t.Helper()
	r, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(content)
}

// told is an error as a client sees it.
type told struct {
	code      int    // of gRPC
	errorCode string // of the details
	message   string
	field     string // of the first violation
}

// api is the three calls by one transport.
type api interface {
	send(*pb.SendPasswordlessRequest) (*pb.SendPasswordlessResponse, *told)
	resend(*pb.ResendPasswordlessRequest) (*pb.SendPasswordlessResponse, *told)
	verify(*pb.VerifyPasswordLessRequest) (*pb.VerifyPasswordLessResponse, *told)
}

// transports are the ways to call.
var transports = map[string]func(p *portal, token string) api{
	"REST":             func(p *portal, token string) api { return &restAPI{p, token} },
	"gRPC over HTTP/1": func(p *portal, token string) api { return newGRPC(p, token, false) },
	"gRPC over HTTP/2": func(p *portal, token string) api { return newGRPC(p, token, true) },
}

// overAll runs a test over every transport, each with a portal of its own.
func overAll(t *testing.T, config gateway.Config, test func(t *testing.T, p *portal, shop api)) {
	t.Helper()
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPortal(t, config)
			test(t, p, transport(p, p.token("shop")))
		})
	}
}

// as is the API for another client, by the same transport.
func as(p *portal, like api, token string) api {
	if g, ok := like.(*grpcAPI); ok {
		return newGRPC(p, token, g.http2)
	}
	return &restAPI{p, token}
}

type restAPI struct {
	p     *portal
	token string
}

func (a *restAPI) call(name string, in, out proto.Message) *told {
	a.p.t.Helper()
	body, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(in)
	if err != nil {
		a.p.t.Fatal(err)
	}
	header := []string{"Content-Type", "application/json"}
	if a.token != "" {
		header = append(header, "Authorization", "Bearer "+a.token)
	}
	status, _, content := a.p.do(http.MethodPost, "/api/v1/passwordless/email/"+name, string(body), header...)
	a.p.lastStatus.Store(int64(status))
	if status == http.StatusOK {
		if err := protojson.Unmarshal([]byte(content), out); err != nil {
			a.p.t.Fatal(err)
		}
		return nil
	}
	return readStatus(a.p.t, content)
}

// readStatus reads a google.rpc.Status in JSON.
func readStatus(t *testing.T, content string) *told {
	t.Helper()
	var status struct {
		Code    int
		Message string
		Details []struct {
			Type      string `json:"@type"`
			ErrorCode string `json:"error_code"`
			Request   struct {
				ID string `json:"request_id"`
			} `json:"request_info"`
			Validation struct {
				Violations []struct{ Field, Description, Constraint string } `json:"field_violations"`
			} `json:"validation_error_info"`
		}
	}
	if err := json.Unmarshal([]byte(content), &status); err != nil || len(status.Details) != 1 {
		t.Fatalf("%v: %s", err, content)
	}
	detail := status.Details[0]
	if detail.Type != "type.googleapis.com/scalekit.v1.errdetails.ErrorInfo" || detail.Request.ID == "" {
		t.Errorf("details: %s", content)
	}
	e := &told{code: status.Code, errorCode: detail.ErrorCode, message: status.Message}
	if len(detail.Validation.Violations) > 0 {
		e.field = detail.Validation.Violations[0].Field
	}
	return e
}

func (a *restAPI) send(in *pb.SendPasswordlessRequest) (*pb.SendPasswordlessResponse, *told) {
	out := new(pb.SendPasswordlessResponse)
	err := a.call("send", in, out)
	return out, err
}

func (a *restAPI) resend(in *pb.ResendPasswordlessRequest) (*pb.SendPasswordlessResponse, *told) {
	out := new(pb.SendPasswordlessResponse)
	err := a.call("resend", in, out)
	return out, err
}

func (a *restAPI) verify(in *pb.VerifyPasswordLessRequest) (*pb.VerifyPasswordLessResponse, *told) {
	out := new(pb.VerifyPasswordLessResponse)
	err := a.call("verify", in, out)
	return out, err
}

type grpcAPI struct {
	p      *portal
	token  string
	http2  bool
	client pb.PasswordlessServiceClient
}

func newGRPC(p *portal, token string, http2 bool) *grpcAPI {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetUnencryptedHTTP2(http2)
	p.t.Cleanup(transport.CloseIdleConnections)
	g := &grpcAPI{p: p, token: token, http2: http2}
	watched := roundTripper(func(r *http.Request) (*http.Response, error) {
		response, err := transport.RoundTrip(r)
		if err == nil {
			p.lastStatus.Store(int64(response.StatusCode))
		}
		return response, err
	})
	g.client = pb.NewPasswordlessServiceClient(&http.Client{Transport: watched, Timeout: time.Minute}, p.url, connect.WithGRPC())
	return g
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func over[In, Out any](g *grpcAPI, call func(context.Context, *connect.Request[In]) (*connect.Response[Out], error), in *In) (*Out, *told) {
	g.p.t.Helper()
	request := connect.NewRequest(in)
	if g.token != "" {
		request.Header().Set("Authorization", "Bearer "+g.token)
	}
	response, err := call(context.Background(), request)
	if err == nil {
		return response.Msg, nil
	}
	var failed *connect.Error
	if !errors.As(err, &failed) {
		g.p.t.Fatal(err)
	}
	e := &told{code: int(failed.Code()), message: failed.Message()}
	for _, detail := range failed.Details() {
		value, err := detail.Value()
		if err != nil {
			g.p.t.Fatal(err)
		}
		info := value.(*pb.ErrorInfo)
		e.errorCode = info.ErrorCode
		if info.GetRequestInfo().GetRequestId() == "" {
			g.p.t.Errorf("no request id in %v", info)
		}
		for _, violation := range info.GetValidationErrorInfo().GetFieldViolations() {
			e.field = violation.Field
		}
	}
	return new(Out), e
}

func (a *grpcAPI) send(in *pb.SendPasswordlessRequest) (*pb.SendPasswordlessResponse, *told) {
	return over(a, a.client.SendPasswordlessEmail, in)
}

func (a *grpcAPI) resend(in *pb.ResendPasswordlessRequest) (*pb.SendPasswordlessResponse, *told) {
	return over(a, a.client.ResendPasswordlessEmail, in)
}

func (a *grpcAPI) verify(in *pb.VerifyPasswordLessRequest) (*pb.VerifyPasswordLessResponse, *told) {
	return over(a, a.client.VerifyPasswordlessEmail, in)
}

// to is a send with a link.
func to(email string) *pb.SendPasswordlessRequest {
	return &pb.SendPasswordlessRequest{Email: email, MagiclinkAuthUri: proto.String(linkURI)}
}

func byCode(id, code string) *pb.VerifyPasswordLessRequest {
	return &pb.VerifyPasswordLessRequest{AuthRequestId: &id, AuthCredential: &pb.VerifyPasswordLessRequest_Code{Code: code}}
}

// byLink answers with a link token; id may be "".
func byLink(id, token string) *pb.VerifyPasswordLessRequest {
	in := &pb.VerifyPasswordLessRequest{AuthCredential: &pb.VerifyPasswordLessRequest_LinkToken{LinkToken: token}}
	if id != "" {
		in.AuthRequestId = &id
	}
	return in
}

// sent sends, which must work, and returns the id and the credentials.
func sent(t *testing.T, p *portal, a api, in *pb.SendPasswordlessRequest) (id, code, link string) {
	t.Helper()
	out, failed := a.send(in)
	if failed != nil {
		t.Fatalf("send: %+v", failed)
	}
	code, link = p.credentials(in.Email)
	return out.AuthRequestId, code, link
}

var (
	codeInMail = regexp.MustCompile(`(?m)^    (\w{6,12})$`)
	linkInMail = regexp.MustCompile(`(?m)^(https://\S+)link_token=(\S+)$`)
)

// credentials reads the latest mail to an address.
func (p *portal) credentials(email string) (code, token string) {
	p.t.Helper()
	text := p.LastMail(email).Text
	if found := codeInMail.FindStringSubmatch(text); found != nil {
		code = found[1]
	}
	if found := linkInMail.FindStringSubmatch(text); found != nil {
		token = found[2]
	}
	return code, token
}

// wrong is a code of the same form that is not right.
func wrong(code string, n int) string {
	last := (code[len(code)-1]-'0'+byte(n))%10 + '0'
	return code[:len(code)-1] + string(last)
}

// want checks an error. text must be in the message, in any case.
func (e *told) want(t *testing.T, code int, errorCode, text string) {
	t.Helper()
	if e == nil {
		t.Errorf("no error, want %d %s", code, errorCode)
		return
	}
	if e.code != code || e.errorCode != errorCode || !strings.Contains(strings.ToLower(e.message), text) {
		t.Errorf("got %+v, want %d %s with %q", *e, code, errorCode, text)
	}
}

func (p *portal) wantStatus(a api, rest int) {
	p.t.Helper()
	want := http.StatusOK // gRPC has its own
	if _, ok := a.(*restAPI); ok {
		want = rest
	}
	if got := int(p.lastStatus.Load()); got != want {
		p.t.Errorf("HTTP status %d, want %d", got, want)
	}
}

// frame is a message as gRPC sends it.
func frame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// rawGRPC is a gRPC request written by hand.
func (p *portal) rawGRPC(path string, message []byte, header ...string) *http.Response {
	p.t.Helper()
	return p.rawBody(path, frame(message), header...)
}

// rawBody is a gRPC request of which the frame is written by hand too.
func (p *portal) rawBody(path string, body []byte, header ...string) *http.Response {
	p.t.Helper()
	r, _ := http.NewRequest(http.MethodPost, p.url+path, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/grpc")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { response.Body.Close() })
	_, _ = io.Copy(io.Discard, response.Body)
	return response
}
