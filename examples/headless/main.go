// Command headless is an application with sign-in pages of its own: it has
// Postern mail codes and links, and makes sessions itself. It keeps them in
// memory; take a real store for yours.
//
//	go run ./cmd/caddy run --config examples/headless/Caddyfile
//	go run ./examples/headless
//
// and then open http://localhost:3000. The mail is in Caddy's log.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	app := &app{
		postern: &postern{
			url: setting("POSTERN_URL", "http://localhost:8080"),
			id:  setting("POSTERN_CLIENT", "example"), secret: setting("POSTERN_SECRET", "try-it-out-only"),
			http: &http.Client{Timeout: 10 * time.Second},
		},
		origin:   setting("ORIGIN", "http://localhost:3000"),
		sessions: make(map[string]string),
	}
	address := setting("LISTEN", "localhost:3000")
	log.Printf("listening on http://%s", address)
	log.Fatal(http.ListenAndServe(address, app.routes()))
}

func setting(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}

type app struct {
	postern *postern
	origin  string

	mu       sync.Mutex
	sessions map[string]string // random id → address
}

func (a *app) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.home)
	mux.HandleFunc("POST /sign-in", a.send)
	mux.HandleFunc("POST /sign-in/code", a.code)
	mux.HandleFunc("GET /sign-in/link", a.link)
	mux.HandleFunc("POST /sign-in/resend", a.resend)
	mux.HandleFunc("POST /sign-out", a.signOut)
	return http.NewCrossOriginProtection().Handler(mux) // no other site can send our forms
}

// The id of the sign-in request is what ties code and link to this browser, so
// it is kept in a cookie that scripts cannot read.
const (
	requestCookie = "auth_request"
	sessionCookie = "session"
)

func (a *app) home(w http.ResponseWriter, r *http.Request) {
	view := view{Email: a.user(r), Waiting: cookie(r, requestCookie) != ""}
	show(w, http.StatusOK, view)
}

