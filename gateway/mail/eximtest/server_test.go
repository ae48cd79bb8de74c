package eximtest_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

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

// TestEndsWithItsProcess kills a process that runs a server.
func TestEndsWithItsProcess(t *testing.T) {
	if os.Getenv("POSTERN_TEST_HELPER") == "1" {
		fmt.Println("address", eximtest.Start(t, eximtest.Options{}).Addr())
		select {}
	}
	if os.Getenv("POSTERN_NO_EXIM") == "1" {
		t.Skip("POSTERN_NO_EXIM=1: no test with a real mail server")
	}
	// Not t.TempDir, which Exim's user may not enter.
	dir, err := os.MkdirTemp("", "eximtest-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	addr := killHelper(t, dir)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		conn.Close()
		if time.Now().After(end) {
			t.Fatal("Exim outlives the process that started it")
		}
	}
}

// killHelper starts this test in another process, waits until its server
// answers, kills the process and returns the server's address.
func killHelper(t *testing.T, dir string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	helper := exec.Command(self, "-test.run=^TestEndsWithItsProcess$")
	helper.Env = append(os.Environ(), "POSTERN_TEST_HELPER=1", "TMPDIR="+dir)
	output, err := helper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = helper.Process.Kill()
		_ = helper.Wait()
	}()
	for lines := bufio.NewScanner(output); lines.Scan(); {
		if addr, found := strings.CutPrefix(lines.Text(), "address "); found {
			return addr
		}
		t.Log(lines.Text())
	}
	t.Fatal("the helper ended")
	return ""
}
