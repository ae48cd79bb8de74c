package pages_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/postern-auth/postern/pages"
)

func appMail() pages.AppMail {
	return pages.AppMail{AppName: "shop.example.com", Email: "ann@example.com", Code: "012345",
		Link: "https://shop.example.com/link?a=b&link_token=TOKEN", ExpiresIn: 5 * time.Minute}
}

func TestAppMailBuiltIn(t *testing.T) {
	t.Parallel()
	mails, err := pages.LoadAppMails(nil)
	if err != nil {
		t.Fatal(err)
	}
	for mail, subject := range map[string]string{
		pages.AppSignIn: "012345 is your sign-in code for shop.example.com",
		pages.AppSignUp: "012345 is your code to join shop.example.com",
	} {
		got, plain, html, err := mails.Render(mail, appMail())
		if err != nil || got != subject {
			t.Errorf("%s: %q %v", mail, got, err)
		}
		for _, want := range []string{"\n    012345\n", "\nhttps://shop.example.com/link?a=b&link_token=TOKEN\n", "for 5 minutes after"} {
			if !strings.Contains(plain, want) {
				t.Errorf("%s: %q is missing in %s", mail, want, plain)
			}
		}
		if !strings.Contains(html, `href="https://shop.example.com/link?a=b&amp;link_token=TOKEN"`) || !strings.Contains(html, "012345") {
			t.Errorf("%s: %s", mail, html)
		}
		if strings.Contains(plain, "\n@") {
			t.Errorf("%s: has a line for autofill: %s", mail, plain)
		}
		one := appMail()
		one.Code, one.Variables = "", map[string]string{"user_name": "Ann <b>", "app_logo_url": "javascript:x", "app_support_email": "help@example.com", "app_name": "Shop"}
		got, plain, html, err = mails.Render(mail, one)
		if err != nil || strings.Contains(plain, "code") || strings.Contains(html, "code:") || !strings.Contains(got, "Shop") {
			t.Errorf("%s without code: %v %q %s %s", mail, err, got, plain, html)
		}
		if !strings.Contains(html, "Ann &lt;b&gt;") || strings.Contains(html, "javascript:") || !strings.Contains(plain, "help@example.com") {
			t.Errorf("%s: %s", mail, html)
		}
		one = appMail()
		one.Link = ""
		if _, plain, html, err = mails.Render(mail, one); err != nil || strings.Contains(plain+html, "link") {
			t.Errorf("%s without link: %v %s %s", mail, err, plain, html)
		}
	}
}

