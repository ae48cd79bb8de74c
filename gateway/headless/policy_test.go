package headless_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/gatewaytest"
	pb "github.com/postern-auth/postern/gateway/headless/headlesspb"
	"github.com/postern-auth/postern/pages"
)

// TestApart: credentials of the API are worth nothing at the pages, and theirs
// nothing here.
func TestApart(t *testing.T) {
	t.Parallel()
	p := newPortal(t, gateway.Config{AnyBrowser: true}) // the laxest there is
	shop := &restAPI{p, p.token("shop")}
	id, code, link := sent(t, p, shop, to("ann@example.com"))

	ann := p.Browser()
	ann.Start("bob@example.com").Want(t, 303)
	own := ann.Request
	for name, got := range map[string]*gatewaytest.Answer{
		"code":   ann.CodeFor(id, code),
		"page":   ann.Open("/.auth/code?request=" + id),
		"link":   ann.OpenLink("https://" + gatewaytest.Host + "/.auth/link?token=" + link),
		"button": ann.Submit("/.auth/link", "token", link),
	} {
		if got.Status != 410 && got.Status != 403 {
			t.Errorf("%s of the API at the pages: %d", name, got.Status)
		}
	}
	if ann.SignedIn() != "" {
		t.Error("signed in at the pages by the API's credentials")
	}
	page := p.LastMail("bob@example.com")
	token := gatewaytest.Token(page.Link)
	for _, in := range []*pb.VerifyPasswordLessRequest{byCode(own, page.Code), byLink(own, token), byLink("", token)} {
		_, failed := shop.verify(in)
		failed.want(t, 9, "AUTH_REQUEST_EXPIRED", "")
	}
	_, failed := shop.resend(&pb.ResendPasswordlessRequest{AuthRequestId: own})
	failed.want(t, 9, "AUTH_REQUEST_EXPIRED", "")
	if verified, failed := shop.verify(byCode(id, code)); failed != nil || verified.Email != "ann@example.com" {
		t.Errorf("the pages used it up: %+v", failed)
	}
}

// TestLanes: limits are counted for an address over pages and API together, but
// a client locks nobody out who is known in their browser.
func TestLanes(t *testing.T) {
	t.Parallel()
	p := newPortal(t, gateway.Config{})
	shop := &restAPI{p, p.token("shop")}
	ann := p.Browser()
	ann.SignIn("ann@example.com")
	p.Advance(10 * time.Minute)
	id, code, _ := sent(t, p, shop, to("ann@example.com"))
	for n := range 5 {
		_, failed := shop.verify(byCode(id, wrong(code, n+1)))
		failed.want(t, 3, "INVALID_CODE", "")
	}
	stranger := p.Browser()
	stranger.Start("ann@example.com").Want(t, 303)
	stranger.Code("123456").Want(t, 429) // attempts are counted together
	_, failed := shop.send(to("ann@example.com"))
	failed.want(t, 8, "RATE_LIMITED", "") // the stranger had the second mail
	p.Settle()                            // the stranger's mail comes before hers
	ann.SignOut()
	ann.SignIn("ann@example.com") // fails the test where it does not work
}

