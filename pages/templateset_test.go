package pages_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/postern-auth/postern/pages"
)

// folder are an operator's templates.
func folder(contents map[string]string) fstest.MapFS {
	all := fstest.MapFS{}
	for name, content := range contents {
		all[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return all
}

// One template takes the place of one; the others stay, and the policy fits.
func TestTemplates(t *testing.T) {
	look, err := pages.NewLook(brand, folder(map[string]string{
		"pages/signed-out.html": `{{define "title"}}Bye{{end}}{{define "main"}}<h1>Bye, {{.Site}}</h1><p>{{$.Prefix}}</p>{{end}}`,
		"style.css":             "body { color: red }\r\n/* kept */\r",
		"mail/mail.txt":         "{{.Look.Name}}: {{.Code}} {{.Link}}, asked by {{.Browser}}{{if .Code}}\n\n@{{.Site}} #{{.Code}}{{end}}",
		"README":                "not a template",
	}))
	if err != nil {
		t.Fatal(err)
	}
	for _, view := range views() {
		var out bytes.Buffer
		if err := look.Render(&out, view); err != nil {
			t.Fatal(err)
		}
		page := out.String()
		if !strings.Contains(page, "<style>body { color: red }\n/* kept */\n:root{--accent") {
			t.Errorf("another style:\n%s", page)
		}
		checkPolicyOf(t, look.ContentSecurityPolicy(), page)
	}
	var out bytes.Buffer
	if err := look.Render(&out, pages.SignedOut{Common: around}); err != nil || !strings.Contains(out.String(), "<h1>Bye, wiki.example.com</h1><p>/.auth</p>") {
		t.Errorf("%v\n%s", err, out.String())
	}
	_, text, _, err := look.RenderMail(pages.Mail{Site: "wiki.example.com", Code: "123456", Link: "https://wiki.example.com/l", Browser: "Firefox"})
	if err != nil || text != "Example & \"Sons\": 123456 https://wiki.example.com/l, asked by Firefox\n\n@wiki.example.com #123456\n" {
		t.Errorf("%v, %q", err, text)
	}
}

// What could not work is found when it is loaded, with its file.
func TestMistakesInTemplates(t *testing.T) {
	const main = `{{define "title"}}T{{end}}{{define "main"}}%s{{end}}`
	for want, files := range map[string]map[string]string{
		"there is none":                                     {"README": "x"},
		"pages/signin.html is no template":                  {"pages/signin.html": "x"},
		"mail/mail.md is no template":                       {"mail/mail.md": "x"},
		"main.css is no template":                           {"main.css": "x"},
		"pages/sign-in.html:2":                              {"pages/sign-in.html": "\n{{if}}"},
		`can't evaluate field Nothing`:                      {"pages/failure.html": strings.Replace(main, "%s", "{{.Nothing}}", 1)},
		"does not work without `action=\"/.auth/sign-in\"`": {"pages/sign-in.html": strings.Replace(main, "%s", "nothing", 1)},
		"pages/confirm-link.html: it does not work":         {"pages/confirm-link.html": strings.Replace(main, "%s", `<form action="/.auth/link"></form>`, 1)},
		`style.css: it must not hold "</"`:                  {"style.css": "</STYLE><script>"},
		`script.js: it must not hold "<!--"`:                {"script.js": "<!--<script>"},
		"mail/mail.txt: it must show {{.Code}}":             {"mail/mail.txt": "{{.Link}}\n@{{.Site}}"},
		"mail/mail.html: it must show {{.Link}}":            {"mail/mail.html": "{{.Code}}"},
		"its last line must be":                             {"mail/mail.txt": "{{.Code}} {{.Link}}\n\nBye\n"},
		"mail.html:1":                                       {"mail/mail.html": "{{.Code"},
	} {
		if _, err := pages.NewLook(pages.Brand{}, folder(files)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v; want %q", files, err, want)
		}
	}
}

// The templates that are built in pass what an operator's have to.
func TestBuiltInTemplatesPass(t *testing.T) {
	if _, err := pages.NewLook(pages.Brand{}, folder(map[string]string{"parts.html": `{{define "own"}}{{end}}
{{define "return-to"}}{{with .}}<input type="hidden" name="return_to" value="{{.}}">{{end}}{{end}}
{{define "start-form"}}<form method="post" action="{{.Prefix}}/sign-in"><input name="email"></form>{{end}}`})); err != nil {
		t.Error(err)
	}
}
