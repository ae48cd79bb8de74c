// Package caddymodule makes Postern a Caddy module: the app email_auth, which
// keeps what all sites share, and the handler http.handlers.email_auth, which
// stands in front of a site. It is a thin adapter: package gateway decides.
package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

const directive = "email_auth"

func init() {
	caddy.RegisterModule(&App{})
	caddy.RegisterModule(&Handler{})
	httpcaddyfile.RegisterGlobalOption(directive, parseGlobalOption)
	httpcaddyfile.RegisterDirective(directive, parseDirective)
	httpcaddyfile.RegisterDirectiveOrder(directive, httpcaddyfile.After, "forward_auth")
	caddy.RegisterModule(AdminAPI{})
	caddycmd.RegisterCommand(caddycmd.Command{
		Name: "email-auth", Short: "Asks a running server about sign-ins by email", CobraFunc: addCommand,
	})
	caddy.RegisterModule(&Portal{})
	httpcaddyfile.RegisterDirective(portalDirective, parsePortal)
	httpcaddyfile.RegisterDirectiveOrder(portalDirective, httpcaddyfile.After, "forward_auth")
}