// TestAppMailSameBrowser: where the link works in any browser, the mails that
// are built in do not ask for the one where it was asked for.
func TestAppMailSameBrowser(t *testing.T) {
	t.Parallel()
	mails, err := pages.LoadAppMails(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, mail := range []string{pages.AppSignIn, pages.AppSignUp} {
		for _, code := range []string{"", "012345"} {
			for _, same := range []bool{true, false} {
				m := appMail()
				m.Code, m.SameBrowser = code, same
				_, plain, html, err := mails.Render(mail, m)
				for _, content := range []string{plain, html} {
					content = strings.Join(strings.Fields(content), " ")
					if err != nil || strings.Contains(content, ", in the browser where you asked for it:") != same {
						t.Errorf("%s, code %q, same browser %v: %v %s", mail, code, same, err, content)
					}
				}
			}
		}
	}
}

// TestAppMailReserved: a request cannot put its own credentials or address into
// a mail.
func TestAppMailReserved(t *testing.T) {
	t.Parallel()
	mails, err := pages.LoadAppMails(fstest.MapFS{"signin.txt": {Data: []byte("{{.otp}} {{.link}} {{.user_email}} {{.expiry_time_relative}}")}})
	if err != nil {
		t.Fatal(err)
	}
	m := appMail()
	m.Variables = map[string]string{"otp": "x", "link": "x", "user_email": "x", "expiry_time_relative": "x"}
	_, plain, _, err := mails.Render(pages.AppSignIn, m)
	if want := "012345 " + m.Link + " ann@example.com 5 minutes\n"; err != nil || plain != want {
		t.Errorf("%q %v", plain, err)
	}
}

func TestAppMailSubjectIsOneLine(t *testing.T) {
	t.Parallel()
	mails, err := pages.LoadAppMails(nil)
	if err != nil {
		t.Fatal(err)
	}
	m := appMail()
	m.Variables = map[string]string{"app_name": "Shop\r\nBcc: eve@example.org\u2028x" + strings.Repeat("y", 300)}
	subject, _, _, err := mails.Render(pages.AppSignIn, m)
	if err != nil || strings.ContainsAny(subject, "\r\n\u2028") || len(subject) > 200 {
		t.Errorf("%q %v", subject, err)
	}
}

func TestAppMailMissing(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"signup.subject.txt", "signup.txt", "signup.html"} {
		mails, err := pages.LoadAppMails(fstest.MapFS{file: {Data: []byte("Hello {{.plan}}")}})
		if err != nil {
			t.Fatal(err)
		}
		var missing *pages.TemplateError
		if _, _, _, err = mails.Render(pages.AppSignUp, appMail()); !errors.As(err, &missing) || err.Error() != file+" needs the variable plan" {
			t.Errorf("%s: %v", file, err)
		}
		if _, _, _, err = mails.Render(pages.AppSignIn, appMail()); err != nil {
			t.Errorf("%s: the other mail: %v", file, err)
		}
		m := appMail()
		m.Variables = map[string]string{"plan": "gold"}
		if _, _, _, err = mails.Render(pages.AppSignUp, m); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestAppMailOptional: a template can do without a variable, as the documents
// say.
func TestAppMailOptional(t *testing.T) {
	t.Parallel()
	mails, err := pages.LoadAppMails(fstest.MapFS{"signin.txt": {Data: []byte(`{{with index . "plan"}}Plan {{.}}{{end}}.`)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, plain, _, err := mails.Render(pages.AppSignIn, appMail()); err != nil || plain != ".\n" {
		t.Errorf("%q %v", plain, err)
	}
	m := appMail()
	m.Variables = map[string]string{"plan": "gold"}
	if _, plain, _, err := mails.Render(pages.AppSignIn, m); err != nil || plain != "Plan gold.\n" {
		t.Errorf("%q %v", plain, err)
	}
}

// TestAppMailFault: what is not a missing variable is told as Go says it.
func TestAppMailFault(t *testing.T) {
	t.Parallel()
	mails, err := pages.LoadAppMails(fstest.MapFS{"signin.txt": {Data: []byte(`{{with index . "plan"}}{{slice . 9}}{{end}}`)}})
	if err != nil {
		t.Fatal(err)
	}
	m := appMail()
	m.Variables = map[string]string{"plan": "gold"}
	var fault *pages.TemplateError
	if _, _, _, err := mails.Render(pages.AppSignIn, m); !errors.As(err, &fault) || !strings.Contains(err.Error(), "signin.txt:1") {
		t.Errorf("%v", err)
	}
}

const (
	formCode = "01234567"
	formLink = "https://app.example.com/link?link_token=AAAA"
)

var (
	bothForm = pages.AppForm{Code: formCode, Link: formLink}
	codeForm = pages.AppForm{Code: formCode}
	linkForm = pages.AppForm{Link: formLink}
)

// TestAppMailWithoutCredentials: templates whose text or HTML shows none of what
// mails carry are refused, and those that show it in some form are not.
func TestAppMailWithoutCredentials(t *testing.T) {
	t.Parallel()
	const (
		otp, link = "<p>{{.otp}}</p>", "<p>{{.link}}</p>"
		neither   = " shows neither the code nor the link: write {{.otp}} or {{.link}} in it"
		noCode    = " does not show the code, and mails carry nothing else: write {{.otp}} in it"
		noLink    = " does not show the link, and mails carry nothing else: write {{.link}} in it"
	)
	for _, test := range []struct {
		form        pages.AppForm
		plain, rich string
		want        string // "": it is fine
	}{
		{bothForm, "Hello", "<p>Hello</p>", "signup.txt" + neither},
		{bothForm, "{{if .otp}}Hello{{end}}", link, "signup.txt" + neither},
		{bothForm, otp, "<p>Hello</p>", "signup.html" + neither},
		{bothForm, otp, "<!-- {{.link}} -->", "signup.html" + neither},
		{bothForm, "{{.otp}}", link, ""},
		{bothForm, "{{slice .otp 0 4}} {{slice .otp 4 8}}", otp, ""},
		{codeForm, link, otp, "signup.txt" + noCode},
		{codeForm, otp, link, "signup.html" + noCode},
		{codeForm, "{{slice .otp 0 4}} {{slice .otp 4 8}}", otp, ""},
		{linkForm, otp, link, "signup.txt" + noLink},
		{linkForm, link, otp, "signup.html" + noLink},
		{linkForm, "{{slice .otp 0 4}} {{.link}}", link, "out of range"},
		{linkForm, "{{if .otp}}{{slice .otp 0 4}}{{else}}{{.link}}{{end}}", `<a href="{{.link}}">Go on</a>`, ""},
		{pages.AppForm{Link: formLink, When: "on Sundays"}, otp, link, "and mails carry nothing else on Sundays: write {{.link}}"},
	} {
		_, err := pages.LoadAppMails(fstest.MapFS{"signup.txt": {Data: []byte(test.plain)}, "signup.html": {Data: []byte(test.rich)}}, test.form)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%+v: %q and %q: %v, want %q", test.form, test.plain, test.rich, err, test.want)
		}
	}
	for _, form := range []pages.AppForm{bothForm, codeForm, linkForm} {
		if _, err := pages.LoadAppMails(nil, form); err != nil {
			t.Errorf("those that are built in: %+v: %v", form, err)
		}
		if _, err := pages.LoadAppMails(fstest.MapFS{"signin.html": {Data: []byte("<p>Hello</p>")}}, form); err == nil || !strings.HasPrefix(err.Error(), "signin.html ") {
			t.Errorf("HTML without credentials beside the text that is built in: %+v: %v", form, err)
		}
	}
}

func TestAppMailBroken(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"one\n{{.otp":            "signin.txt:2",
		"one\n\n{{nosuch .otp}}": "signin.txt:3",
		"one\n{{if .otp}}":       "signin.txt:2",
		"{{template \"x\"}}":     "signin.txt:1",
		"one\n{{.otp.x}}":        "signin.txt:2",
	} {
		if _, err := pages.LoadAppMails(fstest.MapFS{"signin.txt": {Data: []byte(text)}}, bothForm); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := pages.LoadAppMails(fstest.MapFS{"signin.html": {Data: []byte("<p>\n<a href=\"{{if .otp}}\"{{end}}>")}}, bothForm); err == nil || !strings.Contains(err.Error(), "signin.html:2") {
		t.Errorf("%v", err)
	}
	if _, err := pages.LoadAppMails(fstest.MapFS{"sign-in.txt": {Data: []byte("x")}}); err == nil || !strings.Contains(err.Error(), "write signin or signup") {
		t.Errorf("%v", err)
	}
	if _, err := pages.LoadAppMails(fstest.MapFS{"README.md": {Data: []byte("x")}}); err != nil {
		t.Error(err)
	}
}
