package mail

import (
	"context"
	"slices"
	"sync"
	"time"
)

// maxAge is how long one connection is used. A password that was taken back at
// the server or changed here is then noticed under steady load too.
const maxAge = 10 * time.Minute

// pool bounds the deliveries at work and keeps their connections for a while.
type pool struct {
	slots   chan struct{}
	idleFor time.Duration

	mu     sync.Mutex
	idle   []*session // the last used one last
	closed bool
}

func newPool(size int, idleFor time.Duration) *pool {
	return &pool{slots: make(chan struct{}, size), idleFor: idleFor}
}

// acquire waits for a turn. Each success needs a release.
func (p *pool) acquire(ctx context.Context) error {
	if p.isClosed() {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *pool) release() { <-p.slots }

func (p *pool) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// take returns the idle connection used last, which is the likeliest to be
// alive, or nil.
func (p *pool) take() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	c := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	c.expiry.Stop()
	return c
}

// put keeps a connection for the next mail.
func (p *pool) put(c *session) {
	p.mu.Lock()
	keep := !p.closed && time.Since(c.born) < maxAge
	if keep {
		p.idle = append(p.idle, c)
		c.expiry = time.AfterFunc(p.idleFor, func() { p.expire(c) })
	}
	p.mu.Unlock()
	if !keep {
		c.quit()
	}
}

// expire ends a connection that was not used again. It may have been taken
// while its timer fired, and perhaps put back: then it only goes early.
func (p *pool) expire(c *session) {
	p.mu.Lock()
	i := slices.Index(p.idle, c)
	if i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
	p.mu.Unlock()
	if i >= 0 {
		c.quit()
	}
}

// close ends the idle connections and lets no new delivery in.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()

	var ending sync.WaitGroup
	for _, c := range idle {
		c.expiry.Stop()
		ending.Go(c.quit)
	}
	ending.Wait()
}
