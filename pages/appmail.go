package pages

import (
	"bytes"
	"errors"
	"fmt"
	html "html/template"
	"io/fs"
	"path"
	"regexp"
	"strings"
	text "text/template"
	"time"
	"unicode"
)

// The mails that an application can ask for.
const (
	AppSignIn = "signin"
	AppSignUp = "signup"
)

// AppMail is what a mail that an application asked for says.
type AppMail struct {
	// AppName is how the reader knows the application. Required, unless the
	// variables have app_name.
	AppName string
	Email   string
	// Code and Link are the credentials. One of them may be empty.
	Code, Link string
	// ExpiresIn is how long they live from now.
	ExpiresIn time.Duration
	// SameBrowser says that the link works only in the browser that asked.
	SameBrowser bool
	// Variables are those of the request. They may replace app_name,
	// app_logo_url, app_support_email and user_name, and none of the others.
	Variables map[string]string
}

func (m AppMail) values() map[string]string {
	values := map[string]string{"app_name": m.AppName, "app_logo_url": "", "app_support_email": "", "user_name": ""}
	for name, value := range m.Variables {
		values[name] = value
	}
	values["user_email"], values["otp"], values["link"] = m.Email, m.Code, m.Link
	values["expiry_time_relative"] = span(m.ExpiresIn)
	values["same_browser"] = ""
	if m.SameBrowser {
		values["same_browser"] = "on"
	}
	return values
}

// AppForm is a form that mails have: what credentials they carry, made up. One
// of them may be empty.
type AppForm struct {
	Code, Link string
	// When says when mails have this form, for messages. "": always.
	When string
}

func (f AppForm) mail() AppMail {
	return AppMail{
		AppName: "Example", Email: "ann@example.com", Code: f.Code, Link: f.Link, ExpiresIn: 5 * time.Minute,
		Variables: map[string]string{"user_name": "Ann", "app_logo_url": "https://app.example.com/logo.png", "app_support_email": "help@example.com"},
	}
}

// other is the same form with other credentials.
func (f AppForm) other() AppForm {
	if f.Code != "" {
		f.Code = f.Code[1:] + f.Code[:1]
	}
	if f.Link != "" {
		f.Link += "x"
	}
	return f
}

// unseen says that a file shows no credential.
func (f AppForm) unseen(file string) error {
	name, variable := "link", "{{.link}}"
	switch {
	case f.Code != "" && f.Link != "":
		return fmt.Errorf("%s shows neither the code nor the link: write {{.otp}} or {{.link}} in it", file)
	case f.Code != "":
		name, variable = "code", "{{.otp}}"
	}
	return fmt.Errorf("%s does not show the %s, and mails carry nothing else%s: write %s in it", file, name, f.when(), variable)
}

func (f AppForm) when() string {
	if f.When == "" {
		return ""
	}
	return " " + f.When
}

// AppMails are the templates of one application's mails.
type AppMails struct{ letters map[string]*appLetter }

type appLetter struct {
	subject, plain *text.Template
	rich           *html.Template
	// wrapped says that the plain text is ours: an operator's stays as it is.
	wrapped bool
}

// TemplateError says that a template and the variables of a request do not go
// together: most often, one is used that was not given.
type TemplateError struct{ Problem string }

func (e *TemplateError) Error() string { return e.Problem }

// LoadAppMails reads templates from a folder: <mail>.subject.txt, <mail>.txt and
// <mail>.html, where <mail> is signin or signup, in the language of Go's
// text/template and html/template. What is not there is built in; folder may be
// nil. Each is tried in the forms that mails can have, and an error names file
// and line.
func LoadAppMails(folder fs.FS, forms ...AppForm) (*AppMails, error) {
	builtIn, err := fs.Sub(files, "templates/app")
	if err != nil {
		return nil, err
	}
	mails := &AppMails{letters: make(map[string]*appLetter)}
	for _, mail := range []string{AppSignIn, AppSignUp} {
		letter := new(appLetter)
		if letter.subject, _, err = parseAppText(folder, builtIn, mail+".subject.txt"); err != nil {
			return nil, err
		}
		if letter.plain, letter.wrapped, err = parseAppText(folder, builtIn, mail+".txt"); err != nil {
			return nil, err
		}
		source, _, err := readEither(folder, builtIn, mail+".html")
		if err != nil {
			return nil, err
		}
		if letter.rich, err = html.New(mail + ".html").Parse(source); err != nil {
			return nil, err
		}
		if err := letter.try(mail, forms); err != nil {
			return nil, err
		}
		mails.letters[mail] = letter
	}
	return mails, noStrangers(folder)
}

