package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/postern-auth/postern/e2e/postern"
	"github.com/postern-auth/postern/gateway/headless/headlesspb"
)

const portalSite = `
http://localhost:$HTTP, https://localhost:$HTTPS {
	email_auth_portal {
		client shop {
			kind api
			secret {env.SHOP_SECRET}
			redirect_uri https://shop.example.com/link
		}
		client blog {
			kind api
			secret blog-secret
			redirect_uri https://blog.example.com/link
		}
	}
	log
}`

// portal runs the program with a portal, in plain and with TLS.
func portal(t *testing.T, auth string) *postern.Server {
	t.Helper()
	return postern.Start(t, postern.Config{Sites: portalSite, Auth: auth, Global: "local_certs", Env: []string{"SHOP_SECRET=shop-secret"}})
}

// origins are the portal in plain and with TLS.
func origins(s *postern.Server) map[string]string {
	return map[string]string{"plain": s.Plain("localhost"), "tls": s.TLS("localhost")}
}

const linkTo = "https://shop.example.com/link"

var (
	appCode = regexp.MustCompile(`(?m)^    (\d{6})$`)
	appLink = regexp.MustCompile(`(?m)^https?://\S+[?&]link_token=(\S+)$`)
)

// appMail waits for the n-th mail to an address and reads its credentials.
func appMail(t *testing.T, s *postern.Server, email string, n int) (code, token string) {
	t.Helper()
	text := s.WaitMails(t, email, n)[n-1].Text
	foundCode, foundLink := appCode.FindStringSubmatch(text), appLink.FindStringSubmatch(text)
	if foundCode == nil || foundLink == nil {
		t.Fatalf("no code or no link in:\n%s", text)
	}
	return foundCode[1], foundLink[1]
}

func otherCode(code string, n int) string {
	return code[:5] + string((code[5]-'0'+byte(n))%10+'0')
}

// client is an application without any SDK.
type client struct {
	t      *testing.T
	http   *http.Client
	origin string
	token  string
}

func newClient(t *testing.T, s *postern.Server, origin, id string) *client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: s.TLSConfig(), ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	c := &client{t: t, origin: origin, http: &http.Client{Transport: transport, Timeout: time.Minute}}
	status, answer := c.post("/oauth/token", "application/x-www-form-urlencoded",
		url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {id + "-secret"}}.Encode())
	if status != http.StatusOK {
		t.Fatalf("token: %d %v", status, answer)
	}
	c.token = answer["access_token"].(string)
	return c
}

