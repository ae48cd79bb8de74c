package headless_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/postern-auth/postern/gateway"
	pb "github.com/postern-auth/postern/gateway/headless/headlesspb"
)

func TestSendAndVerify(t *testing.T) {
	t.Parallel()
	overAll(t, gateway.Config{}, func(t *testing.T, p *portal, shop api) {
		in := to("Ann@Example.com")
		in.State, in.Template = proto.String("basket 7"), pb.TemplateType_SIGNUP.Enum()
		out, failed := shop.send(in)
		if failed != nil {
			t.Fatal(failed)
		}
		if out.ExpiresIn != 300 || out.PasswordlessType != pb.PasswordlessType_LINK_OTP || out.ExpiresAt != p.Clock.Now().Unix()+300 {
			t.Errorf("got %v", out)
		}
		if m := p.LastMail("ann@example.com"); !strings.Contains(m.Subject, "join shop.example.com") || !strings.Contains(m.HTML, "Welcome to shop.example.com") {
			t.Errorf("subject %q", m.Subject)
		}
		if strings.Contains(p.LastMail("ann@example.com").Text, "\n@") {
			t.Error("the mail has a line for autofill, which is for the pages alone")
		}
		code, _ := p.credentials("ann@example.com")
		verified, failed := shop.verify(byCode(out.AuthRequestId, code))
		if failed != nil {
			t.Fatal(failed)
		}
		if verified.Email != "ann@example.com" || verified.GetState() != "basket 7" || verified.GetTemplate() != pb.TemplateType_SIGNUP || verified.PasswordlessType != pb.PasswordlessType_OTP {
			t.Errorf("got %v", verified)
		}

		id, _, link := sent(t, p, shop, to("bob@example.com"))
		verified, failed = shop.verify(byLink(id, link))
		if failed != nil || verified.Email != "bob@example.com" || verified.PasswordlessType != pb.PasswordlessType_LINK || verified.GetTemplate() != pb.TemplateType_SIGNIN {
			t.Errorf("got %v %v", verified, failed)
		}
		if got := p.observed.Load(); got != "shop/verify/ok" {
			t.Errorf("observed %v", got)
		}
	})
}

func TestToken(t *testing.T) {
	t.Parallel()
	overAll(t, gateway.Config{}, func(t *testing.T, p *portal, shop api) {
		id, code, _ := sent(t, p, shop, to("ann@example.com"))
		for _, token := range []string{"", "x", "pca_x", p.token("shop") + "x"} {
			bad := as(p, shop, token)
			_, failed := bad.send(&pb.SendPasswordlessRequest{}) // malformed too: the token is asked for first
			failed.want(t, 16, "UNAUTHENTICATED", "the access token is missing, expired or revoked")
			p.wantStatus(shop, http.StatusUnauthorized)
			_, failed = bad.resend(&pb.ResendPasswordlessRequest{AuthRequestId: id})
			failed.want(t, 16, "UNAUTHENTICATED", "the access token is missing, expired or revoked")
			_, failed = bad.verify(byCode(id, code))
			failed.want(t, 16, "UNAUTHENTICATED", "the access token is missing, expired or revoked")
		}
		_, failed := shop.verify(byCode(id, code))
		if failed != nil {
			t.Errorf("the request was used up by calls without a token: %+v", failed)
		}
		p.Advance(gateway.ClientTokenLife)
		_, failed = shop.send(to("ann@example.com"))
		failed.want(t, 16, "UNAUTHENTICATED", "the access token is missing, expired or revoked")
	})
}

