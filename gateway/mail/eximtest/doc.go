// Package eximtest runs a real Exim 4 for tests: on two loopback ports of its
// own, with a certificate of its own, taking every mail into a Maildir.
//
//	server := eximtest.Start(t, eximtest.Options{})
//	... send to server.Addr() with STARTTLS, or to server.ImplicitAddr() ...
//	mails := server.WaitMail(t, "user@example.com", 1, 10*time.Second)
//
// It needs root, as Exim refuses a configuration that is not root's, and the
// Debian package:
//
//	apt-get install -y --no-install-recommends exim4-daemon-light
//
// Without either a test fails. With POSTERN_NO_EXIM=1 in the environment it is
// skipped instead.
//
// Everything lives in one temporary folder, which goes away with the server.
// The server ends with the test, also when the test's process is killed.
package eximtest