// TestWho: an address that the client may not mail gets an equal request, and
// no mail.
func TestWho(t *testing.T) {
	t.Parallel()
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPortal(t, gateway.Config{}, client(t, "shop", func(c *gateway.ClientConfig) {
				c.Allow, c.Deny = gatewaytest.Who(t, "*@example.com"), gatewaytest.Who(t, "bob@example.com")
			}), client(t, "blog"))
			shop := transport(p, p.token("shop"))
			answers := map[string]string{}
			for _, email := range []string{"ann@example.com", "bob@example.com", "eve@example.org"} {
				out, failed := shop.send(to(email))
				if failed != nil {
					t.Fatal(failed)
				}
				_, failed = shop.verify(byCode(out.AuthRequestId, "000000"))
				if _, again := shop.send(to(email)); again != nil {
					t.Errorf("%s: %v", email, again)
				}
				_, third := shop.resend(&pb.ResendPasswordlessRequest{AuthRequestId: out.AuthRequestId})
				answers[email] = fmt.Sprint(len(out.AuthRequestId), out.ExpiresIn, out.PasswordlessType, *failed, *third)
			}
			if answers["bob@example.com"] != answers["ann@example.com"] || answers["eve@example.org"] != answers["ann@example.com"] {
				t.Errorf("told apart: %v", answers)
			}
			p.Settle()
			for _, mail := range p.Mails.All() {
				if mail.To != "ann@example.com" {
					t.Errorf("a mail to %s", mail.To)
				}
			}
			p.Advance(time.Minute)
			if id, _, _ := sent(t, p, as(p, shop, p.token("blog")), to("eve@example.org")); id == "" {
				t.Error("a client without allow may mail anybody")
			}
		})
	}
}

// TestClientLimit: a client has a number of mails of its own, and refused calls
// of one address do not use it up.
func TestClientLimit(t *testing.T) {
	t.Parallel()
	p := newPortal(t, gateway.Config{}, client(t, "shop", func(c *gateway.ClientConfig) { c.Mails = gateway.Limit{Count: 4, Window: time.Hour} }), client(t, "blog"))
	shop := &restAPI{p, p.token("shop")}
	id, _, _ := sent(t, p, shop, to("ann@example.com"))
	if _, failed := shop.resend(&pb.ResendPasswordlessRequest{AuthRequestId: id}); failed != nil {
		t.Fatal(failed)
	}
	for range 5 {
		_, failed := shop.send(to("ann@example.com"))
		failed.want(t, 8, "RATE_LIMITED", "60 seconds")
		_, failed = shop.send(&pb.SendPasswordlessRequest{Email: "cid@example.com"})
		failed.want(t, 3, "INVALID_ARGUMENT", "")
	}
	for i := range 2 {
		if _, failed := shop.send(to(fmt.Sprintf("b%d@example.com", i))); failed != nil {
			t.Fatal(failed)
		}
	}
	for range 3 {
		_, failed := shop.send(to("cid@example.com"))
		failed.want(t, 8, "RATE_LIMITED", "3600 seconds")
	}
	blog := &restAPI{p, p.token("blog")}
	for range 2 { // calls over the client's limit used up no mail of the address
		if _, failed := blog.send(to("cid@example.com")); failed != nil {
			t.Errorf("%+v", failed)
		}
	}
	p.Advance(time.Hour)
	shop.token = p.token("shop")
	if _, failed := shop.send(to("ann@example.com")); failed != nil {
		t.Error(failed)
	}
}

// TestClientLimitInABurst: of parallel calls for one address, those that are
// refused give back what the client's limit had counted.
func TestClientLimitInABurst(t *testing.T) {
	t.Parallel()
	p := newPortal(t, gateway.Config{}, client(t, "shop", func(c *gateway.ClientConfig) { c.Mails = gateway.Limit{Count: 50, Window: time.Hour} }))
	shop := &restAPI{p, p.token("shop")}
	burst := func(call func() *told) (fine int) {
		var all sync.WaitGroup
		var done atomic.Int64
		for range 40 {
			all.Go(func() {
				if failed := call(); failed == nil {
					done.Add(1)
				} else if failed.errorCode != "RATE_LIMITED" {
					t.Errorf("%+v", failed)
				}
			})
		}
		all.Wait()
		return int(done.Load())
	}
	id, _, _ := sent(t, p, shop, to("bob@example.com"))
	fine := 1 + burst(func() *told { _, failed := shop.send(to("ann@example.com")); return failed })
	fine += burst(func() *told {
		_, failed := shop.resend(&pb.ResendPasswordlessRequest{AuthRequestId: id})
		return failed
	})
	if fine != 4 {
		t.Errorf("%d mails, want 2 for each address", fine)
	}
	for i := range 50 - fine {
		if _, failed := shop.send(to(fmt.Sprintf("c%d@example.com", i))); failed != nil {
			t.Fatalf("after %d: %+v", i, failed)
		}
	}
	_, failed := shop.send(to("cid@example.com"))
	failed.want(t, 8, "RATE_LIMITED", "3600 seconds")
}

