package main

import (
	"fmt"
	"strings"
)

// caddyfile is a configuration of one site: lines of the global option
// email_auth ("" without Postern), and of the site.
func caddyfile(auth, site string) string {
	text := `{
	admin 127.0.0.1:$ADMIN
	persist_config off
	default_bind 127.0.0.1
	storage file_system $DIR/storage
	grace_period 1s
	log {
		level ERROR
	}
	` + auth + `
}
http://localhost:$PORT {
	` + site + `
}
`
	return text
}

const proxy = "reverse_proxy $UPSTREAM"

// bareSite is Caddy without any authentication.
func bareSite() string { return caddyfile("", proxy) }

// fullSite is Postern with everything on: a policy with a group and a domain,
// identity headers, one more header, an assertion, a session that counts as used.
// The limits are those of a load test.
func fullSite() string {
	return caddyfile(`email_auth {
		store badger $DIR/store
		mail_dir $DIR/mail
		group staff ann@example.com bob@example.com
		limit network 1000000 1h
		limit total 1000000 1h
	}`, `email_auth group:staff *@example.org {
		header X-Webauth-User {http.auth.user.email}
	}
	`+proxy)
}

// headersSite sets what Postern sets, without knowing anybody, with an assertion
// of so many bytes.
func headersSite(assertion int) string {
	return caddyfile("", fmt.Sprintf("set_identity %d\n%s", assertion, proxy))
}

// basicAuthSite asks for a password. A Caddyfile always turns on the cache of
// passwords that were right, so that bcrypt is not computed for each request.
func basicAuthSite(hash string) string {
	return caddyfile("", "basic_auth {\n ann "+strings.TrimSpace(hash)+"\n }\n"+proxy)
}

// forwardAuthSite asks a service on this machine, which does nothing at all.
func forwardAuthSite() string {
	return caddyfile("", "forward_auth $UPSTREAM {\n uri /verify\n copy_headers Remote-User\n }\n"+proxy)
}
