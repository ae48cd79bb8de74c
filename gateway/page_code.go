package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/postern-auth/postern/pages"
)

// waiting is the page of a sign-in request in one tab.
type waiting struct {
	request string
	// returnTo is the tab's own destination, or "" for that of the request.
	returnTo string
}

func (d *Door) waitingOf(values url.Values) waiting {
	tab := waiting{request: values.Get("request")}
	if own := values.Get("return_to"); own != "" {
		tab.returnTo = d.returnTo(own)
	}
	return tab
}

// or returns where the tab leads, when the request leads to requestReturnTo.
func (t waiting) or(requestReturnTo string) string {
	if t.returnTo != "" {
		return t.returnTo
	}
	return requestReturnTo
}

func (d *Door) status(r *http.Request, v *Visit, tab waiting) (Status, error) {
	if _, err := d.identify(r, v); err != nil {
		return Status{}, err
	}
	return d.engine.Status(r.Context(), v.Site, tab.request, d.browser(v), v.secret)
}

// checkMail shows the page that waits for the code, and tells its script
// whether to go on.
func (d *Door) checkMail(w http.ResponseWriter, r *http.Request, v *Visit) {
	tab := d.waitingOf(v.Original.URL.Query())
	status, err := d.status(r, v, tab)
	if strings.HasPrefix(r.Header.Get("Accept"), "application/json") {
		d.tellScript(w, r, v, tab, status, err)
		return
	}
	switch {
	case errors.Is(err, ErrUnknown):
		d.expired(w, r, v, tab.request, tab.returnTo)
	case err != nil:
		d.fail(w, r, v, err)
	case status.Done:
		d.redirect(w, tab.or(status.ReturnTo))
	default:
		d.show(w, r, v, http.StatusOK, d.checkMailView(v, tab, status))
	}
}

// tellScript answers the waiting page's script.
func (d *Door) tellScript(w http.ResponseWriter, r *http.Request, v *Visit, tab waiting, status Status, err error) {
	answer := map[string]string{"state": "pending"}
	code := http.StatusOK
	switch {
	case errors.Is(err, ErrUnknown), errors.Is(err, ErrOtherBrowser):
		answer["state"] = "expired"
		f, _ := failureOf(err)
		code = f.status
		if errors.Is(err, ErrUnknown) {
			code = http.StatusGone
		}
	case err != nil:
		d.fail(w, r, v, err)
		return
	case status.Done:
		answer["state"], answer["location"] = "done", tab.or(status.ReturnTo)
	}
	writeJSON(w, r, code, "application/json", answer)
}

func (d *Door) checkMailView(v *Visit, tab waiting, s Status) *pages.CheckMail {
	common := d.common(v)
	common.RequestID = s.ID
	return &pages.CheckMail{
		Common: common, Request: s.ID, Email: s.Email, ReturnTo: tab.returnTo, LeadsTo: tab.or(s.ReturnTo),
		HasCode: s.HasCode, HasLink: s.HasLink, CodeLength: s.CodeLength, CodeLetters: s.CodeLetters,
		NoAttempts: s.HasCode && s.AttemptsLeft == 0, RetryAfter: s.RetryAfter,
		ResendAfter: s.ResendAfter, ExpiresIn: s.ExpiresIn,
	}
}

// expired offers a fresh start. The address is filled in only in the browser
// that asked.
func (d *Door) expired(w http.ResponseWriter, r *http.Request, v *Visit, idOrToken, returnTo string) {
	email, requestReturnTo := d.engine.Recall(r.Context(), v.Site, idOrToken, d.browser(v))
	if returnTo == "" {
		returnTo = requestReturnTo
	}
	d.show(w, r, v, http.StatusGone, &pages.Expired{Common: d.common(v), Email: email, ReturnTo: returnTo})
}

// submitCode takes a code.
func (d *Door) submitCode(w http.ResponseWriter, r *http.Request, v *Visit, form url.Values) {
	tab := d.waitingOf(form)
	answer, err := d.answer(r, v)
	if err != nil {
		d.fail(w, r, v, err)
		return
	}
	answer.Request, answer.Code = tab.request, form.Get("code")
	verified, err := d.engine.Verify(r.Context(), answer)
	if err != nil {
		d.refuseCode(w, r, v, tab, err)
		return
	}
	d.enter(w, r, v, verified, tab.or(verified.ReturnTo))
}

