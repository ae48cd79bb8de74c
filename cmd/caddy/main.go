// Command caddy is Caddy with its standard modules and Postern: the same
// program that `xcaddy build --with github.com/postern-auth/postern/caddymodule`
// makes.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/postern-auth/postern/caddymodule"
)

func main() { caddycmd.Main() }