func TestFields(t *testing.T) {
	t.Parallel()
	long := func(n int) *string { return proto.String(strings.Repeat("ä", n)) }
	variables := func(n int, name, value string) map[string]string {
		all := map[string]string{name: value}
		for i := 1; i < n; i++ {
			all[fmt.Sprintf("v%d", i)] = "x"
		}
		return all
	}
	with := func(change func(*pb.SendPasswordlessRequest)) *pb.SendPasswordlessRequest {
		in := to("ann@example.com")
		change(in)
		return in
	}
	overAll(t, gateway.Config{Limits: gateway.Limits{Mails: gateway.Limit{Count: 15, Window: time.Minute}}}, func(t *testing.T, p *portal, shop api) {
		for _, bad := range []struct {
			field string
			in    *pb.SendPasswordlessRequest
		}{
			{"email", to("")},
			{"email", to("ann")},
			{"email", to("ann@example.com, bob@example.com")},
			{"email", to("Ann <ann@example.com>")},
			{"email", to(strings.Repeat("a", 310) + "@example.com")},
			{"template", with(func(in *pb.SendPasswordlessRequest) { in.Template = pb.TemplateType(3).Enum() })},
			{"magiclink_auth_uri", with(func(in *pb.SendPasswordlessRequest) { in.MagiclinkAuthUri = nil })},
			{"magiclink_auth_uri", with(func(in *pb.SendPasswordlessRequest) { in.MagiclinkAuthUri = proto.String(linkURI + "/") })},
			{"magiclink_auth_uri", with(func(in *pb.SendPasswordlessRequest) {
				in.MagiclinkAuthUri = proto.String(strings.ToUpper(linkURI[:5]) + linkURI[5:])
			})},
			{"magiclink_auth_uri", with(func(in *pb.SendPasswordlessRequest) { in.MagiclinkAuthUri = long(1001) })},
			{"state", with(func(in *pb.SendPasswordlessRequest) { in.State = long(1001) })},
			{"expires_in", with(func(in *pb.SendPasswordlessRequest) { in.ExpiresIn = proto.Uint32(59) })},
			{"expires_in", with(func(in *pb.SendPasswordlessRequest) { in.ExpiresIn = proto.Uint32(0) })},
			{"expires_in", with(func(in *pb.SendPasswordlessRequest) { in.ExpiresIn = proto.Uint32(3601) })},
			{"template_variables", with(func(in *pb.SendPasswordlessRequest) { in.TemplateVariables = variables(31, "name", "x") })},
			{"template_variables", with(func(in *pb.SendPasswordlessRequest) { in.TemplateVariables = variables(1, "n", "x") })},
			{"template_variables", with(func(in *pb.SendPasswordlessRequest) { in.TemplateVariables = variables(1, *long(26), "x") })},
			{"template_variables", with(func(in *pb.SendPasswordlessRequest) { in.TemplateVariables = variables(1, "name", *long(257)) })},
			{"template_variables", with(func(in *pb.SendPasswordlessRequest) { in.TemplateVariables = variables(1, "otp", "x") })},
			{"template_variables", with(func(in *pb.SendPasswordlessRequest) { in.TemplateVariables = variables(1, "link", "x") })},
			{"template_variables", with(func(in *pb.SendPasswordlessRequest) { in.TemplateVariables = variables(1, "expire_time", "x") })},
			{"template_variables", with(func(in *pb.SendPasswordlessRequest) { in.TemplateVariables = variables(1, "expiry_time", "x") })},
			{"template_variables", with(func(in *pb.SendPasswordlessRequest) {
				in.TemplateVariables = variables(1, "expiry_time_relative", "x")
			})},
		} {
			_, failed := shop.send(bad.in)
			failed.want(t, 3, "INVALID_ARGUMENT", "")
			p.wantStatus(shop, http.StatusBadRequest)
			if failed != nil && failed.field != bad.field {
				t.Errorf("blamed %q, want %q: %v", failed.field, bad.field, failed)
			}
		}
		_, failed := shop.send(&pb.SendPasswordlessRequest{Email: "ann@example.com"})
		failed.want(t, 3, "INVALID_ARGUMENT", "magiclink_auth_uri is required")
		if n := len(p.Mails.All()); n != 0 || p.Queued() != 0 {
			t.Fatalf("%d mails were sent", n)
		}

		for _, good := range []*pb.SendPasswordlessRequest{
			with(func(in *pb.SendPasswordlessRequest) { in.State = long(1000) }),
			with(func(in *pb.SendPasswordlessRequest) { in.State = proto.String("") }),
			with(func(in *pb.SendPasswordlessRequest) { in.ExpiresIn = proto.Uint32(60) }),
			with(func(in *pb.SendPasswordlessRequest) { in.ExpiresIn = proto.Uint32(3600) }),
			with(func(in *pb.SendPasswordlessRequest) { in.TemplateVariables = variables(30, *long(25), *long(256)) }),
			with(func(in *pb.SendPasswordlessRequest) { in.Template = pb.TemplateType_UNSPECIFIED.Enum() }),
			with(func(in *pb.SendPasswordlessRequest) { in.MagiclinkAuthUri = proto.String(queryURI) }),
		} {
			if _, failed := shop.send(good); failed != nil {
				t.Errorf("%v: %+v", good, failed)
			}
		}

		id, code, link := sent(t, p, shop, to("bob@example.com"))
		for _, bad := range []struct {
			field string
			in    *pb.VerifyPasswordLessRequest
		}{
			{"code", &pb.VerifyPasswordLessRequest{AuthRequestId: &id}},
			{"code", byCode(id, "")},
			{"code", byCode(id, strings.Repeat("1", 21))},
			{"code", byCode(id, "12345")}, // no code of this request: no attempt
			{"code", byCode(id, "abcdef")},
			{"auth_request_id", byCode("", code)},
			{"auth_request_id", byCode(strings.Repeat("x", 201), code)},
			{"code", byLink(id, "")}, // the same as none
			{"link_token", byLink(id, strings.Repeat("x", 101))},
			{"auth_request_id", byLink(strings.Repeat("x", 201), link)},
		} {
			_, failed := shop.verify(bad.in)
			failed.want(t, 3, "INVALID_ARGUMENT", "")
			if failed != nil && failed.field != bad.field {
				t.Errorf("blamed %q, want %q: %v", failed.field, bad.field, failed)
			}
		}
		_, failed = shop.resend(&pb.ResendPasswordlessRequest{})
		failed.want(t, 3, "INVALID_ARGUMENT", "auth_request_id is required")
		_, failed = shop.resend(&pb.ResendPasswordlessRequest{AuthRequestId: strings.Repeat("x", 201)})
		failed.want(t, 3, "INVALID_ARGUMENT", "auth_request_id")
		if _, failed := shop.verify(byCode(id, code)); failed != nil {
			t.Errorf("after mistakes: %+v", failed)
		}
	})
}

