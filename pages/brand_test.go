package pages_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"html"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/postern-auth/postern/pages"
)

const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><script>alert(1)</script></svg>`

var brand = pages.Brand{Name: `Example & "Sons"`, Logo: []byte(svg), Accent: "#7a1fa2", Support: "help@example.com"}

func newLook(t testing.TB, b pages.Brand) *pages.Look {
	t.Helper()
	look, err := pages.NewLook(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return look
}

// Every page shows the brand, and its policy names the blocks that it has.
func TestBrandOnPages(t *testing.T) {
	look := newLook(t, brand)
	for name, view := range views() {
		var out bytes.Buffer
		if err := look.Render(&out, view); err != nil {
			t.Fatal(err)
		}
		page := out.String()
		if strings.Contains(page, `"Sons"`) {
			t.Errorf("%s: the name is not escaped", name)
		}
		for _, want := range []string{
			"Example & \"Sons\" <small>wiki.example.com</small>", `href="mailto:help@example.com">help@example.com</a>`,
			`<img src="data:image/svg+xml;base64,` + base64.StdEncoding.EncodeToString([]byte(svg)) + `" alt="" height="32">`, "--accent:#7a1fa2",
		} {
			if !strings.Contains(html.UnescapeString(page), want) {
				t.Errorf("%s: missing %q", name, want)
			}
		}
		checkPolicyOf(t, look.ContentSecurityPolicy(), page)
		if strings.Contains(draw(t, view), "Sons") {
			t.Errorf("%s: the plain look shows a brand", name)
		}
	}
}

// The largest page with the largest logo stays below 20 kB.
func TestLargestBrand(t *testing.T) {
	logo := []byte("<svg>" + strings.Repeat("x", pages.MaxLogo-5))
	look := newLook(t, pages.Brand{Name: strings.Repeat("ä", pages.MaxBrandName), Logo: logo, Accent: "#777777", Support: "https://help.example.com/a/long/path"})
	for name, view := range views() {
		var out bytes.Buffer
		if err := look.Render(&out, view); err != nil || out.Len() > 20_000 {
			t.Errorf("%s: %d bytes, %v", name, out.Len(), err)
		}
	}
}

func TestBrandOfNothing(t *testing.T) {
	if newLook(t, pages.Brand{}).ContentSecurityPolicy() != pages.ContentSecurityPolicy() {
		t.Error("no brand has another policy than the plain look")
	}
}

func TestBrandInMails(t *testing.T) {
	m := pages.Mail{Site: "wiki.example.com", Email: "ann@example.com", Code: "123456", Link: "https://wiki.example.com/.auth/link?token=x"}
	subject, text, rich, err := newLook(t, brand).RenderMail(m)
	if err != nil {
		t.Fatal(err)
	}
	if subject != "123456 is your sign-in code for wiki.example.com" {
		t.Error(subject)
	}
	if !strings.HasPrefix(text, "Example & \"Sons\"\n\nYour code") || !strings.Contains(text, "\nHelp: help@example.com\n") || !strings.HasSuffix(text, "\n@wiki.example.com #123456\n") {
		t.Error(text)
	}
	for _, want := range []string{"Example &amp; &#34;Sons&#34;", `href="mailto:help@example.com"`, "background:#7a1fa2;", "color:#ffffff;font-weight"} {
		if !strings.Contains(rich, want) {
			t.Errorf("missing %q in\n%s", want, rich)
		}
	}
	_, text, rich, err = pages.RenderMail(m)
	if err != nil || strings.Contains(text+rich, "Help") || !strings.Contains(rich, "background:#1b6350;") {
		t.Errorf("%v: a plain mail with a brand:\n%s", err, rich)
	}
}

func TestMistakesInBrands(t *testing.T) {
	for want, b := range map[string]pages.Brand{
		"at most 40":           {Name: strings.Repeat("x", pages.MaxBrandName+1)},
		"on one line":          {Name: "a\nb"},
		"letters, digits":      {Name: "a\u202eb"},
		"at most 4096":         {Logo: append([]byte("<svg>"), make([]byte, pages.MaxLogo)...)},
		"is no picture":        {Logo: []byte("<html>")},
		"SVG":                  {Logo: []byte("\x7fELF<svg\xff")},
		`as in "#1b6350"`:      {Accent: "1b6350"},
		`accent "#1b635"`:      {Accent: "#1b635"},
		`accent "#-b6350"`:     {Accent: "#-b6350"},
		`support "help"`:       {Support: "help"},
		"an https URL":         {Support: "http://help.example.com"},
		"write an address":     {Support: "javascript:alert(1)"},
		`"https://a@b.example`: {Support: "https://a@b.example"},
		`"Ann <ann@`:           {Support: "Ann <ann@example.com>"},
		`"https://"`:           {Support: "https://"},
	} {
		if _, err := pages.NewLook(b, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want %q", b, err, want)
		}
	}
}

// Whatever colour is asked for, text on buttons can be read, and the ring of the
// focus is seen, in both modes (WCAG 2.2: 4.5 and 3).
func TestBrandContrast(t *testing.T) {
	colours := []string{"#000000", "#ffffff", "#808080", "#ffee00", "#ff0000", "#00ff00", "#0000ff", "#191d1b", "#777777", "#1b6350"}
	for range 300 {
		colours = append(colours, fmt.Sprintf("#%06x", rand.IntN(1<<24)))
	}
	root := regexp.MustCompile(`:root\{--accent:(#\w{6});--accent-over:(#\w{6});--on-accent:(#\w{6})\}`)
	for _, colour := range colours {
		var out bytes.Buffer
		if err := newLook(t, pages.Brand{Accent: colour}).Render(&out, pages.SignedOut{Common: around}); err != nil {
			t.Fatal(err)
		}
		found := root.FindAllStringSubmatch(out.String(), -1)
		if len(found) != 2 {
			t.Fatalf("%s: %d palettes", colour, len(found))
		}
		for i, ground := range []string{"#ffffff", "#191d1b"} {
			accent, over, on := found[i][1], found[i][2], found[i][3]
			if ratio(t, accent, ground) < 3 || ratio(t, on, accent) < 4.5 || ratio(t, on, over) < 4.5 {
				t.Errorf("%s on %s: accent %s, over %s, text %s", colour, ground, accent, over, on)
			}
		}
	}
}

// ratio is the contrast of two colours.
func ratio(t *testing.T, a, b string) float64 {
	t.Helper()
	x, y := luminanceOf(t, a[1:])+.05, luminanceOf(t, b[1:])+.05
	return max(x, y) / min(x, y)
}
