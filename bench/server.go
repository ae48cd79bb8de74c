package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is how long anything may take that should be done soon.
const patience = 60 * time.Second

// server is a Caddy of its own: a process with a folder.
type server struct {
	name, program, dir string
	port, admin        int
	// probe is the request whose answer says that the server is ready, and
	// probeStatus that of the answer. Default: any page, and no failure.
	probe       []byte
	probeStatus int
	process     *exec.Cmd
	exited      chan struct{}
	// ready is how long the last start took until the first answer.
	ready time.Duration
}

// start runs a program with a Caddyfile, until it is stopped or all are.
func (b *bench) start(name, program, caddyfile string) (*server, error) {
	s, err := b.prepare(name, program, caddyfile)
	if err != nil {
		return nil, err
	}
	return s, s.run(b.ctx)
}

// prepare writes the Caddyfile, in which $PORT, $ADMIN, $UPSTREAM and $DIR are
// filled in, and starts nothing yet.
func (b *bench) prepare(name, program, caddyfile string) (*server, error) {
	dir, err := os.MkdirTemp(b.dir, "server-")
	if err != nil {
		return nil, err
	}
	s := &server{name: name, program: program, dir: dir}
	if s.port, err = freePort(); err != nil {
		return nil, err
	}
	if s.admin, err = freePort(); err != nil {
		return nil, err
	}
	b.servers = append(b.servers, s)
	text := strings.NewReplacer("$PORT", strconv.Itoa(s.port), "$ADMIN", strconv.Itoa(s.admin),
		"$UPSTREAM", b.upstream.addr, "$DIR", dir).Replace(caddyfile)
	return s, os.WriteFile(s.file("Caddyfile"), []byte(text), 0o600)
}

func (s *server) file(name string) string { return filepath.Join(s.dir, name) }

func (s *server) addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// host is what a client calls the site.
func (s *server) host() string { return fmt.Sprintf("localhost:%d", s.port) }

// run starts the process and waits for its first answer.
func (s *server) run(ctx context.Context) error {
	log, err := os.OpenFile(s.file("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.process = exec.Command(s.program, "run", "--config", s.file("Caddyfile"), "--adapter", "caddyfile")
	s.process.Dir, s.process.Stdout, s.process.Stderr = s.dir, log, log
	s.process.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "XDG_DATA_HOME=" + s.file("data"), "XDG_CONFIG_HOME=" + s.file("config")}
	s.process.SysProcAttr = dieWithParent()
	begin := time.Now()
	if err := s.process.Start(); err != nil {
		s.process = nil
		return err
	}
	s.exited = make(chan struct{})
	go func() {
		_ = s.process.Wait()
		close(s.exited)
	}()
	if err := s.awaitAnswer(ctx, begin); err != nil {
		return fmt.Errorf("%s: %w\n%s", s.name, err, s.logTail())
	}
	return nil
}

func (s *server) awaitAnswer(ctx context.Context, begin time.Time) error {
	request := s.probe
	if request == nil {
		request = get(s.host(), "/", "")
	}
	for ctx.Err() == nil && time.Since(begin) < patience {
		if answer, err := ask(s.addr(), request); err == nil && (answer.status == s.probeStatus || s.probe == nil && answer.status < 500) {
			s.ready = time.Since(begin)
			return nil
		}
		select {
		case <-s.exited:
			return errors.New("it ended at once")
		case <-time.After(500 * time.Microsecond):
		}
	}
	return errors.Join(ctx.Err(), fmt.Errorf("no answer after %v", patience))
}

func (s *server) logTail() string {
	text, _ := os.ReadFile(s.file("log"))
	return string(text[max(0, len(text)-2000):])
}

// stop ends the process as an operator does, and waits for it.
func (s *server) stop() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(patience):
		_ = s.process.Process.Kill()
		<-s.exited
	}
	s.process = nil
}

func (s *server) pid() int { return s.process.Process.Pid }

// profile saves a CPU profile of the time to come.
func (s *server) profile(ctx context.Context, file string, d time.Duration) error {
	url := fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/profile?seconds=%d", s.admin, max(1, int(d.Seconds())))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("profile: status %d: %s", response.StatusCode, data)
	}
	return os.WriteFile(file, data, 0o644)
}

// freePort returns one below those that the system gives to outgoing
// connections, so that none of these takes it.
func freePort() (int, error) {
	for range 200 {
		port := 12000 + rand.IntN(8000)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			listener.Close()
			return port, nil
		}
	}
	return 0, errors.New("no free port on loopback")
}