func TestWrongCodes(t *testing.T) {
	t.Parallel()
	overAll(t, gateway.Config{}, func(t *testing.T, p *portal, shop api) {
		id, code, link := sent(t, p, shop, to("ann@example.com"))
		_, failed := shop.verify(byCode(id, wrong(code, 1)))
		failed.want(t, 3, "INVALID_CODE", "invalid code, 4 attempts left")
		p.wantStatus(shop, http.StatusBadRequest)
		for range 3 { // SDKs repeat a refused call
			_, failed = shop.verify(byCode(id, wrong(code, 1)))
			failed.want(t, 3, "INVALID_CODE", "4 attempts left")
		}
		for n, left := range []string{"3 attempts", "2 attempts", "1 attempt", "0 attempts"} {
			_, failed = shop.verify(byCode(id, wrong(code, n+2)))
			failed.want(t, 3, "INVALID_CODE", "invalid code, "+left+" left")
		}
		_, failed = shop.verify(byCode(id, wrong(code, 5)))
		failed.want(t, 3, "INVALID_CODE", "0 attempts left") // the same again
		for _, next := range []string{wrong(code, 6), code} {
			_, failed = shop.verify(byCode(id, next))
			failed.want(t, 8, "RATE_LIMITED", "600 seconds")
			p.wantStatus(shop, http.StatusTooManyRequests)
		}
		if verified, failed := shop.verify(byLink(id, link)); failed != nil || verified.Email != "ann@example.com" {
			t.Errorf("wrong codes block the link: %+v", failed)
		}
	})
}

