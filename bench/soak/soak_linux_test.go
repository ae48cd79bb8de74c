// Package soak_test lets the real program work for a long time and watches what
// it needs: memory, goroutines, open files and disk.
//
// POSTERN_SOAK=50m runs it for so long; without, it runs for ten seconds.
package soak_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
)

// plan is how much is done, for how long, and how often it is looked at.
type plan struct {
	long                          bool
	lasts, sampleEvery, reloadsIn time.Duration
	signIns, requests, forged     int // a second
	sessions, streams             int // at a time
}

func thePlan(t *testing.T) plan {
	short := plan{
		lasts: 10 * time.Second, sampleEvery: 3 * time.Second, reloadsIn: 4 * time.Second,
		signIns: 4, requests: 40, forged: 2, sessions: 20, streams: 3,
	}
	text := os.Getenv("POSTERN_SOAK")
	if text == "" {
		return short
	}
	lasts, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("POSTERN_SOAK: %v", err)
	}
	return plan{
		long: lasts >= 10*time.Minute, lasts: lasts, sampleEvery: min(time.Minute, lasts/6), reloadsIn: min(5*time.Minute, lasts/3),
		signIns: 10, requests: 150, forged: 5, sessions: 300, streams: 8,
	}
}

// site has a proxy that does not end upgraded connections at a reload, as
// Caddy's does otherwise.
const site = `
https://wiki.localhost:$HTTPS {
	tls internal
	email_auth *@example.com
	header Version %d
	reverse_proxy $UPSTREAM {
		stream_close_delay 1h
		transport http {
			keepalive 5s
		}
	}
}`

// config has sessions and requests that end within the run, and limits that one
// machine with many visitors does not meet. Visitors come from networks of
// their own.
func config(upstream, smtp string, version int) postern.Config {
	return postern.Config{
		Sites:    fmt.Sprintf(site, version),
		Upstream: &postern.Upstream{Addr: upstream},
		Global:   "servers {\n trusted_proxies static 127.0.0.1/32\n }",
		Auth: fmt.Sprintf(`
		from "Example sign-in <signin@example.com>"
		smtp %s {
			auth none
			tls none
		}
		store badger $DIR/store
		expires 60s
		session 10m idle 5m
		limit network 1000 10m
		limit total 1000000 1h`, smtp),
	}
}

// TestSoak fails if any request got a wrong answer, or if goroutines or files
// are left when the load is over. The long form also compares memory and disk
// of the second half with those of the first.
func TestSoak(t *testing.T) {
	remove, err := postern.Build()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remove)
	p := thePlan(t)
	upstream, inbox := startUpstream(t), startInbox(t)
	server := postern.Start(t, config(upstream, inbox.addr, 0))
	w := &watch{server: server, pid: child(t), plan: p, notes: newNotes()}

	var before sample
	t.Run("load", func(t *testing.T) { // its end closes the visitors' connections
		l := newLoad(t, server, w.notes, inbox, p)
		l.warmUp()
		time.Sleep(2 * time.Second)
		w.start()
		before = w.take()
		l.run(func() { w.observe(upstream, inbox.addr, l) })
	})
	w.checkNotes(t)
	w.checkLeft(t, before)
	if p.long {
		w.checkGrowth(t)
	}
	w.checkLog(t)
}

// checkNotes fails the test for whatever went wrong.
func (w *watch) checkNotes(t *testing.T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var totals []string
	for _, name := range slices.Sorted(maps.Keys(w.counts)) {
		totals = append(totals, fmt.Sprintf("%s %d", name, w.counts[name]))
	}
	say("totals: %s", strings.Join(totals, ", "))
	for _, problem := range w.problems {
		t.Error(problem)
	}
	for _, needed := range []string{"admitted", "sign-in", "mail"} {
		if w.counts[needed] == 0 {
			t.Errorf("nothing was counted as %s", needed)
		}
	}
}

// notes is what the load saw. It is safe for concurrent use.
type notes struct {
	mu       sync.Mutex
	counts   map[string]int
	took     map[string][]time.Duration // since the last sample
	all      map[string][]time.Duration
	problems []string
}

func newNotes() *notes {
	return &notes{counts: make(map[string]int), took: make(map[string][]time.Duration), all: make(map[string][]time.Duration)}
}

func (n *notes) count(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.counts[name]++
}

func (n *notes) time(name string, took time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.counts[name]++
	n.took[name] = append(n.took[name], took)
	n.all[name] = append(n.all[name], took)
}

func (n *notes) problem(format string, args ...any) {
	text := time.Now().Format("15:04:05 ") + fmt.Sprintf(format, args...)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.counts["errors"]++
	if len(n.problems) < 30 {
		n.problems = append(n.problems, text)
		say("problem: %s", text)
	}
}

// percentile of sorted durations.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(p*float64(len(sorted)-1))]
}

// say prints a line at once, which a test's own log does not.
func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }
