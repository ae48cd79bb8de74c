package pages

import (
	"bytes"
	"errors"
	"fmt"
	html "html/template"
	"io/fs"
	"path"
	"slices"
	"strings"
	text "text/template"
	"time"
)

// templateSet are the templates of a look: those that are built in, or of an
// operator's folder in their place.
type templateSet struct {
	style, script string
	pages         map[string]*html.Template
	mailText      *text.Template
	mailHTML      *html.Template
	// wrapped says that the plain text is ours: an operator's stays as it is.
	wrapped bool
}

// builtIn are the templates in this package.
var builtIn = func() fs.FS {
	folder, err := fs.Sub(files, "templates")
	if err != nil {
		panic(err)
	}
	return folder
}()

var plainTemplates = func() *templateSet {
	set, err := parseTemplates(nil)
	if err != nil {
		panic(err)
	}
	return set
}()

// parseTemplates reads all templates, each from the folder where it is there, which
// may be nil.
func parseTemplates(folder fs.FS) (*templateSet, error) {
	set := &templateSet{pages: make(map[string]*html.Template)}
	if err := checkNames(folder); err != nil {
		return nil, err
	}
	var err error
	if set.style, err = readBlock(folder, "style.css"); err != nil {
		return nil, err
	}
	if set.script, err = readBlock(folder, "script.js"); err != nil {
		return nil, err
	}
	layout := html.New("layout.html").Funcs(pageFuncs())
	for _, name := range []string{"layout.html", "parts.html"} {
		if err := addPage(layout, folder, name); err != nil {
			return nil, err
		}
	}
	for _, name := range pageNames() {
		// One set for each page, since all pages define the same names.
		page := html.Must(layout.Clone())
		if err := addPage(page, folder, "pages/"+name+".html"); err != nil {
			return nil, err
		}
		set.pages[name] = page
	}
	source, ours, err := readEither(folder, builtIn, "mail/mail.txt")
	if set.wrapped = ours; err != nil {
		return nil, err
	}
	if set.mailText, err = text.New("mail/mail.txt").Parse(source); err != nil {
		return nil, err
	}
	if source, _, err = readEither(folder, builtIn, "mail/mail.html"); err != nil {
		return nil, err
	}
	set.mailHTML, err = html.New("mail/mail.html").Parse(source)
	return set, err
}

func addPage(to *html.Template, folder fs.FS, name string) error {
	source, _, err := readEither(folder, builtIn, name)
	if err != nil {
		return err
	}
	if name != to.Name() {
		to = to.New(name)
	}
	_, err = to.Parse(source)
	return err
}

// readBlock reads what goes into a style or script element: our own in short, an
// operator's as it is.
func readBlock(folder fs.FS, name string) (string, error) {
	source, ours, err := readEither(folder, builtIn, name)
	if ours {
		return compact(source), err
	}
	for _, ending := range []string{"</", "<!--", "\x00"} {
		if strings.Contains(source, ending) {
			return "", fmt.Errorf("%s: it must not hold %q, by which its element would end elsewhere", name, ending)
		}
	}
	// Browsers read every line break as one character, and hash what they read.
	return strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(source), err
}

func pageNames() []string {
	entries, err := fs.ReadDir(builtIn, "pages")
	if err != nil {
		panic(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, strings.TrimSuffix(entry.Name(), ".html"))
	}
	return names
}

// templateNames are the files that a folder may have.
func templateNames() []string {
	names := []string{"layout.html", "parts.html", "style.css", "script.js", "mail/mail.txt", "mail/mail.html"}
	for _, name := range pageNames() {
		names = append(names, "pages/"+name+".html")
	}
	return names
}

// checkNames finds files whose name is not that of a template, which would be left
// out without a word. Other files may lie beside.
func checkNames(folder fs.FS) error {
	if folder == nil {
		return nil
	}
	known, found := templateNames(), false
	err := fs.WalkDir(folder, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		within, _, below := strings.Cut(name, "/")
		switch {
		case slices.Contains(known, name):
			found = true
		case below && (within == "pages" || within == "mail"), path.Ext(name) == ".css", path.Ext(name) == ".js":
			return fmt.Errorf("%s is no template: they are %s", name, strings.Join(known, ", "))
		}
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("there is none: they are %s", strings.Join(known, ", "))
	}
	return err
}

// try draws every page and mail, and looks for what they cannot do without.
func (l *Look) try() error {
	for _, view := range samples() {
		var out bytes.Buffer
		if err := l.Render(&out, view); err != nil {
			return err
		}
		for _, needed := range needs[view.template()] {
			if !strings.Contains(out.String(), needed) {
				return fmt.Errorf("pages/%s.html: it does not work without `%s`", view.template(), needed)
			}
		}
	}
	for _, credentials := range [][2]string{{"482913", sampleLink}, {"482913", ""}, {"", sampleLink}} {
		m := Mail{
			Site: "wiki.example.com", Email: "ann@example.com", Code: credentials[0], Link: credentials[1], Browser: "Firefox on Linux",
			Network: "192.0.2.1", Requested: time.Unix(0, 0), ExpiresIn: 10 * time.Minute, SameBrowser: true, RequestID: "q7Zk3mVt",
		}
		_, plain, rich, err := l.RenderMail(m)
		if err != nil {
			return err
		}
		if err := m.shownIn(plain, rich); err != nil {
			return err
		}
	}
	return nil
}

const sampleLink = "https://wiki.example.com/.auth/link?token=AAAA"

// shownIn says whether both forms of a mail have what it is for.
func (m Mail) shownIn(plain, rich string) error {
	for file, content := range map[string]string{"mail/mail.txt": plain, "mail/mail.html": rich} {
		for name, credential := range map[string]string{"{{.Code}}": m.Code, "{{.Link}}": m.Link} {
			if !strings.Contains(content, credential) {
				return fmt.Errorf("%s: it must show %s", file, name)
			}
		}
	}
	if m.Code != "" && !strings.HasSuffix(plain, "\n@"+m.Site+" #"+m.Code+"\n") {
		return errors.New("mail/mail.txt: its last line must be `@{{.Site}} #{{.Code}}` where there is a code, by which browsers fill it in")
	}
	return nil
}

// needs are what pages do not work without, as they are drawn of samples.
var needs = map[string][]string{
	"sign-in":      {`action="/.auth/sign-in"`, `name="email"`},
	"check-mail":   {`action="/.auth/resend"`, `name="request"`},
	"confirm-link": {`action="/.auth/link"`, `name="token"`, `value="tok"`},
}

// samples are pages in all their shapes, to try templates with.
func samples() []View {
	c := Common{Site: "wiki.example.com", Prefix: "/.auth", RequestID: "q7Zk3mVt"}
	now := time.Unix(0, 0)
	views := []View{
		SignIn{Common: c}, SignIn{Common: c, Email: "ann@example.com", Problem: "Not an address.", ReturnTo: "/a", StepUp: true},
		OtherBrowser{Common: c}, OtherBrowser{Common: c, HasCode: true, ReturnTo: "/a"},
		ConfirmLink{Common: c, Email: "ann@example.com", Token: "tok", Replaces: "bob@example.com"},
		Refused{Common: c, Email: "ann@example.com", ReturnTo: "/a"},
		Limited{Common: c, Message: "Too often.", RetryAfter: time.Minute, BackTo: "/a", BackLabel: "Back"},
		Expired{Common: c, Email: "ann@example.com", ReturnTo: "/a"}, SignedOut{c}, UnsentForm{Common: c}, UnsentForm{Common: c, StepUp: true},
		Failure{Common: c, Status: 404, Title: "Not here", Message: "Go back."},
		Account{Common: c, Email: "ann@example.com"},
		Account{
			Common: c, Email: "ann@example.com", Groups: []string{"staff"}, Method: "code", SignedIn: now, Expires: now, More: 1, AtLeast: true,
			Sessions: []AccountSession{{ID: "a", Device: "Firefox on Linux", Network: "192.0.2.1", SignedIn: now, LastSeen: now, This: true}, {ID: "b"}},
		},
	}
	for i := range 16 {
		bit := func(n int) bool { return i&(1<<n) != 0 }
		views = append(views, CheckMail{
			Common: c, Request: "r", Email: "ann@example.com", HasCode: bit(0) || !bit(1), HasLink: bit(1), CodeLength: 6, CodeLetters: bit(2), NoAttempts: bit(3),
			Problem: "Wrong.", RetryAfter: time.Minute, ResendAfter: time.Minute, ExpiresIn: time.Minute, ReturnTo: "/a", LeadsTo: "/a",
		})
	}
	return views
}
