package eximtest_test

import (
	"net"
	"testing"

	"github.com/postern-auth/postern/gateway/mail/eximtest"
)

func TestOutage(t *testing.T) {
	s := eximtest.Start(t, eximtest.Options{})
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{s.Addr(), s.ImplicitAddr()} {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			t.Errorf("%s answers during the outage", addr)
		}
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{s.Addr(), s.ImplicitAddr()} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatalf("after the restart: %v", err)
		}
		conn.Close()
	}
	if n := len(s.Mails(t, "")); n != 0 {
		t.Errorf("%d mails, want none", n)
	}
}
