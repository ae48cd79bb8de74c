package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// connections are how many clients there are at once, each of which sends its
// next request when it has the answer.
const connections = 16

// load is requests to a server, and what every answer must be.
type load struct {
	server *server
	// requests makes the source of one client's requests.
	requests func() source
	status   int
	body     string // is contained in the body
}

// source returns a client's next request. It may use room.
type source func(room []byte) []byte

// always sends the same request.
func always(request []byte) func() source {
	return func() source { return func([]byte) []byte { return request } }
}

// oneOf sends any of the cookies with each request.
func oneOf(cookies []string, host, path, headers string) func() source {
	return visits(1, cookies, host, path, headers)
}

// visits sends any of the cookies with so many requests, one after the other, and
// then any other one.
func visits(requests int, cookies []string, host, path, headers string) func() source {
	mark := "\x00"
	before, after, _ := bytes.Cut(get(host, path, headers+cookieHeader(mark)), []byte(mark))
	return func() source {
		sent, cookie := 0, ""
		return func(room []byte) []byte {
			if sent%requests == 0 {
				cookie = cookies[rand.IntN(len(cookies))]
			}
			sent++
			room = append(room[:0], before...)
			room = append(room, cookie...)
			return append(room, after...)
		}
	}
}

// sample is what was measured of a load.
type sample struct {
	perSecond float64
	cpu       float64 // of the server, in µs for each request
}

// measure runs the load and measures after a moment of warming up.
func (l load) measure(ctx context.Context, d time.Duration) (sample, error) {
	var done atomic.Int64
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var clients sync.WaitGroup
	for range connections {
		clients.Go(func() {
			if err := l.client(ctx, &done); err != nil {
				cancel(err)
			}
		})
	}
	sleep(ctx, min(d/4, 300*time.Millisecond))
	s, err := watch(ctx, l.server.pid(), &done, d)
	cancel(nil)
	clients.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return s, fmt.Errorf("%s: %w", l.server.name, cause)
	}
	return s, err
}

// watch counts what is done in a time, and what the process computes for it.
func watch(ctx context.Context, pid int, done *atomic.Int64, d time.Duration) (sample, error) {
	cpuBefore, err := cpuTime(pid)
	if err != nil {
		return sample{}, err
	}
	before, begin := done.Load(), time.Now()
	sleep(ctx, d)
	for done.Load() == before && ctx.Err() == nil && time.Since(begin) < patience {
		sleep(ctx, d/10) // a machine that is very busy
	}
	n, took := float64(done.Load()-before), time.Since(begin)
	cpuAfter, err := cpuTime(pid)
	if err == nil && n == 0 && ctx.Err() == nil {
		err = errors.New("nothing was done at all")
	}
	return sample{perSecond: n / took.Seconds(), cpu: (cpuAfter - cpuBefore).Seconds() * 1e6 / n}, err
}

func (l load) client(ctx context.Context, done *atomic.Int64) error {
	c, err := dial(l.server.addr())
	if err != nil {
		return err
	}
	defer c.close()
	next, room := l.requests(), make([]byte, 0, 4<<10)
	for ctx.Err() == nil {
		if err := l.exchange(c, next(room)); err != nil {
			return err
		}
		done.Add(1)
	}
	return nil
}

// exchange sends a request and checks the answer.
func (l load) exchange(c *client, request []byte) error {
	a, err := c.do(request, false)
	if err == nil && (a.status != l.status || !bytes.Contains(a.body, []byte(l.body))) {
		err = fmt.Errorf("status %d, want %d with %q: %.300s", a.status, l.status, l.body, a.body)
	}
	return err
}

// once sends one request, so that what only the first one costs (a password that
// is not cached yet) is measured in no round.
func (l load) once() error {
	c, err := dial(l.server.addr())
	if err != nil {
		return err
	}
	defer c.close()
	return l.exchange(c, l.requests()(nil))
}

// sleep waits, but not longer than ctx.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