func (a *app) send(w http.ResponseWriter, r *http.Request) {
	var sent struct {
		ID        string `json:"auth_request_id"`
		ExpiresIn int    `json:"expires_in"`
	}
	err := a.postern.call(r.Context(), "send", map[string]any{
		"email": r.FormValue("email"), "magiclink_auth_uri": a.origin + "/sign-in/link",
	}, &sent)
	if err != nil {
		fail(w, r, err)
		return
	}
	a.setCookie(w, requestCookie, sent.ID, time.Hour) // resends make it live up to an hour
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (a *app) resend(w http.ResponseWriter, r *http.Request) {
	if err := a.postern.call(r.Context(), "resend", map[string]any{"auth_request_id": cookie(r, requestCookie)}, nil); err != nil {
		fail(w, r, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (a *app) code(w http.ResponseWriter, r *http.Request) {
	a.verify(w, r, map[string]any{"code": strings.TrimSpace(r.FormValue("code"))})
}

// link is where the mailed link leads. A scanner that opens it has no cookie,
// and uses nothing up. Who opens it again is signed in already.
func (a *app) link(w http.ResponseWriter, r *http.Request) {
	if a.user(r) != "" && cookie(r, requestCookie) == "" {
		w.Header().Set("Referrer-Policy", "no-referrer")
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	a.verify(w, r, map[string]any{"link_token": r.FormValue("link_token")})
}

func (a *app) verify(w http.ResponseWriter, r *http.Request, answer map[string]any) {
	w.Header().Set("Referrer-Policy", "no-referrer") // the link has a token
	answer["auth_request_id"] = cookie(r, requestCookie)
	var verified struct {
		Email string `json:"email"`
	}
	if err := a.postern.call(r.Context(), "verify", answer, &verified); err != nil {
		fail(w, r, err)
		return
	}
	session := rand.Text()
	a.mu.Lock()
	a.sessions[session] = verified.Email
	a.mu.Unlock()
	a.setCookie(w, requestCookie, "", 0)
	a.setCookie(w, sessionCookie, session, 7*24*time.Hour)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (a *app) signOut(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	delete(a.sessions, cookie(r, sessionCookie))
	a.mu.Unlock()
	a.setCookie(w, sessionCookie, "", 0)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (a *app) user(r *http.Request) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sessions[cookie(r, sessionCookie)]
}

func cookie(r *http.Request, name string) string {
	if c, err := r.Cookie(name); err == nil {
		return c.Value
	}
	return ""
}

// setCookie sets a cookie, or removes it where it is to live for no time.
func (a *app) setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	c := &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: int(life / time.Second), HttpOnly: true,
		SameSite: http.SameSiteLaxMode, Secure: strings.HasPrefix(a.origin, "https://")}
	if life == 0 {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// postern calls the headless API.
type postern struct {
	url, id, secret string
	http            *http.Client

	mu    sync.Mutex
	token string
}

// refusal is an error that the API tells.
type refusal struct {
	Status     int
	RetryAfter int    // seconds, or 0
	Message    string `json:"message"` // for the log: it is in words of the API
	Details    []struct {
		Code       string `json:"error_code"`
		Validation struct {
			Fields []struct {
				Field string `json:"field"`
			} `json:"field_violations"`
		} `json:"validation_error_info"`
	} `json:"details"`
}

func (e *refusal) Error() string { return e.Message }

func (e *refusal) code() string {
	if len(e.Details) == 0 {
		return ""
	}
	return e.Details[0].Code
}

// field is the one that was not right, or "".
func (e *refusal) field() string {
	if len(e.Details) == 0 || len(e.Details[0].Validation.Fields) == 0 {
		return ""
	}
	return e.Details[0].Validation.Fields[0].Field
}

// call makes a call, with a new token where the one it has is none any more.
func (p *postern) call(ctx context.Context, name string, fields, answer any) error {
	for try := 1; ; try++ {
		token, err := p.accessToken(ctx, try > 1)
		if err != nil {
			return err
		}
		err = p.post(ctx, name, token, fields, answer)
		var refused *refusal
		if try == 2 || !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized {
			return err
		}
	}
}

func (p *postern) post(ctx context.Context, name, token string, fields, answer any) error {
	body, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/api/v1/passwordless/email/"+name, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	return p.do(r, answer)
}

func (p *postern) accessToken(ctx context.Context, fresh bool) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.token != "" && !fresh {
		return p.token, nil
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {p.id}, "client_secret": {p.secret}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/oauth/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := p.do(r, &answer); err != nil {
		return "", fmt.Errorf("getting an access token: %w", err)
	}
	p.token = answer.Token
	return p.token, nil
}

func (p *postern) do(r *http.Request, answer any) error {
	response, err := p.http.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		refused := &refusal{Status: response.StatusCode, Message: response.Status}
		_ = json.NewDecoder(response.Body).Decode(refused)
		refused.RetryAfter, _ = strconv.Atoi(response.Header.Get("Retry-After"))
		return refused
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

// fail tells a person what went wrong. The form for a code is shown only where
// there is a sign-in request that it can belong to.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	v := view{Waiting: cookie(r, requestCookie) != ""}
	var refused *refusal
	if errors.As(err, &refused) {
		v.Problem = refused.words()
		v.Waiting = v.Waiting && refused.code() != "AUTH_REQUEST_EXPIRED"
	}
	if v.Problem == "" {
		log.Printf("postern: %v", err)
		v.Problem = "Signing in is not possible right now."
		show(w, http.StatusBadGateway, v)
		return
	}
	show(w, refused.Status, v)
}

// words is the refusal in words of this application, or "" where it is nothing
// that a visitor can mend.
func (e *refusal) words() string {
	switch e.code() {
	case "INVALID_CODE":
		return "That is not the code of the newest mail. Please look again."
	case "AUTH_REQUEST_EXPIRED":
		return "That code or link does not work any more. Ask for another one."
	case "SAME_BROWSER_REQUIRED":
		return "Open the link in the browser where you asked for it, or type the code there."
	case "RATE_LIMITED":
		return "That was too often. Try again " + wait(e.RetryAfter) + "."
	}
	switch e.field() {
	case "email":
		return "That is not an email address."
	case "code", "link_token":
		return "That is not what the mail has. Copy the whole code, or open the link."
	case "auth_request_id":
		return "Ask for a mail first, in this browser."
	}
	return ""
}

// wait is how long seconds are, in minutes above one.
func wait(seconds int) string {
	if seconds <= 60 {
		return "in a minute"
	}
	return fmt.Sprintf("in %d minutes", (seconds+59)/60)
}

type view struct {
	Email, Problem string
	Waiting        bool // for a code
}

func show(w http.ResponseWriter, status int, v view) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = page.Execute(w, v)
}

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Example</title>
<h1>Example</h1>
{{with .Problem}}<p role="alert"><strong>{{.}}</strong></p>{{end}}
{{if .Email}}<p>You are signed in as {{.Email}}.</p>
<form method="post" action="/sign-out"><button>Sign out</button></form>
{{else}}{{if .Waiting}}<p>Look into your mail, and open the link or type the code.</p>
<form method="post" action="/sign-in/code"><label>Code <input name="code" autocomplete="one-time-code" inputmode="numeric" required></label> <button>Sign in</button></form>
<form method="post" action="/sign-in/resend"><button>Send it again</button></form>
<h2>Another address</h2>{{end}}
<form method="post" action="/sign-in"><label>Email <input name="email" type="email" autocomplete="email" required></label> <button>Send me a mail</button></form>
{{end}}</html>
`))
