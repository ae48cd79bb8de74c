package pages

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
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

func pageFuncs() template.FuncMap {
	return template.FuncMap{
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
	page, ok := look.templates.pages[view.template()]
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
