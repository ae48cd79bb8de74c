// Command bare is Caddy with its standard modules and nothing else, of the same
// versions as Postern's: what Postern is compared with.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() { caddycmd.Main() }
