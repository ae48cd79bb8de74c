package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
)

func TestKillKeepsSessionsAndPendingSignIns(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v, waiting, used, out := visitor(t, server), visitor(t, server), visitor(t, server), visitor(t, server)
	v.SignIn(ann)
	out.SignIn("out@example.com")
	old := out.Cookie(postern.LoopbackSessionCookie)
	out.SignOut()
	pending := waiting.Ask("bob@example.com", "/waiting")
	mail := pending.Mail()
	spent := used.Ask("cid@example.com", "/")
	link := spent.Mail().Link
	used.OpenLink(link).WantRedirect(t, "/")
	guesses := wrongCodes(mail.Code, 3)
	for _, guess := range guesses[:2] {
		pending.Answer(guess).Want(t, http.StatusUnprocessableEntity)
	}

	for range times(2, 20) {
		server.Kill()
		server.Run()
		if v.Me() != ann || used.Me() != "cid@example.com" {
			t.Fatal("a session is lost")
		}
		out.SetCookie(postern.LoopbackSessionCookie, old)
		if out.Me() != "" {
			t.Fatal("a session that was signed out is back")
		}
		visitor(t, server).OpenLink(link).Want(t, http.StatusGone)
	}
	pending.Answer(guesses[2]).Want(t, http.StatusUnprocessableEntity).WantText(t, "2 attempt")
	pending.Answer(mail.Code).WantRedirect(t, "/waiting")
	time.Sleep(postern.Quiet)
	if n := len(server.Mails("bob@example.com")); n != 1 {
		t.Errorf("%d mails, want 1", n)
	}
}

func TestKillUnderLoadLosesNothingConfirmed(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "limit network 10000 10m\nlimit total 100000 1h")
	const people = 6
	for round := range times(2, 15) {
		var mu sync.Mutex
		var signedIn []*postern.Visitor
		var group sync.WaitGroup
		var killed atomic.Bool
		visitors := make([]*postern.Visitor, people)
		for i := range visitors {
			visitors[i] = visitor(t, server)
		}
		for i, v := range visitors {
			group.Go(func() {
				for n := 0; !killed.Load() && n < 20; n++ {
					tab := v.Fresh()
					if signInQuietly(server, tab, fmt.Sprintf("r%dp%dn%d@example.com", round, i, n)) {
						mu.Lock()
						signedIn = append(signedIn, tab)
						mu.Unlock()
						return
					}
				}
			})
		}
		time.Sleep(time.Duration(100+150*round) * time.Millisecond)
		server.Kill()
		killed.Store(true)
		group.Wait()
		server.Run()
		for _, v := range signedIn {
			if v.Me() == "" {
				t.Errorf("round %d: a confirmed session is lost", round)
			}
		}
	}
}

func TestStopIsClean(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	v.SignIn(ann)
	for range 3 {
		server.Restart()
		if v.Me() != ann {
			t.Fatal("the session is lost")
		}
	}
}

func TestReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	upstream := postern.StartUpstream(t)
	config := postern.Config{Upstream: upstream, Sites: plain}
	server := postern.Start(t, config)
	v := visitor(t, server)
	v.SignIn(ann)
	stranger := visitor(t, server)
	pending := stranger.Ask("bob@example.com", "/")

	var stop atomic.Bool
	var group sync.WaitGroup
	var served atomic.Int64
	faults := make(chan string, 100)
	for range 3 {
		group.Go(func() { getUntil(v.Clone(), &stop, &served, faults) })
	}
	reloads := times(30, 500)
	for i := range reloads {
		changed := config
		changed.Auth = fmt.Sprintf("expires %dm", 10+i%2)
		server.Reload(changed)
		time.Sleep(20 * time.Millisecond)
	}
	stop.Store(true)
	group.Wait()
	close(faults)
	for fault := range faults {
		t.Error(fault)
	}
	t.Logf("%d requests over %d reloads", served.Load(), reloads)
	pending.Answer(pending.Mail().Code).WantRedirect(t, "/")
	if v.Me() != ann {
		t.Error("the session is lost")
	}
}

// getUntil asks again and again. Caddy itself loses a few connections at a
// reload on Linux, so a request that got no answer is sent once more.
func getUntil(v *postern.Visitor, stop *atomic.Bool, served *atomic.Int64, faults chan<- string) {
	for !stop.Load() {
		answer, err := v.TryDo(v.NewRequest(http.MethodGet, "/load", nil))
		for try := 0; err != nil && try < 3; try++ {
			answer, err = v.TryDo(v.NewRequest(http.MethodGet, "/load", nil))
		}
		switch {
		case err != nil:
			report(faults, "no answer: "+err.Error())
		case answer.Status != http.StatusOK:
			report(faults, fmt.Sprintf("status %d\n%s", answer.Status, answer.Brief()))
		default:
			served.Add(1)
		}
	}
}

