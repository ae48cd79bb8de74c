package caddymodule

import (
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/postern-auth/postern/gateway"
)

const portalDirective = "email_auth_portal"

// parsePortal reads the directive of the portal. Syntax:
//
//	email_auth_portal {
//		client <id> {
//			kind         api
//			secret       <text>
//			redirect_uri <uri>...
//			allow        <who>...
//			deny         <who>...
//			templates    <folder>
//			limit        mails <count> <window>
//		}
//	}
//
// It stands at the level of a site, which is the portal's alone.
func parsePortal(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next()
	portal := &Portal{Source: source(h.Dispenser)}
	if h.NextArg() {
		return nil, h.Errf("%q: %s takes a block alone, and no matcher: it answers for its whole site", h.Val(), portalDirective)
	}
	p := &parser{Dispenser: h.Dispenser, groups: definedGroups(h)}
	start := p.Token()
	for p.err == nil && h.NextBlock(0) {
		portal.parseOption(p, h.Val())
	}
	if len(portal.Clients) == 0 {
		p.failAt(start, "%s serves nobody: write a client, as in `client shop { kind api ... }`", portalDirective)
	}
	if p.err != nil {
		return nil, p.err
	}
	return h.NewRoute(nil, portal), nil
}

func (portal *Portal) parseOption(p *parser, option string) {
	switch option {
	case "client":
		if client := p.client(); p.err == nil {
			portal.Clients = append(portal.Clients, client)
		}
	case "site":
		p.fail("site is not built yet: remove it, and protect each site by email_auth of its own")
	default:
		if slices.Contains(clientOptions, option) {
			p.fail("%s is for one client: write it in the block of a client", option)
		}
		p.unknown(option, []string{"client"})
	}
}

var clientOptions = []string{"kind", "secret", "redirect_uri", "allow", "deny", "templates", "limit"}

// client reads one client.
func (p *parser) client() Client {
	start := p.Token()
	client := Client{Source: source(p.Dispenser), ID: p.word()}
	p.check(gateway.ValidateClientID(client.ID))
	p.once("client " + client.ID)
	inner := &parser{Dispenser: p.Dispenser, err: p.err, groups: p.groups}
	for nesting := p.Nesting(); inner.err == nil && p.NextBlock(nesting); {
		client.parseOption(inner, p.Val())
		inner.noBlock()
	}
	client.Sources = inner.sources("secret", "templates")
	client.checkParsed(inner, start)
	p.err = inner.err
	return client
}

func (c *Client) parseOption(p *parser, option string) {
	switch option {
	case "kind", "secret", "templates":
		p.once(option)
	}
	switch option {
	case "kind":
		c.Kind = p.kind()
	case "secret":
		c.Secret = p.word()
		if !strings.Contains(c.Secret, "{") {
			_, err := gateway.ParseSecret(c.Secret)
			p.check(err)
		}
	case "redirect_uri":
		for _, uri := range p.words(1) {
			p.check(gateway.ValidateRedirectURI(uri, c.RedirectURIs...))
			c.RedirectURIs = append(c.RedirectURIs, uri)
		}
	case "allow":
		c.Allow = append(c.Allow, p.who(p.words(1))...)
	case "deny":
		c.Deny = append(c.Deny, p.who(p.words(1))...)
	case "templates":
		c.Templates = p.word()
	case "limit":
		c.Limits = p.clientLimit(c.Limits)
	default:
		p.unknown(option, clientOptions)
	}
}

func (p *parser) kind() string {
	kind := p.word()
	switch kind {
	case "api":
	case "web", "native":
		p.fail("kind %s is not built yet: write `kind api`, for an application with sign-in pages of its own", kind)
	default:
		p.fail("kind %q: write `kind api`", kind)
	}
	return kind
}

func (p *parser) clientLimit(limits map[string]Limit) map[string]Limit {
	const usage = "limit: write `limit mails <count> <window>`, as in `limit mails 1000 1h`"
	words := p.RemainingArgs()
	if len(words) != 3 || words[0] != "mails" {
		p.fail(usage + "; a client has no other limit")
		return nil
	}
	p.once("limit mails")
	count, err := number(words[1])
	if err != nil || count < 1 {
		p.fail("limit mails %q: write a count of 1 or more", words[1])
		return nil
	}
	limit := Limit{Count: count, Window: p.duration(words[2])}
	p.checkConfig(gateway.Config{Limits: gateway.Limits{Mails: gateway.Limit{Count: count, Window: time.Duration(limit.Window)}}})
	return map[string]Limit{"mails": limit}
}

// checkParsed finds what is missing. start is the word client.
func (c *Client) checkParsed(p *parser, start caddyfile.Token) {
	switch {
	case p.err != nil:
	case c.Kind == "":
		p.failAt(start, "client %s has no kind: write `kind api` in its block", c.ID)
	case c.Secret == "":
		p.failAt(start, "client %s has no secret: write `%s` in its block", c.ID, usages["secret"].example)
	}
}