func (c *client) post(path, contentType, body string) (int, map[string]any) {
	c.t.Helper()
	r, err := http.NewRequest(http.MethodPost, c.origin+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	var answer map[string]any
	if err := json.NewDecoder(bytes.NewReader(content)).Decode(&answer); err != nil {
		c.t.Fatalf("%v: %s", err, content)
	}
	return response.StatusCode, answer
}

func (c *client) call(name string, fields map[string]any) (int, map[string]any) {
	c.t.Helper()
	body, err := json.Marshal(fields)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.post("/api/v1/passwordless/email/"+name, "application/json", string(body))
}

// want calls and checks the status, and the error_code where there is one.
func (c *client) want(name string, fields map[string]any, status int, errorCode string) map[string]any {
	c.t.Helper()
	got, answer := c.call(name, fields)
	code := ""
	if details, ok := answer["details"].([]any); ok {
		code, _ = details[0].(map[string]any)["error_code"].(string)
	}
	if got != status || code != errorCode {
		c.t.Errorf("%s %v: %d %v, want %d %s", name, fields, got, answer, status, errorCode)
	}
	return answer
}

// TestHeadlessREST goes through the whole table with JSON alone.
func TestHeadlessREST(t *testing.T) {
	t.Parallel()
	server := portal(t, "")
	for name, origin := range origins(server) {
		email := func(who string) string { return who + "." + name + "@example.com" }
		shop, blog := newClient(t, server, origin, "shop"), newClient(t, server, origin, "blog")
		send := map[string]any{"email": email("ann"), "magiclink_auth_uri": linkTo, "state": "basket 7"}
		sent := shop.want("send", send, 200, "")
		if _, isText := sent["expires_at"].(string); !isText || sent["expires_in"] != 300.0 || sent["passwordless_type"] != "LINK_OTP" {
			t.Errorf("send answers %v", sent)
		}
		id := sent["auth_request_id"]
		code, link := appMail(t, server, email("ann"), 1)
		shop.want("resend", map[string]any{"auth_request_id": id}, 200, "")
		again, _ := appMail(t, server, email("ann"), 2)
		if again != code {
			t.Errorf("a resend has another code")
		}
		shop.want("send", send, 429, "RATE_LIMITED")
		shop.want("verify", map[string]any{"link_token": link}, 400, "SAME_BROWSER_REQUIRED")
		blog.want("verify", map[string]any{"code": code, "auth_request_id": id}, 400, "AUTH_REQUEST_EXPIRED")
		for n := range 5 {
			answer := shop.want("verify", map[string]any{"code": otherCode(code, n+1), "auth_request_id": id}, 400, "INVALID_CODE")
			if want := fmt.Sprintf("invalid code, %d attempt", 4-n); !strings.Contains(answer["message"].(string), want) {
				t.Errorf("%v, want %s", answer, want)
			}
		}
		shop.want("verify", map[string]any{"code": code, "auth_request_id": id}, 429, "RATE_LIMITED")
		verified := shop.want("verify", map[string]any{"link_token": link, "auth_request_id": id}, 200, "")
		if verified["email"] != email("ann") || verified["state"] != "basket 7" || verified["template"] != "SIGNIN" || verified["passwordless_type"] != "LINK" {
			t.Errorf("verify answers %v", verified)
		}
		shop.want("verify", map[string]any{"link_token": link, "auth_request_id": id}, 400, "AUTH_REQUEST_EXPIRED")
		shop.want("send", map[string]any{"email": "ann"}, 400, "INVALID_ARGUMENT")
		shop.token = "nonsense"
		shop.want("send", send, 401, "UNAUTHENTICATED")
	}
	if log := server.Logs.Text(); strings.Contains(log, "shop-secret") || strings.Contains(log, "Bearer pca_") {
		t.Error("a secret is in the log")
	}
}

// TestHeadlessOverARestart kills the program between send and verify.
func TestHeadlessOverARestart(t *testing.T) {
	t.Parallel()
	server := portal(t, "")
	shop := newClient(t, server, server.Plain("localhost"), "shop")
	sent := shop.want("send", map[string]any{"email": "ann@example.com", "magiclink_auth_uri": linkTo}, 200, "")
	code, _ := appMail(t, server, "ann@example.com", 1)
	server.Kill()
	server.Run()
	shop.http.CloseIdleConnections()
	shop.want("verify", map[string]any{"code": code, "auth_request_id": sent["auth_request_id"]}, 200, "")
}

// TestHeadlessExpires waits for real until credentials expire.
func TestHeadlessExpires(t *testing.T) {
	t.Parallel()
	server := portal(t, "")
	shop := newClient(t, server, server.Plain("localhost"), "shop")
	sent := shop.want("send", map[string]any{"email": "ann@example.com", "magiclink_auth_uri": linkTo, "expires_in": 60}, 200, "")
	code, link := appMail(t, server, "ann@example.com", 1)
	time.Sleep(61 * time.Second)
	shop.want("verify", map[string]any{"code": code, "auth_request_id": sent["auth_request_id"]}, 400, "AUTH_REQUEST_EXPIRED")
	shop.want("verify", map[string]any{"link_token": link, "auth_request_id": sent["auth_request_id"]}, 400, "AUTH_REQUEST_EXPIRED")
	shop.want("resend", map[string]any{"auth_request_id": sent["auth_request_id"]}, 400, "AUTH_REQUEST_EXPIRED")
}

// TestHeadlessWarnsOfTrial: a portal that others reach, without a mail server,
// is warned of loudly, and one on this machine is not.
func TestHeadlessWarnsOfTrial(t *testing.T) {
	t.Parallel()
	for host, loud := range map[string]bool{"login.example.com": true, "localhost": false} {
		server := postern.Start(t, postern.Config{Sites: strings.NewReplacer("localhost:$HTTP,", host+":$HTTP {", " https://localhost:$HTTPS {", "").Replace(portalSite), Env: []string{"SHOP_SECRET=x"}})
		// Caddy starts its parts in no fixed order, so the server may answer before.
		within(10*time.Second, func() bool { return strings.Contains(strings.ToLower(server.Logs.Text()), "no mail server is set") })
		if got := strings.Contains(server.Logs.Text(), "AND A SITE IS PUBLIC"); got != loud {
			t.Errorf("%s: warned %v", host, got)
		}
	}
}

// TestHeadlessGRPC calls with Go's own gRPC, over plain HTTP/2 and with TLS.
func TestHeadlessGRPC(t *testing.T) {
	t.Parallel()
	server := portal(t, "")
	for name, target := range map[string]struct {
		address     string
		credentials credentials.TransportCredentials
	}{
		"plain": {fmt.Sprintf("localhost:%d", server.HTTPPort), insecure.NewCredentials()},
		"tls":   {fmt.Sprintf("localhost:%d", server.HTTPSPort), credentials.NewTLS(&tls.Config{RootCAs: server.TLSConfig().RootCAs})},
	} {
		conn, err := grpc.NewClient(target.address, grpc.WithTransportCredentials(target.credentials))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		token := newClient(t, server, origins(server)[name], "shop").token
		const service = "/scalekit.v1.auth.passwordless.PasswordlessService/"
		call := func(token, method string, in, out proto.Message) (codes.Code, *headlesspb.ErrorInfo) {
			t.Helper()
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if token != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
			}
			told := status.Convert(conn.Invoke(ctx, service+method, in, out))
			if told.Code() == codes.OK {
				return codes.OK, nil
			}
			if len(told.Details()) != 1 {
				t.Fatalf("%s %s: %v", name, method, told)
			}
			return told.Code(), told.Details()[0].(*headlesspb.ErrorInfo)
		}
		want := func(method string, in, out proto.Message, wanted codes.Code, errorCode string) {
			t.Helper()
			if got, info := call(token, method, in, out); got != wanted || info.GetErrorCode() != errorCode {
				t.Errorf("%s %s: %v %v, want %v %s", name, method, got, info, wanted, errorCode)
			}
		}
		email := name + "@example.com"
		send := &headlesspb.SendPasswordlessRequest{Email: email, MagiclinkAuthUri: proto.String(linkTo), State: proto.String("s")}
		sent, verified := new(headlesspb.SendPasswordlessResponse), new(headlesspb.VerifyPasswordLessResponse)
		if got, info := call("", "SendPasswordlessEmail", send, sent); got != codes.Unauthenticated || info.ErrorCode != "UNAUTHENTICATED" {
			t.Errorf("%s: no token: %v %v", name, got, info)
		}
		want("SendPasswordlessEmail", send, sent, codes.OK, "")
		code, link := appMail(t, server, email, 1)
		byCode := func(code string) proto.Message {
			return &headlesspb.VerifyPasswordLessRequest{AuthRequestId: &sent.AuthRequestId, AuthCredential: &headlesspb.VerifyPasswordLessRequest_Code{Code: code}}
		}
		want("ResendPasswordlessEmail", &headlesspb.ResendPasswordlessRequest{AuthRequestId: sent.AuthRequestId}, sent, codes.OK, "")
		want("SendPasswordlessEmail", send, sent, codes.ResourceExhausted, "RATE_LIMITED")
		want("SendPasswordlessEmail", &headlesspb.SendPasswordlessRequest{Email: email}, sent, codes.InvalidArgument, "INVALID_ARGUMENT")
		want("VerifyPasswordlessEmail", byCode(otherCode(code, 1)), verified, codes.InvalidArgument, "INVALID_CODE")
		want("VerifyPasswordlessEmail", &headlesspb.VerifyPasswordLessRequest{AuthCredential: &headlesspb.VerifyPasswordLessRequest_LinkToken{LinkToken: link}}, verified, codes.FailedPrecondition, "SAME_BROWSER_REQUIRED")
		want("VerifyPasswordlessEmail", byCode(code), verified, codes.OK, "")
		if verified.Email != email || verified.GetState() != "s" {
			t.Errorf("%s: %v", name, verified)
		}
		want("VerifyPasswordlessEmail", byCode(code), verified, codes.FailedPrecondition, "AUTH_REQUEST_EXPIRED")
	}
}

