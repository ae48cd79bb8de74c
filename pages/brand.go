package pages

import (
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/mail"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Brand is what an installation adds to the look of its pages and mails. Every
// field may be left out.
type Brand struct {
	// Name stands beside the site's own, at most MaxBrandName characters.
	Name string
	// Logo is a picture: PNG, JPEG, GIF, WebP or SVG, of at most MaxLogo bytes,
	// since it is part of every page.
	Logo []byte
	// Accent is the colour of buttons, as #rrggbb. It is made lighter or darker
	// where it could not be told from the ground.
	Accent string
	// Support is an address or an https URL, shown to whoever needs help.
	Support string
}

// Bounds of a Brand.
const (
	MaxBrandName = 40
	MaxLogo      = 4096
)

// Look draws pages and mails in a brand. It is safe for concurrent use.
type Look struct {
	brand     Brand
	templates *templateSet
	// Style, Script, Logo and Help are for the templates.
	Style, Script template.HTML
	Logo          template.URL
	Help          help
	// Light and Dark are the colours of buttons in mails.
	Light, Dark palette
	policy      string
}

// help is where to ask for it.
type help struct {
	Text string
	Link template.URL
}

// NewLook checks a brand, and templates in a folder, which take the place of those
// built in that have their names; it may be nil. Its errors say what to write
// instead.
func NewLook(b Brand, folder fs.FS) (*Look, error) {
	l := &Look{brand: b, templates: plainTemplates, Light: plainLight, Dark: plainDark}
	if err := checkName(b.Name); err != nil {
		return nil, err
	}
	var err error
	if l.Logo, err = logoURL(b.Logo); err != nil {
		return nil, err
	}
	if l.Help, err = helpAt(b.Support); err != nil {
		return nil, err
	}
	if folder != nil {
		if l.templates, err = parseTemplates(folder); err != nil {
			return nil, fmt.Errorf("templates: %w", err)
		}
	}
	css := l.templates.style
	if b.Accent != "" {
		accent, err := parseColour(b.Accent)
		if err != nil {
			return nil, err
		}
		l.Light, l.Dark = accent.palette(sheetLight, black), accent.palette(sheetDark, white)
		css += ":root{" + l.Light.variables() + "}\n@media (prefers-color-scheme:dark){:root{" + l.Dark.variables() + "}}\n"
	}
	l.Style, l.Script = template.HTML("<style>"+css+"</style>"), template.HTML("<script>"+l.templates.script+"</script>")
	l.policy = policyOf(css, l.templates.script)
	if folder != nil {
		if err := l.try(); err != nil {
			return nil, fmt.Errorf("templates: %w", err)
		}
	}
	return l, nil
}

// plain is the look without a brand.
var plain = func() *Look {
	l, err := NewLook(Brand{}, nil)
	if err != nil {
		panic(err)
	}
	return l
}()

// Name is the brand's, or "".
func (l *Look) Name() string { return l.brand.Name }

// ContentSecurityPolicy is the value of that header for every page in this look:
// nothing but the page's own style and script, which it names by hash. It has no
// form-action, which browsers apply to the redirects after a form too.
func (l *Look) ContentSecurityPolicy() string { return l.policy }

func checkName(name string) error {
	if utf8.RuneCountInString(name) > MaxBrandName || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("name %q: write at most %d letters, digits and signs, on one line", name, MaxBrandName)
	}
	return nil
}

// logoTypes are the media types of pictures that all browsers show.
var logoTypes = map[string]bool{"image/png": true, "image/jpeg": true, "image/gif": true, "image/webp": true}

// logoURL is the picture as a data URL. A picture runs no script, also as SVG.
func logoURL(logo []byte) (template.URL, error) {
	if len(logo) == 0 {
		return "", nil
	}
	if len(logo) > MaxLogo {
		return "", fmt.Errorf("logo has %d bytes: it is part of every page, so take one of at most %d, for instance an SVG", len(logo), MaxLogo)
	}
	kind := http.DetectContentType(logo)
	if !logoTypes[kind] {
		if !utf8.Valid(logo) || !strings.Contains(string(logo), "<svg") {
			return "", errors.New("logo is no picture: take one in PNG, JPEG, GIF, WebP or SVG")
		}
		kind = "image/svg+xml"
	}
	return template.URL("data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(logo)), nil
}

func helpAt(support string) (help, error) {
	if support == "" {
		return help{}, nil
	}
	wrong := fmt.Errorf("support %q: write an address (help@example.com) or an https URL (https://help.example.com)", support)
	if strings.ContainsFunc(support, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '<' || r == '>' }) {
		return help{}, wrong
	}
	if target, err := url.Parse(support); err == nil && target.Scheme == "https" && target.Host != "" && target.User == nil {
		return help{Text: strings.TrimSuffix(strings.TrimPrefix(support, "https://"), "/"), Link: template.URL(target.String())}, nil
	}
	if address, err := mail.ParseAddress(support); err == nil && address.Address == support {
		return help{Text: support, Link: template.URL("mailto:" + url.PathEscape(support))}, nil
	}
	return help{}, wrong
}
