package eximtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is one run of Exim, with everything that it forks.
type process struct {
	cmd      *exec.Cmd
	output   *bytes.Buffer // read only after exited
	exited   chan struct{}
	watchdog *exec.Cmd
	lifeline io.Closer
}

// launch runs Exim in the foreground until both ports greet.
func (s *Server) launch(binary string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The queue is run every few seconds too, for what an outage left in it.
	p, err := start(binary, "-C", s.path("exim.conf"), "-bdf", "-q5s")
	if err != nil {
		return err
	}
	if err := p.await(s.Addr()); err != nil {
		return fmt.Errorf("%w\n%s", errors.Join(err, p.end()), s.Log())
	}
	s.process = p
	return nil
}

func start(name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), output: new(bytes.Buffer), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	// A group of its own lets end() reach what Exim forked, and nothing else.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	if err := p.watch(); err != nil {
		return nil, errors.Join(err, p.end())
	}
	return p, nil
}

// watch ends the group when this process is gone, however it went: then the
// pipe to the watchdog closes. Exim would clear the kernel's own means for
// that, the parent death signal, when it changes its user.
func (p *process) watch() error {
	p.watchdog = exec.Command("/bin/sh", "-c", `read -r _; kill -KILL "-$0"`, strconv.Itoa(p.cmd.Process.Pid))
	p.watchdog.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := p.watchdog.StdinPipe()
	if err != nil {
		return err
	}
	p.lifeline = pipe
	return p.watchdog.Start()
}

// end kills the group and waits for it.
func (p *process) end() error {
	if p.watchdog != nil && p.watchdog.Process != nil {
		// First, so that it can never hit a group id that is used anew.
		_ = p.watchdog.Process.Kill()
		_ = p.watchdog.Wait()
	}
	err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("ending process group %d: %w", p.cmd.Process.Pid, err)
	}
	<-p.exited
	return nil
}

// await waits until the server greets.
func (p *process) await(addr string) error {
	deadline := time.After(15 * time.Second)
	for {
		select {
		case <-p.exited:
			return fmt.Errorf("exim4 ended at once:\n%s", p.output)
		case <-deadline:
			return errors.New("exim4 did not answer within 15 seconds")
		case <-time.After(20 * time.Millisecond):
			if greets(addr) {
				return nil
			}
		}
	}
}

func greets(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	greeting := make([]byte, 4)
	_, err = io.ReadFull(conn, greeting)
	_, _ = io.WriteString(conn, "QUIT\r\n")
	return err == nil && string(greeting) == "220 "
}

// settle waits until the queue is empty, at most for d.
func (s *Server) settle(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if !s.hasQueue() {
			return
		}
	}
}

// hasQueue tells whether a mail waits: its data file ends in -D.
func (s *Server) hasQueue() bool {
	found := false
	_ = filepath.WalkDir(s.path("spool/input"), func(_ string, e os.DirEntry, err error) error {
		found = found || err == nil && strings.HasSuffix(e.Name(), "-D")
		return nil
	})
	return found
}

// freePort returns a port that is free on loopback. It is below the range that
// the system gives to outgoing connections, so that nobody takes it by chance
// during an outage.
func freePort() (int, error) {
	for range 100 {
		port := 20000 + rand.IntN(12000)
		l, err := net.Listen("tcp", loopback(port))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("no free port on loopback")
}
