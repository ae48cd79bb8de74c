package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postern-auth/postern/store"
)

// window counts events in a fixed window of time, which begins with the first
// of them. Its zero value has counted nothing.
type window struct {
	Start time.Time `json:"start"`
	Count int       `json:"count"`
}

// at returns the window as it stands now: empty, once its time is over.
func (w window) at(now time.Time, limit Limit) window {
	// A start in the future means that the clock was set back: begin anew
	// rather than lock everybody out until then.
	if w.Count == 0 || !now.Before(w.Start.Add(limit.Window)) || w.Start.After(now.Add(limit.Window)) {
		return window{Start: now}
	}
	return w
}

// left is how many more events the limit has room for. w is as at returned it.
func (w window) left(limit Limit) int { return max(0, limit.Count-w.Count) }

// wait is how long the window is full. w is as at returned it.
func (w window) wait(now time.Time, limit Limit) time.Duration {
	if w.left(limit) > 0 {
		return 0
	}
	return w.Start.Add(limit.Window).Sub(now)
}

// take counts an event under key, or fails with a *LimitError that has the
// name.
func (e *Engine) take(ctx context.Context, name, key string, limit Limit) error {
	err := store.Change(ctx, e.store, "limit/"+key, limit.Window+time.Minute, func(old *window) (*window, error) {
		var w window
		if old != nil {
			w = *old
		}
		w = w.at(e.now(), limit)
		if w.left(limit) == 0 {
			return nil, &LimitError{Limit: name, RetryAfter: w.wait(e.now(), limit)}
		}
		w.Count++
		return &w, nil
	})
	if err != nil {
		return fmt.Errorf("counting %s: %w", name, err)
	}
	return nil
}

// takeAnd counts an event as take does, and does what it is counted for. Where
// that is refused by another limit, the event did not happen and is given back.
func (e *Engine) takeAnd(ctx context.Context, name, key string, limit Limit, do func() error) error {
	if err := e.take(ctx, name, key, limit); err != nil {
		return err
	}
	taken := e.now()
	err := do()
	var over *LimitError
	if errors.As(err, &over) {
		e.giveBack(ctx, name, key, limit, taken)
	}
	return err
}

// giveBack takes an event back that was counted by the time taken. A window that
// began later has not counted it.
func (e *Engine) giveBack(ctx context.Context, name, key string, limit Limit, taken time.Time) {
	err := store.Change(ctx, e.store, "limit/"+key, limit.Window+time.Minute, func(old *window) (*window, error) {
		if old == nil || old.Count == 0 || old.Start.After(taken) {
			return nil, errUnchanged
		}
		return &window{Start: old.Start, Count: old.Count - 1}, nil
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		e.log.Warn("a refused call stays counted", "limit", name, "error", err)
	}
}

// room fails with a *LimitError where take would.
func (e *Engine) room(ctx context.Context, name, key string, limit Limit) error {
	w, err := store.Load[window](ctx, e.store, "limit/"+key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("looking at %s: %w", name, err)
	}
	w = w.at(e.now(), limit)
	if w.left(limit) == 0 {
		return &LimitError{Limit: name, RetryAfter: w.wait(e.now(), limit)}
	}
	return nil
}

// countStart counts a sign-in request of a client network and of the server,
// which bounds what strangers can make it keep. A browser that is known (shared
// unset) does not wait for strangers.
func (e *Engine) countStart(ctx context.Context, clientIP string, shared bool) error {
	if !shared {
		return e.takeOfNetwork(ctx, limitNetwork, "network/", clientIP, e.config.Limits.Network)
	}
	server := Limit{MaxStartsPerHour, time.Hour}
	if err := e.room(ctx, limitStarts, "starts", server); err != nil {
		return err // and no count is kept of yet another network
	}
	if err := e.takeOfNetwork(ctx, limitNetwork, "network/", clientIP, e.config.Limits.Network); err != nil {
		return err
	}
	return e.take(ctx, limitStarts, "starts", server)
}

// takeOfNetwork counts an event of a client network. An address that is not known
// (a Unix socket) is not counted: all clients would share it.
func (e *Engine) takeOfNetwork(ctx context.Context, name, prefix, clientIP string, limit Limit) error {
	network := NetworkOf(clientIP)
	if network == "" {
		return nil
	}
	return e.take(ctx, name, prefix+network, limit)
}
