package caddymodule

import (
	netmail "net/mail"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/postern-auth/postern/gateway"
)

// parser keeps the first error, with its file and line, so that the grammar
// reads as one.
type parser struct {
	*caddyfile.Dispenser
	err    error
	seen   map[string]caddyfile.Token
	groups []Group // that entries may name
}

// usages are how options are written, for messages.
var usages = map[string]struct{ syntax, example string }{
	"allow":        {"allow <who>...", "allow ann@example.com *@example.org"},
	"deny":         {"deny <who>...", "deny bob@example.com"},
	"max_age":      {"max_age <duration>", "max_age 15m"},
	"session":      {"session <lifetime> [idle <duration>]", "session 7d idle 3d"},
	"header":       {"header <field> <value>", "header X-WEBAUTH-USER {http.auth.user.email}"},
	"origin":       {"origin <https://host[:port]>", "origin https://wiki.example.com"},
	"from":         {"from <mailbox>", `from "Example sign-in <signin@example.com>"`},
	"smtp":         {"smtp <host:port>", "smtp mail.example.com:587"},
	"username":     {"username <text>", "username signin@example.com"},
	"password":     {"password <text>", "password {env.SMTP_PASSWORD}"},
	"auth":         {"auth auto | plain | login | oauthbearer | xoauth2 | none", "auth plain"},
	"tls":          {"tls starttls | implicit | none", "tls implicit"},
	"dkim":         {"dkim <domain> <selector> <key file>", "dkim example.com mail2026 /etc/caddy/dkim.pem"},
	"mail_dir":     {"mail_dir <folder>", "mail_dir /tmp/mails"},
	"store":        {"store badger [<folder>]", "store badger /var/lib/postern"},
	"method":       {"method both | code | link", "method code"},
	"code":         {"code <length 6 to 12> [digits | letters]", "code 8 letters"},
	"expires":      {"expires <60s to 1h>", "expires 10m"},
	"same_browser": {"same_browser on | off", "same_browser off"},
	"resend":       {"resend keep | renew", "resend renew"},
	"limit":        {"limit mails | attempts | network | total <count> <window>", "limit mails 2 1m"},
	"group":        {"group <name> <who>...` or `group <name> file <path>", "group staff ann@example.com"},
	"prefix":       {"prefix <path>", "prefix /.auth"},
	"brand":        {"brand { … }", "brand { … }"},
	"name":         {"name <text>", `name "Example Inc."`},
	"logo":         {"logo <file>", "logo /etc/caddy/logo.svg"},
	"accent":       {`accent "<#rrggbb>"`, `accent "#1b6350"`},
	"support":      {"support <address or URL>", "support help@example.com"},
	"client":       {"client <id>", "client shop"},
	"kind":         {"kind api", "kind api"},
	"secret":       {"secret <text>", "secret {env.SHOP_SECRET}"},
	"redirect_uri": {"redirect_uri <uri>...", "redirect_uri https://shop.example.com/sign-in/link"},
	"templates":    {"templates <folder>", "templates /etc/caddy/templates"},
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = p.Errf(format, args...)
	}
}

// failAt blames a word that was read before.
func (p *parser) failAt(word caddyfile.Token, format string, args ...any) {
	there := caddyfile.NewDispenser([]caddyfile.Token{word})
	there.Next()
	if p.err == nil {
		p.err = there.Errf(format, args...)
	}
}

func (p *parser) check(err error) {
	if err != nil {
		p.fail("%w", err)
	}
}

// checkConfig checks one value by the rules that JSON is checked by later, so
// that a mistake has its line. Other values are defaults, which hold.
func (p *parser) checkConfig(config gateway.Config) {
	_, err := config.WithDefaults()
	p.check(err)
}

// once refuses an option that is there twice.
func (p *parser) once(option string) {
	if p.seen == nil {
		p.seen = make(map[string]caddyfile.Token)
	}
	if _, twice := p.seen[option]; twice {
		p.fail("%s is there twice: keep one", option)
		return
	}
	p.seen[option] = p.Token()
}

// sources are the places of those of the options that are there.
func (p *parser) sources(options ...string) map[string]string {
	places := make(map[string]string)
	for _, option := range options {
		if word, ok := p.seen[option]; ok {
			places[option] = sourceOf(word)
		}
	}
	return places
}

