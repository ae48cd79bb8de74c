package gatewaytest

import (
	"sync"
	"time"
)

// Clock is a time that passes only when it is told to. It begins now, since
// cookies and the database look at the real clock too.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that stands at the real time.
func NewClock() *Clock { return &Clock{now: time.Now().Truncate(time.Second)} }

// Now tells the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Step lets time pass. Site.Advance wakes those who wait for it, too.
func (c *Clock) Step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
