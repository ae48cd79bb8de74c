package caddymodule

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestLatestLog(t *testing.T) {
	var first, second bytes.Buffer
	log, to := newLatestLog(slog.New(slog.NewTextHandler(&first, nil)))
	derived := log.With("a", 1).WithGroup("g").With("b", 2)
	log.Info("one")
	to.Store(slog.New(slog.NewTextHandler(&second, &slog.HandlerOptions{Level: slog.LevelWarn})))
	log.Info("two")
	derived.Warn("three", "c", 3)
	if got := first.String(); !strings.Contains(got, "msg=one") || strings.Contains(got, "three") {
		t.Errorf("the first log has %s", got)
	}
	if got := second.String(); strings.Contains(got, "two") || !strings.Contains(got, "msg=three a=1 g.b=2 g.c=3") {
		t.Errorf("the second log has %s", got)
	}
}
