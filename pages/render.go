package pages

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"path"
	"strings"
	"sync"
)

//go:embed templates
var files embed.FS

// frame is what layout.html is given: what is around every page, and the view
// for the page's own templates, "title" and "main".
type frame struct {
	Common
	View View
	Look *Look
}

var pageTemplates = parsePages()

// parsePages makes one set of templates for each page, since all pages define
// the same names. What cannot be parsed cannot be built: the tests draw them all.
func parsePages() map[string]*template.Template {
	layout := template.Must(template.New("layout.html").Funcs(pageFuncs()).
		ParseFS(files, "templates/layout.html", "templates/parts.html"))
	names, err := files.ReadDir("templates/pages")
	if err != nil {
		panic(err)
	}
	set := make(map[string]*template.Template, len(names))
	for _, entry := range names {
		name := strings.TrimSuffix(entry.Name(), ".html")
		page := template.Must(layout.Clone())
		set[name] = template.Must(page.ParseFS(files, path.Join("templates/pages", entry.Name())))
	}
	return set
}

func pageFuncs() template.FuncMap {
	var scriptElement any = template.HTML("<script>" + script + "</script>")
	return template.FuncMap{
		"script":  func() any { return scriptElement },
		"span":    span,
		"seconds": seconds,
		"stamp":   stamp,
		"machine": machine,
		"signin":  signInPage,
		"again":   signInAgain,
		"code":    codePage,
		"local":   localPath,
		"start":   newStartForm,
	}
}

// drawn are buffers of about the size of a page.
var drawn = sync.Pool{New: func() any { return bytes.NewBuffer(make([]byte, 0, 20<<10)) }}

// render draws the whole page before it writes any of it: a visitor gets a page
// or none, never half of one.
func render(w io.Writer, view View, look *Look) error {
	page, ok := pageTemplates[view.template()]
	if !ok {
		return fmt.Errorf("no template for page %q", view.template())
	}
	out := drawn.Get().(*bytes.Buffer)
	defer drawn.Put(out)
	out.Reset()
	if err := page.Execute(out, frame{Common: *view.common(), View: view, Look: look}); err != nil {
		return fmt.Errorf("drawing page %q: %w", view.template(), err)
	}
	_, err := out.WriteTo(w)
	return err
}