// answer returns what the engine needs to know of the browser that answers.
func (d *Door) answer(r *http.Request, v *Visit) (Answer, error) {
	if _, err := d.identify(r, v); err != nil {
		return Answer{}, err
	}
	return Answer{
		Site: v.Site, Browser: d.browser(v), Session: v.secret,
		ClientIP: v.Server.ClientIP(), UserAgent: r.UserAgent(),
	}, nil
}

// enter lets a verified browser in.
func (d *Door) enter(w http.ResponseWriter, r *http.Request, v *Visit, verified Verified, returnTo string) {
	if verified.Secret != "" {
		if err := d.setBrowser(w, v, d.engine.Remember(d.browser(v), verified.Email)); err != nil {
			d.fail(w, r, v, err)
			return
		}
		lifetime := verified.Session.Expires.Sub(verified.Session.SignedIn)
		v.setCookie(w, v.sessionCookie(), verified.Secret, int(lifetime/time.Second))
	}
	d.redirect(w, returnTo)
}

// refuseCode answers a code that did not let in.
func (d *Door) refuseCode(w http.ResponseWriter, r *http.Request, v *Visit, tab waiting, refusal error) {
	var wrong *WrongCodeError
	var limit *LimitError
	switch {
	case errors.Is(refusal, ErrUnknown):
		d.expired(w, r, v, tab.request, tab.returnTo)
	case errors.Is(refusal, ErrMalformed):
		d.askAgain(w, r, v, tab, http.StatusUnprocessableEntity, codeForm)
	case errors.As(refusal, &limit):
		retryAfter(w, limit.RetryAfter)
		d.askAgain(w, r, v, tab, http.StatusTooManyRequests, nil)
	case errors.As(refusal, &wrong) && wrong.Again && wrong.Left == 0:
		retryAfter(w, wrong.RetryAfter) // the page tells it from no other code
		d.askAgain(w, r, v, tab, http.StatusTooManyRequests, nil)
	case wrong != nil:
		if wrong.Left == 0 {
			retryAfter(w, wrong.RetryAfter)
		}
		d.askAgain(w, r, v, tab, http.StatusUnprocessableEntity, func(Status) string {
			return "That code is not right. " + attemptsLeft(wrong.Left)
		})
	default:
		d.fail(w, r, v, refusal)
	}
}

// askAgain shows the form again, with what is wrong. why may be nil.
func (d *Door) askAgain(w http.ResponseWriter, r *http.Request, v *Visit, tab waiting, code int, why func(Status) string) {
	s, err := d.status(r, v, tab)
	switch {
	case errors.Is(err, ErrUnknown):
		d.expired(w, r, v, tab.request, tab.returnTo)
		return
	case err != nil:
		d.fail(w, r, v, err)
		return
	}
	view := d.checkMailView(v, tab, s)
	if why != nil {
		view.Problem = why(s)
	}
	d.show(w, r, v, code, view)
}

func attemptsLeft(n int) string {
	switch n {
	case 0:
		return "You have no attempts left."
	case 1:
		return "You have 1 attempt left."
	}
	return fmt.Sprintf("You have %d attempts left.", n)
}

// codeForm says what a code looks like.
func codeForm(s Status) string {
	switch {
	case !s.HasCode:
		return "This sign-in has no code. Please open the link in the mail."
	case s.CodeLetters:
		return fmt.Sprintf("A code has %d letters. Please copy it from the mail.", s.CodeLength)
	}
	return fmt.Sprintf("A code has %d digits. Please copy it from the mail.", s.CodeLength)
}

// resend sends the mail again.
func (d *Door) resend(w http.ResponseWriter, r *http.Request, v *Visit, form url.Values) {
	tab := d.waitingOf(form)
	back := d.codePath(tab.request, "", tab.returnTo)
	err := d.engine.Resend(r.Context(), v.Site, tab.request, d.browser(v))
	var limit *LimitError
	switch {
	case err == nil:
		d.redirect(w, back)
	case errors.As(err, &limit):
		retryAfter(w, limit.RetryAfter)
		d.show(w, r, v, http.StatusTooManyRequests, &pages.Limited{
			Common: d.common(v), RetryAfter: limit.RetryAfter, Message: "A mail was sent a moment ago.",
			BackTo: back, BackLabel: "Back to the code",
		})
	case errors.Is(err, ErrUnknown):
		d.expired(w, r, v, tab.request, tab.returnTo)
	default:
		d.fail(w, r, v, err)
	}
}
