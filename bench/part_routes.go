package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// figures are those of one Go benchmark: time, memory and, for some, a rate or
// the time over bare Caddy.
type figures struct{ ns, bytes, allocs, rate, over []float64 }

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
	case "ns-over-bare":
		f.over = append(f.over, value)
	}
}

// routes compares Caddy's compiled routes without and with Postern, in memory.
func (b *bench) routes() error {
	result, err := b.goBenchmarks("./bench", "^Benchmark(Chain|Refused|SignInPage)$", b.options.rounds, b.each/8)
	if err != nil {
		return err
	}
	over, err := b.goBenchmarks("./bench", "^BenchmarkOver$", b.options.rounds, b.each)
	if err != nil {
		return err
	}
	maps.Copy(result.all, over.all)
	rows, err := routeRows(result)
	if err != nil {
		return err
	}
	b.report.table("Caddy's routes in memory, without sockets",
		[]string{"request", "ns", "ns over bare", "allocations", "allocations over bare", "time to an admitted script's"}, rows)
	b.report.note("%s", routesNote)
	b.routeTarget(result)
	return nil
}

func (b *bench) routeTarget(result *benchmarks) {
	for _, name := range []string{"postern/page", "postern/xhr", "header/page", "header/xhr"} {
		over := result.all["Over/"+name].over
		allocations := median(result.all["Chain/"+name].allocs) - median(result.all[bareOf(name)].allocs)
		b.report.target(fmt.Sprintf("at most 2,000 ns and 15 allocations over bare; for %s it is %s ns (%s to %s over the rounds) and %s allocations",
			name, number(median(over)), number(slices.Min(over)), number(slices.Max(over)), number(allocations)), median(over) <= 2000 && allocations <= 15)
	}
}

// routesNote explains the names of the rows.
const routesNote = "`page` is a browser's navigation and `xhr` a request of a script, with the headers that browsers send with each. " +
	"`Chain` is a request that goes through all of Caddy's routes to the application's handler: `bare` without Postern, `postern` admitted by it with four header fields, the assertion among them, `header` with a fifth. " +
	"`Refused` has no session cookie (`none`), one that was made up (`forged`), or one of a session that was signed out (`revoked`) or is over (`expired`). " +
	"`SignInPage` is the form: `get` shows it; `post/joined` sends it while a sign-in request of the same address and browser is pending, which it joins, without a further mail; " +
	"`post/made` sends it for another address each time, which makes a sign-in request and a mail, on disk. " +
	"What is over bare is over `Chain/bare/xhr` for scripts, and over `Chain/bare/page` for everything else; for `Chain` it is measured by itself (`BenchmarkOver`): the median of differences between 2,000 requests with Postern and 2,000 without, one after the other, so that both see the same of what else the machine does."

func routeRows(result *benchmarks) ([][]string, error) {
	admitted := result.all["Chain/postern/xhr"]
	if admitted == nil {
		return nil, fmt.Errorf("no Chain/postern/xhr in %q", result.names)
	}
	var rows [][]string
	for _, name := range result.names {
		f, bare := result.all[name], result.all[bareOf(name)]
		if bare == nil {
			return nil, fmt.Errorf("no %s in %q", bareOf(name), result.names)
		}
		over := median(f.ns) - median(bare.ns)
		if measured := result.all[strings.Replace(name, "Chain/", "Over/", 1)]; measured != nil && len(measured.over) > 0 {
			over = median(measured.over)
		}
		rows = append(rows, []string{
			name, number(median(f.ns)), number(over),
			number(median(f.allocs)), number(median(f.allocs) - median(bare.allocs)),
			fmt.Sprintf("%.2f", median(f.ns)/median(admitted.ns)),
		})
	}
	return rows, nil
}

// bareOf is the benchmark without Postern of the same kind of request. The
// sign-in page is one that a browser goes to.
func bareOf(name string) string {
	if strings.HasSuffix(name, "/xhr") {
		return "Chain/bare/xhr"
	}
	return "Chain/bare/page"
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