func TestExpired(t *testing.T) {
	t.Parallel()
	overAll(t, gateway.Config{}, func(t *testing.T, p *portal, shop api) {
		gone := func(a api, in *pb.VerifyPasswordLessRequest) {
			t.Helper()
			_, failed := a.verify(in)
			failed.want(t, 9, "AUTH_REQUEST_EXPIRED", "auth request expired")
			p.wantStatus(shop, http.StatusBadRequest)
		}
		goneResend := func(a api, id string) {
			t.Helper()
			_, failed := a.resend(&pb.ResendPasswordlessRequest{AuthRequestId: id})
			failed.want(t, 9, "AUTH_REQUEST_EXPIRED", "auth request expired")
		}
		id, code, link := sent(t, p, shop, to("ann@example.com"))
		blog := as(p, shop, p.token("blog"))
		gone(blog, byCode(id, code))
		gone(blog, byLink(id, link))
		goneResend(blog, id)
		gone(shop, byCode("nosuch", code))
		gone(shop, byCode(strings.Repeat("x", 200), code))
		gone(shop, byLink(id, "nosuch"))
		gone(shop, byLink("", strings.Repeat("x", 100)))
		goneResend(shop, "nosuch")
		if _, failed := shop.verify(byCode(id, code)); failed != nil {
			t.Fatalf("others used it up: %+v", failed)
		}
		gone(shop, byCode(id, code))
		gone(shop, byCode(id, wrong(code, 1)))
		gone(shop, byCode(id, "malformed"))
		gone(shop, byLink(id, link))
		gone(shop, byLink("", link))
		goneResend(shop, id)

		id, code, link = sent(t, p, shop, to("bob@example.com"))
		p.Advance(5 * time.Minute)
		gone(shop, byCode(id, code))
		gone(shop, byLink(id, link))
		goneResend(shop, id)
	})
}

func TestLinkNeedsItsID(t *testing.T) {
	t.Parallel()
	overAll(t, gateway.Config{}, func(t *testing.T, p *portal, shop api) {
		id, _, link := sent(t, p, shop, to("ann@example.com"))
		other, _, _ := sent(t, p, shop, to("bob@example.com"))
		for _, id := range []string{"", other, "nosuch", strings.Repeat("x", 200)} {
			_, failed := shop.verify(byLink(id, link))
			failed.want(t, 9, "SAME_BROWSER_REQUIRED", "auth_request_id")
			p.wantStatus(shop, http.StatusBadRequest)
		}
		if verified, failed := shop.verify(byLink(id, link)); failed != nil || verified.Email != "ann@example.com" {
			t.Errorf("a link without its id used something up: %+v", failed)
		}
	})
}

func TestLinkWithoutID(t *testing.T) {
	t.Parallel()
	overAll(t, gateway.Config{AnyBrowser: true}, func(t *testing.T, p *portal, shop api) {
		_, _, link := sent(t, p, shop, to("ann@example.com"))
		if verified, failed := shop.verify(byLink("", link)); failed != nil || verified.Email != "ann@example.com" {
			t.Errorf("%+v", failed)
		}
		_, failed := shop.verify(byLink("", link))
		failed.want(t, 9, "AUTH_REQUEST_EXPIRED", "auth request expired")
	})
}

func TestMailLimit(t *testing.T) {
	t.Parallel()
	overAll(t, gateway.Config{}, func(t *testing.T, p *portal, shop api) {
		id, _, _ := sent(t, p, shop, to("ann@example.com"))
		if _, failed := shop.resend(&pb.ResendPasswordlessRequest{AuthRequestId: id}); failed != nil {
			t.Fatal(failed)
		}
		p.Advance(10 * time.Second)
		_, failed := shop.send(to("ann+suffix@example.com"))
		failed.want(t, 8, "RATE_LIMITED", "50 seconds")
		p.wantStatus(shop, http.StatusTooManyRequests)
		_, failed = shop.resend(&pb.ResendPasswordlessRequest{AuthRequestId: id})
		failed.want(t, 8, "RATE_LIMITED", "50 seconds")
		_, failed = as(p, shop, p.token("blog")).send(to("ann@example.com"))
		failed.want(t, 8, "RATE_LIMITED", "50 seconds") // per address, whoever asks
		p.Advance(time.Minute)
		if n := len(p.Mails.All()); n != 2 {
			t.Errorf("%d mails: a refused one was postponed", n)
		}
		if _, failed := shop.send(to("ann@example.com")); failed != nil {
			t.Error(failed)
		}
	})
}

