package soak_test

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
)

// watch takes samples of the program.
type watch struct {
	*notes
	server  *postern.Server
	pid     int
	plan    plan
	begin   time.Time
	samples []sample
}

// sample is what the program needs at one time. Sizes are in bytes.
type sample struct {
	at                         time.Duration
	rss, anonymous, heap       int64
	goroutines                 int
	files, tables              int // open files, but the store's, and the store's
	apparent, real             int64
	cpu                        time.Duration
	admitted, signIns, mails   [2]time.Duration // p50 and p99 since the last
	admittedCount, signInCount int
}

// child is the process id of the program, the only child that runs.
func child(t *testing.T) int {
	t.Helper()
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if fields[1] != strconv.Itoa(os.Getpid()) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && filepath.Base(exe) == filepath.Base(postern.Program()) {
			return pid
		}
	}
	t.Fatal("the program's process is not found")
	return 0
}

func (w *watch) start() {
	w.begin = time.Now()
	say("%7s %8s %8s %8s %6s %5s %6s %9s %9s %6s  %15s  %15s  %15s %8s %7s %6s", "time", "RSS", "anon", "heap", "gorout", "files", "tables",
		"store", "on disk", "CPU", "admitted ms", "sign-in ms", "mail ms", "requests", "sign-in", "errors")
}

