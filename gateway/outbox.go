package gateway

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/postern-auth/postern/store"
)

const (
	outboxPrefix = "outbox/"
	// maxDeliveries is how many mails are handed over at once.
	maxDeliveries = 8
	// deliveryTime bounds one try, so that a server that never answers holds up
	// a place and not the queue.
	deliveryTime = 90 * time.Second
	// stopTime is what mails under way are given when the process ends.
	stopTime = 5 * time.Second
)

// outbox sends what is queued, in the background and over restarts.
type outbox struct {
	node  *Node
	slots chan struct{}
	kick  chan struct{}

	mu  sync.Mutex
	due deliveries
	// known are the keys in due or on their way: a mail that is queued while the
	// store is listed must not be there twice.
	known map[string]bool
}

// delivery is a queued mail in memory.
type delivery struct {
	key   string
	at    time.Time
	tries int
	// postponed mails wait for a limit, others for the mail server.
	postponed bool
	// delivered mails only wait for their record to be deleted.
	delivered bool
}

func newOutbox(n *Node) *outbox {
	return &outbox{node: n, slots: make(chan struct{}, maxDeliveries), kick: make(chan struct{}, 1), known: make(map[string]bool)}
}

// add queues a delivery, unless it is queued or on its way. nil is none.
func (o *outbox) add(d *delivery) {
	if d == nil {
		return
	}
	o.mu.Lock()
	known := o.known[d.key]
	o.known[d.key] = true
	o.mu.Unlock()
	if !known {
		o.again(d)
	}
}

// again queues a delivery that was on its way.
func (o *outbox) again(d *delivery) {
	o.mu.Lock()
	heap.Push(&o.due, d)
	o.mu.Unlock()
	o.wake(false)
}

// forget ends a delivery whose record is deleted.
func (o *outbox) forget(d *delivery) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.known, d.key)
}

// wake has the queue looked at. retry tries now what waits for the mail server,
// which may have come back.
func (o *outbox) wake(retry bool) {
	if retry {
		o.mu.Lock()
		for _, d := range o.due {
			if !d.postponed {
				d.at = time.Time{}
			}
		}
		heap.Init(&o.due)
		o.mu.Unlock()
	}
	select {
	case o.kick <- struct{}{}:
	default:
	}
}

// run sends until ctx ends, and then gives mails under way a moment: one that
// is cut off at the end of its data would come twice.
func (o *outbox) run(ctx context.Context) {
	sending, cut := context.WithCancel(context.Background())
	defer cut()
	var underWay sync.WaitGroup
	o.refill(ctx)
	for ctx.Err() == nil {
		d, wait := o.next()
		if d == nil {
			o.sleep(ctx, wait)
			continue
		}
		select {
		case o.slots <- struct{}{}:
		case <-ctx.Done():
			continue
		}
		underWay.Go(func() {
			defer func() { <-o.slots }()
			o.send(sending, d)
		})
	}
	timer := time.AfterFunc(stopTime, cut)
	defer timer.Stop()
	underWay.Wait()
}

// refill takes in what an earlier process left.
func (o *outbox) refill(ctx context.Context) {
	for ctx.Err() == nil {
		err := o.node.store.Scan(ctx, outboxPrefix, func(key string, _ []byte) error {
			o.add(&delivery{key: key})
			return nil
		})
		if err == nil || errors.Is(err, store.ErrClosed) {
			return
		}
		o.node.log.Error("queued mails cannot be listed; trying again", "error", err)
		o.sleep(ctx, 5*time.Second)
	}
}

// next returns a delivery that is due, or how long none will be.
func (o *outbox) next() (*delivery, time.Duration) {
	attachment := o.node.inForce()
	o.mu.Lock()
	defer o.mu.Unlock()
	if attachment == nil || len(o.due) == 0 {
		return nil, time.Hour
	}
	if wait := o.due[0].at.Sub(attachment.Engine.now()); wait > 0 {
		return nil, wait
	}
	return heap.Pop(&o.due).(*delivery), 0
}

func (o *outbox) sleep(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-o.kick:
	}
}

// send tries a delivery once, and queues it again where it is not done.
func (o *outbox) send(ctx context.Context, d *delivery) {
	attachment := o.node.inForce()
	if attachment == nil {
		o.again(d)
		return
	}
	e := attachment.Engine
	done, wait := false, time.Duration(0)
	if !d.delivered {
		done, wait = e.deliver(ctx, attachment.Transport, d)
	}
	if done || d.delivered {
		d.delivered = true
		if err := store.Delete(ctx, o.node.store, d.key); err == nil {
			o.forget(d)
			return
		} else if !errors.Is(err, store.ErrClosed) {
			e.log.Error("a mail is done with but cannot be taken off the queue; trying again", "error", err)
		}
		d.postponed, wait = false, 5*time.Second // no limit is in its way any more
	}
	if ctx.Err() == nil {
		d.at = e.now().Add(wait)
		o.again(d)
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
