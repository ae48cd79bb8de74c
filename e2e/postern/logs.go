package postern

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"
)

// Logs is what a process wrote, line by line. It is safe for concurrent use.
type Logs struct {
	mu    sync.Mutex
	lines []string
	rest  []byte
}

// Write takes what the process writes.
func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		l.lines = append(l.lines, string(line))
		l.rest = rest
	}
}

// Text returns all that was written so far.
func (l *Logs) Text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// Tail returns the last n lines, each cut to a bearable length.
func (l *Logs) Tail(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var tail []string
	for _, line := range l.lines[max(0, len(l.lines)-n):] {
		tail = append(tail, line[:min(len(line), 600)])
	}
	return strings.Join(tail, "\n")
}

// Entry is one line of a log in JSON.
type Entry map[string]any

// Field returns the value of a field, "" where it is not there or no text. Dots
// lead into objects.
func (e Entry) Field(path string) string {
	var value any = map[string]any(e)
	for name := range strings.SplitSeq(path, ".") {
		object, ok := value.(map[string]any)
		if !ok {
			return ""
		}
		value = object[name]
	}
	text, _ := value.(string)
	return text
}

// Entries returns the lines that are JSON and whose logger begins with a prefix.
func (l *Logs) Entries(logger string) []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var entries []Entry
	for _, line := range l.lines {
		var entry Entry
		if json.Unmarshal([]byte(line), &entry) == nil && strings.HasPrefix(entry.Field("logger"), logger) {
			entries = append(entries, entry)
		}
	}
	return entries
}

// Access returns the access log's lines.
func (l *Logs) Access() []Entry { return l.Entries("http.log.access") }

// WaitAccess waits for a line of the access log for a request URI: it is
// written after the answer.
func (l *Logs) WaitAccess(t testing.TB, uri string) Entry {
	t.Helper()
	var found Entry
	Eventually(t, 10*time.Second, "a line for "+uri+" in the access log", func() bool {
		for _, entry := range l.Access() {
			if entry.Field("request.uri") == uri {
				found = entry
			}
		}
		return found != nil
	})
	return found
}

// Eventually waits until a condition holds, and fails the test where it does
// not in time.
func Eventually(t testing.TB, timeout time.Duration, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(timeout); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", timeout, what)
		}
	}
}