func report(faults chan<- string, text string) {
	select {
	case faults <- text:
	default: // there are enough
	}
}

func TestReloadThatFails(t *testing.T) {
	t.Parallel()
	upstream := postern.StartUpstream(t)
	config := postern.Config{Upstream: upstream, Sites: plain}
	server := postern.Start(t, config)
	v := visitor(t, server)
	v.SignIn(ann)
	for name, change := range map[string]postern.Config{
		"another store":    {Upstream: upstream, Sites: plain, Auth: "store badger $DIR/elsewhere"},
		"unknown group":    {Upstream: upstream, Sites: strings.Replace(plain, "*@example.com", "group:nobody", 1)},
		"another's port":   {Upstream: upstream, Sites: plain + "\nhttp://localhost:" + portOf(upstream.Addr) + " {\n\temail_auth *@example.com\n}\n"},
		"a file not there": {Upstream: upstream, Sites: plain, Auth: "smtp localhost:2525 {\n\tdkim example.com s $DIR/missing.pem\n}\nfrom a@example.com"},
	} {
		if status, body := server.TryReload(change); status == http.StatusOK {
			t.Errorf("%s: the reload was taken: %s", name, body)
		}
		if v.Me() != ann {
			t.Errorf("%s: the old configuration does not go on", name)
		}
		v.Fetch("/").Want(t, http.StatusOK)
	}
	other := visitor(t, server)
	other.SignIn("bob@example.com")
	server.Reload(config)
	if v.Me() != ann || other.Me() != "bob@example.com" {
		t.Error("a session is lost")
	}
}

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

func TestValidateBesideARunningServer(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	v.SignIn(ann)
	for range 2 {
		if _, output, err := server.Command("validate", "--config", server.ConfigFile(), "--adapter", "caddyfile"); err != nil {
			t.Fatalf("caddy validate: %v\n%s", err, output)
		}
	}
	if _, output, err := server.Command("adapt", "--validate", "--config", server.ConfigFile(), "--adapter", "caddyfile"); err != nil {
		t.Fatalf("caddy adapt --validate: %v\n%s", err, output)
	}
	if v.Me() != ann {
		t.Error("the session is lost")
	}
}

