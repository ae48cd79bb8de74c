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

// TestAppMailWithoutCredentials: templates that leave out code and link are
// refused, and those that have one of them in some form are not.
func TestAppMailWithoutCredentials(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		plain, rich string
		fine        bool
	}{
		{"Hello", "<p>Hello</p>", false},
		{"{{if .otp}}Hello{{end}}", "<p>{{if .link}}Hello{{end}}</p>", false},
		{"{{.otp}}", "<p>Hello</p>", true},
		{"Hello", "<p>{{.link}}</p>", true},
		{"{{if .otp}}{{slice .otp 0 3}} {{slice .otp 3}}{{end}}", "<p>Hello</p>", true},
	} {
		_, err := pages.LoadAppMails(fstest.MapFS{"signup.txt": {Data: []byte(test.plain)}, "signup.html": {Data: []byte(test.rich)}})
		if test.fine && err != nil || !test.fine && (err == nil || !strings.Contains(err.Error(), "signup: the mail has neither the code nor the link: write {{.otp}} or {{.link}} in signup.txt and signup.html")) {
			t.Errorf("%q and %q: %v", test.plain, test.rich, err)
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
		if _, err := pages.LoadAppMails(fstest.MapFS{"signin.txt": {Data: []byte(text)}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := pages.LoadAppMails(fstest.MapFS{"signin.html": {Data: []byte("<p>\n<a href=\"{{if .otp}}\"{{end}}>")}}); err == nil || !strings.Contains(err.Error(), "signin.html:2") {
		t.Errorf("%v", err)
	}
	if _, err := pages.LoadAppMails(fstest.MapFS{"sign-in.txt": {Data: []byte("x")}}); err == nil || !strings.Contains(err.Error(), "write signin or signup") {
		t.Errorf("%v", err)
	}
	if _, err := pages.LoadAppMails(fstest.MapFS{"README.md": {Data: []byte("x")}}); err != nil {
		t.Error(err)
	}
}