// TestHeadlessGRPCOverHTTP1 calls as SDKs of Go do in plain: gRPC over HTTP/1.1.
func TestHeadlessGRPCOverHTTP1(t *testing.T) {
	t.Parallel()
	server := portal(t, "")
	origin := server.Plain("localhost")
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(true)
	t.Cleanup(transport.CloseIdleConnections)
	calls := headlesspb.NewPasswordlessServiceClient(&http.Client{Transport: transport, Timeout: time.Minute}, origin, connect.WithGRPC())
	token := newClient(t, server, origin, "shop").token
	send := func(token string) (*connect.Response[headlesspb.SendPasswordlessResponse], error) {
		request := connect.NewRequest(&headlesspb.SendPasswordlessRequest{Email: "ann@example.com", MagiclinkAuthUri: proto.String(linkTo)})
		request.Header().Set("Authorization", "Bearer "+token)
		return calls.SendPasswordlessEmail(context.Background(), request)
	}
	for i, want := range []connect.Code{0, 0, connect.CodeResourceExhausted} {
		answer, err := send(token)
		if want == 0 && (err != nil || answer.Msg.AuthRequestId == "") || want != 0 && connect.CodeOf(err) != want {
			t.Errorf("call %d: %v %v", i, answer, err)
		}
	}
	if _, err := send("nonsense"); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("a bad token: %v", err)
	}
}

