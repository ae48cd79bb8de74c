package headless

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/headless/headlesspb"
)

const (
	// maxBody is the largest body that is read, in bytes: all variables of a
	// template, with every character escaped.
	maxBody = 128 << 10
	// bodyTime is how long a body may take.
	bodyTime = 15 * time.Second
)

// Config is what a Handler is made of.
type Config struct {
	// Engine decides. Required.
	Engine *gateway.Engine
	// Log takes what operators need to know. Default: discarded.
	Log *slog.Logger
	// Observe is told of each call: which client (its id, or "" where it is not
	// known), which call, and "ok" or the error_code. Default: nobody is told.
	Observe func(client, call, result string)
}

// Handler answers every request for the portal's host.
type Handler struct {
	service service
	log     *slog.Logger
	observe func(client, call, result string)
	routes  map[string]route
	grpc    http.Handler
}

// route is what answers at one path.
type route struct {
	method string
	answer func(h *Handler, w http.ResponseWriter, r *http.Request, c *call)
}

// call is what is known of one request.
type call struct {
	id       string // names it in the log and in errors
	clientIP string
	client   *gateway.Client // once authenticated
}

// New makes a handler.
func New(config Config) *Handler {
	h := &Handler{service: service{config.Engine}, log: config.Log, observe: config.Observe}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.observe == nil {
		h.observe = func(_, _, _ string) {}
	}
	h.routes = routes()
	_, h.grpc = headlesspb.NewPasswordlessServiceHandler(grpcService{h},
		connect.WithReadMaxBytes(maxBody), connect.WithSendMaxBytes(maxBody), connect.WithRecover(rethrow))
	return h
}

// rethrow leaves a panic to the server, which logs it.
func rethrow(_ context.Context, _ connect.Spec, _ http.Header, p any) error { panic(p) }

func routes() map[string]route {
	return map[string]route{
		"/oauth/token":                      {http.MethodPost, (*Handler).token},
		"/oauth/revoke":                     {http.MethodPost, (*Handler).revoke},
		"/api/v1/openapi.json":              {http.MethodGet, (*Handler).openAPI},
		restPrefix + "send":                 {http.MethodPost, rest("send", service.send)},
		restPrefix + "resend":               {http.MethodPost, rest("resend", service.resend)},
		restPrefix + "verify":               {http.MethodPost, rest("verify", service.verify)},
		grpcPath("SendPasswordlessEmail"):   {http.MethodPost, grpc[headlesspb.SendPasswordlessRequest]("send")},
		grpcPath("ResendPasswordlessEmail"): {http.MethodPost, grpc[headlesspb.ResendPasswordlessRequest]("resend")},
		grpcPath("VerifyPasswordlessEmail"): {http.MethodPost, grpc[headlesspb.VerifyPasswordLessRequest]("verify")},
	}
}

// Incoming is what the server knows of a request.
type Incoming struct {
	// ClientIP is the address of the client, as trusted proxies tell it; ""
	// where it is not known. TrustedProxy says that the peer is one of them.
	ClientIP     string
	TrustedProxy bool
}

// Handle answers a request.
func (h *Handler) Handle(w http.ResponseWriter, r *http.Request, in Incoming) {
	gateway.SecureHeaders(w.Header())
	c := &call{id: rand.Text(), clientIP: in.ClientIP}
	at, known := h.routes[r.URL.Path]
	switch {
	case !known:
		problem(w, r, http.StatusNotFound, "There is no such page")
	case !gateway.ReachedSafely(r, in.TrustedProxy):
		h.insecure(w, r, c)
	case r.Method != at.method && !(at.method == http.MethodGet && r.Method == http.MethodHead):
		w.Header().Set("Allow", at.method)
		problem(w, r, http.StatusMethodNotAllowed, "This address takes another kind of request")
	default:
		at.answer(h, w, r, c)
	}
}

// insecure refuses what came in plain: somebody on the way could read secrets.
func (h *Handler) insecure(w http.ResponseWriter, r *http.Request, c *call) {
	f := &failure{kind: insecure, message: "this needs HTTPS: it was reached without encryption, and not from this machine under a loopback name"}
	switch {
	case strings.HasPrefix(r.URL.Path, restPrefix):
		h.fail(w, r, c, "", f)
	case isGRPC(r):
		h.failGRPC(w, r, c, "", f)
	default:
		problem(w, r, f.status, f.message)
	}
}

// authenticate finds the client whose access token came with the request.
func (h *Handler) authenticate(r *http.Request, c *call) (err error) {
	fields := r.Header.Values("Authorization")
	if len(fields) != 1 {
		return gateway.ErrToken
	}
	scheme, token, _ := strings.Cut(fields[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return gateway.ErrToken
	}
	c.client, err = h.service.engine.ClientOfToken(r.Context(), strings.TrimSpace(token))
	return err
}

// body reads the whole body, of bounded size and in bounded time.
func body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	control := http.NewResponseController(w)
	if control.SetReadDeadline(time.Now().Add(bodyTime)) == nil {
		defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	}
	content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, largeBody()
	}
	if err != nil {
		return nil, badBody("the body cannot be read")
	}
	return content, nil
}

// hasType says whether the request names one of the media types.
func hasType(r *http.Request, types ...string) bool {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	for _, t := range types {
		if media == t {
			return true
		}
	}
	return false
}

// told notes how a call went, and returns how it is told.
func (h *Handler) told(c *call, name string, err error) *failure {
	client := ""
	if c.client != nil {
		client = c.client.ID
	}
	f, known := failureOf(err)
	if name != "" {
		h.observe(client, name, f.errorCode)
	}
	log := h.log.With("call", name, "client", client, "request_id", c.id)
	if !known {
		log.Error("headless call failed because of a fault", "error", err)
		return f
	}
	var over *gateway.LimitError
	if errors.As(err, &over) {
		log = log.With("limit", over.Limit)
	}
	for _, v := range f.violations { // their descriptions may have what was sent
		log = log.With("field", v.Field, "constraint", v.Constraint)
	}
	log.Info("headless call refused", "result", f.errorCode)
	return f
}

func (h *Handler) done(c *call, name string) { h.observe(c.client.ID, name, "ok") }

// problem answers with RFC 9457.
func problem(w http.ResponseWriter, r *http.Request, status int, title string) {
	writeJSON(w, r, status, "application/problem+json", map[string]any{"type": "about:blank", "title": title, "status": status})
}

func writeJSON(w http.ResponseWriter, r *http.Request, status int, contentType string, value any) {
	content, err := json.Marshal(value)
	if err != nil {
		status, content = http.StatusInternalServerError, []byte("{}")
	}
	write(w, r, status, contentType, append(content, '\n'))
}

func write(w http.ResponseWriter, r *http.Request, status int, contentType string, content []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = io.Copy(w, bytes.NewReader(content))
	}
}