var (
	heapAlloc       = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)`)
	totalGoroutines = regexp.MustCompile(`^goroutine profile: total (\d+)`)
)

// take makes a sample and prints it.
func (w *watch) take() sample {
	s := sample{at: time.Since(w.begin)}
	s.rss = w.proc("status", "VmRSS:")
	s.anonymous = w.proc("smaps_rollup", "Anonymous:")
	s.files, s.tables = w.openFiles()
	s.cpu = w.cpu()
	s.goroutines = int(w.profile("goroutine?debug=1", totalGoroutines))
	s.heap = w.profile("heap?gc=1&debug=1", heapAlloc)
	s.apparent, s.real = size(filepath.Join(w.server.Dir, "store"))

	w.mu.Lock()
	latency := func(name string) [2]time.Duration {
		took := w.took[name]
		slices.Sort(took)
		return [2]time.Duration{percentile(took, 0.5), percentile(took, 0.99)}
	}
	s.admitted, s.signIns, s.mails = latency("admitted"), latency("sign-in"), latency("mail")
	s.admittedCount, s.signInCount = len(w.took["admitted"]), len(w.took["mail"])
	clear(w.took)
	errors := w.counts["errors"]
	w.mu.Unlock()

	last := sample{}
	if len(w.samples) > 0 {
		last = w.samples[len(w.samples)-1]
	}
	busy := 0.0
	if s.at > last.at+time.Second {
		busy = 100 * float64(s.cpu-last.cpu) / float64(s.at-last.at)
	}
	if len(w.samples) == 0 {
		busy = 0
	}
	ms := func(d [2]time.Duration) string {
		return fmt.Sprintf("%.2f / %.1f", float64(d[0].Microseconds())/1000, float64(d[1].Microseconds())/1000)
	}
	say("%7s %8s %8s %8s %6d %5d %6d %9s %9s %5.0f%%  %15s  %15s  %15s %8d %7d %6d", s.at.Round(time.Second), mb(s.rss), mb(s.anonymous), mb(s.heap),
		s.goroutines, s.files, s.tables, mb(s.apparent), mb(s.real), busy, ms(s.admitted), ms(s.signIns), ms(s.mails), s.admittedCount, s.signInCount, errors)
	w.samples = append(w.samples, s)
	return s
}

func mb(n int64) string { return fmt.Sprintf("%.1fM", float64(n)/(1<<20)) }

// proc reads a figure in kB of a file of the process.
func (w *watch) proc(file, name string) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", w.pid, file))
	_, rest, _ := strings.Cut(string(text), name)
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		w.problem("%s has no %s", file, name)
		return 0
	}
	kb, _ := strconv.ParseInt(fields[0], 10, 64)
	return kb << 10
}

// openFiles counts the open files that are not the store's, and those that are:
// Badger holds each of its tables open, and has more of them the more it keeps.
func (w *watch) openFiles() (others, tables int) {
	folder := filepath.Join(w.server.Dir, "store") + "/"
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", w.pid))
	for _, file := range files {
		switch target, err := os.Readlink(file); {
		case err != nil: // closed meanwhile
		case strings.HasPrefix(target, folder):
			tables++
		default:
			others++
		}
	}
	return others, tables
}

// cpu is the time that the process has computed.
func (w *watch) cpu() time.Duration {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.pid))
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks int64
	for _, field := range fields[min(len(fields), 11):min(len(fields), 13)] {
		n, _ := strconv.ParseInt(field, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100)
}

// profile reads a figure of one of the program's own profiles.
func (w *watch) profile(name string, figure *regexp.Regexp) int64 {
	status, body, err := w.server.Admin(http.MethodGet, "/debug/pprof/"+name, "", nil)
	found := figure.FindStringSubmatch(body)
	if err != nil || found == nil {
		w.problem("profile %s: %d %v", name, status, err)
		return 0
	}
	n, _ := strconv.ParseInt(found[1], 10, 64)
	return n
}

// size is that of the files of a folder, as they say and as they lie on the disk.
func size(folder string) (apparent, real int64) {
	_ = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil // the store removed it meanwhile
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			apparent += info.Size()
			real += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return nil
	})
	return apparent, real
}

// observe takes samples and reloads the configuration until the time is over.
func (w *watch) observe(upstream, smtp string, l *load) {
	nextSample, nextReload := w.begin.Add(w.plan.sampleEvery), w.begin.Add(w.plan.reloadsIn)
	end := w.begin.Add(w.plan.lasts)
	for version := 1; time.Now().Before(end); {
		time.Sleep(max(0, min(time.Until(nextSample), time.Until(nextReload), time.Until(end))))
		if now := time.Now(); now.After(nextSample) {
			w.take()
			nextSample = nextSample.Add(w.plan.sampleEvery)
		}
		if now := time.Now(); now.After(nextReload) {
			l.reload.Store(now.UnixMilli())
			if status, body := w.server.TryReload(config(upstream, smtp, version)); status != http.StatusOK {
				w.problem("the reload was refused: %d %s", status, body)
			}
			l.reload.Store(time.Now().UnixMilli())
			w.count("reload")
			version++
			nextReload = nextReload.Add(w.plan.reloadsIn)
		}
	}
}

// checkLeft fails the test if goroutines or files stay when the load is over.
func (w *watch) checkLeft(t *testing.T, before sample) {
	const slack = 12
	var after sample
	for end := time.Now().Add(90 * time.Second); ; time.Sleep(5 * time.Second) {
		after = w.take()
		if after.goroutines <= before.goroutines+slack && after.files <= before.files+slack {
			return
		}
		if time.Now().After(end) {
			break
		}
	}
	t.Errorf("after the load there are %d goroutines and %d files, before it %d and %d", after.goroutines, after.files, before.goroutines, before.files)
	_, profile, _ := w.server.Admin(http.MethodGet, "/debug/pprof/goroutine?debug=1", "", nil)
	t.Logf("%.8000s", profile)
}

// checkGrowth compares the second half with the first, without the first few
// minutes, in which everything grows to its size.
func (w *watch) checkGrowth(t *testing.T) {
	var halves [2][]sample
	for _, s := range w.samples {
		switch {
		case s.at < w.plan.lasts/10 || s.at > w.plan.lasts+time.Second:
		case s.at < w.plan.lasts/2:
			halves[0] = append(halves[0], s)
		default:
			halves[1] = append(halves[1], s)
		}
	}
	for _, c := range []struct {
		name  string
		of    func(sample) int64
		slack int64
	}{
		{"RSS", func(s sample) int64 { return s.rss }, 48 << 20},
		{"anonymous memory", func(s sample) int64 { return s.anonymous }, 32 << 20},
		{"live heap", func(s sample) int64 { return s.heap }, 16 << 20},
		{"the store on disk", func(s sample) int64 { return s.real }, 64 << 20},
		{"goroutines", func(s sample) int64 { return int64(s.goroutines) }, 100},
		{"open files", func(s sample) int64 { return int64(s.files) }, 50},
	} {
		var medians, most [2]int64
		for i, half := range halves {
			values := []int64{0}
			for _, s := range half {
				values = append(values, c.of(s))
			}
			slices.Sort(values)
			medians[i], most[i] = values[(len(values)+1)/2], values[len(values)-1]
		}
		say("%s: median %d then %d, most %d then %d", c.name, medians[0], medians[1], most[0], most[1])
		if medians[1] > medians[0]+medians[0]/4+c.slack {
			t.Errorf("%s grew: median %d in the first half, %d in the second", c.name, medians[0], medians[1])
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, took := range w.all {
		slices.Sort(took)
		say("%s: %d, p50 %v, p99 %v, p99.9 %v, longest %v", name, len(took), percentile(took, 0.5), percentile(took, 0.99), percentile(took, 0.999), percentile(took, 1))
	}
}

// harmless are errors of the log that lose nothing: Caddy ends what is still open
// two seconds after a reload, and a mail that is tried again comes, or else its
// reader complains.
var harmless = []string{"server shutdown", "not mailed yet; trying again"}

// checkLog counts the warnings and errors of the program's log, and fails for
// errors that are not harmless.
func (w *watch) checkLog(t *testing.T) {
	counts := make(map[string]int)
	for _, entry := range w.server.Logs.Entries("") {
		level := entry.Field("level")
		if level != "warn" && level != "error" {
			continue
		}
		text := level + " " + entry.Field("logger") + ": " + entry.Field("msg")
		counts[text]++
		if level == "error" && !slices.Contains(harmless, entry.Field("msg")) && counts[text] <= 3 {
			t.Errorf("the log has the error %v", entry)
		}
	}
	for text, n := range counts {
		say("log: %d times %s", n, text)
	}
}
