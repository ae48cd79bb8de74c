package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// report collects Markdown and prints it as it comes.
type report struct{ text strings.Builder }

func (r *report) String() string { return r.text.String() }

func (r *report) line(format string, args ...any) {
	text := fmt.Sprintf(format, args...) + "\n"
	r.text.WriteString(text)
	fmt.Fprint(os.Stdout, text)
}

// conditions says on what and how it was measured.
func (r *report) conditions(o options) {
	r.line("%d cores, %s, %s/%s; %d rounds of %.1f s for each target; %d clients at once.",
		runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, o.rounds, o.each.Seconds(), connections)
	if o.short {
		r.line("\n**A quick pass (`-short`): these figures mean little.**")
	}
}

// part begins one. The load before it, in processes that ran or waited for a core
// in the last minute, says whether the machine had other work.
func (r *report) part(name string) {
	load, err := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(load), " ")
	if err != nil {
		first = "not known"
	}
	r.note("## %s\n\nLoad of the machine before: %s.", name, first)
}

// table writes one with a heading.
func (r *report) table(heading string, columns []string, rows [][]string) {
	r.line("\n### %s\n", heading)
	r.line("| %s |", strings.Join(columns, " | "))
	r.line("|%s", strings.Repeat(" --- |", len(columns)))
	for _, row := range rows {
		r.line("| %s |", strings.Join(row, " | "))
	}
}

// note writes a paragraph.
func (r *report) note(format string, args ...any) { r.line("\n"+format, args...) }

// target says whether a figure is as it should be.
func (r *report) target(what string, met bool) {
	verdict := "met"
	if !met {
		verdict = "**missed**"
	}
	r.note("Target: %s: %s.", what, verdict)
}

// number writes one without needless digits, with commas between thousands.
func number(v float64) string {
	text, first := fmt.Sprintf("%.0f", v), 0
	if text[0] == '-' {
		first = 1
	}
	for i := len(text) - 3; i > first; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func megabytes(bytes float64) string { return fmt.Sprintf("%.1f", bytes/1e6) }
