package headless

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/headless/headlesspb"
	"github.com/postern-auth/postern/pages"
	"github.com/postern-auth/postern/store"
)

// kind is one row of the table: how an error is told in HTTP, in gRPC, and to
// programs.
type kind struct {
	status    int
	code      connect.Code
	errorCode string
}

// The table. Nothing but a missing or bad token may be Unauthenticated, and no
// answer that used something up may be Unavailable: SDKs repeat such calls.
var (
	unauthenticated = kind{401, connect.CodeUnauthenticated, "UNAUTHENTICATED"}
	invalidArgument = kind{400, connect.CodeInvalidArgument, "INVALID_ARGUMENT"}
	mediaType       = kind{415, connect.CodeInvalidArgument, "INVALID_ARGUMENT"}
	tooLarge        = kind{413, connect.CodeInvalidArgument, "INVALID_ARGUMENT"}
	invalidCode     = kind{400, connect.CodeInvalidArgument, "INVALID_CODE"}
	expired         = kind{400, connect.CodeFailedPrecondition, "AUTH_REQUEST_EXPIRED"}
	sameBrowser     = kind{400, connect.CodeFailedPrecondition, "SAME_BROWSER_REQUIRED"}
	rateLimited     = kind{429, connect.CodeResourceExhausted, "RATE_LIMITED"}
	insecure        = kind{403, connect.CodePermissionDenied, "TLS_REQUIRED"}
	unavailable     = kind{503, connect.CodeUnavailable, "UNAVAILABLE"}
	internal        = kind{500, connect.CodeInternal, "INTERNAL"}
)

// failure is an error that is told to a client.
type failure struct {
	kind
	message    string
	violations []*headlesspb.ValidationErrorInfo_FieldViolation
	retryAfter time.Duration
}

func (f *failure) Error() string { return f.message }

// violation is a failure of one field.
func violation(field, constraint, description string) *failure {
	return &failure{kind: invalidArgument, message: description, violations: []*headlesspb.ValidationErrorInfo_FieldViolation{
		{Field: field, Constraint: constraint, Description: description},
	}}
}

// badBody is a failure of a whole body, largeBody that of one that is too large.
func badBody(message string) *failure { return &failure{kind: invalidArgument, message: message} }

func largeBody() *failure {
	return &failure{kind: tooLarge, message: fmt.Sprintf("the body is larger than %d bytes", maxBody)}
}

// failureOf finds the row of an error. known is unset where it is a fault of
// ours: its text is logged, and never shown.
func failureOf(err error) (f *failure, known bool) {
	var wrong *gateway.WrongCodeError
	var limit *gateway.LimitError
	var template *pages.TemplateError
	switch {
	case errors.As(err, &f):
		return f, true
	case errors.As(err, &wrong):
		return &failure{kind: invalidCode, message: "invalid code, " + attemptsLeft(wrong.Left)}, true
	case errors.As(err, &limit):
		return limited(limit.RetryAfter), true
	case errors.As(err, &template):
		return violation("template_variables", "template", "template_variables: the mail cannot be written: "+template.Problem), true
	case errors.Is(err, gateway.ErrUnknown):
		return &failure{kind: expired, message: "auth request expired"}, true
	case errors.Is(err, gateway.ErrOtherBrowser):
		return &failure{kind: sameBrowser, message: "this link needs the auth_request_id that send answered with"}, true
	case errors.Is(err, gateway.ErrAddress):
		return violation("email", "email", "email: "+gateway.ErrAddress.Error()), true
	case errors.Is(err, gateway.ErrNoMagicLink):
		return violation("magiclink_auth_uri", "required", gateway.ErrNoMagicLink.Error()), true
	case errors.Is(err, gateway.ErrMagicLink):
		return violation("magiclink_auth_uri", "registered", gateway.ErrMagicLink.Error()), true
	case errors.Is(err, gateway.ErrMalformed):
		return violation("code", "format", "code: invalid, it is not of the form that the mail has"), true
	case errors.Is(err, gateway.ErrToken):
		return &failure{kind: unauthenticated, message: "the access token is missing, expired or revoked: get one at /oauth/token"}, true
	case errors.Is(err, store.ErrFull), errors.Is(err, store.ErrClosed), errors.Is(err, context.Canceled):
		return &failure{kind: unavailable, message: "this is not possible right now", retryAfter: time.Minute}, true
	}
	return &failure{kind: internal, message: "something went wrong here"}, false
}

func attemptsLeft(n int) string {
	if n == 1 {
		return "1 attempt left"
	}
	return fmt.Sprintf("%d attempts left", n)
}

func limited(wait time.Duration) *failure {
	return &failure{kind: rateLimited, message: fmt.Sprintf("too many, try again in %d seconds", wholeSeconds(wait)), retryAfter: max(wait, time.Second)}
}

// wholeSeconds rounds up, to 1 at least.
func wholeSeconds(d time.Duration) int { return max(1, int((d+time.Second-1)/time.Second)) }

// details is what an error says to programs.
func (f *failure) details(requestID string) *headlesspb.ErrorInfo {
	info := &headlesspb.ErrorInfo{ErrorCode: f.errorCode, RequestInfo: &headlesspb.RequestInfo{RequestId: requestID}}
	if len(f.violations) > 0 {
		info.ValidationErrorInfo = &headlesspb.ValidationErrorInfo{FieldViolations: f.violations}
	}
	return info
}
