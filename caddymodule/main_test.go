package caddymodule_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/certmagic"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/postern-auth/postern/caddymodule"
)

// TestMain keeps Caddy's files out of the home folder of whoever runs the tests.
// Caddy works some of its paths out when it is loaded, so the environment alone
// would come too late.
func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "postern-caddymodule-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv("XDG_DATA_HOME", filepath.Join(folder, "data"))
	os.Setenv("XDG_CONFIG_HOME", filepath.Join(folder, "config"))
	caddy.DefaultStorage.Path = filepath.Join(folder, "data", "caddy")
	certmagic.Default.Storage = caddy.DefaultStorage
	caddy.ConfigAutosavePath = filepath.Join(folder, "config", "caddy", "autosave.json")
	code := m.Run()
	os.RemoveAll(folder)
	os.Exit(code)
}

// adapt turns a Caddyfile into JSON, as `caddy adapt` does.
func adapt(text string) ([]byte, []caddyconfig.Warning, error) {
	return caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
}

// validate provisions a configuration without starting it, as `caddy validate`
// does.
func validate(config []byte) error {
	var c caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &c); err != nil {
		return err
	}
	return caddy.Validate(&c)
}

// check adapts a Caddyfile and validates what comes out.
func check(text string) error {
	config, _, err := adapt(text)
	if err != nil {
		return err
	}
	return validate(config)
}
