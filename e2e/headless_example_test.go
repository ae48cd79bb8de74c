package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
)

// TestHeadlessExample runs examples/headless beside a portal, and signs in by
// code and by link, and not by a link that another browser opens.
func TestHeadlessExample(t *testing.T) {
	t.Parallel()
	port := postern.FreePort(t)
	origin := fmt.Sprintf("http://localhost:%d", port)
	server := postern.Start(t, postern.Config{Sites: fmt.Sprintf(`
http://localhost:$HTTP {
	email_auth_portal {
		client example {
			kind api
			secret example-secret
			redirect_uri %s/sign-in/link
		}
	}
}`, origin)})
	program := filepath.Join(t.TempDir(), "example")
	build := exec.Command("go", "build", "-o", program, "../examples/headless")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	example := exec.Command(program)
	example.Env = append(os.Environ(), "POSTERN_URL="+server.Plain("localhost"), "POSTERN_SECRET=example-secret",
		"ORIGIN="+origin, fmt.Sprintf("LISTEN=localhost:%d", port))
	example.Stderr = os.Stderr
	if err := example.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = example.Process.Kill()
		_ = example.Wait()
	})
	postern.Eventually(t, 30*time.Second, "the example", func() bool {
		response, err := http.Get(origin)
		if err == nil {
			response.Body.Close()
		}
		return err == nil
	})

	ann := newAppVisitor(t, origin)
	ann.post("/sign-in", "email", "ann@example.com").want(200, "type the code")
	code, link := appMail(t, server, "ann@example.com", 1)
	ann.post("/sign-in/code", "code", otherCode(code, 1)).want(400, "not the code of the newest mail")
	stranger := newAppVisitor(t, origin).get("/sign-in/link?link_token=" + link)
	stranger.want(400, "in the browser where you asked")
	if strings.Contains(stranger.body, "/sign-in/code") || strings.Contains(stranger.body, "/sign-in/resend") {
		t.Errorf("another browser is asked for a code: %s", stranger.body)
	}
	newAppVisitor(t, origin).post("/sign-in/code", "code", code).want(400, "Ask for a mail first")
	ann.post("/sign-in/code", "code", code).want(200, "signed in as ann@example.com")
	ann.post("/sign-out").want(200, "Send me a mail")

	ann.post("/sign-in", "email", "bob@example.com").want(200, "type the code")
	ann.post("/sign-in/resend").want(200, "type the code")
	_, link = appMail(t, server, "bob@example.com", 2)
	ann.get("/sign-in/link?link_token="+link).want(200, "signed in as bob@example.com")
	ann.get("/sign-in/link?link_token="+link).want(200, "signed in as bob@example.com")
	ann.post("/sign-out").want(200, "Send me a mail")
	ann.get("/sign-in/link?link_token="+link).want(400, "does not work any more")
	ann.post("/sign-in", "email", "nonsense").want(400, "not an email address")
}

// appVisitor is a browser at an application without Postern in front.
type appVisitor struct {
	t      *testing.T
	origin string
	http   *http.Client
}

type appAnswer struct {
	t      *testing.T
	status int
	body   string
}

func newAppVisitor(t *testing.T, origin string) *appVisitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &appVisitor{t: t, origin: origin, http: &http.Client{Jar: jar, Timeout: time.Minute}}
}

func (v *appVisitor) get(path string) appAnswer {
	v.t.Helper()
	return v.read(v.http.Get(v.origin + path))
}

func (v *appVisitor) post(path string, fields ...string) appAnswer {
	v.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return v.read(v.http.PostForm(v.origin+path, form))
}

func (v *appVisitor) read(response *http.Response, err error) appAnswer {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return appAnswer{v.t, response.StatusCode, string(body)}
}

func (a appAnswer) want(status int, text string) {
	a.t.Helper()
	if a.status != status || !strings.Contains(a.body, text) {
		a.t.Errorf("status %d, want %d with %q:\n%s", a.status, status, text, a.body)
	}
}
