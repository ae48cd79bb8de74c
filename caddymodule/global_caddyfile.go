package caddymodule

import (
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/mail"
)

// parseGlobalOption reads the global option. Syntax: see docs/configuration.md.
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next()
	if existing != nil {
		return nil, d.Err("the global option email_auth is there twice: put all into one")
	}
	if d.NextArg() {
		return nil, d.Errf("%q: the global option email_auth takes a block alone; who may enter goes into a site, after its address", d.Val())
	}
	app := &App{Source: source(d)}
	p := &parser{Dispenser: d}
	for p.err == nil && d.NextBlock(0) {
		app.parseOption(p, d.Val())
	}
	app.Sources = p.sources("from", "mail_dir", "store", "templates")
	app.checkParsed(p)
	if p.err != nil {
		return nil, p.err
	}
	return httpcaddyfile.App{Name: directive, Value: caddyconfig.JSON(app, nil)}, nil
}

var globalOptions = []string{
	"from", "smtp", "mail_dir", "store", "method", "code", "expires", "same_browser", "resend", "session", "limit", "group", "brand", "templates", "prefix",
}

// checkParsed finds options that do not go together.
func (a *App) checkParsed(p *parser) {
	switch {
	case a.SMTP != nil && a.MailDir != "":
		p.failAt(p.seen["mail_dir"], "smtp and mail_dir exclude each other: keep smtp, or mail_dir for trying it out")
	case a.SMTP != nil && a.From == "":
		p.failAt(p.seen["smtp"], "smtp needs from: write `%s` beside it", usages["from"].example)
	case a.SMTP != nil && !strings.Contains(a.SMTP.Address, "{"):
		if err := a.SMTP.validate(); err != nil {
			p.failAt(p.seen["smtp"], "%s", err.Error())
		}
	}
}

// validate finds what could never work, whatever placeholders stand for.
func (s *SMTP) validate() error {
	config := mail.SMTPConfig{Addr: s.Address, Username: s.Username, Auth: s.Auth, TLS: s.TLS}
	if s.Password != "" {
		config.Password = func() (string, error) { return s.Password, nil }
	}
	_, err := mail.NewSMTP(config)
	return err
}

func (a *App) parseOption(p *parser, option string) {
	switch option {
	case "limit", "group":
	default:
		p.once(option)
	}
	switch option {
	case "from":
		a.From = p.mailbox()
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
		p.checkConfig(gateway.Config{Expires: time.Duration(a.Expires)})
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
	case "brand":
		a.Brand = p.brand()
		return
	case "templates":
		a.Templates = p.word()
	case "prefix":
		a.Prefix = p.word()
		p.check(gateway.ValidatePrefix(a.Prefix))
	default:
		p.notBuilt(option)
		if slices.Contains(siteOptions, option) {
			p.fail("%s is for one site: write it in the block of email_auth there", option)
		}
		p.unknown(option, globalOptions)
	}
	p.noBlock()
}

func (p *parser) smtp() *SMTP {
	smtp := &SMTP{Source: source(p.Dispenser), Address: p.word()}
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
			if words := inner.exactly(3); words != nil {
				smtp.DKIM = append(smtp.DKIM, DKIM{Domain: words[0], Selector: words[1], KeyFile: words[2], Source: source(inner.Dispenser)})
			}
		default:
			inner.unknown(option, []string{"username", "password", "auth", "tls", "dkim"})
		}
		inner.noBlock()
	}
	smtp.Sources = inner.sources("username", "password")
	p.err = inner.err
	return smtp
}

func (p *parser) store() *Store {
	words := p.words(1)
	switch {
	case len(words) == 0:
	case words[0] == "redis":
		p.fail("store redis is not built yet: write `store badger`")
	case words[0] != "badger" || len(words) > 2:
		p.misused("store")
	case len(words) == 1:
		return &Store{Backend: "badger"}
	default:
		return &Store{Backend: "badger", Folder: words[1]}
	}
	return nil
}

func (p *parser) code() *Code {
	words := p.words(1)
	if len(words) == 0 {
		return nil
	}
	length, err := number(words[0])
	if err != nil || len(words) > 2 || len(words) == 2 && words[1] != "digits" && words[1] != "letters" {
		p.misused("code")
		return nil
	}
	if length < 6 || length > 12 {
		p.fail("code %d: write a length of 6 to 12", length)
	}
	code := &Code{Length: length}
	if len(words) == 2 {
		code.Alphabet = words[1]
	}
	return code
}

func (p *parser) session() *Session {
	words := p.words(1)
	if len(words) != 1 && (len(words) != 3 || words[1] != "idle") {
		p.misused("session")
		return nil
	}
	session := &Session{Lifetime: p.duration(words[0])}
	if len(words) == 3 {
		session.Idle = p.duration(words[2])
	}
	p.check(session.terms().Validate())
	return session
}

func (p *parser) limit(a *App) {
	words := p.exactly(3)
	if words == nil {
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
	count, err := number(words[1])
	if err != nil || count < 1 {
		p.fail("limit %s %q: write a count of 1 or more", name, words[1])
		return
	}
	limit := Limit{Count: count, Window: p.duration(words[2])}
	limits, err := (&App{Limits: map[string]Limit{name: limit}}).limits()
	p.check(err)
	p.checkConfig(gateway.Config{Limits: limits})
	if a.Limits == nil {
		a.Limits = make(map[string]Limit)
	}
	a.Limits[name] = limit
}

func (p *parser) group(a *App) {
	words := p.words(2)
	if len(words) < 2 {
		return
	}
	group := Group{Name: words[0], Source: source(p.Dispenser)}
	if _, err := gateway.ParseWho("group:" + group.Name); err != nil {
		p.fail("group %q: write a name of letters, digits, \"-\", \"_\" and \".\", as in `%s`", group.Name, usages["group"].example)
	}
	switch {
	case words[1] != "file":
		p.once("group " + group.Name)
		group.Who = p.members(words[1:])
	case len(words) == 3:
		p.once("group " + group.Name + " file")
		group.File = words[2]
	default:
		p.fail("group %s file: write one path, in quotes where it holds blanks", group.Name)
	}
	a.addGroup(group)
}

// addGroup takes a line of a group: the same group may have one list and one
// file.
func (a *App) addGroup(group Group) {
	for i := range a.Groups {
		if known := &a.Groups[i]; known.Name == group.Name {
			known.Who = append(known.Who, group.Who...)
			if group.File != "" {
				known.File, known.Source = group.File, group.Source
			}
			return
		}
	}
	a.Groups = append(a.Groups, group)
}
