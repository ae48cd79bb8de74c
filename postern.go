// Package postern adds Postern to a build of Caddy when it is imported, as
// `xcaddy build --with github.com/postern-auth/postern` does. All code is in the
// packages below.
package postern

import _ "github.com/postern-auth/postern/caddymodule"
