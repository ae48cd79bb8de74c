// Package gatewaytest is a whole site for tests: the engine and the door with a
// real database in memory, a mail server that keeps what it gets, a clock that
// is stepped, an upstream that says what it was sent, and browsers.
//
//	Browser ── HTTP ── front ── Door.Handle ── Upstream
//	                              │
//	                            Engine ── Node ── Store ── Badger
//	                                       └──── Mails
//
// A test makes a Site, lets a Browser sign in, and looks at the Answer:
//
//	site := gatewaytest.New(t, gatewaytest.Options{})
//	ann := site.Browser()
//	ann.SignIn("ann@example.com")
//	ann.Open("/report").Want(t, 200)
//
// The front does what the server around the door does: it ends TLS (it only
// says so), knows the client's address, and finds the site of a request. Store
// can refuse or lose writes, so that a test sees what a crash leaves.
package gatewaytest
