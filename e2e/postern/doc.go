// Package postern runs the real program for tests: Caddy with Postern as a
// process of its own, an upstream behind it, and visitors in front.
//
//	up := postern.StartUpstream(t)
//	server := postern.Start(t, postern.Config{Upstream: up, Sites: `
//		http://localhost:$HTTP {
//			email_auth *@example.com
//			reverse_proxy $UPSTREAM
//		}`})
//	ann := server.Visitor(t, server.Plain("localhost"))
//	ann.SignIn("ann@example.com")
//	ann.Navigate("/report")
//
// Everything listens on loopback, on ports that were free, and lives in
// temporary folders. A server ends with its test, which fails if the program
// panicked or its race detector found something.
package postern