func TestAdapt(t *testing.T) {
	t.Parallel()
	upstream := postern.StartUpstream(t)
	server := postern.New(t, postern.Config{Upstream: upstream, Sites: twoRules, Auth: "method code\nexpires 5m\nlimit mails 3 2m\ngroup staff *@example.com"})
	output, messages, err := server.Command("adapt", "--config", server.ConfigFile(), "--adapter", "caddyfile")
	if err != nil {
		t.Fatalf("caddy adapt: %v\n%s", err, messages)
	}
	var config struct {
		Apps struct {
			Auth map[string]any `json:"email_auth"`
			HTTP json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(output), &config); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if config.Apps.Auth["method"] != "code" || config.Apps.Auth["expires"] != 5*60*1e9 {
		t.Errorf("app: %v", config.Apps.Auth)
	}
	if n := strings.Count(string(config.Apps.HTTP), `"handler":"email_auth"`); n != 2 {
		t.Errorf("%d handlers, want 2:\n%s", n, config.Apps.HTTP)
	}
	if files, _ := filepath.Glob(filepath.Join(server.Dir, "data", "*")); len(files) != 0 {
		t.Errorf("adapt made files: %v", files)
	}
}

func TestMistakesNameTheirLine(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ sites, auth, say string }{
		"nobody":              {sites: "http://localhost:$HTTP {\n\temail_auth\n}", say: "email_auth"},
		"unknown option":      {sites: "http://localhost:$HTTP {\n\temail_auth anyone {\n\t\tcolour red\n\t}\n}", say: "colour"},
		"no address":          {sites: "http://localhost:$HTTP {\n\temail_auth ann\n}", say: "ann"},
		"cookie header":       {sites: "http://localhost:$HTTP {\n\temail_auth anyone {\n\t\theader Cookie x\n\t}\n}", say: "Cookie"},
		"authorization":       {sites: "http://localhost:$HTTP {\n\temail_auth anyone {\n\t\theader authorization x\n\t}\n}", say: "uthorization"},
		"transfer-encoding":   {sites: "http://localhost:$HTTP {\n\temail_auth anyone {\n\t\theader Transfer-Encoding x\n\t}\n}", say: "Transfer-Encoding"},
		"repeated option":     {sites: "http://localhost:$HTTP {\n\temail_auth anyone {\n\t\tmax_age 1h\n\t\tmax_age 2h\n\t}\n}", say: "max_age"},
		"bad origin":          {sites: "http://localhost:$HTTP {\n\temail_auth anyone {\n\t\torigin wiki.example.com\n\t}\n}", say: "origin"},
		"blocked pages":       {sites: "http://localhost:$HTTP {\n\thandle /admin/* {\n\t\temail_auth anyone\n\t}\n}", say: "email_auth"},
		"unknown global":      {auth: "nonsense 1", say: "nonsense"},
		"repeated global":     {auth: "method code\nmethod link", say: "method"},
		"code too short":      {auth: "code 5", say: "5"},
		"code too long":       {auth: "code 13 digits", say: "13"},
		"expires too long":    {auth: "expires 61m", say: "expires"},
		"expires too short":   {auth: "expires 59s", say: "expires"},
		"unknown method":      {auth: "method password", say: "password"},
		"smtp without from":   {auth: "smtp localhost:2525", say: "from"},
		"part not built":      {auth: "portal https://login.example.com", say: "portal"},
		"redis not built":     {auth: "store redis redis://localhost", say: "redis"},
		"limit without count": {auth: "limit mails 0 1m", say: "limit"},
		"empty secret":        {auth: "from a@example.com\nsmtp localhost:2525 {\n\tusername a\n\tpassword {env.NOT_SET_ANYWHERE}\n}", say: "NOT_SET_ANYWHERE"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			if test.sites == "" {
				test.sites = "http://localhost:$HTTP {\n\temail_auth anyone\n}"
			}
			server := postern.New(t, postern.Config{Sites: test.sites, Auth: test.auth})
			_, output, err := server.Command("validate", "--config", server.ConfigFile(), "--adapter", "caddyfile")
			if err == nil {
				t.Fatalf("caddy validate takes it:\n%s", output)
			}
			lines := strings.Split(strings.TrimSpace(output), "\n")
			last := lines[len(lines)-1]
			if !strings.Contains(last, test.say) {
				t.Errorf("the message lacks %q:\n%s", test.say, last)
			}
			if !strings.Contains(last, "Caddyfile:") {
				t.Errorf("the message names no line:\n%s", last)
			}
		})
	}
}

func TestStoreIsForTheOwnerAlone(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	visitor(t, server).SignIn(ann)
	root := filepath.Join(server.Dir, "data/caddy/email_auth")
	if _, err := os.Stat(root); err != nil {
		t.Fatalf("the store is not where it should be: %v", err)
	}
	err := filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the rights %v", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	v := visitor(t, server)
	pending := v.Ask(ann, "/report")
	link := pending.Mail().Link
	visitor(t, server).OpenLink(link).Want(t, http.StatusOK)
	v.OpenLink(link).WantRedirect(t, "/report")
	v.Submit("/.auth/link", map[string][]string{"token": {tokenOf(t, link)}})
	v.Fetch("/logged?x=1").Want(t, http.StatusOK)
	entry := server.Logs.WaitAccess(t, "/logged?x=1")
	if entry.Field("user_id") != ann {
		t.Errorf("user_id is %q", entry.Field("user_id"))
	}
	for _, entry := range server.Logs.Access() {
		text, _ := json.Marshal(entry)
		if strings.Contains(string(text), tokenOf(t, link)) || strings.Contains(entry.Field("request.uri"), "/.auth/link") {
			t.Errorf("a link request is in the access log: %s", text)
		}
		for _, secret := range []string{v.Cookie(postern.LoopbackSessionCookie), v.Cookie(postern.LoopbackBrowserCookie)} {
			if strings.Contains(string(text), secret) {
				t.Errorf("a secret is in the access log: %s", text)
			}
		}
	}
}

// signInQuietly signs in while the program may die at any moment, and says
// whether the session was confirmed.
func signInQuietly(server *postern.Server, v *postern.Visitor, email string) bool {
	form := map[string][]string{"email": {email}, "return_to": {"/"}}
	answer, err := v.TryDo(v.Form("/.auth/sign-in", form))
	if err != nil || answer.Status != http.StatusSeeOther {
		return false
	}
	_, id, _ := strings.Cut(answer.Location(), "request=")
	for range 100 {
		if mails := server.Mails(email); len(mails) > 0 {
			answer, err = v.TryDo(v.Form("/.auth/verify", map[string][]string{"request": {id}, "code": {mails[0].Code}}))
			return err == nil && answer.Status == http.StatusSeeOther && v.Cookie(postern.LoopbackSessionCookie) != ""
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}
