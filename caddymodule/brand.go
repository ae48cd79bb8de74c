package caddymodule

import (
	"errors"
	"fmt"
	"os"

	"github.com/postern-auth/postern/gateway"
)

// Brand is what pages and mails show of the installation. Every field may be left
// out.
type Brand struct {
	// A name beside that of the site, at most 40 characters.
	Name string `json:"name,omitempty"`
	// A file with a picture of at most 4096 bytes: PNG, JPEG, GIF, WebP or SVG.
	Logo string `json:"logo,omitempty"`
	// The colour of buttons, as #rrggbb.
	Accent string `json:"accent,omitempty"`
	// An address or https URL for whoever needs help.
	Support string `json:"support,omitempty"`
	// Where a Caddyfile has it, and its options by their names, for messages.
	Source  string            `json:"source,omitempty"`
	Sources map[string]string `json:"sources,omitempty"`
}

// config is the brand with its picture.
func (b *Brand) config() (gateway.Brand, error) {
	if b == nil {
		return gateway.Brand{}, nil
	}
	brand := gateway.Brand{Name: b.Name, Accent: b.Accent, Support: b.Support}
	if b.Logo == "" {
		return brand, nil
	}
	var err error
	if brand.Logo, err = readLogo(b.Logo); err == nil {
		_, err = gateway.Config{Brand: gateway.Brand{Logo: brand.Logo}}.WithDefaults()
	}
	if err != nil {
		return brand, sourced(b.Sources["logo"], fmt.Errorf("logo %s: %w", b.Logo, err))
	}
	return brand, nil
}

func readLogo(path string) ([]byte, error) {
	path, err := expand(path)
	if err != nil {
		return nil, err
	}
	logo, err := os.ReadFile(path)
	if err == nil && len(logo) == 0 {
		err = errors.New("the file is empty")
	}
	return logo, err
}

func (p *parser) brand() *Brand {
	brand := &Brand{Source: source(p.Dispenser)}
	if p.NextArg() {
		p.misused("brand")
	}
	inner := &parser{Dispenser: p.Dispenser, err: p.err}
	for nesting := p.Nesting(); inner.err == nil && p.NextBlock(nesting); {
		option := p.Val()
		inner.once(option)
		switch option {
		case "name":
			brand.Name = inner.word()
			inner.checkConfig(gateway.Config{Brand: gateway.Brand{Name: brand.Name}})
		case "logo":
			brand.Logo = inner.word()
		case "accent":
			brand.Accent = inner.word() // "#" begins a comment where it is not quoted
			inner.checkConfig(gateway.Config{Brand: gateway.Brand{Accent: brand.Accent}})
		case "support":
			brand.Support = inner.word()
			inner.checkConfig(gateway.Config{Brand: gateway.Brand{Support: brand.Support}})
		default:
			inner.unknown(option, []string{"name", "logo", "accent", "support"})
		}
		inner.noBlock()
	}
	brand.Sources = inner.sources("logo")
	p.err = inner.err
	return brand
}
