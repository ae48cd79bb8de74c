// Command headers is bare Caddy with one more handler, which sets the header
// fields that Postern sets and knows nobody: what it costs Caddy's proxy to hand
// an identity on, whoever does so.
package main

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() {
	caddy.RegisterModule(new(identity))
	httpcaddyfile.RegisterHandlerDirective("set_identity", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		h.Next()
		if !h.NextArg() {
			return nil, h.ArgErr()
		}
		size, err := strconv.Atoi(h.Val())
		return &identity{Size: size}, err
	})
	httpcaddyfile.RegisterDirectiveOrder("set_identity", httpcaddyfile.Before, "reverse_proxy")
	caddycmd.Main()
}

// identity sets the header fields, with an assertion of a size in bytes.
type identity struct {
	Size      int `json:"size"`
	assertion string
}

// CaddyModule returns the module's information.
func (*identity) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.set_identity", New: func() caddy.Module { return new(identity) }}
}

// Provision makes the assertion, of three parts as a real one has.
func (i *identity) Provision(caddy.Context) error {
	i.assertion = "header." + strings.Repeat("x", max(0, i.Size-len("header..signature"))) + ".signature"
	return nil
}

// ServeHTTP sets the fields, in the quickest way there is.
func (i *identity) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	values := [...]string{"ann@example.com", "ann@example.com", i.assertion, "staff", "ann@example.com"}
	for n, field := range [...]string{"Remote-User", "Remote-Email", "X-Postern-Jwt-Assertion", "Remote-Groups", "X-Webauth-User"} {
		r.Header[field] = values[n : n+1 : n+1]
	}
	return next.ServeHTTP(w, r)
}

var (
	_ caddy.Provisioner           = (*identity)(nil)
	_ caddyhttp.MiddlewareHandler = (*identity)(nil)
)
