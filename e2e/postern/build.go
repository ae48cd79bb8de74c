package postern

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// program is the path of the binary, once Build has made it.
var program string

// Build compiles cmd/caddy, with the race detector if POSTERN_E2E_RACE=1, and
// returns a function that removes it. POSTERN_E2E_BINARY names a program that
// is there already.
func Build() (remove func(), err error) {
	if program = os.Getenv("POSTERN_E2E_BINARY"); program != "" {
		return func() {}, nil
	}
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "postern-build-")
	if err != nil {
		return nil, err
	}
	remove = func() { os.RemoveAll(dir) }
	program = filepath.Join(dir, "caddy")
	args := []string{"build", "-o", program}
	if os.Getenv("POSTERN_E2E_RACE") == "1" {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "./cmd/caddy")...)
	build.Dir = root
	if output, err := build.CombinedOutput(); err != nil {
		remove()
		return nil, fmt.Errorf("building cmd/caddy: %w\n%s", err, output)
	}
	return remove, nil
}

// Program returns the path of the binary, to run its commands.
func Program() string { return program }

// moduleRoot is the folder of go.mod.
func moduleRoot() (string, error) {
	output, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("finding go.mod: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(output))), nil
}
