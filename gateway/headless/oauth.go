package headless

import (
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/postern-auth/postern/gateway"
)

// oauthError is an error of RFC 6749, section 5.2.
type oauthError struct {
	status      int
	code        string
	description string
}

func (e *oauthError) Error() string { return e.description }

func badRequest(description string) *oauthError {
	return &oauthError{http.StatusBadRequest, "invalid_request", description}
}

// token gives a client an access token (RFC 6749, section 4.4).
func (h *Handler) token(w http.ResponseWriter, r *http.Request, c *call) {
	form, err := h.clientForm(w, r, c)
	if err == nil && form.Get("grant_type") != "client_credentials" {
		err = &oauthError{http.StatusBadRequest, "unsupported_grant_type", "write grant_type=client_credentials"}
		if form.Get("grant_type") == "" {
			err = badRequest("grant_type is missing: write grant_type=client_credentials")
		}
	}
	var token string
	if err == nil {
		token, err = h.service.engine.NewClientToken(r.Context(), c.client)
	}
	if err != nil {
		h.failOAuth(w, r, c, "token", err)
		return
	}
	h.done(c, "token")
	w.Header().Set("Pragma", "no-cache")
	writeJSON(w, r, http.StatusOK, "application/json", map[string]any{
		"access_token": token, "token_type": "Bearer", "expires_in": int(gateway.ClientTokenLife / time.Second),
	})
}

// revoke ends an access token (RFC 7009).
func (h *Handler) revoke(w http.ResponseWriter, r *http.Request, c *call) {
	form, err := h.clientForm(w, r, c)
	if err == nil && form.Get("token") == "" {
		err = badRequest("token is missing")
	}
	if err == nil {
		err = h.service.engine.RevokeClientToken(r.Context(), c.client, form.Get("token"))
	}
	if err != nil {
		h.failOAuth(w, r, c, "revoke", err)
		return
	}
	h.done(c, "revoke")
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

// clientForm reads the form of a client, which its id and secret in the form or
// in HTTP Basic authenticate. An access token that comes along is none of them,
// and is passed over: SDKs send their old one.
func (h *Handler) clientForm(w http.ResponseWriter, r *http.Request, c *call) (url.Values, error) {
	if !hasType(r, "application/x-www-form-urlencoded") {
		return nil, badRequest("write Content-Type: application/x-www-form-urlencoded")
	}
	content, err := body(w, r)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(content))
	if err != nil {
		return nil, badRequest("the form cannot be read")
	}
	for name, values := range form {
		if len(values) > 1 {
			return nil, badRequest("a field is there twice: " + strconv.Quote(name))
		}
	}
	id, secret := form.Get("client_id"), form.Get("client_secret")
	if basicID, basicSecret, ok := basic(r); ok {
		if secret != "" || id != "" && id != basicID {
			return nil, badRequest("write the client's secret in the form or in HTTP Basic, not in both")
		}
		id, secret = basicID, basicSecret
	}
	c.client, err = h.service.engine.AuthenticateClient(r.Context(), id, secret, c.clientIP)
	return form, err
}

// basic reads HTTP Basic, of which both parts are form-encoded (RFC 6749,
// section 2.3.1). A plus sign stays one: clients that do not encode have it in
// their secrets, and nobody has a blank.
func basic(r *http.Request) (id, secret string, ok bool) {
	id, secret, ok = r.BasicAuth()
	if !ok {
		return "", "", false
	}
	if plain, err := url.PathUnescape(id); err == nil {
		id = plain
	}
	if plain, err := url.PathUnescape(secret); err == nil {
		secret = plain
	}
	return id, secret, true
}

// challenge asks for the credentials of a scheme. Basic needs a realm (RFC 7617,
// section 2), and Bearer some parameter (RFC 6750, section 3).
func challenge(scheme string, r *http.Request) string {
	return fmt.Sprintf("%s realm=%q", scheme, r.Host)
}

// failOAuth answers with an error of RFC 6749, section 5.2.
func (h *Handler) failOAuth(w http.ResponseWriter, r *http.Request, c *call, name string, err error) {
	var told *oauthError
	client := ""
	if c.client != nil {
		client = c.client.ID
	}
	switch {
	case errors.As(err, &told):
		h.observe(client, name, strings.ToUpper(told.code))
	case errors.Is(err, gateway.ErrClient):
		told = &oauthError{http.StatusUnauthorized, "invalid_client", gateway.ErrClient.Error()}
		if scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Basic") {
			w.Header().Set("WWW-Authenticate", challenge("Basic", r)) // also where it cannot be read
		}
		h.observe("", name, "INVALID_CLIENT")
		h.log.Warn("client refused", "call", name, "request_id", c.id, "network", c.clientIP)
	default:
		f := h.told(c, name, err)
		told = &oauthError{f.status, "server_error", f.message}
		switch f.kind {
		case rateLimited, unavailable:
			told.code = "temporarily_unavailable"
			w.Header().Set("Retry-After", strconv.Itoa(wholeSeconds(f.retryAfter)))
		case tooLarge, invalidArgument:
			told.code = "invalid_request"
		}
	}
	w.Header().Set("Pragma", "no-cache")
	writeJSON(w, r, told.status, "application/json", map[string]any{"error": told.code, "error_description": told.description})
}

//go:embed openapi.json
var openAPI []byte

func (h *Handler) openAPI(w http.ResponseWriter, r *http.Request, _ *call) {
	write(w, r, http.StatusOK, "application/json", openAPI)
}
