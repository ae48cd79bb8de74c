package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/postern-auth/postern/pages"
	"github.com/postern-auth/postern/store"
)

// Errors of a request, beside those of the engine in errors.go.
var (
	errMethod    = errors.New("method not allowed")
	errNoPage    = errors.New("no such page")
	errPath      = errors.New("ambiguous path")
	errCrossSite = errors.New("a form of another site")
	errBody      = errors.New("not a form")
	errBodySize  = errors.New("body too large")
	errInsecure  = errors.New("not secure")
	errStillIn   = errors.New("the session could not be ended")
)

// failure is one row of the table: how an error is told to visitors. It tells
// an attacker nothing.
type failure struct {
	err            error
	status         int
	grpc           int // status code of gRPC
	title, message string
}

// failures is the one table from errors to answers. What is not in it is a
// fault: it is logged, and its text is never shown.
var failures = []failure{
	{errMethod, http.StatusMethodNotAllowed, 12, "That does not work here", "This address takes another kind of request."},
	{errNoPage, http.StatusNotFound, 12, "There is no such page", "Go back to the site and try again from there."},
	{errPath, http.StatusBadRequest, 3, "That address cannot be read", "Go back to the site and try again from there."},
	{errCrossSite, http.StatusForbidden, 7, "That form came from somewhere else", "Open the site itself and send the form from there."},
	{errBody, http.StatusUnsupportedMediaType, 3, "That form cannot be read", "Go back and send the form again."},
	{errBodySize, http.StatusRequestEntityTooLarge, 8, "That form is too large", "Go back and send less."},
	{errInsecure, http.StatusForbidden, 7, "Signing in needs HTTPS", "This page was reached without encryption, so no sign-in is possible here. Open it with https:// instead."},
	{ErrOtherBrowser, http.StatusForbidden, 7, "This page belongs to another browser", "Go on in the browser where you asked to sign in, or begin anew here."},
	{errStillIn, http.StatusServiceUnavailable, 14, "You are still signed in", "Signing out did not work just now. Please try again in a moment."},
	{store.ErrFull, http.StatusServiceUnavailable, 14, "Signing in is not possible right now", "Please try again in a few minutes."},
	{store.ErrClosed, http.StatusServiceUnavailable, 14, "This site is just being restarted", "Please try again in a moment."},
	{context.Canceled, http.StatusServiceUnavailable, 14, "The request was cut off", "Please try again."},
}

var fault = failure{nil, http.StatusInternalServerError, 13, "Something went wrong here", "It is not your fault. Please try again in a moment."}

func failureOf(err error) (failure, bool) {
	for _, f := range failures {
		if errors.Is(err, f.err) {
			return f, true
		}
	}
	return fault, false
}

func isNoSession(err error) bool { return errors.Is(err, ErrNoSession) }

// fail answers with an error: a page to a person, a problem (RFC 9457) to a
// program, a status to gRPC.
func (d *Door) fail(w http.ResponseWriter, r *http.Request, v *Visit, err error) {
	f, known := failureOf(err)
	if !known {
		d.engine.log.Error("request refused because of a fault", "site", v.Site.Host, "path", v.Original.URL.Path, "error", err)
	}
	if f.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "60")
	}
	if errors.Is(err, errInsecure) && v.Site.https() {
		f.message = "This page was reached without encryption, so no sign-in is possible here. Open " + v.Site.Origin + " instead."
	}
	kind := KindOf(r)
	if kind == GRPC && BelowPrefix(v.Original.URL.Path, d.prefix) {
		kind = Program // a proxy that asks there would take the status of gRPC, 200, for a yes
	}
	switch kind {
	case GRPC:
		answerGRPC(w, f.grpc, f.title)
	case Navigation, FormPost:
		d.show(w, r, v, f.status, &pages.Failure{Common: d.common(v), Status: f.status, Title: f.title, Message: f.message})
	default:
		writeProblem(w, r, problem{Status: f.status, Title: f.title})
	}
}

// refuse answers a request that may not pass.
func (d *Door) refuse(w http.ResponseWriter, r *http.Request, v *Visit, decision Decision) {
	kind := KindOf(r)
	if decision.Verdict == Refuse {
		d.refuseAddress(w, r, v, kind, v.Original.URL.Path)
		return
	}
	stepUp := decision.Verdict == StepUp
	switch kind {
	case Navigation:
		d.redirect(w, d.signInPath(stepUp, d.returnTo(v.Original.URL.RequestURI())))
	case GRPC:
		answerGRPC(w, 16, "sign in at "+v.Site.Origin+d.signInPath(stepUp, ""))
	case FormPost:
		w.Header().Set("WWW-Authenticate", challengeHeader(v.Site, decision))
		d.show(w, r, v, http.StatusUnauthorized, &pages.UnsentForm{Common: d.common(v), StepUp: stepUp})
	default:
		d.challenge(w, r, v, decision)
	}
}

// challenge asks a program for a sign-in, or for a newer one.
func (d *Door) challenge(w http.ResponseWriter, r *http.Request, v *Visit, decision Decision) {
	title, stepUp := "Sign-in needed", decision.Verdict == StepUp
	if stepUp {
		title = "A newer sign-in is needed"
	}
	w.Header().Set("WWW-Authenticate", challengeHeader(v.Site, decision))
	writeProblem(w, r, problem{Status: http.StatusUnauthorized, Title: title, SignInURL: v.Site.Origin + d.signInPath(stepUp, "")})
}