// TestManyFromOneNetwork: all calls come from the application's server, so the
// limit of a network is not for them.
func TestManyFromOneNetwork(t *testing.T) {
	t.Parallel()
	p := newPortal(t, gateway.Config{Limits: gateway.Limits{Network: gateway.Limit{Count: 2, Window: time.Hour}}})
	shop := &restAPI{p, p.token("shop")}
	for i := range 5 {
		if _, failed := shop.send(to(fmt.Sprintf("a%d@example.com", i))); failed != nil {
			t.Error(failed)
		}
	}
}

// TestCodesStopped: after the day's wrong codes a mail carries a link alone, or
// is refused where there can be none.
func TestCodesStopped(t *testing.T) {
	t.Parallel()
	for _, withLink := range []bool{false, true} {
		p := newPortal(t, gateway.Config{Method: gateway.MethodCode})
		shop := &restAPI{p, p.token("shop")}
		in := &pb.SendPasswordlessRequest{Email: "ann@example.com"}
		if withLink {
			in = to("ann@example.com")
		}
		for range 4 {
			shop.token = p.token("shop")
			id, code, _ := sent(t, p, shop, in)
			for n := range 5 {
				_, failed := shop.verify(byCode(id, wrong(code, n+1)))
				failed.want(t, 3, "INVALID_CODE", "")
			}
			p.Advance(10 * time.Minute)
		}
		out, failed := shop.send(in)
		if !withLink {
			failed.want(t, 8, "RATE_LIMITED", "")
			continue
		}
		if failed != nil || out.PasswordlessType != pb.PasswordlessType_LINK {
			t.Fatalf("%v %+v", out, failed)
		}
		_, link := p.credentials("ann@example.com")
		if _, failed := shop.verify(byLink(out.AuthRequestId, link)); failed != nil {
			t.Error(failed)
		}
	}
}

// TestTemplates: a folder overrides mails, and a variable that is used and not
// given is an error of the call, which sends and counts nothing.
func TestTemplates(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for name, text := range map[string]string{
		"signin.subject.txt": "{{.app_name}}: {{.otp}}\nBcc: eve@example.org",
		"signin.txt":         "Dear {{.user_name}} of {{.user_email}}, plan {{.plan}}, in {{.expiry_time_relative}}:\n\n    {{.otp}}\n\n{{.link}}",
		"signin.html":        "<p>{{.plan}} <a href=\"{{.link}}\">go</a></p>",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	letters, err := pages.LoadAppMails(os.DirFS(folder))
	if err != nil {
		t.Fatal(err)
	}
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPortal(t, gateway.Config{}, client(t, "shop", func(c *gateway.ClientConfig) { c.Letters = letters }))
			shop := transport(p, p.token("shop"))
			in := to("ann@example.com")
			for range 3 {
				_, failed := shop.send(in)
				failed.want(t, 3, "INVALID_ARGUMENT", "the mail cannot be written: signin.txt needs the variable plan")
				if failed != nil && failed.field != "template_variables" {
					t.Errorf("%+v", failed)
				}
			}
			p.Settle()
			if n := len(p.Mails.All()); n != 0 {
				t.Errorf("%d mails", n)
			}
			in.TemplateVariables = map[string]string{"plan": "<b>", "user_name": "Ann", "user_email": "eve@example.org", "app_name": "Shop"}
			in.ExpiresIn = proto.Uint32(600)
			id, code, link := sent(t, p, shop, in)
			m := p.LastMail("ann@example.com")
			if m.Subject != "Shop: "+code+" Bcc: eve@example.org" || len(code) != 6 {
				t.Errorf("subject %q", m.Subject)
			}
			if want := "Dear Ann of ann@example.com, plan <b>, in 10 minutes:\n\n    " + code + "\n\n" + linkURI + "?link_token=" + link + "\n"; m.Text != want {
				t.Errorf("text %q, want %q", m.Text, want)
			}
			if !strings.Contains(m.HTML, "<p>&lt;b&gt; <a href=\""+linkURI+"?link_token="+link) {
				t.Errorf("HTML %q", m.HTML)
			}
			if _, failed := shop.verify(byCode(id, code)); failed != nil {
				t.Error(failed)
			}
			in.Template = pb.TemplateType_SIGNUP.Enum() // which is built in
			if _, failed := shop.send(in); failed != nil || !strings.Contains(p.LastMail("ann@example.com").Subject, "join Shop") {
				t.Errorf("%v %q", failed, p.LastMail("ann@example.com").Subject)
			}
		})
	}
}

