package pages_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	// block is a part whose content is no HTML.
	block = regexp.MustCompile(`(?s)<(style|script)>(.*?)</(?:style|script)>`)
	// tag is a tag as the templates write them: lower case, quoted values.
	tag  = regexp.MustCompile(`<(/?)([a-z][a-z0-9]*)((?:\s+[a-zA-Z-]+(?:="[^"<>]*")?)*)(/?)>`)
	attr = regexp.MustCompile(`\s+([a-zA-Z-]+)(?:="[^"]*")?`)

	void = []string{"meta", "link", "input", "br"}
)

// skeleton returns the tags of a page with the names of their attributes, and
// fails where they do not fit into each other or where a bracket is left over.
// Whatever a visitor sends must leave it as it is.
func skeleton(t testing.TB, page string) (tags []string) {
	t.Helper()
	page, ok := strings.CutPrefix(page, "<!doctype html>\n")
	if !ok {
		t.Errorf("no doctype")
	}
	page = empty(empty(page, "style"), "script")
	if rest := tag.ReplaceAllString(page, ""); strings.ContainsAny(rest, "<>") {
		i := strings.IndexAny(rest, "<>")
		t.Errorf("a bracket that is no tag: %.60q", rest[max(0, i-20):])
	}
	var open []string
	for _, m := range tag.FindAllStringSubmatch(page, -1) {
		name := m[2]
		switch {
		case m[1] == "/":
			if len(open) == 0 || open[len(open)-1] != name {
				t.Fatalf("</%s> closes %v", name, open)
			}
			open = open[:len(open)-1]
		case m[4] == "" && !slices.Contains(void, name):
			open = append(open, name)
		}
		names := []string{m[1] + name}
		for _, a := range attr.FindAllStringSubmatch(m[3], -1) {
			if slices.Contains(names[1:], a[1]) {
				t.Errorf("<%s> has %s twice", name, a[1])
			}
			names = append(names, a[1])
		}
		tags = append(tags, strings.Join(names, " "))
	}
	if len(open) != 0 {
		t.Errorf("not closed: %v", open)
	}
	return tags
}

// empty takes the content out of the first element of that name.
func empty(page, name string) string {
	before, rest, found := strings.Cut(page, "<"+name+">")
	_, after, closed := strings.Cut(rest, "</"+name+">")
	if !found || !closed {
		return page
	}
	return before + "<" + name + "></" + name + ">" + after
}
