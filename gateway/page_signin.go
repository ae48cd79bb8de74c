package gateway

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/postern-auth/postern/pages"
)

// signIn shows the form that asks for an address.
func (d *Door) signIn(w http.ResponseWriter, r *http.Request, v *Visit) {
	query := v.Original.URL.Query()
	returnTo := d.returnTo(query.Get("return_to"))
	again := query.Get("prompt") == "login"
	session, err := d.identify(r, v)
	if err != nil {
		d.fail(w, r, v, err)
		return
	}
	if session != nil && !again {
		d.redirect(w, returnTo)
		return
	}
	view := &pages.SignIn{Common: d.common(v), ReturnTo: returnTo}
	if session != nil && v.Site.MayEnter(session.Email) {
		view.Email, view.StepUp = session.Email, true
	}
	if err := d.greet(w, r, v); err != nil {
		d.fail(w, r, v, err)
		return
	}
	d.show(w, r, v, http.StatusOK, view)
}

// greet gives a browser its cookie with the form already, so that several tabs
// that send it at once are known to be one browser. Only a page navigation gets
// it: other requests of other sites come without the cookie that the browser has.
func (d *Door) greet(w http.ResponseWriter, r *http.Request, v *Visit) error {
	if d.browser(v) != nil || !IsTopLevelNavigation(r) {
		return nil
	}
	return d.setBrowser(w, v, newBrowser())
}

// submitEmail takes an address and starts a sign-in request.
func (d *Door) submitEmail(w http.ResponseWriter, r *http.Request, v *Visit, form url.Values) {
	returnTo := d.returnTo(form.Get("return_to"))
	browser := d.browser(v)
	if browser == nil {
		browser = newBrowser()
	}
	started, err := d.engine.Start(r.Context(), StartRequest{
		Site: v.Site, Browser: browser, Email: form.Get("email"), ReturnTo: returnTo,
		ClientIP: v.Server.ClientIP(), UserAgent: r.UserAgent(),
	})
	var limit *LimitError
	switch {
	case errors.Is(err, ErrAddress):
		d.show(w, r, v, http.StatusUnprocessableEntity, &pages.SignIn{
			Common: d.common(v), Email: shorten(form.Get("email")), ReturnTo: returnTo,
			Problem: "That is not an address we can send mail to. Please check it, as in name@example.com.",
		})
		return
	case errors.As(err, &limit):
		retryAfter(w, limit.RetryAfter)
		d.show(w, r, v, http.StatusTooManyRequests, &pages.Limited{
			Common: d.common(v), RetryAfter: limit.RetryAfter, Message: "There were too many sign-ins from here.",
			BackTo: d.signInPath(false, returnTo), BackLabel: "Back to the sign-in",
		})
		return
	case err == nil:
		err = d.setBrowser(w, v, browser)
	}
	if err != nil {
		d.fail(w, r, v, err)
		return
	}
	d.redirect(w, d.codePath(started.ID, started.ReturnTo, returnTo))
}

// shorten bounds what is shown again of what was typed.
func shorten(s string) string { return s[:min(len(s), 320)] }

// codePath is the path of the page that waits for the code. A tab that leads
// somewhere else than the request itself carries that on.
func (d *Door) codePath(request, requestReturnTo, returnTo string) string {
	path := d.prefix + "/code?request=" + url.QueryEscape(request)
	if returnTo != "" && returnTo != requestReturnTo {
		path += "&return_to=" + url.QueryEscape(returnTo)
	}
	return path
}
