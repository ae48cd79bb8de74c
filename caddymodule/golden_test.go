package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the adapted JSON into testdata/*.caddyfiletest")

// separator stands between a Caddyfile and its JSON, as in Caddy's own tests.
const separator = "----------"

// TestGolden adapts every testdata/*.caddyfiletest and validates the outcome.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) { golden(t, file) })
	}
}

func golden(t *testing.T, file string) {
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	caddyfile, want, _ := strings.Cut(string(content), separator+"\n")
	caddyfile = strings.TrimRight(caddyfile, "\n") + "\n"
	compact, warnings, err := adapt(caddyfile)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) > 0 {
		t.Errorf("warnings: %v", warnings)
	}
	got := indented(t, compact)
	if *update {
		if err := os.WriteFile(file, []byte(caddyfile+"\n"+separator+"\n"+got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got != strings.TrimSpace(want) {
		t.Errorf("got:\n%s", got)
	}
	t.Setenv("GOLDEN_PASSWORD", "secret")
	t.Setenv("GOLDEN_FOLDER", t.TempDir())
	if err := validate(compact); err != nil {
		t.Error(err)
	}
}

func indented(t *testing.T, compact []byte) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, compact, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestJSONAlone loads what no Caddyfile wrote: the least there can be, and every
// field under its JSON name.
func TestJSONAlone(t *testing.T) {
	for _, file := range []string{"least.json", "every_field.json"} {
		config, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("GOLDEN_PASSWORD", "secret")
		if err := validate(config); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestJSONMistakes shows that JSON is checked by the same rules, which find
// their own words there.
func TestJSONMistakes(t *testing.T) {
	for handler, want := range map[string]string{
		`{}`:                   "name who",
		`{"allow": ["all"]}`:   "write anyone",
		`{"alow": ["anyone"]}`: "alow",
		`{"allow": ["anyone"], "header": [{"field": "Cookie", "value": "x"}]}`: "Cookie carries",
		`{"allow": ["anyone"], "origin": "http://wiki.example.com"}`:           "only https works",
		`{"allow": ["anyone"], "max_age": 1}`:                                  "write 1s or more",
		`{"allow": ["group:staff"]}`:                                           "there is no such group",
		`{"allow": ["anyone"], "match": [{"nosuch": {}}]}`:                     "http.matchers.nosuch",
		`{"allow": ["anyone"], "session": {"lifetime": "500d"}}`:               "at most 400d",
	} {
		wantMistake(t, validate(siteJSON(handler, `{}`)), want)
	}
	for app, want := range map[string]string{
		`{"nosuch": 1}`:                   "nosuch",
		`{"method": "sms"}`:               "write both, code or link",
		`{"code": {"length": 5}}`:         "6 to 12",
		`{"code": {"alphabet": "runes"}}`: "write digits or letters",
		`{"expires": "2h"}`:               "60s to 1h",
		`{"same_browser": "yes"}`:         "write on or off",
		`{"resend": "new"}`:               "write keep or renew",
		`{"limits": {"mail": {}}}`:        "write mails, attempts, network or total",
		`{"limits": {"mails": {}}}`:       "count of 1 or more",
		`{"groups": [{"name": "staff"}]}`: "name its members",
		`{"groups": [{"name": "a", "who": ["anyone"]}, {"name": "a", "who": ["anyone"]}]}`: "defined twice",
		`{"prefix": "auth"}`:                            "write a path",
		`{"store": {"backend": "redis"}}`:               "not built yet",
		`{"store": {"backend": "sqlite"}}`:              "write badger",
		`{"smtp": {"address": "mail.example.com:587"}}`: "smtp needs from",
		`{"from": "a@example.com", "smtp": {}}`:         "smtp",
		`{"session": {"idle": -1}}`:                     "1s or more",
	} {
		wantMistake(t, validate(siteJSON(`{"allow": ["anyone"]}`, app)), want)
	}
}

// siteJSON is the configuration of one site.
func siteJSON(handler, app string) []byte {
	handler = strings.Replace(handler, "{", `{"handler": "email_auth", `, 1)
	handler = strings.Replace(handler, ", }", "}", 1)
	return []byte(`{"apps": {"email_auth": ` + app + `, "http": {"servers": {"main": {"listen": [":443"], "routes": [
		{"match": [{"host": ["wiki.example.com"]}], "handle": [` + handler + `]}]}}}}}`)
}

func wantMistake(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Errorf("no mistake found, want %q", want)
	} else if !strings.Contains(err.Error(), want) {
		t.Errorf("%q is missing in: %v", want, err)
	}
}
