package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// figures are those of one Go benchmark: time, memory and, for some, a rate.
type figures struct{ ns, bytes, allocs, rate []float64 }

// benchmarks runs Go benchmarks of a package, all of them in each round.
type benchmarks struct {
	names []string // in the order of the output
	all   map[string]*figures
}

var (
	benchmarkLine = regexp.MustCompile(`(?m)^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)
	benchmarkPair = regexp.MustCompile(`([0-9.e+]+) (\S+)`)
)

func (b *bench) goBenchmarks(pkg, pattern string, rounds int, each time.Duration) (*benchmarks, error) {
	program := filepath.Join(b.dir, "benchmarks.test")
	build := exec.CommandContext(b.ctx, "go", "test", "-c", "-o", program, pkg)
	build.Dir = b.root
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the benchmarks of %s: %w\n%s", pkg, err, output)
	}
	result := &benchmarks{all: map[string]*figures{}}
	for range rounds {
		run := exec.CommandContext(b.ctx, program, "-test.run", "^$", "-test.bench", pattern, "-test.benchmem", "-test.benchtime", each.String())
		run.Dir, run.SysProcAttr = filepath.Join(b.root, pkg), dieWithParent()
		var problems bytes.Buffer
		run.Stderr = &problems
		output, err := run.Output()
		if err != nil {
			return nil, fmt.Errorf("benchmarks of %s: %w\n%.2000s\n%.2000s", pkg, err, output, problems.Bytes())
		}
		if err := result.add(output); err != nil {
			return nil, err
		}
	}
	return result, os.Remove(program)
}

func (r *benchmarks) add(output []byte) error {
	for _, line := range benchmarkLine.FindAllSubmatch(output, -1) {
		name := string(line[1])
		if r.all[name] == nil {
			r.all[name] = &figures{}
			r.names = append(r.names, name)
		}
		for _, pair := range benchmarkPair.FindAllSubmatch(line[2], -1) {
			value, err := strconv.ParseFloat(string(pair[1]), 64)
			if err != nil {
				return fmt.Errorf("%s: %w", line[0], err)
			}
			r.all[name].note(string(pair[2]), value)
		}
	}
	return nil
}

func (f *figures) note(unit string, value float64) {
	switch unit {
	case "ns/op":
		f.ns = append(f.ns, value)
	case "B/op":
		f.bytes = append(f.bytes, value)
	case "allocs/op":
		f.allocs = append(f.allocs, value)
	case "sign-ins/s":
		f.rate = append(f.rate, value)
	}
}

// routes compares Caddy's compiled routes without and with Postern, in memory.
func (b *bench) routes() error {
	result, err := b.goBenchmarks("./bench", "^Benchmark(Chain|Refused|SignInPage)$", b.options.rounds, b.each/8)
	if err != nil {
		return err
	}
	bare, admitted := result.all["Chain/bare/xhr"], result.all["Chain/postern/xhr"]
	if bare == nil || admitted == nil {
		return fmt.Errorf("benchmarks that are missing in %q", result.names)
	}
	var rows [][]string
	for _, name := range result.names {
		f := result.all[name]
		rows = append(rows, []string{
			name, number(median(f.ns)), number(median(f.ns) - median(bare.ns)), number(median(f.allocs)), number(median(f.allocs) - median(bare.allocs)),
			fmt.Sprintf("%.2f", median(f.ns)/median(admitted.ns)),
		})
	}
	b.report.table("Caddy's routes in memory, without sockets",
		[]string{"request", "ns", "ns over bare", "allocations", "allocations over bare", "time to an admitted one's"}, rows)
	return nil
}

// steps are those of an admitted request, one by one, and of a sign-in.
func (b *bench) steps() error {
	result, err := b.goBenchmarks("./gateway", ".", min(b.options.rounds, 3), b.each/8)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, name := range result.names {
		f := result.all[name]
		rows = append(rows, []string{name, fmt.Sprintf("%.4g", median(f.ns)), number(median(f.bytes)), number(median(f.allocs))})
	}
	b.report.table("Steps", []string{"step", "ns", "bytes", "allocations"}, rows)
	if f := result.all["SignIn/64"]; f != nil && len(f.rate) > 0 {
		b.report.target(fmt.Sprintf("at least 1,000 sign-ins a second in the engine, 64 at once, synced to disk; it is %s", number(median(f.rate))), median(f.rate) >= 1000)
	}
	return nil
}
