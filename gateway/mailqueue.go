package gateway

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// mailQueue hands out deliveries when they are due, a number of them at once.
type mailQueue struct {
	slots chan struct{}
	kick  chan struct{}

	mu  sync.Mutex
	due deliveries
}

func newMailQueue(atOnce int) *mailQueue {
	return &mailQueue{slots: make(chan struct{}, atOnce), kick: make(chan struct{}, 1)}
}

func (q *mailQueue) push(d *delivery) {
	q.mu.Lock()
	heap.Push(&q.due, d)
	q.mu.Unlock()
	q.wake()
}

// wake has the queue looked at.
func (q *mailQueue) wake() {
	select {
	case q.kick <- struct{}{}:
	default:
	}
}

// retry makes what waits for the mail server due.
func (q *mailQueue) retry() {
	q.mu.Lock()
	for _, d := range q.due {
		if !d.postponed {
			d.at = time.Time{}
		}
	}
	heap.Init(&q.due)
	q.mu.Unlock()
	q.wake()
}

// run has send take deliveries that are due, until ctx ends. Each takes a slot
// until done is called. Where now tells no time, none is due.
func (q *mailQueue) run(ctx context.Context, now func() (time.Time, bool), send func(*delivery)) {
	for ctx.Err() == nil {
		d, wait := q.next(now())
		if d == nil {
			sleep(ctx, wait, q.kick)
			continue
		}
		select {
		case q.slots <- struct{}{}:
			send(d)
		case <-ctx.Done():
		}
	}
}

func (q *mailQueue) done() { <-q.slots }

// next returns a delivery that is due, or how long none will be.
func (q *mailQueue) next(now time.Time, ok bool) (*delivery, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !ok || len(q.due) == 0 {
		return nil, time.Hour
	}
	if wait := q.due[0].at.Sub(now); wait > 0 {
		return nil, wait
	}
	return heap.Pop(&q.due).(*delivery), 0
}

// sleep waits until the time is over, ctx ends, or somebody kicks.
func sleep(ctx context.Context, wait time.Duration, kick <-chan struct{}) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-kick:
	}
}

// deliveries is a heap by time.
type deliveries []*delivery

func (h deliveries) Len() int           { return len(h) }
func (h deliveries) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h deliveries) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *deliveries) Push(x any)        { *h = append(*h, x.(*delivery)) }
func (h *deliveries) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
