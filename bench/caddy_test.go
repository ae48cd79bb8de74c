package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/caddyserver/certmagic"

	_ "github.com/postern-auth/postern"
)

// TestMain keeps Caddy's files out of the home folder of whoever runs this.
func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "postern-bench-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv("XDG_DATA_HOME", filepath.Join(folder, "data"))
	os.Setenv("XDG_CONFIG_HOME", filepath.Join(folder, "config"))
	caddy.DefaultStorage.Path = filepath.Join(folder, "data", "caddy")
	certmagic.Default.Storage = caddy.DefaultStorage
	code := m.Run()
	os.RemoveAll(folder)
	os.Exit(code)
}

func init() {
	caddy.RegisterModule(application{})
	httpcaddyfile.RegisterHandlerDirective("application", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		h.Next()
		return application{}, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("application", httpcaddyfile.Before, "respond")
}

// application is the least that can stand behind a site.
type application struct{}

func (application) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.application", New: func() caddy.Module { return new(application) }}
}

var applicationBody = []byte("hello")

// ServeHTTP answers. Behind Postern, every header that it sets must be there; it
// is looked for without Postern too, so that the look costs both the same.
func (application) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if there := identified(r.Header); there != identityFields[r.Host] {
		return caddyhttp.Error(http.StatusInternalServerError, fmt.Errorf("%d identity headers, want %d, in %v", there, identityFields[r.Host], r.Header))
	}
	_, err := w.Write(applicationBody)
	return err
}

var identityHeaders = [...]string{"Remote-User", "Remote-Email", "Remote-Groups", "X-Webauth-User", "X-Postern-Jwt-Assertion"}

func identified(h http.Header) (there int) {
	for _, field := range identityHeaders {
		if len(h[field]) > 0 && h[field][0] != "" {
			there++
		}
	}
	return there
}

const (
	bareHost   = "bare.example.com"
	wikiHost   = "wiki.example.com"
	headerHost = "header.example.com"
	shortHost  = "short.example.com"

	ann = "ann@example.com"
)

// identityFields is how many header fields say who the user is.
var identityFields = map[string]int{wikiHost: 4, headerHost: 5, shortHost: 4}

// configuration has four sites, each on a server of its own: one without
// Postern, one with it, one with a header option as well, and one whose sessions
// live for a second.
// Nobody connects: requests are handed to the servers, as if they came by TLS.
const configuration = `
{
	admin off
	persist_config off
	skip_install_trust
	auto_https disable_certs
	default_bind 127.0.0.1
	grace_period 1s
	log {
		output discard
	}
	servers {
		protocols h1
	}
	email_auth {
		store badger $DIR/store
		mail_dir $DIR/mails
		group staff ann@example.com bob@example.com
		limit network 1000000 1h
		limit total 1000000 1h
	}
}
https://bare.example.com:$BARE {
	application
}
https://wiki.example.com:$WIKI {
	email_auth group:staff *@example.org
	application
}
https://header.example.com:$HEADER {
	email_auth group:staff *@example.org {
		header X-Webauth-User {http.auth.user.email}
	}
	application
}
https://short.example.com:$SHORT {
	email_auth group:staff {
		session 1s
	}
	application
}
`

// sites are the servers of the configuration, by host.
type sites struct {
	b       *testing.B
	dir     string
	servers map[string]*caddyhttp.Server
	// read counts the mails that were read.
	read int
}

// load runs the configuration until the benchmark ends.
func load(b *testing.B) *sites {
	b.Helper()
	s := &sites{b: b, dir: b.TempDir(), servers: map[string]*caddyhttp.Server{}}
	ports := map[string]string{bareHost: freePort(b), wikiHost: freePort(b), headerHost: freePort(b), shortHost: freePort(b)}
	text := strings.NewReplacer("$DIR", s.dir, "$BARE", ports[bareHost], "$WIKI", ports[wikiHost], "$HEADER", ports[headerHost], "$SHORT", ports[shortHost]).Replace(configuration)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		b.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			b.Error(err)
		}
	})
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		b.Fatal(err)
	}
	for _, server := range app.(*caddyhttp.App).Servers {
		for host, port := range ports {
			if strings.HasSuffix(server.Listen[0], ":"+port) {
				s.servers[host] = server
			}
		}
	}
	return s
}

var codeInSubject = regexp.MustCompile(`(?m)^Subject: (\d{6}) is`)

// nextCode waits for one more mail and returns its code.
func (s *sites) nextCode() string {
	s.b.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		files, _ := filepath.Glob(filepath.Join(s.dir, "mails", "*.eml"))
		if len(files) <= s.read {
			continue
		}
		text, err := os.ReadFile(files[len(files)-1])
		if err != nil {
			s.b.Fatal(err)
		}
		s.read = len(files)
		if found := codeInSubject.FindSubmatch(text); found != nil {
			return string(found[1])
		}
	}
	s.b.Fatal("no mail came")
	return ""
}
