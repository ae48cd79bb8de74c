package e2e_test

import (
	"cmp"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
)

// unlimited lifts the limits that one client on loopback would meet.
const unlimited = "limit network 1000000 10m\nlimit total 1000000 1h\nlimit mails 100 1m"

// silent is the site plain without an access log, for thousands of requests.
const silent = `
http://localhost:$HTTP {
	email_auth *@example.com
	reverse_proxy $UPSTREAM
}`

// times chooses between the short and the long form of a test. POSTERN_SHORTEN
// has the long form take an n-th part, but no less than the short one.
func times(short, extended int) int {
	if !long() {
		return short
	}
	part, err := strconv.Atoi(cmp.Or(os.Getenv("POSTERN_SHORTEN"), "1"))
	if err != nil || part < 1 {
		panic("POSTERN_SHORTEN must be a number from 1 on")
	}
	return max(short, extended/part)
}

// postbox knows the mails that came, by address. It reads each file of the mail
// folder once, which matters where there are thousands.
type postbox struct {
	dir string

	mu    sync.Mutex
	read  map[string]bool
	mails map[string][]*postern.Mail
}

func newPostbox(dir string) *postbox {
	return &postbox{dir: dir, read: make(map[string]bool), mails: make(map[string][]*postern.Mail)}
}

// to returns the mails to an address that have come so far.
func (p *postbox) to(t testing.TB, email string) []*postern.Mail {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.mails[email]) == 0 {
		p.look(t)
	}
	return p.mails[email]
}

// refresh looks for second mails to addresses that have one.
func (p *postbox) refresh(t testing.TB) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.look(t)
}

func (p *postbox) look(t testing.TB) {
	files, _ := filepath.Glob(filepath.Join(p.dir, "*.eml"))
	slices.Sort(files)
	for _, file := range files {
		if p.read[file] {
			continue
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Errorf("reading a mail: %v", err)
			continue
		}
		p.read[file] = true
		mail := postern.ParseMail(t, raw)
		p.mails[mail.To] = append(p.mails[mail.To], mail)
	}
}

// asked is what a start led to. request is "" where it was not confirmed.
type asked struct {
	email, request string
	status         int // 0: no answer
}

// askQuietly sends the form for a mail while the server may fail in any way.
func askQuietly(v *postern.Visitor, email string) asked {
	answer, err := v.TryDo(v.Form("/.auth/sign-in", url.Values{"email": {email}, "return_to": {"/"}}))
	if err != nil {
		return asked{email: email}
	}
	result := asked{email: email, status: answer.Status}
	if location, err := url.Parse(answer.Location()); err == nil && answer.Status == http.StatusSeeOther {
		result.request = location.Query().Get("request")
	}
	return result
}

// holds says whether an answer gives a session to the browser.
func holds(answer *postern.Answer) bool {
	cookie := answer.Cookie(postern.LoopbackSessionCookie)
	return cookie != nil && cookie.Value != ""
}

// load puts a whole configuration in force, in the format of a content type. Caddy
// replaces its admin API at each load and may cut off the next request to it,
// which is then sent again.
func load(t *testing.T, server *postern.Server, contentType, text string) (status int, body string) {
	t.Helper()
	header := http.Header{"Content-Type": {contentType}, "Cache-Control": {"must-revalidate"}}
	status, body, err := server.Admin(http.MethodPost, "/load", text, header)
	for try := 0; err != nil && try < 3; try++ {
		status, body, err = server.Admin(http.MethodPost, "/load", text, header)
	}
	if err != nil {
		t.Fatalf("loading a configuration: %v", err)
	}
	return status, body
}

// wantDoor wants the door open for a visitor who is in, and shut for others.
func wantDoor(t *testing.T, server *postern.Server, in *postern.Visitor) {
	t.Helper()
	in.Fetch("/").Want(t, http.StatusOK)
	wantShut(t, server)
}

// wantShut wants the door shut for who has no cookie or a made-up one: they are
// sent to sign in, or told that it cannot be decided now.
func wantShut(t *testing.T, server *postern.Server) {
	t.Helper()
	for _, cookie := range []string{"", "made-up"} {
		stranger := visitor(t, server)
		stranger.SetCookie(postern.LoopbackSessionCookie, cookie)
		if answer := stranger.Fetch("/"); answer.Status != http.StatusUnauthorized && answer.Status < 500 {
			t.Errorf("a stranger's script with the cookie %q got status %d", cookie, answer.Status)
		}
		if answer := stranger.Navigate("/"); answer.Status != http.StatusSeeOther && answer.Status < 500 {
			t.Errorf("a stranger's page with the cookie %q got status %d", cookie, answer.Status)
		}
	}
}

// wantLogged waits for a line that tells the operator of a fault in all the words.
func wantLogged(t *testing.T, server *postern.Server, words ...string) {
	t.Helper()
	if !within(10*time.Second, func() bool { return len(logLines(server, words...)) > 0 }) {
		t.Errorf("the log does not say %q", words)
	}
}

// within is Eventually that leaves the failure to the caller.
func within(limit time.Duration, condition func() bool) bool {
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		if condition() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// median of some times.
func median(of []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

// logLines returns the lines of the log that hold all texts.
func logLines(server *postern.Server, texts ...string) []string {
	var found []string
	for line := range strings.SplitSeq(server.Logs.Text(), "\n") {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			found = append(found, line)
		}
	}
	return found
}