// TestTemplatesInGroups: a template that takes the code apart is tried with a
// code as it is configured, at the load and before a mail is sent.
func TestTemplatesInGroups(t *testing.T) {
	t.Parallel()
	for _, config := range []gateway.Config{{CodeLength: 6}, {CodeLength: 8, CodeLetters: true}, {Method: gateway.MethodCode, CodeLength: 12}} {
		config, err := config.WithDefaults()
		if err != nil {
			t.Fatal(err)
		}
		half := config.CodeLength / 2
		text := fmt.Sprintf("{{if .otp}}{{slice .otp 0 %d}} {{slice .otp %[1]d %d}}{{end}} {{.link}}", half, config.CodeLength)
		folder := fstest.MapFS{"signin.txt": {Data: []byte(text)}, "signin.html": {Data: []byte("<p>" + text + "</p>")}}
		letters, err := pages.LoadAppMails(folder, config.MailForms(true)...)
		if err != nil {
			t.Fatal(err)
		}
		p := newPortal(t, config, client(t, "shop", func(c *gateway.ClientConfig) { c.Letters = letters }))
		shop := &restAPI{p, p.token("shop")}
		out, failed := shop.send(to("ann@example.com"))
		if failed != nil {
			t.Fatalf("%d: %+v", config.CodeLength, failed)
		}
		code := p.LastMail("ann@example.com").Text[:config.CodeLength+1]
		if _, failed := shop.verify(byCode(out.AuthRequestId, code)); failed != nil {
			t.Errorf("%d: %q: %+v", config.CodeLength, code, failed)
		}
	}
}

// TestRestart: mails, requests and tokens outlive the process, and a mail of a
// client that is gone is not sent.
func TestRestart(t *testing.T) {
	t.Parallel()
	p := newPortal(t, gateway.Config{})
	shop := &restAPI{p, p.token("shop")}
	p.Mails.Break(gatewaytest.Temporary)
	out, failed := shop.send(to("ann@example.com"))
	if failed != nil {
		t.Fatal(failed)
	}
	blog := &restAPI{p, p.token("blog")}
	if _, failed := blog.send(to("bob@example.com")); failed != nil {
		t.Fatal(failed)
	}
	p.KillAndRestart()
	p.reload(client(t, "shop"))
	p.Mails.Break(gatewaytest.Healthy)
	p.Flush()
	code, _ := p.credentials("ann@example.com")
	if verified, failed := shop.verify(byCode(out.AuthRequestId, code)); failed != nil || verified.Email != "ann@example.com" {
		t.Errorf("%+v", failed)
	}
	if len(p.Mails.To("bob@example.com")) != 0 || !strings.Contains(p.Log(), "its client is not configured any more") {
		t.Error("the mail of a client that is gone was sent, or nothing says that it was not")
	}
}

