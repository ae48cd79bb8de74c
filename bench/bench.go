package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// bench is what all parts share.
type bench struct {
	options
	ctx    context.Context
	report report
	// dir is a temporary folder; root is that of the module.
	dir, root string
	// bare and postern are the two programs.
	bare, postern string
	upstream      *upstream
	servers       []*server
}

// newBench builds the programs and starts the application behind them.
func newBench(ctx context.Context, o options) (*bench, error) {
	b := &bench{options: o, ctx: ctx}
	var err error
	if b.root, err = moduleRoot(); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp("", "postern-bench-"); err != nil {
		return nil, err
	}
	b.bare, b.postern = filepath.Join(b.dir, "bare"), filepath.Join(b.dir, "postern")
	if err := b.build(b.bare, "./bench/bare"); err != nil {
		b.close()
		return nil, err
	}
	if err := b.build(b.postern, "./cmd/caddy"); err != nil {
		b.close()
		return nil, err
	}
	if b.upstream, err = startUpstream(); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// build compiles a package as releases are: without symbols and paths. A quick
// pass keeps the paths, so that it need not compile everything anew.
func (b *bench) build(program, what string) error {
	args := []string{"build", "-ldflags", "-s -w", "-o", program}
	if !b.short {
		args = append(args, "-trimpath")
	}
	command := exec.CommandContext(b.ctx, "go", append(args, what)...)
	command.Dir = b.root
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", what, err, output)
	}
	return nil
}

func moduleRoot() (string, error) {
	output, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("finding go.mod: %w", err)
	}
	file := strings.TrimSpace(string(output))
	if file == "" || file == os.DevNull {
		return "", errors.New("no go.mod here: run it in a clone, as in `go run ./bench`")
	}
	return filepath.Dir(file), nil
}

// close ends everything that was started and removes the folder.
func (b *bench) close() {
	b.stopAll()
	if b.upstream != nil {
		b.upstream.close()
	}
	os.RemoveAll(b.dir)
}

func (b *bench) stopAll() {
	for _, s := range b.servers {
		s.stop()
	}
	b.servers = nil
}
