package caddymodule

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// latestLog is the log of what outlives a configuration, which goes where the
// latest one wants it: what an earlier one logged to may be closed.
type latestLog struct {
	to *atomic.Pointer[slog.Logger]
	// with are the attributes and groups to be added, in order.
	with []func(slog.Handler) slog.Handler
}

// newLatestLog begins with a log, and returns what changes it.
func newLatestLog(log *slog.Logger) (*slog.Logger, *atomic.Pointer[slog.Logger]) {
	to := new(atomic.Pointer[slog.Logger])
	to.Store(log)
	return slog.New(latestLog{to: to}), to
}

// Enabled implements slog.Handler.
func (l latestLog) Enabled(ctx context.Context, level slog.Level) bool {
	return l.to.Load().Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (l latestLog) Handle(ctx context.Context, record slog.Record) error {
	handler := l.to.Load().Handler()
	for _, add := range l.with {
		handler = add(handler)
	}
	return handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (l latestLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return l.adding(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (l latestLog) WithGroup(name string) slog.Handler {
	return l.adding(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (l latestLog) adding(add func(slog.Handler) slog.Handler) slog.Handler {
	return latestLog{to: l.to, with: append(l.with[:len(l.with):len(l.with)], add)}
}
