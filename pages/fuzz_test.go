package pages_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/postern-auth/postern/pages"
)

// FuzzRender, whose seeds are a test of every view by themselves, wants whatever a stranger sends to leave a page's tags as they are.
func FuzzRender(f *testing.F) {
	for _, s := range hostile {
		for n := range len(views()) {
			f.Add(s, uint8(n))
		}
	}
	all := views()
	names := slices.Sorted(maps.Keys(all))
	want := map[string][]string{}
	for name, view := range all {
		fill(view, "plain")
		want[name] = skeleton(f, draw(f, view))
	}
	f.Fuzz(func(t *testing.T, s string, n uint8) {
		if s == "" {
			t.Skip("what is empty is not shown")
		}
		name := names[int(n)%len(names)]
		fill(all[name], s)
		page := draw(t, all[name])
		if !slices.Equal(skeleton(t, page), want[name]) {
			t.Errorf("%s: %q changed the tags", name, s)
		}
		checkAddresses(t, page)
	})
}

// FuzzRenderMail wants the same of a mail, and one line where one line is meant.
func FuzzRenderMail(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	_, _, rich := write(f, aMail())
	want := skeleton(f, rich)
	f.Fuzz(func(t *testing.T, s string) {
		m := pages.Mail{Site: "s" + s, Email: "e" + s, Code: "1" + s, Link: "https://a/" + s,
			Browser: "b" + s, Network: "n" + s, RequestID: "r" + s, Requested: aMail().Requested, ExpiresIn: 1, SameBrowser: true}
		subject, plain, rich := write(t, m)
		if strings.ContainsFunc(subject, unicode.IsControl) {
			t.Errorf("subject %q", subject)
		}
		if !slices.Equal(skeleton(t, rich), want) {
			t.Errorf("%q changed the tags", s)
		}
		checkLastLine(t, plain)
	})
}
