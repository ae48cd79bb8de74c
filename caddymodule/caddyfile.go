package caddymodule

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/postern-auth/postern/gateway"
)

const portalDirective = "email_auth_portal"

// parsePortal refuses the directive of a part that is not built yet.
func parsePortal(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next()
	return nil, h.Errf("%s is not built yet: remove it, and protect each site by email_auth", portalDirective)
}

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
	if h.NextArg() {
		if word := h.Val(); strings.HasPrefix(word, "@") && strings.Contains(word, ".") {
			return nil, h.Errf("%s: to admit a domain, write *%s", word, word)
		}
	}
	h.Reset()
	h.Next()
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	h.Next()
	handler := &Handler{Source: fmt.Sprintf("%s:%d", h.File(), h.Line())}
	if matcher != nil {
		handler.MatcherSetsRaw = caddyhttp.RawMatcherSets{matcher}
	}
	if err := handler.parse(h.Dispenser); err != nil {
		return nil, err
	}
	return h.NewRoute(nil, handler), nil
}

// parse reads the directive after its matcher.
func (h *Handler) parse(d *caddyfile.Dispenser) error {
	p := &parser{Dispenser: d}
	h.Allow = p.who(d.RemainingArgs())
	for p.err == nil && d.NextBlock(0) {
		switch option := d.Val(); option {
		case "allow":
			h.Allow = append(h.Allow, p.who(p.words(1))...)
		case "deny":
			h.Deny = append(h.Deny, p.who(p.words(1))...)
		case "max_age":
			p.once(option)
			h.MaxAge = p.duration(p.word())
		case "session":
			p.once(option)
			h.Session = p.session()
		case "header":
			field, value := p.pair()
			p.check(gateway.ValidateHeaderField(field))
			h.Header = append(h.Header, HeaderField{Field: field, Value: value})
		case "origin":
			p.once(option)
			h.Origin = p.word()
			_, _, err := gateway.ParseOrigin(h.Origin, true)
			p.check(err)
		default:
			p.unknown(option, "allow, deny, max_age, session, header or origin")
		}
		p.noBlock()
	}
	if p.err == nil && len(h.Allow) == 0 {
		d.Reset()
		d.Next()
		return d.Err("nobody may enter: name who, as in `email_auth *@example.com`, or write anyone")
	}
	return p.err
}

// parseGlobalOption reads the global option. Syntax: see docs/configuration.md.
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next()
	if existing != nil {
		return nil, d.Err("the global option email_auth is there twice: put all into one")
	}
	if d.NextArg() {
		return nil, d.Errf("%q: the global option email_auth takes a block, and who may enter goes into the site", d.Val())
	}
	app := new(App)
	p := &parser{Dispenser: d}
	for p.err == nil && d.NextBlock(0) {
		app.parseOption(p, d.Val())
	}
	if p.err != nil {
		return nil, p.err
	}
	return httpcaddyfile.App{Name: directive, Value: caddyconfig.JSON(app, nil)}, nil
}

// notBuilt are the options of parts that are not built yet.
var notBuilt = map[string]string{
	"admin": "the admin page", "brand": "branding", "templates": "own templates",
	"audit": "the audit log", "portal": "the portal",
}

func (a *App) parseOption(p *parser, option string) {
	if part, ok := notBuilt[option]; ok {
		p.fail("%s: %s is not built yet; remove this option", option, part)
		return
	}
	switch option {
	case "limit", "group":
	default:
		p.once(option)
	}
	switch option {
	case "from":
		a.From = p.word()
	case "smtp":
		a.SMTP = p.smtp()
		return
	case "mail_dir":
		a.MailDir = p.word()
	case "store":
		a.Store = p.store()
	case "method":
		a.Method = p.oneOf(option, "both", "code", "link")
	case "code":
		a.Code = p.code()
	case "expires":
		a.Expires = p.duration(p.word())
	case "same_browser":
		a.SameBrowser = p.oneOf(option, "on", "off")
	case "resend":
		a.Resend = p.oneOf(option, "keep", "renew")
	case "session":
		a.Session = p.session()
	case "limit":
		p.limit(a)
	case "group":
		p.group(a)
	case "prefix":
		a.Prefix = p.word()
		p.check(gateway.ValidatePrefix(a.Prefix))
	default:
		p.unknown(option, "from, smtp, mail_dir, store, method, code, expires, same_browser, resend, session, limit, group or prefix")
	}
	p.noBlock()
}

func (p *parser) smtp() *SMTP {
	smtp := &SMTP{Address: p.word()}
	inner := &parser{Dispenser: p.Dispenser, err: p.err}
	for nesting := p.Nesting(); inner.err == nil && p.NextBlock(nesting); {
		switch option := p.Val(); option {
		case "username":
			inner.once(option)
			smtp.Username = inner.word()
		case "password":
			inner.once(option)
			smtp.Password = inner.word()
		case "auth":
			inner.once(option)
			smtp.Auth = inner.oneOf(option, "auto", "plain", "login", "oauthbearer", "xoauth2", "none")
		case "tls":
			inner.once(option)
			smtp.TLS = inner.oneOf(option, "starttls", "implicit", "none")
		case "dkim":
			if words := inner.words(3); len(words) == 3 {
				smtp.DKIM = append(smtp.DKIM, DKIM{Domain: words[0], Selector: words[1], KeyFile: words[2]})
			} else {
				inner.fail("dkim: write dkim <domain> <selector> <key file>")
			}
		default:
			inner.unknown(option, "username, password, auth, tls or dkim")
		}
		inner.noBlock()
	}
	p.err = inner.err
	return smtp
}

