package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
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

// stream is one of them, or a request that may become one.
type stream struct {
	session *liveSession // changes where a step-up replaces it
	// cancel ends the request, where the deadlines of its connection would not.
	cancel context.CancelFunc
	// control is that of the server's own writer: a server may wrap it in ones
	// that move deadlines themselves, and are for the handler's goroutine alone.
	control *http.ResponseController
	// conn is the connection of an upgrade, which outlives the request.
	conn net.Conn
}

// end cuts the stream off.
func (st *stream) end() {
	past := time.Unix(1, 0)
	if st.conn != nil {
		st.conn.SetDeadline(past)
		go st.conn.Close() // with TLS it can take a while, and others wait for the lock
		return
	}
	if st.cancel != nil {
		st.cancel()
	}
	st.control.SetReadDeadline(past)
	st.control.SetWriteDeadline(past)
}

func newStreams(n *Node) *streams {
	return &streams{node: n, kick: make(chan struct{}, 1), open: make(map[*stream]struct{})}
}

// add notes an open stream, whose answer is written to w.
func (s *streams) add(st *stream, w http.ResponseWriter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.control = http.NewResponseController(innermost(w))
	s.open[st] = struct{}{}
}

// take goes on with the connection of an upgrade, and returns the one to hand on.
func (s *streams) take(st *stream, conn net.Conn) net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.conn = conn
	s.open[st] = struct{}{}
	return &streamConn{Conn: conn, closed: func() { s.remove(st) }}
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
	attachments := s.node.announced()
	var inUse []*liveSession
	for st, admitted := range s.snapshot() {
		session, keep := verdict(ctx, attachments, admitted)
		if !keep {
			s.cut(st)
			continue
		}
		if session == nil {
			continue
		}
		inUse = append(inUse, session)
		s.mu.Lock()
		st.session = session
		s.mu.Unlock()
	}
	s.note(ctx, inUse)
}

// note counts open streams as activity of their sessions. It goes on beside the
// judging, since a write may be slow and an end must not be.
func (s *streams) note(ctx context.Context, inUse []*liveSession) {
	attachment := s.node.inForce()
	if len(inUse) == 0 || attachment == nil || !s.noting.CompareAndSwap(false, true) {
		return
	}
	s.node.done.Go(func() {
		defer s.noting.Store(false)
		for _, session := range inUse {
			if ctx.Err() == nil {
				attachment.Engine.touch(ctx, session, attachment.Engine.now())
			}
		}
	})
}

func (s *streams) snapshot() map[*stream]*liveSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[*stream]*liveSession, len(s.open))
	for st := range s.open {
		all[st] = st.session
	}
	return all
}

// verdict says whether a stream that was admitted by a session may go on, and of
// which session it is now. Where the store cannot tell, it goes on until it can;
// where another configuration is being loaded, while either admits the address.
func verdict(ctx context.Context, attachments []*Attachment, admitted *liveSession) (session *liveSession, keep bool) {
	if len(attachments) == 0 {
		return nil, false
	}
	e := attachments[0].Engine
	found, err := e.sessions.load(ctx, admitted.hash)
	for range maxReplaced {
		if err != nil || found.ReplacedBy == "" {
			break
		}
		found, err = e.sessions.load(ctx, found.ReplacedBy)
	}
	if err != nil {
		return nil, !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrClosed)
	}
	return found, found.live(e.now()) && slices.ContainsFunc(attachments, func(a *Attachment) bool { return a.MayEnter(found.Site, found.Email) })
}

// maxReplaced is how many sign-ins one after the other a stream follows at once.
const maxReplaced = 100

// upstreamWriter is the response writer of a request that was passed on. It
// keeps an upstream from setting our cookies, and notes streams.
type upstreamWriter struct {
	http.ResponseWriter
	// streams is set where the request was admitted by a session, and stream says
	// which.
	streams *streams
	stream  stream
	// wrote says that the answer has begun, noted that the stream is among the open
	// ones, hijacked that its connection was taken over.
	wrote, noted, hijacked bool
}

func (w *upstreamWriter) before(status int) {
	header := w.Header()
	StripOwnSetCookies(header)
	if status < 200 && status != http.StatusSwitchingProtocols {
		return // informational: the answer is still to come
	}
	w.wrote = true
	if w.streams != nil && isEventStream(header["Content-Type"]) {
		w.note()
	}
}

func (w *upstreamWriter) note() {
	w.noted = true
	w.streams.add(&w.stream, w.ResponseWriter)
}

// endless are the media types of answers that go on until somebody ends them.
var endless = [...]string{
	"text/event-stream", "application/x-ndjson", "application/ndjson", "application/jsonl",
	"application/stream+json", "application/json-seq", "multipart/x-mixed-replace",
}

// endlessCalls begin the media types of calls that scripts in pages make: gRPC-Web,
// and the streams of the Connect protocol.
var endlessCalls = [...]string{"application/grpc", "application/connect+"}

// isEventStream reads a Content-Type with any parameters, well formed or not.
func isEventStream(contentType []string) bool {
	for _, value := range contentType {
		media, _, _ := strings.Cut(value, ";")
		media = trimBlanks(media)
		for _, one := range endless {
			if len(one) == len(media) && equalFoldASCII(media, one) {
				return true
			}
		}
		for _, one := range endlessCalls {
			if len(media) >= len(one) && equalFoldASCII(media[:len(one)], one) {
				return true
			}
		}
	}
	return false
}

func (w *upstreamWriter) WriteHeader(status int) {
	w.before(status)
	w.ResponseWriter.WriteHeader(status)
}

func (w *upstreamWriter) Write(p []byte) (int, error) {
	if !w.wrote {
		w.before(http.StatusOK) // which Write implies
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
	if err == nil && w.streams != nil {
		w.hijacked = true
		conn = w.streams.take(&w.stream, conn)
	}
	return conn, buffered, err
}

// after is called when the handler has returned: where it wrote nothing, the
// server or an error handler will, with the headers that are there.
func (w *upstreamWriter) after() {
	if !w.wrote {
		StripOwnSetCookies(w.Header())
	}
	if w.noted && !w.hijacked {
		w.streams.remove(&w.stream)
	}
}

// Unwrap is for http.ResponseController.
func (w *upstreamWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// writer returns the writer of a request that is passed on: that of the visit,
// but for a further directive.
func (v *Visit) writer(w http.ResponseWriter) *upstreamWriter {
	out := &v.out
	if out.ResponseWriter != nil {
		out = new(upstreamWriter)
	}
	out.ResponseWriter = w
	return out
}

// passOn passes an admitted request on, as an open stream where it is one.
func (d *Door) passOn(w http.ResponseWriter, r *http.Request, v *Visit, server Server) error {
	out := v.writer(w)
	out.streams = d.engine.node.streams
	out.stream.session = v.session
	defer out.after()
	r = v.toldOf(r)
	longLived := isUpgrade(r) || isGRPC(r)
	if longLived || !endsByDeadline(r) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		out.stream.cancel = cancel
		r = r.WithContext(ctx)
	}
	if longLived {
		out.note()
	}
	return server.Next(out, r)
}

// endsByDeadline says whether a deadline of its connection or stream cancels a
// request, as net/http does where no body is left to read. A context of its own
// would cost as much as all else here.
func endsByDeadline(r *http.Request) bool { return r.ProtoMajor < 3 && r.ContentLength == 0 }

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
