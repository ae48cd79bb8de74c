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
	switch {
	case err != nil:
		d.fail(w, r, v, err)
	case session == nil:
		d.redirect(w, d.signInPath(false, d.prefix+"/"))
	default:
		d.show(w, r, v, http.StatusOK, &pages.Account{
			Common: d.common(v), Email: session.Email, Groups: v.Site.groups.Of(session.Email),
			Method: session.Method, SignedIn: session.SignedIn, Expires: session.Expires,
		})
	}
}

// me tells a program who is signed in.
func (d *Door) me(w http.ResponseWriter, r *http.Request, v *Visit) {
	session, err := d.identify(r, v)
	if err != nil {
		d.fail(w, r, v, err)
		return
	}
	if session == nil {
		w.Header().Set("WWW-Authenticate", challengeHeader(v.Site, Decision{Verdict: SignIn}))
		writeProblem(w, r, problem{Status: http.StatusUnauthorized, Title: "Sign-in needed", SignInURL: v.Site.Origin + d.signInPath(false, "")})
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
