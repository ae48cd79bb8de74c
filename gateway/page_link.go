package gateway

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/postern-auth/postern/pages"
)

// openLink opens a mailed link. In the browser that asked, a navigation signs
// in; anything else, by which a mail scanner or a preview may come, uses nothing
// up.
func (d *Door) openLink(w http.ResponseWriter, r *http.Request, v *Visit) {
	answer, err := d.answer(r, v)
	if err != nil {
		d.fail(w, r, v, err)
		return
	}
	answer.Token = v.Original.URL.Query().Get("token")
	if IsTopLevelNavigation(r) {
		d.answerLink(w, r, v, answer)
		return
	}
	d.showLink(w, r, v, answer)
}

// confirmLink is the button by which a person signs in in a browser that did
// not ask for the link.
func (d *Door) confirmLink(w http.ResponseWriter, r *http.Request, v *Visit, form url.Values) {
	answer, err := d.answer(r, v)
	if err != nil {
		d.fail(w, r, v, err)
		return
	}
	answer.Token, answer.Confirmed = form.Get("token"), true
	d.answerLink(w, r, v, answer)
}

func (d *Door) answerLink(w http.ResponseWriter, r *http.Request, v *Visit, answer Answer) {
	if answer.Token == "" {
		d.expired(w, r, v, "", "")
		return
	}
	verified, err := d.engine.Verify(r.Context(), answer)
	switch {
	case err == nil:
		d.enter(w, r, v, verified, verified.ReturnTo)
	case errors.Is(err, ErrOtherBrowser):
		d.showLink(w, r, v, answer)
	case errors.Is(err, ErrUnknown):
		d.expired(w, r, v, answer.Token, "")
	default:
		d.failLink(w, r, v, err)
	}
}

func (d *Door) failLink(w http.ResponseWriter, r *http.Request, v *Visit, err error) {
	var limit *LimitError
	if !errors.As(err, &limit) {
		d.fail(w, r, v, err)
		return
	}
	retryAfter(w, limit.RetryAfter)
	d.show(w, r, v, http.StatusTooManyRequests, &pages.Limited{
		Common: d.common(v), RetryAfter: limit.RetryAfter, Message: "There were too many sign-ins as this address.",
	})
}

// showLink shows what a link would do here, without using it up: a button where
// it may sign in, otherwise where to go.
func (d *Door) showLink(w http.ResponseWriter, r *http.Request, v *Visit, answer Answer) {
	status, err := d.engine.LinkStatus(r.Context(), answer)
	switch {
	case errors.Is(err, ErrUnknown):
		d.expired(w, r, v, answer.Token, "")
		return
	case err != nil:
		d.fail(w, r, v, err)
		return
	}
	if !status.Bound && !status.AnyBrowser {
		d.show(w, r, v, http.StatusOK, &pages.OtherBrowser{Common: d.common(v), HasCode: status.HasCode, ReturnTo: status.ReturnTo})
		return
	}
	view := &pages.ConfirmLink{Common: d.common(v), Email: status.Email, Token: answer.Token}
	if v.session != nil && v.session.Email != status.Email {
		view.Replaces = v.session.Email
	}
	d.show(w, r, v, http.StatusOK, view)
}
