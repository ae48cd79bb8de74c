package gateway

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
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
	// rightSecrets has, by bcrypt hash, the SHA-256 of a client's secret that was
	// found right: comparing again would cost a second, and be a lever.
	rightSecrets sync.Map
	outbox       *outbox
	streams      *streams

	mu       sync.Mutex
	attached []*Attachment // the first one is in force
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

// RotateKeys makes new keys, whatever the age of the present ones, and returns from
// when on they are in use.
func (e *Engine) RotateKeys() (activeFrom time.Time, err error) {
	if _, err := e.keys.Rotate(e.now(), true); err != nil {
		return time.Time{}, err
	}
	e.log.Info("keys rotated; the new ones are in use in a day")
	return e.keys.current.Load().Roots[0].ActiveFrom, nil
}

// Attachment is one configuration in force on a node.
type Attachment struct {
	Engine    *Engine
	Transport mail.Transport
	// MayEnter says whether any rule that is for the host admits the address.
	// Open streams of one that is not admitted any more end.
	MayEnter func(host, address string) bool
}

// Attach announces a configuration. The one that was attached first is in force
// until it is detached: while a server changes from one to the next, the next may
// still fail to load, and must not have decided anything by then.
func (n *Node) Attach(a *Attachment) {
	n.mu.Lock()
	n.attached = append(n.attached, a)
	first := len(n.attached) == 1
	n.mu.Unlock()
	if first {
		n.changed()
	}
}

// Detach ends a configuration, or takes back one that was announced. It returns
// whether another one is left.
func (n *Node) Detach(a *Attachment) (left bool) {
	n.mu.Lock()
	i := slices.Index(n.attached, a)
	if i >= 0 {
		n.attached = slices.Delete(n.attached, i, i+1)
	}
	left = len(n.attached) > 0
	n.mu.Unlock()
	if i == 0 {
		n.changed()
	}
	return left
}

// changed tells what runs in the background that another configuration is in force.
func (n *Node) changed() {
	n.outbox.wake()
	n.streams.sweep()
}

// inForce returns the configuration in force, or nil.
func (n *Node) inForce() *Attachment {
	all := n.announced()
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// announced returns the configuration in force, and those that may follow it,
// which serve requests already.
func (n *Node) announced() []*Attachment {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.attached)
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

// stripeOf is the one of the key: two keys may have the same, and which do is
// another matter in each process.
func stripeOf(key string) int { return int(maphash.String(stripeSeed, key) % stripes) }

var stripeSeed = maphash.MakeSeed()

// keyedMutex is a mutex for each key.
type keyedMutex [stripes]sync.Mutex

// lock locks the key and returns what unlocks it.
func (m *keyedMutex) lock(key string) (unlock func()) {
	stripe := &m[stripeOf(key)]
	stripe.Lock()
	return stripe.Unlock
}
