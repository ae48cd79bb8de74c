// Command bench measures what Postern adds to Caddy, on Linux:
//
//	go run ./bench                     all parts, about 20 minutes
//	go run ./bench -short              a quick pass, whose figures mean little
//	go run ./bench -only admitted,size
//
// It builds Caddy without and with Postern, runs both on loopback in temporary
// folders, and writes tables in Markdown. Servers that are compared run side by
// side and are measured in turn, over several rounds; a second Caddy without
// Postern shows what is noise. docs/performance.md explains the tables.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	rounds  int
	each    time.Duration // of one target in one round
	short   bool
	profile string
}

// parts are all there are, in the order in which they run.
var parts = []struct {
	name string
	run  func(*bench) error
}{
	{"routes", (*bench).routes},
	{"steps", (*bench).steps},
	{"admitted", (*bench).admitted},
	{"refused", (*bench).refused},
	{"size", (*bench).size},
	{"signin", (*bench).signIn},
	{"sessions", (*bench).sessions},
	{"streams", (*bench).streams},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	var o options
	var seconds float64
	flag.IntVar(&o.rounds, "rounds", 15, "how often each target is measured")
	flag.Float64Var(&seconds, "seconds", 1.5, "how long each target is measured in a round")
	flag.BoolVar(&o.short, "short", false, "a quick pass: less of everything")
	flag.StringVar(&o.profile, "profile", "", "a folder for CPU profiles of the servers, taken during extra rounds")
	only := flag.String("only", "", "the parts to run, with commas between: "+names())
	out := flag.String("out", "", "a file that the tables are written to as well")
	flag.Parse()
	if o.short {
		o.rounds, seconds = min(o.rounds, 2), min(seconds, 0.5)
	}
	o.each = time.Duration(seconds * float64(time.Second))
	if o.rounds < 1 || o.each < 100*time.Millisecond || flag.NArg() > 0 {
		return fmt.Errorf("give -rounds of 1 or more, -seconds of 0.1 or more, and no arguments")
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Fprintln(os.Stderr, "building Caddy without and with Postern")
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	return b.runParts(chosen, *out)
}

func names() string {
	var all []string
	for _, part := range parts {
		all = append(all, part.name)
	}
	return strings.Join(all, ",")
}

// choose returns the names of the parts to run. only may be empty: all.
func choose(only string) ([]string, error) {
	if only == "" {
		only = names()
	}
	chosen := strings.Split(only, ",")
	for _, name := range chosen {
		if !slices.Contains(strings.Split(names(), ","), name) {
			return nil, fmt.Errorf("-only %s: there is no such part; write one of %s", name, names())
		}
	}
	return chosen, nil
}

// runParts runs the parts, and keeps the tables of those that are done where one
// fails.
func (b *bench) runParts(chosen []string, out string) error {
	b.report.conditions(b.options)
	var failed error
	for _, part := range parts {
		if !slices.Contains(chosen, part.name) || failed != nil {
			continue
		}
		begin := time.Now()
		fmt.Fprintf(os.Stderr, "%s begins\n", part.name)
		b.report.part(part.name)
		if err := part.run(b); err != nil {
			failed = fmt.Errorf("%s: %w", part.name, err)
		}
		b.stopAll()
		fmt.Fprintf(os.Stderr, "%s took %.0f s\n", part.name, time.Since(begin).Seconds())
	}
	if out != "" {
		if err := os.WriteFile(out, []byte(b.report.String()), 0o644); err != nil {
			return err
		}
	}
	return failed
}