func (p *parser) store() *Store {
	words := p.words(1)
	switch {
	case len(words) == 0:
	case words[0] == "redis":
		p.fail("store redis is not built yet; write store badger")
	case words[0] != "badger":
		p.fail("store %q: write badger", words[0])
	case len(words) == 1:
		return &Store{Backend: "badger"}
	case len(words) == 2:
		return &Store{Backend: "badger", Folder: words[1]}
	default:
		p.fail("store badger takes one folder")
	}
	return nil
}

func (p *parser) code() *Code {
	words := p.words(1)
	if len(words) == 0 {
		return nil
	}
	length, err := strconv.Atoi(words[0])
	if err != nil || length < 6 || length > 12 || len(words) > 2 {
		p.fail("code %s: write a length of 6 to 12 and, if you like, digits or letters", strings.Join(words, " "))
		return nil
	}
	code := &Code{Length: length}
	if len(words) == 2 {
		if words[1] != "digits" && words[1] != "letters" {
			p.fail("code %q: write digits or letters", words[1])
		}
		code.Alphabet = words[1]
	}
	return code
}

func (p *parser) session() *Session {
	words := p.words(1)
	switch {
	case len(words) == 1:
		return &Session{Lifetime: p.duration(words[0])}
	case len(words) == 3 && words[1] == "idle":
		return &Session{Lifetime: p.duration(words[0]), Idle: p.duration(words[2])}
	}
	p.fail("session: write session <lifetime> [idle <duration>], as in session 7d idle 3d")
	return nil
}

func (p *parser) limit(a *App) {
	words := p.words(1)
	if len(words) != 3 {
		p.fail("limit: write limit <mails|attempts|network|total> <count> <window>, as in limit mails 2 1m")
		return
	}
	name := words[0]
	switch name {
	case "mails", "attempts", "network", "total":
	default:
		p.fail("limit %q: write mails, attempts, network or total", name)
		return
	}
	p.once("limit " + name)
	count, err := strconv.Atoi(words[1])
	if err != nil || count < 1 {
		p.fail("limit %s %q: write a count of 1 or more", name, words[1])
		return
	}
	if a.Limits == nil {
		a.Limits = make(map[string]Limit)
	}
	a.Limits[name] = Limit{Count: count, Window: p.duration(words[2])}
}

func (p *parser) group(a *App) {
	words := p.words(2)
	if len(words) < 2 {
		p.fail("group: write group <name> <who>... or group <name> file <path>")
		return
	}
	group := Group{Name: words[0]}
	if words[1] == "file" {
		if len(words) != 3 {
			p.fail("group %s file: write one path", group.Name)
			return
		}
		group.File = words[2]
	} else {
		group.Who = p.who(words[1:])
	}
	a.addGroup(p, group)
}

// addGroup takes a line of a group: the same group may have one list and one
// file.
func (a *App) addGroup(p *parser, group Group) {
	for i := range a.Groups {
		known := &a.Groups[i]
		if known.Name != group.Name {
			continue
		}
		if group.File != "" && known.File != "" {
			p.fail("group %s has a file already", group.Name)
		}
		known.Who = append(known.Who, group.Who...)
		known.File += group.File
		return
	}
	a.Groups = append(a.Groups, group)
}

// parser keeps the first error, with its file and line, so that the grammar
// above reads as one.
type parser struct {
	*caddyfile.Dispenser
	err  error
	seen map[string]bool
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = p.Errf(format, args...)
	}
}

func (p *parser) check(err error) {
	if err != nil {
		p.fail("%s", err.Error())
	}
}

// once refuses an option that is there twice.
func (p *parser) once(option string) {
	if p.seen == nil {
		p.seen = make(map[string]bool)
	}
	if p.seen[option] {
		p.fail("%s is there twice: keep one", option)
	}
	p.seen[option] = true
}

func (p *parser) unknown(option, known string) {
	p.fail("unknown option %q: write %s", option, known)
}

// words returns the rest of the line, of at least so many words.
func (p *parser) words(least int) []string {
	option := p.Val()
	words := p.RemainingArgs()
	if len(words) < least {
		p.fail("%s: something is missing after it", option)
	}
	return words
}

// word returns the one word that follows.
func (p *parser) word() string {
	option := p.Val()
	words := p.words(1)
	if len(words) > 1 {
		p.fail("%s takes one word; put a text with blanks into quotes", option)
	}
	if len(words) == 0 {
		return ""
	}
	if words[0] == "" {
		p.fail("%s is empty", option)
	}
	return words[0]
}

func (p *parser) pair() (first, second string) {
	words := p.words(2)
	if len(words) != 2 {
		p.fail("header: write header <field> <value>, as in header X-WEBAUTH-USER {http.auth.user.email}")
		return "", ""
	}
	return words[0], words[1]
}

func (p *parser) oneOf(option string, values ...string) string {
	word := p.word()
	for _, value := range values {
		if word == value {
			return word
		}
	}
	p.fail("%s %q: write %s", option, word, strings.Join(values, ", "))
	return ""
}

func (p *parser) duration(text string) caddy.Duration {
	if p.err != nil {
		return 0
	}
	duration, err := caddy.ParseDuration(text)
	if err != nil || duration <= 0 {
		p.fail("%q: write a duration, as in 90s, 10m, 12h or 7d", text)
	}
	return caddy.Duration(duration)
}

// who checks entries where they are written, so that a mistake has its line.
func (p *parser) who(texts []string) []string {
	for _, text := range texts {
		_, err := gateway.ParseWho(text)
		p.check(err)
	}
	return texts
}

// noBlock refuses a block after an option that takes none.
func (p *parser) noBlock() {
	if p.err != nil {
		return
	}
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		p.fail("%q: this option takes no block", p.Val())
		return
	}
}