// challengeHeader is the WWW-Authenticate of a refusal (RFC 6750; a session too
// old: RFC 9470).
func challengeHeader(site *Site, decision Decision) string {
	challenge := fmt.Sprintf("Bearer realm=%q", site.Host)
	if decision.Verdict == StepUp {
		challenge += fmt.Sprintf(`, error="insufficient_user_authentication", error_description="A newer sign-in is needed", max_age="%d"`, int(decision.MaxAge.Seconds()))
	}
	return challenge
}

// refuseAddress tells somebody who is signed in that they may not enter. path is
// what they may not, for the log.
func (d *Door) refuseAddress(w http.ResponseWriter, r *http.Request, v *Visit, kind Kind, path string) {
	email := v.session.Email
	d.engine.log.Warn("refused by policy", "site", v.Site.Host, "email", email, "path", path)
	switch kind {
	case GRPC:
		answerGRPC(w, 7, email+" may not enter")
	case Navigation, FormPost:
		d.show(w, r, v, http.StatusForbidden, &pages.Refused{Common: d.common(v), Email: email, ReturnTo: d.returnTo(v.Original.URL.RequestURI())})
	default:
		writeProblem(w, r, problem{
			Status: http.StatusForbidden, Title: "This address may not enter",
			Email: email, SignInURL: v.Site.Origin + d.signInPath(true, ""),
		})
	}
}

// returnTo is where a sign-in leads: a clean path of the site.
func (d *Door) returnTo(uri string) string { return CleanReturnTo(uri, d.prefix) }

// signInPath is the path of the sign-in page. returnTo is left out where it is
// empty.
func (d *Door) signInPath(again bool, returnTo string) string {
	query := make([]string, 0, 2)
	if again {
		query = append(query, "prompt=login")
	}
	if returnTo != "" {
		query = append(query, "return_to="+url.QueryEscape(returnTo))
	}
	path := d.prefix + "/sign-in"
	if len(query) > 0 {
		path += "?" + strings.Join(query, "&")
	}
	return path
}

// secureHeaders are on every answer of ours.
func secureHeaders(h http.Header) {
	values := []string{"no-store", pages.ContentSecurityPolicy(), "strict-origin", "DENY", "nosniff", "noindex"}
	for i, field := range [...]string{"Cache-Control", "Content-Security-Policy", "Referrer-Policy", "X-Frame-Options", "X-Content-Type-Options", "X-Robots-Tag"} {
		h[field] = values[i : i+1 : i+1]
	}
}

// show answers with a page.
func (d *Door) show(w http.ResponseWriter, r *http.Request, v *Visit, status int, view pages.View) {
	body := bytes.NewBuffer(make([]byte, 0, pages.TypicalSize))
	look := d.engine.config.look
	if err := look.Render(body, view); err != nil {
		d.engine.log.Error("page cannot be drawn", "site", v.Site.Host, "error", err)
		status = http.StatusInternalServerError
		body.Reset()
		body.WriteString(fault.title + ". " + fault.message)
	}
	secureHeaders(w.Header())
	w.Header().Set("Content-Security-Policy", look.ContentSecurityPolicy())
	send(w, r, status, "text/html; charset=utf-8", body.Bytes())
}

// Unserved answers a request that no site is there for, with one sentence: a page
// would name its site. onPage says that it came for one of the door's own pages,
// which no gRPC call does.
func Unserved(w http.ResponseWriter, r *http.Request, onPage bool, status int, message string) {
	if status == http.StatusServiceUnavailable {
		retryAfter(w, 5*time.Second)
	}
	if !onPage && KindOf(r) == GRPC {
		answerGRPC(w, 14, message)
		return
	}
	write(w, r, status, "text/plain; charset=utf-8", []byte(message+"\n"))
}

func write(w http.ResponseWriter, r *http.Request, status int, contentType string, body []byte) {
	secureHeaders(w.Header())
	send(w, r, status, contentType, body)
}

func send(w http.ResponseWriter, r *http.Request, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

func writeJSON(w http.ResponseWriter, r *http.Request, status int, contentType string, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		body, status = []byte("{}"), http.StatusInternalServerError
	}
	write(w, r, status, contentType, append(body, '\n'))
}

// problem is an answer to a program (RFC 9457).
type problem struct {
	Email     string `json:"email,omitempty"`
	SignInURL string `json:"sign_in_url,omitempty"`
	Status    int    `json:"status"`
	Title     string `json:"title"`
	Type      string `json:"type"`
}

func writeProblem(w http.ResponseWriter, r *http.Request, p problem) {
	p.Type = "about:blank"
	writeJSON(w, r, p.Status, "application/problem+json", &p)
}

// redirect answers with 303 to a path of the site.
func (d *Door) redirect(w http.ResponseWriter, path string) {
	secureHeaders(w.Header())
	w.Header().Del("Content-Type")
	w.Header().Set("Location", path)
	w.WriteHeader(http.StatusSeeOther)
}

// answerGRPC answers with a status alone (the gRPC protocol's "Trailers-Only").
func answerGRPC(w http.ResponseWriter, code int, message string) {
	h := w.Header()
	secureHeaders(h)
	h.Set("Content-Type", "application/grpc")
	h.Set("Grpc-Status", strconv.Itoa(code))
	h.Set("Grpc-Message", url.PathEscape(message))
	w.WriteHeader(http.StatusOK)
}

// retryAfter sets the header to whole seconds, rounded up.
func retryAfter(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(max(1, int((wait+time.Second-1)/time.Second))))
}
