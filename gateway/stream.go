package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-auth/postern/store"
)

// sweepEvery is how often open streams are judged again, so that one ends within
// a second of its session.
const sweepEvery = 400 * time.Millisecond

// streams are the upgrades, event streams and gRPC calls that are open: requests
// that can outlive the session that admitted them.
type streams struct {
	node *Node
	kick chan struct{}
	// noting says that LastSeen of the streams' sessions is being written.
	noting atomic.Bool
	mu     sync.Mutex
	open   map[*stream]struct{}
}

// stream is one of them. end cuts it off.
type stream struct {
	host    string
	session string // hash; changes where a step-up replaces the session
	end     func()
}

func newStreams(n *Node) *streams {
	return &streams{node: n, kick: make(chan struct{}, 1), open: make(map[*stream]struct{})}
}

func (s *streams) add(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[st] = struct{}{}
}

func (s *streams) remove(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, st)
}

// cut ends a stream that is still open. The lock is held, so that its handler
// has not returned.
func (s *streams) cut(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.open[st]; ok {
		delete(s.open, st)
		st.end()
	}
}

// sweep has all streams judged now.
func (s *streams) sweep() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

func (s *streams) run(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.kick:
		}
		s.judge(ctx)
	}
}

// judge ends the streams whose session is over or may not enter any more.
func (s *streams) judge(ctx context.Context) {
	attachment := s.node.inForce()
	var inUse []*Session
	for st, hash := range s.snapshot() {
		session, keep := verdict(ctx, attachment, st.host, hash)
		if !keep {
			s.cut(st)
			continue
		}
		if session == nil {
			continue
		}
		inUse = append(inUse, session)
		s.mu.Lock()
		st.session = session.hash
		s.mu.Unlock()
	}
	s.note(ctx, attachment, inUse)
}

// note counts open streams as activity of their sessions. It goes on beside the
// judging, since a write may be slow and an end must not be.
func (s *streams) note(ctx context.Context, attachment *Attachment, inUse []*Session) {
	if len(inUse) == 0 || !s.noting.CompareAndSwap(false, true) {
		return
	}
	s.node.done.Go(func() {
		defer s.noting.Store(false)
		for _, session := range inUse {
			if ctx.Err() == nil {
				attachment.Engine.touch(ctx, session)
			}
		}
	})
}

func (s *streams) snapshot() map[*stream]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[*stream]string, len(s.open))
	for st := range s.open {
		all[st] = st.session
	}
	return all
}

// verdict says whether a stream of the session with the hash may go on, and of
// which session it is now. Where the store cannot tell, it goes on until it can.
func verdict(ctx context.Context, attachment *Attachment, host, hash string) (session *Session, keep bool) {
	if attachment == nil {
		return nil, false
	}
	e := attachment.Engine
	found, err := store.Load[Session](ctx, e.store, sessionKey(hash))
	for range maxReplaced {
		if err != nil || found.ReplacedBy == "" {
			break
		}
		hash = found.ReplacedBy
		found, err = store.Load[Session](ctx, e.store, sessionKey(hash))
	}
	if err != nil {
		return nil, !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrClosed)
	}
	if !found.live(e.now()) || !attachment.MayEnter(host, found.Email) {
		return nil, false
	}
	found.hash = hash
	return &found, true
}

// maxReplaced is how many sign-ins one after the other a stream follows at once.
const maxReplaced = 100

// upstreamWriter is the response writer of a request that was passed on. It
// keeps an upstream from setting our cookies, and notes streams.
type upstreamWriter struct {
	http.ResponseWriter
	wrote bool
	// isStream is called when the response turns out to be one.
	isStream func()
	// hijacked is called with the connection of an upgrade, and returns the one
	// to hand on.
	hijacked func(net.Conn) net.Conn
}

func (w *upstreamWriter) before(status int) {
	header := w.Header()
	StripOwnSetCookies(header)
	if status < 200 && status != http.StatusSwitchingProtocols {
		return // informational: the answer is still to come
	}
	w.wrote = true
	if w.isStream == nil || len(header["Content-Type"]) == 0 {
		return
	}
	if kind, _, _ := mime.ParseMediaType(header["Content-Type"][0]); kind == "text/event-stream" {
		w.isStream()
	}
}

func (w *upstreamWriter) WriteHeader(status int) {
	w.before(status)
	w.ResponseWriter.WriteHeader(status)
}

func (w *upstreamWriter) Write(p []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// ReadFrom keeps the server's quick way to send a file.
func (w *upstreamWriter) ReadFrom(r io.Reader) (int64, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return io.Copy(w.ResponseWriter, r)
}

func (w *upstreamWriter) Flush() { w.FlushError() }

func (w *upstreamWriter) FlushError() error {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *upstreamWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	StripOwnSetCookies(w.Header())
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil && w.hijacked != nil {
		conn = w.hijacked(conn)
	}
	return conn, buffered, err
}

// after is called when the handler has returned: where it wrote nothing, the
// server or an error handler will, with the headers that are there.
func (w *upstreamWriter) after() {
	if !w.wrote {
		StripOwnSetCookies(w.Header())
	}
}

// Unwrap is for http.ResponseController.
func (w *upstreamWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// passOn passes an admitted request on, as an open stream where it is one.
func (s *streams) passOn(w http.ResponseWriter, r *http.Request, site *Site, session *Session, next func(http.ResponseWriter, *http.Request) error) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	// The deadlines are set on the server's own writer: a server may wrap it in
	// ones that move deadlines themselves, and are for the handler's goroutine alone.
	control := http.NewResponseController(innermost(w))
	st := &stream{host: site.Host, session: session.hash}
	st.end = func() {
		cancel()
		past := time.Unix(1, 0)
		control.SetReadDeadline(past)
		control.SetWriteDeadline(past)
	}
	hijacked := false
	defer func() {
		if !hijacked {
			s.remove(st)
		}
	}()
	out := &upstreamWriter{ResponseWriter: w, isStream: func() { s.add(st) }}
	out.hijacked = func(conn net.Conn) net.Conn {
		hijacked = true
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open[st] = struct{}{}
		st.end = func() {
			conn.SetDeadline(time.Unix(1, 0))
			go conn.Close() // with TLS it can take a while, and others wait for the lock
		}
		return &streamConn{Conn: conn, closed: func() { s.remove(st) }}
	}
	if kind := KindOf(r); kind == Upgrade || kind == GRPC {
		s.add(st)
	}
	defer out.after()
	return next(out, r.WithContext(ctx))
}

func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapped, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapped.Unwrap()
	}
}

// streamConn is the connection of an upgrade, which outlives its request.
type streamConn struct {
	net.Conn
	closed func()
}

// CloseWrite ends one direction, as proxies do when one side is done.
func (c *streamConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (c *streamConn) Close() error {
	err := c.Conn.Close()
	c.closed()
	return err
}
