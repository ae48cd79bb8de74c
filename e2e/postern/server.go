package postern

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything that should happen soon may take: the machine
// may have much else to do.
const patience = 30 * time.Second

// Config says what to run.
type Config struct {
	// Sites are the sites of the Caddyfile. In this and the other texts,
	// $HTTP and $HTTPS are free ports, $UPSTREAM is the upstream's host:port and
	// $DIR a temporary folder.
	Sites string
	// Auth are lines of the global option email_auth. Mails go to $DIR/mail
	// unless it has smtp.
	Auth string
	// Global are further global options of Caddy.
	Global string
	// Upstream stands behind the sites. Default: none.
	Upstream *Upstream
	// Env are further variables of the environment, as NAME=value.
	Env []string
}

// Server is the program with one configuration folder. It can be ended and
// run again.
type Server struct {
	// HTTPPort and HTTPSPort are what $HTTP and $HTTPS stand for.
	HTTPPort, HTTPSPort int
	// Dir is the temporary folder that $DIR stands for.
	Dir string
	// Logs is what all runs of the process wrote.
	Logs *Logs

	t       testing.TB
	config  Config
	ports   [3]int // admin API, and Caddy's http_port and https_port, which nothing uses
	process *exec.Cmd
	exited  chan struct{}
}

// Start runs the program until the test ends.
func Start(t testing.TB, config Config) *Server {
	t.Helper()
	s := New(t, config)
	s.Run()
	return s
}

// New prepares everything but does not run the program yet.
func New(t testing.TB, config Config) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "postern-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		t: t, config: config, Dir: dir, Logs: new(Logs),
		HTTPPort: FreePort(t), HTTPSPort: FreePort(t), ports: [3]int{FreePort(t), FreePort(t), FreePort(t)},
	}
	t.Cleanup(s.cleanup)
	s.write(config)
	return s
}

func (s *Server) cleanup() {
	if s.process != nil {
		s.Stop()
	}
	s.checkLogs()
	if s.t.Failed() {
		s.t.Logf("the log of the program ends:\n%s", s.Logs.Tail(40))
	}
	os.RemoveAll(s.Dir)
}

// checkLogs fails the test for what no run may ever say.
func (s *Server) checkLogs() {
	text := s.Logs.Text()
	for report := range strings.SplitSeq(text, "==================") {
		if strings.Contains(report, "WARNING: DATA RACE") && !isCaddysOwnRace(report) {
			s.t.Errorf("the race detector says:%s", report[:min(len(report), 8000)])
		}
	}
	for _, bad := range []string{"panic: ", "fatal error: ", "http: panic serving"} {
		if i := strings.Index(text, bad); i >= 0 {
			s.t.Errorf("the program says %q:\n%s", bad, text[i:min(len(text), i+8000)])
		}
	}
}

// isCaddysOwnRace knows races that Caddy 2.11.9 has without us. Where its proxy
// ends upgraded connections at a shutdown or reload, it says goodbye beside the
// copying, and both count the bytes. Where the body of a GET ends late, it is
// read beside writing the request: its map of trailers, which we keep empty, and
// a count of bytes are then used by both. And with stream_close_delay it sets the
// timer that ends connections while requests of the old configuration copy the
// proxy's handler, which has the timer in it.
func isCaddysOwnRace(report string) bool {
	goodbye := strings.Contains(report, "caddyhttp.(*hijackedConn).Write()") && strings.Contains(report, "reverseproxy.writeCloseControl()")
	late := strings.Contains(report, "http.(*transferWriter).probeRequestBody.func1()") && !strings.Contains(report, "postern/gateway") &&
		(strings.Contains(report, "reverseproxy.(*requestBodyWithTrailers).Read()") || strings.Contains(report, "reverseproxy.(*bodyNopCloserIfNotRead).Close()"))
	if goodbye || late {
		return true
	}
	places := racingPlaces.FindAllStringSubmatch(report, -1)
	return len(places) == 2 && slices.ContainsFunc(places, func(place []string) bool {
		return place[1] == "(*Handler).cleanupConnections()" || place[1] == "(*Handler).registerConnection.func1()"
	})
}

// racingPlaces finds in a report which functions of Caddy's proxy, and no others,
// read or wrote.
var racingPlaces = regexp.MustCompile(`(?i)(?:read|write) at 0x\w+ by .*:\n\s+github\.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy\.(\S+)\n`)

// expand puts in the values that a configuration's names stand for.
func (s *Server) expand(text string) string {
	upstream := ""
	if s.config.Upstream != nil {
		upstream = s.config.Upstream.Addr
	}
	return strings.NewReplacer("$HTTPS", strconv.Itoa(s.HTTPSPort), "$HTTP", strconv.Itoa(s.HTTPPort),
		"$UPSTREAM", upstream, "$DIR", s.Dir).Replace(text)
}

// Caddyfile returns the whole configuration as a Caddyfile.
func (s *Server) Caddyfile(config Config) string {
	auth := config.Auth
	if !strings.Contains(auth, "smtp ") {
		auth += "\nmail_dir $DIR/mail"
	}
	return s.expand(fmt.Sprintf(`{
	admin 127.0.0.1:%d
	persist_config off
	skip_install_trust
	http_port %d
	https_port %d
	auto_https disable_redirects
	storage file_system $DIR/storage
	grace_period 2s
	log default {
		output stderr
		format json
	}
	%s
	email_auth {
		%s
	}
}
%s
`, s.ports[0], s.ports[1], s.ports[2], config.Global, auth, config.Sites))
}

// ConfigFile is the path of the Caddyfile.
func (s *Server) ConfigFile() string { return filepath.Join(s.Dir, "Caddyfile") }

