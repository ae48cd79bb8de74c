package gateway_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/gatewaytest"
)

func TestDefaults(t *testing.T) {
	t.Parallel()
	c, err := gateway.Config{}.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	if c.Method != gateway.MethodBoth || c.CodeLength != 6 || c.CodeLetters || c.Expires != 10*time.Minute || c.AnyBrowser || c.RenewOnResend || c.Prefix != "/.auth" ||
		c.Session != (gateway.SessionTerms{Lifetime: 7 * day, Idle: 3 * day}) ||
		c.Limits != (gateway.Limits{
			Mails: gateway.Limit{Count: 2, Window: time.Minute}, Attempts: gateway.Limit{Count: 5, Window: 10 * time.Minute},
			Network: gateway.Limit{Count: 30, Window: 10 * time.Minute}, Total: gateway.Limit{Count: 1000, Window: time.Hour},
		}) {
		t.Errorf("%+v", c)
	}
	if gateway.DailyWrongCodes != 20 || gateway.DailyMails != 20 || gateway.MaxPendingPerBrowser != 10 || gateway.MaxLife != time.Hour {
		t.Error("a bound of the contract has changed")
	}
	// A lifetime shorter than the default idle time.
	c, err = gateway.Config{Session: gateway.SessionTerms{Lifetime: time.Hour}}.WithDefaults()
	if err != nil || c.Session.Idle != time.Hour {
		t.Errorf("%+v, %v", c.Session, err)
	}
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]gateway.Config{
		"method":            {Method: "sms"},
		"short code":        {CodeLength: 5},
		"long code":         {CodeLength: 13},
		"negative code":     {CodeLength: -6},
		"short expiry":      {Expires: 59 * time.Second},
		"long expiry":       {Expires: time.Hour + 1},
		"negative expiry":   {Expires: -time.Minute},
		"session":           {Session: gateway.SessionTerms{Lifetime: -1}},
		"long session":      {Session: gateway.SessionTerms{Lifetime: 401 * 24 * time.Hour}},
		"endless session":   {Session: gateway.SessionTerms{Lifetime: math.MaxInt64}},
		"idle":              {Session: gateway.SessionTerms{Lifetime: time.Hour, Idle: time.Millisecond}},
		"no mails":          {Limits: gateway.Limits{Mails: gateway.Limit{Count: 0, Window: time.Minute}}},
		"negative count":    {Limits: gateway.Limits{Attempts: gateway.Limit{Count: -1, Window: time.Minute}}},
		"too many attempts": {Limits: gateway.Limits{Attempts: gateway.Limit{Count: 501, Window: time.Minute}}},
		"no window":         {Limits: gateway.Limits{Network: gateway.Limit{Count: 1}}},
		"long window":       {Limits: gateway.Limits{Total: gateway.Limit{Count: 1, Window: 31 * 24 * time.Hour}}},
		"prefix":            {Prefix: "auth"},
		"root":              {Prefix: "/"},
		"slash at the end":  {Prefix: "/auth/"},
		"dots":              {Prefix: "/.."},
		"dots within":       {Prefix: "/a/./b"},
		"two slashes":       {Prefix: "/a//b"},
		"query":             {Prefix: "/a?b"},
		"escape":            {Prefix: "/%61"},
		"blank":             {Prefix: "/a b"},
		"placeholder":       {Prefix: "/{path}"},
		"too long":          {Prefix: "/" + strings.Repeat("a", 64)},
	} {
		if _, err := c.WithDefaults(); err == nil || !strings.Contains(err.Error(), "write") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := gateway.NewEngine(gatewaytest.New(t, gatewaytest.Options{}).Node, c); err == nil {
			t.Errorf("%s: an engine was made", name)
		}
	}
	for _, prefix := range []string{"/a", "/.auth", "/a/b-c_d.e", "/" + strings.Repeat("a", 63)} {
		if err := gateway.ValidatePrefix(prefix); err != nil {
			t.Error(err)
		}
	}
}

// Every address is below the configured prefix, in pages and mails alike.
func TestOtherPrefix(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{Prefix: "/gate/x"}})
	b := site.Browser()
	b.Open("/").WantLocation(t, "/gate/x/sign-in?return_to=%2F")
	page := b.Open("/gate/x/sign-in?return_to=/gate/x/sign-out").Want(t, 200).WantNoText(t, "/.auth")
	if !strings.Contains(page.Body, `name="return_to" value="/"`) {
		t.Error("a page below the prefix is a destination")
	}
	started := b.Submit("/gate/x/sign-in", "email", ann)
	if !strings.HasPrefix(started.Location(), "/gate/x/code?request=") {
		t.Errorf("leads to %q", started.Location())
	}
	b.Open(started.Location()).Want(t, 200).WantNoText(t, "/.auth")
	link := site.LastMail(ann).Link
	if !strings.HasPrefix(link, site.Origin+"/gate/x/link?token=") {
		t.Errorf("link %q", link)
	}
	b.OpenLink(link).WantLocation(t, "/")
	b.Open("/.auth/sign-in").Upstream(t)
	b.Open("/gate/xy").Upstream(t)
}
