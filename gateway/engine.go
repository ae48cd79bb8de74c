package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-auth/postern/gateway/mail"
	"github.com/postern-auth/postern/store"
)

// Engine decides and keeps: it starts sign-in requests, verifies answers, opens
// and identifies sessions. It has no HTTP in it. An Engine belongs to one
// configuration; what outlives a configuration is in its Node. All methods are
// safe for concurrent use.
type Engine struct {
	node     *Node
	store    store.Store
	sessions *sessionStore
	keys     *Keys
	config   Config
	log      *slog.Logger
	// touchAfter is the Unix time before which LastSeen is not written, because
	// it could not be.
	touchAfter atomic.Int64
}

// NewEngine makes an engine over the node. The configuration's defaults are
// filled in.
func NewEngine(node *Node, config Config) (*Engine, error) {
	config, err := config.WithDefaults()
	if err != nil {
		return nil, err
	}
	return &Engine{node: node, store: node.store, sessions: node.sessions, keys: node.keys, config: config, log: config.Log}, nil
}

// unhurried returns a context that does not end when the visitor leaves: what was
// begun is finished, or a request would be used up without a session. It is
// bounded in time all the same.
func unhurried(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
}

func (e *Engine) now() time.Time { return e.config.Clock() }

// Node is what one process keeps over configuration reloads: the open store,
// the sessions in use, the keys, the queue of mails, and the open streams.
type Node struct {
	store    store.Store
	sessions *sessionStore
	keys     *Keys
	log      *slog.Logger
	starts   keyedMutex
	bcrypt   chan struct{} // one comparison at a time
	outbox   *outbox
	streams  *streams

	mu       sync.Mutex
	attached []*Attachment // the last one is in force
	stop     context.CancelFunc
	done     sync.WaitGroup
}

// NewNode takes over the store and the keys, and closes the store when it is
// closed itself. The log is for what happens between requests.
func NewNode(s store.Store, keys *Keys, log *slog.Logger) *Node {
	ctx, stop := context.WithCancel(context.Background())
	n := &Node{store: s, sessions: newSessionStore(s), keys: keys, log: log, stop: stop, bcrypt: make(chan struct{}, 1)}
	n.outbox = newOutbox(n)
	n.streams = newStreams(n)
	n.done.Go(func() { n.outbox.run(ctx) })
	n.done.Go(func() { n.streams.run(ctx) })
	n.done.Go(func() { n.rotateKeys(ctx) })
	return n
}

// rotateKeys looks every hour whether the keys are due.
func (n *Node) rotateKeys(ctx context.Context) {
	hourly := time.NewTicker(time.Hour)
	defer hourly.Stop()
	for {
		if rotated, err := n.keys.Rotate(time.Now(), false); err != nil {
			n.log.Error("keys cannot be rotated; the old ones stay in use", "error", err)
		} else if rotated {
			n.log.Info("keys rotated; the new ones are in use in a day")
		}
		select {
		case <-ctx.Done():
			return
		case <-hourly.C:
		}
	}
}

// Attachment is one configuration in force on a node.
type Attachment struct {
	Engine    *Engine
	Transport mail.Transport
	// MayEnter says whether any rule that is for the host admits the address.
	// Open streams of one that is not admitted any more end.
	MayEnter func(host, address string) bool
}

// Attach puts a configuration in force, until it is detached or another one is
// attached. A configuration whose load fails later is detached again, and the
// one before it is back in force.
func (n *Node) Attach(a *Attachment) {
	n.mu.Lock()
	n.attached = append(n.attached, a)
	n.mu.Unlock()
	n.outbox.wake(true)
	n.streams.sweep()
}

// Detach takes a configuration out of force.
func (n *Node) Detach(a *Attachment) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, other := range n.attached {
		if other == a {
			n.attached = append(n.attached[:i:i], n.attached[i+1:]...)
			return
		}
	}
}

// inForce returns the configuration in force, or nil.
func (n *Node) inForce() *Attachment {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.attached) == 0 {
		return nil
	}
	return n.attached[len(n.attached)-1]
}

// Close ends the background work and closes the store.
func (n *Node) Close() error {
	n.stop()
	n.done.Wait()
	if err := n.store.Close(); err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return nil
}

// stripes is how many locks share the work of one for each key.
const stripes = 64

// stripeOf is the one of the key: two keys may have the same.
func stripeOf(key string) int {
	var sum uint32 = 2166136261 // FNV-1a
	for i := range len(key) {
		sum = (sum ^ uint32(key[i])) * 16777619
	}
	return int(sum % stripes)
}

// keyedMutex is a mutex for each key.
type keyedMutex [stripes]sync.Mutex

// lock locks the key and returns what unlocks it.
func (m *keyedMutex) lock(key string) (unlock func()) {
	stripe := &m[stripeOf(key)]
	stripe.Lock()
	return stripe.Unlock
}