// TestHeadlessNodeSDK runs the official Node SDK, unchanged, over plain HTTP/2
// and with TLS.
func TestHeadlessNodeSDK(t *testing.T) {
	t.Parallel()
	server := portal(t, "")
	for name, origin := range origins(server) {
		t.Run(name, func(t *testing.T) { nodeSDK(t, server, name, origin) })
	}
}

func nodeSDK(t *testing.T, server *postern.Server, name, origin string) {
	const sendCall, resendCall, verifyCall = "sendPasswordlessEmail", "resendPasswordlessEmail", "verifyPasswordlessEmail"
	shop := server.StartNodeSDK(t, origin, "shop", "shop-secret")
	good := func(method string, args ...any) map[string]any {
		t.Helper()
		answer := shop.Call(method, args...)
		if answer.Error != nil {
			t.Fatalf("%s %v: %+v", method, args, *answer.Error)
		}
		return answer.OK
	}
	refused := func(status int, code, text, method string, args ...any) {
		t.Helper()
		e := shop.Call(method, args...).Error
		if e == nil || e.Status != status || e.Code != code || !strings.Contains(e.Message, text) {
			t.Errorf("%s %v: %+v, want %d %s %q", method, args, e, status, code, text)
		}
	}
	email := "ann.node." + name + "@example.com"
	options := map[string]any{"magiclinkAuthUri": linkTo, "state": "basket 7", "template": "SIGNUP", "expiresIn": 120, "templateVariables": map[string]string{"user_name": "Ann"}}
	// The first call goes without a token, and comes again with one.
	sent := good(sendCall, email, options)
	if sent["expiresIn"] != 120.0 || sent["passwordlessType"] != 3.0 || sent["expiresAt"] == "" {
		t.Errorf("send answers %v", sent)
	}
	id := sent["authRequestId"]
	code, link := appMail(t, server, email, 1)
	if again := good(resendCall, id); again["authRequestId"] != id {
		t.Errorf("resend answers %v", again)
	}
	if again, _ := appMail(t, server, email, 2); again != code {
		t.Error("a resend has another code")
	}
	refused(8, "RATE_LIMITED", "seconds", sendCall, email, options)
	refused(8, "RATE_LIMITED", "seconds", resendCall, id)
	refused(3, "INVALID_ARGUMENT", "magiclink_auth_uri is required", sendCall, "bob@example.com", map[string]any{})
	refused(3, "INVALID_ARGUMENT", "redirect_uri", sendCall, "bob@example.com", map[string]any{"magiclinkAuthUri": linkTo + "/"})
	refused(9, "SAME_BROWSER_REQUIRED", "auth_request_id", verifyCall, map[string]any{"linkToken": link})
	refused(9, "SAME_BROWSER_REQUIRED", "auth_request_id", verifyCall, map[string]any{"linkToken": link}, "another")
	refused(9, "AUTH_REQUEST_EXPIRED", "auth request expired", verifyCall, map[string]any{"code": code}, "another")
	for n := range 5 { // one that is repeated by the SDK would count twice
		refused(3, "INVALID_CODE", fmt.Sprintf("invalid code, %d attempt", 4-n), verifyCall, map[string]any{"code": otherCode(code, n+1)}, id)
	}
	refused(8, "RATE_LIMITED", "seconds", verifyCall, map[string]any{"code": code}, id)
	verified := good(verifyCall, map[string]any{"linkToken": link}, id)
	if verified["email"] != email || verified["state"] != "basket 7" || verified["template"] != 2.0 || verified["passwordlessType"] != 2.0 {
		t.Errorf("verify answers %v", verified)
	}
	refused(9, "AUTH_REQUEST_EXPIRED", "auth request expired", verifyCall, map[string]any{"linkToken": link}, id)

	// A token that does not work any more is renewed, and the call made again.
	old := good("accessToken")["token"].(string)
	response, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: server.TLSConfig(), DisableKeepAlives: true}}).PostForm(origin+"/oauth/revoke",
		url.Values{"token": {old}, "client_id": {"shop"}, "client_secret": {"shop-secret"}})
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("revoke: %v %v", err, response)
	}
	response.Body.Close()
	refused(9, "AUTH_REQUEST_EXPIRED", "auth request expired", resendCall, id)
	if renewed := good("accessToken")["token"]; renewed == old {
		t.Error("the SDK still has the revoked token")
	}

	email = "bob.node." + name + "@example.com"
	id = good(sendCall, email, map[string]any{"magiclinkAuthUri": linkTo})["authRequestId"]
	code, _ = appMail(t, server, email, 1)
	if verified = good(verifyCall, map[string]any{"code": code}, id); verified["email"] != email || verified["passwordlessType"] != 1.0 {
		t.Errorf("verify answers %v", verified)
	}
	bad := server.StartNodeSDK(t, origin, "shop", "wrong").Call(sendCall, email, options)
	if bad.Error == nil || bad.OK != nil {
		t.Errorf("a wrong secret works: %+v", bad)
	}
	if expired := good(sendCall, "cid.node."+name+"@example.com", map[string]any{"magiclinkAuthUri": linkTo, "expiresIn": 60}); name == "tls" {
		time.Sleep(61 * time.Second)
		refused(9, "AUTH_REQUEST_EXPIRED", "auth request expired", verifyCall, map[string]any{"code": "123456"}, expired["authRequestId"])
	}
}
