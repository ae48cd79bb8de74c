package caddymodule

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/postern-auth/postern/gateway"
)

// parseDirective reads the directive of a site. Syntax:
//
//	email_auth [<matcher>] [<who>...] {
//		allow   <who>...
//		deny    <who>...
//		max_age <duration>
//		session <lifetime> [idle <duration>]
//		header  <field> <value>
//		origin  <https://host[:port]>
//	}
//
// <who> is an address (ann@example.com), a domain (*@example.com),
// group:<name>, or anyone. The matcher becomes part of the handler, which has to
// see the other requests too.
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next()
	first := ""
	if h.NextArg() {
		first = h.Val()
	}
	h.Reset()
	h.Next()
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, noSuchMatcher(h, first)
	}
	h.Next()
	handler := &Handler{Source: source(h.Dispenser)}
	if matcher != nil {
		handler.MatcherSetsRaw = caddyhttp.RawMatcherSets{matcher}
	}
	if err := handler.parse(&parser{Dispenser: h.Dispenser, groups: definedGroups(h)}); err != nil {
		return nil, err
	}
	if len(handler.Allow) == 0 {
		return nil, nobody(h, first)
	}
	return h.NewRoute(nil, handler), nil
}

// definedGroups are the groups of the global option, which is read before.
func definedGroups(h httpcaddyfile.Helper) []Group {
	option, _ := h.Option(directive).(httpcaddyfile.App)
	app := new(App)
	if json.Unmarshal(option.Value, app) != nil {
		return nil // there is no such option
	}
	return app.Groups
}

// source is the place of the current word, for messages of what is found out
// later.
func source(d *caddyfile.Dispenser) string { return sourceOf(d.Token()) }

func sourceOf(word caddyfile.Token) string { return fmt.Sprintf("%s:%d", word.File, word.Line) }

// noSuchMatcher blames a word that begins with @ and names no matcher.
func noSuchMatcher(h httpcaddyfile.Helper, word string) error {
	if strings.Contains(word, ".") {
		return h.Errf("%s: to admit a domain, write *%s", word, word)
	}
	return h.Errf("there is no matcher %s: define it in this site, as in `%s path /admin/*`", word, word)
}

// nobody blames a directive that names no <who>. first is its first word.
func nobody(h httpcaddyfile.Helper, first string) error {
	h.Reset()
	h.Next()
	if first == "*" || strings.HasPrefix(first, "/") || strings.HasPrefix(first, "@") {
		return h.Errf("nobody may enter: %s says which requests are meant; name who after it, as in `email_auth %s *@example.com`, or write anyone", first, first)
	}
	return h.Err("nobody may enter: name who, as in `email_auth *@example.com`, or write anyone")
}

// parse reads the directive after its matcher.
func (h *Handler) parse(p *parser) error {
	h.Allow = p.who(p.RemainingArgs())
	for p.err == nil && p.NextBlock(0) {
		h.parseOption(p, p.Val())
		p.noBlock()
	}
	return p.err
}

func (h *Handler) parseOption(p *parser, option string) {
	switch option {
	case "allow":
		h.Allow = append(h.Allow, p.who(p.words(1))...)
	case "deny":
		h.Deny = append(h.Deny, p.who(p.words(1))...)
	case "max_age":
		p.once(option)
		h.MaxAge = p.duration(p.word())
		p.check((&gateway.Rule{Allow: []gateway.Who{gateway.Anyone}, MaxAge: time.Duration(h.MaxAge)}).Validate())
	case "session":
		p.once(option)
		h.Session = p.session()
	case "header":
		h.Header = append(h.Header, p.header())
		p.check((&gateway.Rule{Allow: []gateway.Who{gateway.Anyone}, Header: h.fields()}).Validate())
	case "origin":
		p.once(option)
		h.Origin = p.word()
		_, _, err := gateway.ParseOrigin(h.Origin, true)
		p.check(err)
	default:
		p.notBuilt(option)
		if slices.Contains(globalOptions, option) {
			p.fail("%s is for all sites: write it in the global option email_auth", option)
		}
		p.unknown(option, siteOptions)
	}
}

var siteOptions = []string{"allow", "deny", "max_age", "session", "header", "origin"}

func (p *parser) header() HeaderField {
	words := p.exactly(2)
	if words == nil {
		return HeaderField{}
	}
	field, value := words[0], words[1]
	if value == "" || strings.ContainsFunc(value, unicode.IsControl) {
		p.fail("header %s: write a value on one line that is not empty", field)
	}
	return HeaderField{Field: field, Value: value}
}