// noStrangers refuses a file that looks like a template and is none: a name that
// is misspelt would be passed over in silence.
func noStrangers(folder fs.FS) error {
	if folder == nil {
		return nil
	}
	entries, err := fs.ReadDir(folder, ".")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		kind, rest, _ := strings.Cut(name, ".")
		known := (kind == AppSignIn || kind == AppSignUp) && (rest == "subject.txt" || rest == "txt" || rest == "html")
		if ext := path.Ext(name); !known && (ext == ".txt" || ext == ".html") {
			return fmt.Errorf("%s: no mail has that name; write signin or signup, with .subject.txt, .txt or .html", name)
		}
	}
	return nil
}

func parseAppText(folder, builtIn fs.FS, name string) (t *text.Template, isBuiltIn bool, err error) {
	source, isBuiltIn, err := readEither(folder, builtIn, name)
	if err != nil {
		return nil, false, err
	}
	t, err = text.New(name).Parse(source)
	return t, isBuiltIn, err
}

func readEither(folder, builtIn fs.FS, name string) (source string, isBuiltIn bool, err error) {
	if folder != nil {
		own, err := fs.ReadFile(folder, name)
		if err == nil {
			return string(own), false, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", false, err
		}
	}
	content, err := fs.ReadFile(builtIn, name)
	return string(content), true, err
}

// try writes the mail in each form, with credentials and with others: where that
// makes no difference, it shows none. They are compared and not searched, since a
// template may write a code in groups. Which variables requests will have is not
// known here.
func (l *appLetter) try(mail string, forms []AppForm) error {
	l.missing("zero")
	defer l.missing("error")
	for _, form := range forms {
		_, plain, rich, err := l.write(form.mail())
		if err != nil {
			return fmt.Errorf("%w%s", err, form.when())
		}
		_, otherPlain, otherRich, err := l.write(form.other().mail())
		switch {
		case err != nil:
			return fmt.Errorf("%w%s", err, form.when())
		case plain == otherPlain:
			return form.unseen(mail + ".txt")
		case rich == otherRich:
			return form.unseen(mail + ".html")
		}
	}
	return nil
}

func (l *appLetter) missing(how string) {
	l.subject.Option("missingkey=" + how)
	l.plain.Option("missingkey=" + how)
	l.rich.Option("missingkey=" + how)
}

// Render returns the subject, the plain text and the HTML of a mail: AppSignIn
// or AppSignUp. It fails with a *TemplateError.
func (a *AppMails) Render(mail string, m AppMail) (subject, plain, rich string, err error) {
	letter := a.letters[mail]
	if letter == nil {
		return "", "", "", fmt.Errorf("there is no mail %q", mail)
	}
	return letter.write(m)
}

func (l *appLetter) write(m AppMail) (subject, plain, rich string, err error) {
	values := m.values()
	var out bytes.Buffer
	if err := l.subject.Execute(&out, values); err != nil {
		return "", "", "", templateError(l.subject.Name(), err)
	}
	subject = oneLine(out.String())
	out.Reset()
	if err := l.plain.Execute(&out, values); err != nil {
		return "", "", "", templateError(l.plain.Name(), err)
	}
	if plain = strings.TrimSpace(out.String()); l.wrapped {
		plain = wrap(plain)
	}
	out.Reset()
	if err := l.rich.Execute(&out, values); err != nil {
		return "", "", "", templateError(l.rich.Name(), err)
	}
	return subject, plain + "\n", out.String(), nil
}

// missingKey is how text/template ends the error of a variable that is not there.
var missingKey = regexp.MustCompile(`map has no entry for key "([^"\\]+)"$`)

// templateError says which variable a file needs, or else what Go says.
func templateError(file string, err error) *TemplateError {
	if found := missingKey.FindStringSubmatch(err.Error()); found != nil {
		return &TemplateError{file + " needs the variable " + found[1]}
	}
	return &TemplateError{err.Error()}
}

// oneLine is a text without what could begin another header.
func oneLine(s string) string {
	const most = 200 // characters
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	runes := []rune(strings.Join(strings.Fields(s), " "))
	return string(runes[:min(len(runes), most)])
}
