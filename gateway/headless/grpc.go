package headless

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/headless/headlesspb"
)

func grpcPath(method string) string {
	return "/" + headlesspb.PasswordlessServiceName + "/" + method
}

// isGRPC says whether the request is one of gRPC. Another protocol that the
// library knows would tell a limit as HTTP 429, which SDKs repeat.
func isGRPC(r *http.Request) bool {
	return strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "application/grpc")
}

// grpc is a call by gRPC. Who calls is asked before the body is read: a missing
// token is answered as such, whatever else is wrong.
func grpc[In any, PIn message[In]](name string) func(*Handler, http.ResponseWriter, *http.Request, *call) {
	return func(h *Handler, w http.ResponseWriter, r *http.Request, c *call) {
		if !isGRPC(r) {
			problem(w, r, http.StatusUnsupportedMediaType, "This address takes gRPC alone; in JSON, the calls are below "+restPrefix)
			return
		}
		err := h.authenticate(r, c)
		var content []byte
		if err == nil {
			content, err = body(w, r)
		}
		if err == nil {
			err = readFrame(r, content, PIn(new(In)))
		}
		if err != nil {
			h.failGRPC(w, r, c, name, err)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(content)), int64(len(content))
		h.grpc.ServeHTTP(flushing{w}, r)
	}
}

type callKey struct{}

// failGRPC answers with an error alone.
func (h *Handler) failGRPC(w http.ResponseWriter, r *http.Request, c *call, name string, err error) {
	_ = connect.NewErrorWriter().Write(w, r, h.told(c, name, err).grpc(c))
}

// grpc is the error as gRPC has it.
func (f *failure) grpc(c *call) *connect.Error {
	told := connect.NewError(f.code, errors.New(f.message))
	if detail, err := connect.NewErrorDetail(f.details(c.id)); err == nil {
		told.AddDetail(detail)
	}
	return told
}

// grpcService is the calls as the library wants them.
type grpcService struct{ h *Handler }

var _ headlesspb.PasswordlessServiceHandler = grpcService{}

func (s grpcService) SendPasswordlessEmail(ctx context.Context, in *connect.Request[headlesspb.SendPasswordlessRequest]) (*connect.Response[headlesspb.SendPasswordlessResponse], error) {
	return served(ctx, s.h, "send", service.send, in)
}

func (s grpcService) ResendPasswordlessEmail(ctx context.Context, in *connect.Request[headlesspb.ResendPasswordlessRequest]) (*connect.Response[headlesspb.SendPasswordlessResponse], error) {
	return served(ctx, s.h, "resend", service.resend, in)
}

func (s grpcService) VerifyPasswordlessEmail(ctx context.Context, in *connect.Request[headlesspb.VerifyPasswordLessRequest]) (*connect.Response[headlesspb.VerifyPasswordLessResponse], error) {
	return served(ctx, s.h, "verify", service.verify, in)
}

func served[In, Out any](ctx context.Context, h *Handler, name string, serve func(service, context.Context, *gateway.Client, *In) (*Out, error), in *connect.Request[In]) (*connect.Response[Out], error) {
	c := ctx.Value(callKey{}).(*call)
	out, err := serve(h.service, ctx, c.client, in.Msg)
	if err != nil {
		return nil, h.told(c, name, err).grpc(c)
	}
	h.done(c, name)
	return connect.NewResponse(out), nil
}

// flushing is a writer that the library can flush, as it does before it sends
// trailers: over HTTP/1.1 a short answer that was not begun before would have a
// length, after which no trailer follows. It asks for http.Flusher, which the
// writers of a server around us need not be.
type flushing struct{ http.ResponseWriter }

// Flush implements http.Flusher.
func (w flushing) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// Unwrap serves http.ResponseController.
func (w flushing) Unwrap() http.ResponseWriter { return w.ResponseWriter }
