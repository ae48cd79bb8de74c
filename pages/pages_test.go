package pages_test

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/pages"
)

var around = pages.Common{Site: "wiki.example.com", Prefix: "/.auth", RequestID: "q7Zk3mVt"}

// views are all pages, in every shape that their switches give them. They are
// pointers, so that fill can set their fields.
func views() map[string]pages.View {
	now := time.Date(2026, 3, 3, 14, 5, 0, 0, time.UTC)
	all := map[string]pages.View{
		"sign-in":       &pages.SignIn{Common: around},
		"problem":       &pages.SignIn{Common: around, Email: "ann", Problem: "Not an address.", ReturnTo: "/a?b=c&d"},
		"step-up":       &pages.SignIn{Common: around, Email: "ann@example.com", StepUp: true},
		"other-browser": &pages.OtherBrowser{Common: around},
		"other-code":    &pages.OtherBrowser{Common: around, HasCode: true},
		"confirm":       &pages.ConfirmLink{Common: around, Email: "ann@example.com", Token: "t", Replaces: "bob@example.com"},
		"refused":       &pages.Refused{Common: around, Email: "ann@example.com", ReturnTo: "/a?b=c&d"},
		"limited":       &pages.Limited{Common: around, Message: "Too often.", RetryAfter: time.Minute, BackTo: "/x", BackLabel: "Back"},
		"expired":       &pages.Expired{Common: around, Email: "ann@example.com", ReturnTo: "/"},
		"signed-out":    &pages.SignedOut{Common: around},
		"unsent":        &pages.UnsentForm{Common: around},
		"unsent-stepup": &pages.UnsentForm{Common: around, StepUp: true},
		"failure":       &pages.Failure{Common: around, Status: 404, Title: "No such page", Message: "Go back."},
		"account": &pages.Account{Common: around, Email: "ann@example.com", Groups: []string{"staff", "a"},
			Method: "code", SignedIn: now, Expires: now.Add(time.Hour)},
	}
	many := pages.Account{Common: around, Email: "ann@example.com", More: 3}
	for i := range 8 {
		many.Sessions = append(many.Sessions, pages.AccountSession{
			ID: "abcdefghijk", Device: "Chrome on Windows", Network: "2001:db8:1234:5678:9abc:def0:1234:5678",
			SignedIn: now, LastSeen: now, This: i == 0,
		})
	}
	all["account-many"] = &many
	for i := range 1 << 4 {
		bit := func(n int) bool { return i&(1<<n) != 0 }
		v := &pages.CheckMail{Common: around, Request: "r1", Email: "ann@example.com", CodeLength: 6,
			HasCode: bit(0), HasLink: bit(1), NoAttempts: bit(2), CodeLetters: bit(3), ExpiresIn: 10 * time.Minute}
		if bit(3) {
			v.Problem, v.RetryAfter = "Wrong.", 5*time.Minute
			v.ResendAfter, v.ReturnTo = 24*time.Second, "/a"
		}
		all[fmt.Sprintf("check-mail-%04b", i)] = v
	}
	return all
}

func draw(t testing.TB, view pages.View) string {
	t.Helper()
	var out bytes.Buffer
	if err := pages.Render(&out, view); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestEveryPage(t *testing.T) {
	for name, view := range views() {
		t.Run(name, func(t *testing.T) {
			page := draw(t, view)
			if len(page) > 14_000 && name != "account-many" || len(page) > 17_000 {
				t.Errorf("%d bytes: too large for a page that is to stay well below 20 kB", len(page))
			}
			tags := skeleton(t, page)
			for _, tag := range tags {
				if bad := regexp.MustCompile(` (style|on[a-z]+|formaction|src|srcdoc)\b`).FindString(tag); bad != "" {
					t.Errorf("the policy blocks%s in <%s>", bad, tag)
				}
			}
			for _, want := range []string{"<html lang=", "– wiki.example.com</title>", "q7Zk3mVt", `name="viewport"`, `<link rel="icon" href="data:,">`} {
				if !strings.Contains(page, want) {
					t.Errorf("missing %q", want)
				}
			}
			if n := strings.Count(page, "<h1>"); n != 1 {
				t.Errorf("%d headings of the first rank", n)
			}
			checkLabels(t, page)
			checkAddresses(t, page)
		})
	}
}

// checkLabels wants a name for every field, and every id that is named to be there, once.
func checkLabels(t *testing.T, page string) {
	t.Helper()
	for _, input := range regexp.MustCompile(`<input id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if !strings.Contains(page, `<label for="`+input[1]+`">`) {
			t.Errorf("field %q has no label", input[1])
		}
	}
	for _, m := range regexp.MustCompile(` (?:for|aria-describedby|aria-labelledby)="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if n := strings.Count(page, ` id="`+m[1]+`"`); n != 1 {
			t.Errorf("id %q is there %d times", m[1], n)
		}
	}
}

var address = regexp.MustCompile(` (?:href|action|data-poll)="([^"]*)"`)

// checkAddresses wants paths of this site and nothing else.
func checkAddresses(t testing.TB, page string) {
	t.Helper()
	for _, m := range address.FindAllStringSubmatch(page, -1) {
		local := strings.HasPrefix(m[1], "/") && !strings.HasPrefix(m[1], "//") && !strings.HasPrefix(m[1], `/\`)
		if !local && m[1] != "data:," {
			t.Errorf("address %q leads elsewhere", m[1])
		}
	}
}

func TestViewsAreValuesOrPointers(t *testing.T) {
	if draw(t, pages.SignedOut{Common: around}) != draw(t, &pages.SignedOut{Common: around}) {
		t.Error("a view by value and by pointer are two pages")
	}
}

// fill sets every text of a view, but for the prefix, which the operator chose.
func fill(view any, s string) {
	v := reflect.ValueOf(view).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); {
		case v.Type().Field(i).Name == "Prefix":
		case f.Kind() == reflect.String:
			f.SetString(s)
		case f.Kind() == reflect.Struct && f.Type() == reflect.TypeFor[pages.Common]():
			fill(f.Addr().Interface(), s)
		case f.Type() == reflect.TypeFor[[]string]():
			f.Set(reflect.ValueOf([]string{s, s}))
		}
	}
}

var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' autofocus onfocus='alert(1)`, `" onfocus="alert(1)" x="`,
	`</title><svg onload=alert(1)>`, `javascript:alert(1)`, `//evil.example/`, `/\evil.example`, "/\t/evil.example", `{{.Email}}`, `{http.vars.x}`,
	"a\r\nb\x00c\u202e", "\xff\xfe<b>", `--><b>`, `]]>`, strings.Repeat("<", 300),
}
