package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/postern-auth/postern/store"
)

const (
	outboxPrefix = "outbox/"
	// deliveryTime bounds one try, so that a server that never answers holds up
	// a place and not the queue.
	deliveryTime = 90 * time.Second
	// stopTime is what mails under way are given when the process ends.
	stopTime = 5 * time.Second
)

// outbox sends what is queued, in the background and over restarts. Mails for
// browsers that are known have a queue of their own, since strangers could fill
// another one while the mail server is slow.
type outbox struct {
	node             *Node
	strangers, known *mailQueue

	mu sync.Mutex
	// keys are those of all deliveries, queued or on their way: a mail that is
	// queued while the store is listed must not be there twice.
	keys map[string]bool
}

// delivery is a queued mail in memory.
type delivery struct {
	key string
	// known says that it is for a browser that is known as the address.
	known bool
	at    time.Time
	tries int
	// postponed mails wait for a limit, others for the mail server.
	postponed bool
	// counted says that it was counted in its lane, inTotal in the total.
	counted, inTotal bool
	// delivered mails only wait for their record to be deleted.
	delivered bool
}

// newOutbox hands 8 mails over at once, at most.
func newOutbox(n *Node) *outbox {
	return &outbox{node: n, strangers: newMailQueue(6), known: newMailQueue(2), keys: make(map[string]bool)}
}

func (o *outbox) queue(d *delivery) *mailQueue {
	if d.known {
		return o.known
	}
	return o.strangers
}

// add queues a delivery, unless it is queued or on its way. nil is none.
func (o *outbox) add(d *delivery) {
	if d == nil {
		return
	}
	o.mu.Lock()
	there := o.keys[d.key]
	o.keys[d.key] = true
	o.mu.Unlock()
	if !there {
		o.queue(d).push(d)
	}
}

// forget ends a delivery whose record is deleted.
func (o *outbox) forget(d *delivery) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.keys, d.key)
}

// wake has the queues looked at, and tries now what waits for the mail server,
// which may have come back.
func (o *outbox) wake() {
	o.strangers.retry()
	o.known.retry()
}

// run sends until ctx ends, and then gives mails under way a moment: one that
// is cut off at the end of its data would come twice.
func (o *outbox) run(ctx context.Context) {
	sending, cut := context.WithCancel(context.Background())
	defer cut()
	var underWay sync.WaitGroup
	o.refill(ctx)
	var loops sync.WaitGroup
	for _, queue := range []*mailQueue{o.strangers, o.known} {
		loops.Go(func() {
			queue.run(ctx, o.now, func(d *delivery) { underWay.Go(func() { o.send(sending, d, queue.done) }) })
		})
	}
	loops.Wait()
	timer := time.AfterFunc(stopTime, cut)
	defer timer.Stop()
	underWay.Wait()
}

// refill takes in what an earlier process left.
func (o *outbox) refill(ctx context.Context) {
	for ctx.Err() == nil {
		err := o.node.store.Scan(ctx, outboxPrefix, func(key string, value []byte) error {
			var m queuedMail
			_ = json.Unmarshal(value, &m) // a damaged one is found when it is sent
			o.add(&delivery{key: key, known: m.Known})
			return nil
		})
		if err == nil || errors.Is(err, store.ErrClosed) {
			return
		}
		o.node.log.Error("queued mails cannot be listed; trying again", "error", err)
		sleep(ctx, 5*time.Second, o.strangers.kick)
	}
}

// now is the time by the configuration in force, if there is one.
func (o *outbox) now() (now time.Time, ok bool) {
	attachment := o.node.inForce()
	if attachment == nil {
		return time.Time{}, false
	}
	return attachment.Engine.now(), true
}

// send tries a delivery once, and queues it again where it is not done. It calls
// handed when it needs the mail server no more.
func (o *outbox) send(ctx context.Context, d *delivery, handed func()) {
	attachment := o.node.inForce()
	if attachment == nil {
		handed()
		o.queue(d).push(d)
		return
	}
	e := attachment.Engine
	began := e.now()
	done, wait := false, time.Duration(0)
	if !d.delivered {
		done, wait = e.deliver(ctx, attachment.Transport, d)
	}
	handed() // the next mail need not wait until the store has forgotten this one
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
		if d.postponed {
			d.at = began.Add(wait) // from when its limit was judged: the clock may have been set since
		}
		o.queue(d).push(d)
	}
}
