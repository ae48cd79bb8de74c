package gateway_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/gatewaytest"
)

// lookAgain is longer than a group waits before it looks at its file again.
const lookAgain = 1100 * time.Millisecond

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "staff")
	writeFile(t, path, "# the staff\n\n  ann@example.com # the boss\nBOB@Example.com\n*@example.org\n#eve@elsewhere.example\na#b@example.net\r\n")
	groups, err := gateway.NewGroups([]gateway.GroupConfig{
		{Name: "staff", File: path, Members: gatewaytest.Who(t, "carl@example.com")},
		{Name: "all", Members: gatewaytest.Who(t, "anyone")},
		{Name: "none"},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for address, staff := range map[string]bool{
		ann: true, bob: true, "carl@example.com": true, "x@example.org": true, "a#b@example.net": true,
		eve: false, "x@sub.example.org": false, "a@example.net": false, "ann+x@example.com": false, "dan@example.com": false,
	} {
		want := []string{"all"}
		if staff {
			want = []string{"staff", "all"}
		}
		if got := groups.Of(address); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
	if !groups.Has("none") || groups.Has("nobody") {
		t.Error("Has")
	}
}

func TestGroupErrors(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := func(name, text string) gateway.GroupConfig {
		path := filepath.Join(folder, name)
		writeFile(t, path, text)
		return gateway.GroupConfig{Name: "staff", File: path}
	}
	for want, configs := range map[string][]gateway.GroupConfig{
		"twice":           {{Name: "a"}, {Name: "a"}},
		"write a name":    {{Name: "a b"}},
		"holds no groups": {{Name: "a", Members: gatewaytest.Who(t, "group:b")}},
		"no such file":    {{Name: "a", File: filepath.Join(folder, "missing")}},
		`line 3: "nonsense": write an address (ann@example.com), a domain (*@example.com) or anyone`: {file("bad", "ann@example.com\n\nnonsense\n")},
		"one <who> a line":                      {file("two", "ann@example.com bob@example.com\n")},
		"a group holds no grou":                 {file("nested", "group:other\n")},
		"line 1":                                {file("binary", "\x00\x01\x02\n")},
		"line 1: bufio.Scanner: token too long": {file("long", strings.Repeat("a", 1<<20))},
	} {
		_, err := gateway.NewGroups(configs, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestGroupFileChanges(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "staff")
	writeFile(t, path, ann+"\n")
	log := &lockedLog{}
	groups, err := gateway.NewGroups([]gateway.GroupConfig{{Name: "staff", File: path}}, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{Groups: groups}, Rules: []*gateway.Rule{gatewaytest.Rule(t, "group:staff")}})
	b := site.Browser()
	b.SignIn(ann)
	b.Open("/").Upstream(t)
	last := os.FileInfo(nil)
	for _, step := range []struct {
		what   string
		change func()
		in     bool
	}{
		{"written over", func() { writeFile(t, path, bob+"\n") }, false},
		{"written over again", func() { writeFile(t, path, bob+"\n"+ann+"\n") }, true},
		{"broken", func() { writeFile(t, path, "broken broken\n") }, true}, // the last good one
		{"removed", func() { os.Remove(path) }, true},
		{"a folder", func() { os.Mkdir(path, 0o700) }, true},
		{"back, by a rename", func() {
			os.Remove(path)
			writeFile(t, path+".new", bob+"\n")
			os.Rename(path+".new", path)
		}, false},
		{"empty", func() { writeFile(t, path, "") }, false},
		{"good again", func() { writeFile(t, path, ann+"\n") }, true},
		{"another of the same size, renamed, with the same time", func() {
			last, _ = os.Stat(path)
			writeFile(t, path+".new", "nan@example.com\n")
			os.Chtimes(path+".new", last.ModTime(), last.ModTime())
			os.Rename(path+".new", path)
		}, false},
	} {
		step.change()
		time.Sleep(lookAgain)
		want := map[bool]int{true: 200, false: 403}[step.in]
		if a := b.Open("/"); a.Status != want {
			t.Errorf("%s: status %d, want %d", step.what, a.Status, want)
		}
	}
	if n := strings.Count(log.String(), "stays in force"); n != 1 {
		t.Errorf("the failure was told %d times:\n%s", n, log.String())
	}
	if text := log.String(); !strings.Contains(text, "group file has a mistake") || !strings.Contains(text, "staff: line 1:") {
		t.Errorf("the log does not name the mistake and its line:\n%s", text)
	}
}

type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
