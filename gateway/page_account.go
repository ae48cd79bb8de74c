package gateway

import (
	"net/http"
	"net/url"
	"time"

	"github.com/postern-auth/postern/pages"
)

// account shows who is signed in.
func (d *Door) account(w http.ResponseWriter, r *http.Request, v *Visit) {
	session, err := d.identify(r, v)
	if err != nil {
		d.fail(w, r, v, err)
		return
	}
	if session == nil {
		d.redirect(w, d.signInPath(false, d.prefix+"/"))
		return
	}
	all, more, err := d.engine.Sessions(r.Context(), v.Site, v.secret)
	if isNoSession(err) { // it ended meanwhile
		d.redirect(w, d.signInPath(false, d.prefix+"/"))
		return
	}
	if err != nil {
		d.fail(w, r, v, err)
		return
	}
	view := pages.Account{
		Common: d.common(v), Email: session.Email, Groups: v.Site.groups.Of(session.Email),
		Method: session.Method, SignedIn: session.SignedIn, Expires: session.Expires,
		More: max(0, len(all)-maxListed), AtLeast: more,
	}
	for _, one := range all[:len(all)-view.More] {
		view.Sessions = append(view.Sessions, pages.AccountSession{
			ID: one.ID, Device: one.Device, Network: one.Network,
			SignedIn: one.SignedIn, LastSeen: one.LastSeen, This: one.This,
		})
	}
	d.show(w, r, v, http.StatusOK, &view)
}

// maxListed is how many sessions the account page shows, to stay small.
const maxListed = 8

// endSessions ends what the account page asks for: the session with an ID, all
// others, or all.
func (d *Door) endSessions(w http.ResponseWriter, r *http.Request, v *Visit, form url.Values) {
	session, err := d.identify(r, v)
	if err != nil {
		d.fail(w, r, v, err)
		return
	}
	which := form.Get("end")
	switch {
	case session == nil:
		d.redirect(w, d.signInPath(false, d.prefix+"/"))
		return
	case which == "":
		d.fail(w, r, v, errBody)
		return
	case session.hash[:SessionIDLength] == which:
		d.signOut(w, r, v, form)
		return
	}
	id := which
	if which == "others" || which == "all" {
		id = ""
	}
	err = d.engine.EndOthers(r.Context(), v.Site, v.secret, id)
	if isNoSession(err) { // it ended meanwhile
		d.redirect(w, d.signInPath(false, d.prefix+"/"))
		return
	}
	if err != nil {
		d.engine.log.Error("sessions cannot be ended", "site", v.Site.Host, "error", err)
		d.fail(w, r, v, errStillIn)
		return
	}
	if which == "all" {
		d.signOut(w, r, v, form)
		return
	}
	d.redirect(w, d.prefix+"/")
}

// me tells a program who is signed in.
func (d *Door) me(w http.ResponseWriter, r *http.Request, v *Visit) {
	session, err := d.identify(r, v)
	if err != nil {
		d.fail(w, r, v, err)
		return
	}
	if session == nil {
		d.challenge(w, r, v, Decision{Verdict: SignIn})
		return
	}
	groups := v.Site.groups.Of(session.Email)
	if groups == nil {
		groups = []string{}
	}
	writeJSON(w, r, http.StatusOK, "application/json", map[string]any{
		"email": session.Email, "groups": groups, "method": session.Method,
		"signed_in": session.SignedIn.UTC().Format(time.RFC3339),
		"last_seen": session.LastSeen.UTC().Format(time.RFC3339),
		"expires":   session.Expires.UTC().Format(time.RFC3339),
	})
}

// jwks publishes the keys that assertions are verified with (RFC 7517).
func (d *Door) jwks(w http.ResponseWriter, r *http.Request, v *Visit) {
	writeJSON(w, r, http.StatusOK, "application/jwk-set+json", d.engine.keySet())
}

// signOut ends the session on the server.
func (d *Door) signOut(w http.ResponseWriter, r *http.Request, v *Visit, _ url.Values) {
	for _, secret := range v.secrets() {
		if err := d.engine.End(r.Context(), v.Site, secret); err != nil {
			d.engine.log.Error("session cannot be ended", "site", v.Site.Host, "error", err)
			d.fail(w, r, v, errStillIn)
			return
		}
	}
	v.setCookie(w, v.sessionCookie(), "", -1)
	d.redirect(w, d.prefix+"/signed-out")
}