// TestNothingSecretIsKept looks for credentials in the store and the log.
func TestNothingSecretIsKept(t *testing.T) {
	t.Parallel()
	p := newPortal(t, gateway.Config{})
	shop := &restAPI{p, p.token("shop")}
	id, code, link := sent(t, p, shop, to("ann@example.com"))
	_, _ = shop.verify(byCode(id, wrong(code, 1)))
	if _, failed := shop.verify(byCode(id, code)); failed != nil {
		t.Fatal(failed)
	}
	for what, secret := range map[string]string{"code": code, "wrong code": wrong(code, 1), "link": link, "token": shop.token} {
		if strings.Contains(p.Dump(), `"`+secret) || strings.Contains(p.Log(), secret) {
			t.Errorf("the %s is stored or logged", what)
		}
	}
	for _, line := range []string{"sign-in requested", "verified", "access token made"} {
		if !strings.Contains(p.Log(), line) || !strings.Contains(p.Log(), "client=shop") {
			t.Errorf("%q is not in the log", line)
		}
	}
}

func TestNewClient(t *testing.T) {
	t.Parallel()
	secret, _ := gateway.ParseSecret("x")
	for want, config := range map[string]gateway.ClientConfig{
		"write an id":          {ID: "a/b", Secret: secret},
		"at most 64":           {ID: strings.Repeat("a", 65), Secret: secret},
		"is there twice":       {ID: "shop", Secret: secret, RedirectURIs: []string{"https://shop.example.com/", "https://shop.example.com/"}},
		"a wildcard stands":    {ID: "shop", Secret: secret, RedirectURIs: []string{"https://*.example.com/"}},
		"has no secret":        {ID: "shop"},
		"only https works":     {ID: "shop", Secret: secret, RedirectURIs: []string{"http://shop.example.com/"}},
		"this is no address":   {ID: "shop", Secret: secret, RedirectURIs: []string{"/link"}},
		"must not have a frag": {ID: "shop", Secret: secret, RedirectURIs: []string{"https://shop.example.com/#"}},
		"must not have a user": {ID: "shop", Secret: secret, RedirectURIs: []string{"https://a@shop.example.com/"}},
		"cannot hold as it is": {ID: "shop", Secret: secret, RedirectURIs: []string{"https://shop.example.com/ä"}},
		"longer than 1000":     {ID: "shop", Secret: secret, RedirectURIs: []string{"https://shop.example.com/" + strings.Repeat("a", 1000)}},
		"count of 1 or more":   {ID: "shop", Secret: secret, Mails: gateway.Limit{Count: -1, Window: time.Hour}},
	} {
		if _, err := gateway.NewClient(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for _, uri := range []string{"https://shop.example.com", "http://localhost:3000/link", "http://127.0.0.1/", "https://[2001:db8::1]:8443/a?b=c"} {
		if err := gateway.ValidateRedirectURI(uri); err != nil {
			t.Error(err)
		}
	}
}

// TestUsedHasNoSession: a used request of a client is not taken for one that a
// browser without a session answered before.
func TestUsedHasNoSession(t *testing.T) {
	t.Parallel()
	shop := client(t, "shop")
	p := newPortal(t, gateway.Config{}, shop)
	id, code, link := sent(t, p, &restAPI{p, p.token("shop")}, to("ann@example.com"))
	answer := func(in gateway.ClientAnswer) error {
		in.Client = shop
		_, err := p.Engine.VerifyFor(context.Background(), in)
		return err
	}
	if err := answer(gateway.ClientAnswer{Request: id, Code: code}); err != nil {
		t.Fatal(err)
	}
	for _, in := range []gateway.ClientAnswer{{Request: id, Code: code}, {Request: id, Token: link}} {
		if err := answer(in); !errors.Is(err, gateway.ErrUnknown) {
			t.Errorf("%+v: %v", in, err)
		}
	}
}