// notBuilt refuses the options of parts that are not built yet.
func (p *parser) notBuilt(option string) {
	switch option {
	case "admin", "audit", "portal":
		p.fail("%s is not built yet: remove it", option)
	}
}

func (p *parser) unknown(option string, known []string) {
	p.fail("unknown option %q: write %s", option, orList(known))
}

// misused says how an option is written.
func (p *parser) misused(option string) { p.fail("%s: %s", option, howTo(option)) }

func howTo(option string) string {
	usage := usages[option]
	if usage.syntax == usage.example {
		return "write `" + usage.syntax + "`"
	}
	return "write `" + usage.syntax + "`, as in `" + usage.example + "`"
}

// words returns the rest of the line, of at least so many words.
func (p *parser) words(least int) []string {
	option := p.Val()
	words := p.RemainingArgs()
	if len(words) < least {
		p.misused(option)
	}
	return words
}

// exactly returns the rest of the line, of so many words, or nil.
func (p *parser) exactly(count int) []string {
	option := p.Val()
	words := p.RemainingArgs()
	if len(words) != count {
		p.misused(option)
		return nil
	}
	return words
}

// word returns the one word that follows.
func (p *parser) word() string {
	option := p.Val()
	words := p.exactly(1)
	if words == nil {
		return ""
	}
	if words[0] == "" {
		p.fail("%s is empty: %s", option, howTo(option))
	}
	return words[0]
}

// mailbox returns the sender, which is checked here unless it holds a
// placeholder.
func (p *parser) mailbox() string {
	word := p.word()
	if p.err != nil || strings.Contains(word, "{") {
		return word
	}
	from, err := netmail.ParseAddress(word)
	var plain string
	if err == nil {
		plain, err = gateway.ParseAddress(from.Address)
	}
	switch {
	case err != nil:
		p.fail("from %q: write one mailbox with a plain address, as in `%s`", word, usages["from"].example)
	case !strings.EqualFold(plain, from.Address):
		p.fail("from %q: mail servers take ASCII addresses alone; write %s", word, plain)
	}
	return word
}

func (p *parser) oneOf(option string, values ...string) string {
	word := p.word()
	for _, value := range values {
		if word == value {
			return word
		}
	}
	p.fail("%s %q: write %s", option, word, orList(values))
	return ""
}

func orList(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// number reads one without a sign.
func number(text string) (int, error) {
	value, err := strconv.ParseUint(text, 10, 31)
	return int(value), err
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
		if hint := whoHint(text); hint != "" {
			p.fail("%q: %s", text, hint)
		}
		who, err := gateway.ParseWho(text)
		p.check(err)
		if name, ok := who.Group(); ok && !slices.ContainsFunc(p.groups, func(g Group) bool { return g.Name == name }) {
			p.check(noSuchGroup(name))
		}
	}
	return texts
}

// members is who for a group, which holds no groups.
func (p *parser) members(texts []string) []string {
	for _, text := range texts {
		if strings.HasPrefix(text, "group:") {
			p.fail("%s: a group holds no groups; name its members", text)
		}
	}
	return p.who(texts)
}

// whoHint knows mistakes that only a Caddyfile invites.
func whoHint(text string) string {
	lower := strings.ToLower(text)
	switch {
	case strings.HasPrefix(text, "/"), strings.HasPrefix(text, "@") && !strings.Contains(text, "."):
		return "a matcher is the first word, as in `email_auth /admin/* *@example.com`"
	case strings.ContainsAny(text, ",;"):
		return "put blanks between entries, as in `ann@example.com bob@example.com`"
	case strings.Contains(text, "{"):
		return "an entry takes no placeholder; {$NAME} is filled in when the Caddyfile is read"
	case text != lower && (lower == "anyone" || strings.HasPrefix(lower, "group:")):
		return "write anyone and group: in lower case"
	case strings.HasPrefix(text, "*."):
		return "a domain does not cover its subdomains; write one *@sub.example.com for each"
	}
	return ""
}

// noBlock refuses a block after an option that takes none.
func (p *parser) noBlock() {
	if p.err != nil {
		return
	}
	last := p.Token()
	if nesting := p.Nesting(); p.NextBlock(nesting) || p.ValRaw() == "}" {
		p.failAt(last, "this option takes no block: remove the braces and what is between them")
	}
}