func TestResend(t *testing.T) {
	t.Parallel()
	for _, renew := range []bool{false, true} {
		overAll(t, gateway.Config{RenewOnResend: renew, Expires: time.Minute}, func(t *testing.T, p *portal, shop api) {
			in := to("ann@example.com")
			in.ExpiresIn = proto.Uint32(1500)
			id, code, link := sent(t, p, shop, in)
			start := p.Clock.Now()
			for i := range 2 {
				p.Advance(24 * time.Minute)
				out, failed := shop.resend(&pb.ResendPasswordlessRequest{AuthRequestId: id})
				if failed != nil {
					t.Fatal(failed)
				}
				want := min(p.Clock.Now().Unix()+1500, start.Unix()+3600) // at most 1h after the first mail
				if out.AuthRequestId != id || out.ExpiresAt != want || int64(out.ExpiresIn) != want-p.Clock.Now().Unix() {
					t.Errorf("resend %d: %v, want %d", i, out, want)
				}
			}
			nextCode, nextLink := p.credentials("ann@example.com")
			if (nextCode != code || nextLink != link) != renew {
				t.Errorf("renew %v: %s %s, then %s %s", renew, code, link, nextCode, nextLink)
			}
			if renew {
				_, failed := shop.verify(byLink(id, link))
				failed.want(t, 9, "AUTH_REQUEST_EXPIRED", "auth request expired")
			}
			p.Advance(11 * time.Minute)
			if verified, failed := shop.verify(byCode(id, nextCode)); failed != nil || verified.Email != "ann@example.com" {
				t.Errorf("%+v", failed)
			}
		})
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	overAll(t, gateway.Config{Method: gateway.MethodCode, CodeLength: 8, CodeLetters: true}, func(t *testing.T, p *portal, shop api) {
		out, failed := shop.send(&pb.SendPasswordlessRequest{Email: "ann@example.com"})
		if failed != nil || out.PasswordlessType != pb.PasswordlessType_OTP {
			t.Fatalf("%v %v", out, failed)
		}
		code, link := p.credentials("ann@example.com")
		if len(code) != 8 || link != "" {
			t.Errorf("mailed %q %q", code, link)
		}
		if _, failed := shop.verify(byCode(out.AuthRequestId, strings.ToLower(code))); failed != nil {
			t.Error(failed)
		}
	})
	overAll(t, gateway.Config{Method: gateway.MethodLink}, func(t *testing.T, p *portal, shop api) {
		in := to("ann@example.com")
		in.MagiclinkAuthUri = proto.String(queryURI)
		out, failed := shop.send(in)
		if failed != nil || out.PasswordlessType != pb.PasswordlessType_LINK {
			t.Fatalf("%v %v", out, failed)
		}
		text := p.LastMail("ann@example.com").Text
		if !strings.Contains(text, "\n"+queryURI+"&link_token=") {
			t.Errorf("no link in %s", text)
		}
		_, failed = shop.verify(byCode(out.AuthRequestId, "123456"))
		failed.want(t, 3, "INVALID_ARGUMENT", "invalid")
	})
}

// TestOnce: of parallel right answers one is taken, and of parallel wrong ones
// as many as are allowed.
func TestOnce(t *testing.T) {
	t.Parallel()
	overAll(t, gateway.Config{}, func(t *testing.T, p *portal, shop api) {
		id, code, _ := sent(t, p, shop, to("ann@example.com"))
		var mu sync.Mutex
		results := map[string]int{}
		var all sync.WaitGroup
		answer := func(id, code string) {
			all.Go(func() {
				_, failed := shop.verify(byCode(id, code))
				mu.Lock()
				defer mu.Unlock()
				if failed == nil {
					failed = &told{errorCode: "ok"}
				}
				results[failed.errorCode]++
			})
		}
		for range 40 {
			answer(id, code)
		}
		all.Wait()
		if results["ok"] != 1 || results["AUTH_REQUEST_EXPIRED"] != 39 {
			t.Errorf("got %v", results)
		}
		results = map[string]int{}
		id, code, _ = sent(t, p, shop, to("bob@example.com"))
		for n := range 9 {
			answer(id, wrong(code, n+1))
		}
		all.Wait()
		if results["INVALID_CODE"] != 5 || results["RATE_LIMITED"] != 4 {
			t.Errorf("got %v", results)
		}
	})
}