// MailDir is the folder of the mails.
func (s *Server) MailDir() string { return filepath.Join(s.Dir, "mail") }

func (s *Server) write(config Config) {
	s.t.Helper()
	if err := os.WriteFile(s.ConfigFile(), []byte(s.Caddyfile(config)), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// Environment is that of the program: nothing of the machine's own folders.
func (s *Server) Environment() []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.Dir,
		"XDG_DATA_HOME=" + filepath.Join(s.Dir, "data"), "XDG_CONFIG_HOME=" + filepath.Join(s.Dir, "config"),
	}, s.config.Env...)
}

// Run runs the program and waits until it serves.
func (s *Server) Run() {
	s.t.Helper()
	s.RunConfig(s.ConfigFile(), "--adapter", "caddyfile")
}

// RunConfig is Run with a configuration file of another kind.
func (s *Server) RunConfig(file string, more ...string) {
	s.t.Helper()
	s.process = exec.Command(program, append([]string{"run", "--config", file}, more...)...)
	s.process.Env, s.process.Dir = s.Environment(), s.Dir
	s.process.Stdout, s.process.Stderr = s.Logs, s.Logs
	s.process.SysProcAttr = dieWithTest()
	s.process.WaitDelay = time.Second
	if err := s.process.Start(); err != nil {
		s.process = nil
		s.t.Fatal(err)
	}
	s.exited = make(chan struct{})
	go func(process *exec.Cmd, exited chan struct{}) {
		_ = process.Wait()
		close(exited)
	}(s.process, s.exited)
	s.awaitReady()
}

func (s *Server) awaitReady() {
	s.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		select {
		case <-s.exited:
			s.process = nil
			s.t.Fatalf("the program ended at once:\n%s", s.Logs.Tail(20))
		default:
		}
		status, body, err := s.Admin(http.MethodGet, "/config/", "", nil)
		if err == nil && status == http.StatusOK && strings.TrimSpace(body) != "null" && s.certified() {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("the program does not serve after %v:\n%s", patience, s.Logs.Tail(40))
		}
	}
}

var tlsSite = regexp.MustCompile(`https://([a-z0-9.-]+):\$HTTPS`)

// certified says whether all sites with TLS have their certificate, which
// `tls internal` makes in the background.
func (s *Server) certified() bool {
	for _, site := range tlsSite.FindAllStringSubmatch(s.config.Sites, -1) {
		conn, err := tls.Dial("tcp", s.TLSAddr(), &tls.Config{ServerName: site[1], InsecureSkipVerify: true})
		if err != nil {
			return false
		}
		conn.Close()
	}
	return true
}

// Stop ends the program as an operator does, and waits for it.
func (s *Server) Stop() {
	s.t.Helper()
	_ = s.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.t.Errorf("the program does not end %v after SIGTERM", patience)
		s.Kill()
	}
	s.process = nil
}

// Kill ends the program at once, as a crash does.
func (s *Server) Kill() {
	_ = s.process.Process.Kill()
	<-s.exited
	s.process = nil
}

// Restart ends the program as an operator does, and runs it again.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.Run()
}

// Alive says whether the process still runs.
func (s *Server) Alive() bool {
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// PID is the id of the running process.
func (s *Server) PID() int { return s.process.Process.Pid }

// AdminAddr is where the admin API listens.
func (s *Server) AdminAddr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.ports[0])) }

// Reload puts another configuration in force, and fails the test if it is
// refused.
func (s *Server) Reload(config Config) {
	s.t.Helper()
	if status, body := s.TryReload(config); status != http.StatusOK {
		s.t.Fatalf("the reload was refused: %d %s", status, body)
	}
}

// TryReload puts another configuration in force if the program takes it.
func (s *Server) TryReload(config Config) (status int, body string) {
	s.t.Helper()
	s.write(config)
	// An equal configuration is loaded too, as by `caddy reload --force`.
	header := http.Header{"Content-Type": {"text/caddyfile"}, "Cache-Control": {"must-revalidate"}}
	status, body, err := s.Admin(http.MethodPost, "/load", s.Caddyfile(config), header)
	if err != nil {
		s.t.Fatalf("reload: %v", err)
	}
	return status, body
}

// Admin asks the admin API.
func (s *Server) Admin(method, path, body string, header http.Header) (int, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://127.0.0.1:%d%s", s.ports[0], path), strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// Command runs one of the program's commands, in the same environment, and
// returns what it wrote.
func (s *Server) Command(args ...string) (output, messages string, err error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	command := exec.CommandContext(ctx, program, args...)
	command.Env, command.Dir = s.Environment(), s.Dir
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err = command.Run()
	return stdout.String(), stderr.String(), err
}

// Plain and TLS are the origins of a site on the two ports.
func (s *Server) Plain(host string) string { return fmt.Sprintf("http://%s:%d", host, s.HTTPPort) }
func (s *Server) TLS(host string) string   { return fmt.Sprintf("https://%s:%d", host, s.HTTPSPort) }

// PlainAddr and TLSAddr are where the two ports listen.
func (s *Server) PlainAddr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.HTTPPort)) }
func (s *Server) TLSAddr() string   { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.HTTPSPort)) }

// TLSConfig trusts the authority of `tls internal`.
func (s *Server) TLSConfig() *tls.Config {
	pem, err := os.ReadFile(filepath.Join(s.Dir, "storage/pki/authorities/local/root.crt"))
	if errors.Is(err, os.ErrNotExist) {
		return &tls.Config{} // no site has TLS
	}
	if err != nil {
		s.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool}
}
