package headless

import (
	"context"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/headless/headlesspb"
)

// Limits of the fields, in characters unless said otherwise. openapi.json says
// the same, and a test compares them.
const (
	maxEmail        = 320
	maxMagicLink    = 1000
	maxState        = 1000
	minExpiresIn    = 60   // seconds
	maxExpiresIn    = 3600 // seconds
	maxVariables    = 30
	minVariableName = 2
	maxVariableName = 25
	maxVariable     = 256
	maxRequestID    = 200
	maxCode         = 20
	maxLinkToken    = 100
)

// reservedVariables are set by us alone.
var reservedVariables = []string{"otp", "link", "expire_time", "expiry_time", "expiry_time_relative"}

// service is the three calls, whatever form they come in. Each fails with a
// *failure or with what the gateway says.
type service struct{ engine *gateway.Engine }

func (s service) send(ctx context.Context, client *gateway.Client, in *headlesspb.SendPasswordlessRequest) (*headlesspb.SendPasswordlessResponse, error) {
	if f := checkSend(in); f != nil {
		return nil, f
	}
	sent, err := s.engine.StartFor(ctx, gateway.ClientStart{
		Client: client, Email: in.Email, SignUp: in.GetTemplate() == headlesspb.TemplateType_SIGNUP,
		MagicLink: in.GetMagiclinkAuthUri(), State: in.GetState(), Variables: in.TemplateVariables,
		ExpiresIn: time.Duration(in.GetExpiresIn()) * time.Second,
	})
	if err != nil {
		return nil, err
	}
	return answerSent(sent), nil
}

func (s service) resend(ctx context.Context, client *gateway.Client, in *headlesspb.ResendPasswordlessRequest) (*headlesspb.SendPasswordlessResponse, error) {
	if f := checkText("auth_request_id", in.AuthRequestId, true, maxRequestID); f != nil {
		return nil, f
	}
	sent, err := s.engine.ResendFor(ctx, client, in.AuthRequestId)
	if err != nil {
		return nil, err
	}
	return answerSent(sent), nil
}

func (s service) verify(ctx context.Context, client *gateway.Client, in *headlesspb.VerifyPasswordLessRequest) (*headlesspb.VerifyPasswordLessResponse, error) {
	if f := checkVerify(in); f != nil {
		return nil, f
	}
	verified, err := s.engine.VerifyFor(ctx, gateway.ClientAnswer{
		Client: client, Request: in.GetAuthRequestId(), Code: in.GetCode(), Token: in.GetLinkToken(),
	})
	if err != nil {
		return nil, err
	}
	template := headlesspb.TemplateType_SIGNIN
	if verified.SignUp {
		template = headlesspb.TemplateType_SIGNUP
	}
	return &headlesspb.VerifyPasswordLessResponse{
		Email: verified.Email, State: &verified.State, Template: &template, PasswordlessType: typeOf(verified.Method),
	}, nil
}

func answerSent(sent gateway.Sent) *headlesspb.SendPasswordlessResponse {
	return &headlesspb.SendPasswordlessResponse{
		AuthRequestId: sent.ID, ExpiresAt: sent.Expires.Unix(),
		ExpiresIn: uint32(wholeSeconds(sent.ExpiresIn)), PasswordlessType: typeOf(sent.Method),
	}
}

func typeOf(method gateway.Method) headlesspb.PasswordlessType {
	switch method {
	case gateway.MethodCode:
		return headlesspb.PasswordlessType_OTP
	case gateway.MethodLink:
		return headlesspb.PasswordlessType_LINK
	}
	return headlesspb.PasswordlessType_LINK_OTP
}

func checkSend(in *headlesspb.SendPasswordlessRequest) *failure {
	if f := checkText("email", in.Email, true, maxEmail); f != nil {
		return f
	}
	switch in.GetTemplate() {
	case headlesspb.TemplateType_UNSPECIFIED, headlesspb.TemplateType_SIGNIN, headlesspb.TemplateType_SIGNUP:
	default:
		return badTemplate()
	}
	if f := checkText("magiclink_auth_uri", in.GetMagiclinkAuthUri(), false, maxMagicLink); f != nil {
		return f
	}
	if f := checkText("state", in.GetState(), false, maxState); f != nil {
		return f
	}
	if in.ExpiresIn != nil && (*in.ExpiresIn < minExpiresIn || *in.ExpiresIn > maxExpiresIn) {
		return violation("expires_in", "range", fmt.Sprintf("expires_in: write %d to %d seconds", minExpiresIn, maxExpiresIn))
	}
	return checkVariables(in.TemplateVariables)
}

func badTemplate() *failure {
	return violation("template", "enum", "template: write SIGNIN or SIGNUP")
}

func checkVariables(variables map[string]string) *failure {
	bad := func(constraint, format string, args ...any) *failure {
		return violation("template_variables", constraint, "template_variables: "+fmt.Sprintf(format, args...))
	}
	if len(variables) > maxVariables {
		return bad("max_pairs", "there are more than %d", maxVariables)
	}
	for name, value := range variables {
		if n := utf8.RuneCountInString(name); n < minVariableName || n > maxVariableName {
			return bad("key_len", "a name has %d to %d characters", minVariableName, maxVariableName)
		}
		if utf8.RuneCountInString(value) > maxVariable {
			return bad("value_len", "%s is longer than %d characters", name, maxVariable)
		}
		for _, reserved := range reservedVariables {
			if name == reserved {
				return bad("reserved", "%s is reserved", name)
			}
		}
	}
	return nil
}

func checkVerify(in *headlesspb.VerifyPasswordLessRequest) *failure {
	if in.GetCode() == "" && in.GetLinkToken() == "" {
		return violation("code", "required", "code or link_token is required")
	}
	if f := checkText("code", in.GetCode(), false, maxCode); f != nil {
		return f
	}
	if f := checkText("link_token", in.GetLinkToken(), false, maxLinkToken); f != nil {
		return f
	}
	if in.GetCode() != "" && in.GetAuthRequestId() == "" {
		return violation("auth_request_id", "required", "auth_request_id is required with a code")
	}
	return checkText("auth_request_id", in.GetAuthRequestId(), false, maxRequestID)
}

// checkText bounds a text, in characters.
func checkText(field, text string, required bool, most int) *failure {
	if required && text == "" {
		return violation(field, "required", field+" is required")
	}
	if utf8.RuneCountInString(text) > most {
		return violation(field, "max_len", fmt.Sprintf("%s is longer than %d characters", field, most))
	}
	return nil
}
