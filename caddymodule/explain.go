package caddymodule

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/postern-auth/postern/gateway"
)

// explanation says who may open an address, and by which line.
type explanation struct {
	Address string `json:"address"`
	URL     string `json:"url"`
	// Verdict is admitted, refused, public, or unknown where that depends on more
	// than the address.
	Verdict    string               `json:"verdict"`
	Directives []explainedDirective `json:"directives"`
}

type explainedDirective struct {
	Source string `json:"source"`
	// Judges says whether the directive is for the address: yes, no, or unknown where
	// its matchers read more than that, or the routes may change it, or an application
	// may read its path in another way.
	Judges string `json:"judges"`
	// AllowedBy and DeniedBy are the entries that decide, as they are written.
	AllowedBy string `json:"allowed_by,omitempty"`
	DeniedBy  string `json:"denied_by,omitempty"`
	// MaxAge is how old the sign-in may be, as in 15m0s.
	MaxAge string `json:"max_age,omitempty"`
}

func (d explainedDirective) admits() bool { return d.AllowedBy != "" && d.DeniedBy == "" }

// explain judges as `/.auth/check` does for a GET.
func (a *App) explain(address, target string) (*explanation, error) {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, badRequest(fmt.Errorf("url %q: write a whole one, as in https://wiki.example.com/report", target))
	}
	host := gateway.NormalHost(u.Host)
	out := &explanation{Address: address, URL: target, Verdict: "public"}
	served, judged, refused, perhaps := false, false, false, false
	for _, h := range a.handlers {
		if !a.isFor(h, host) {
			continue
		}
		served = true
		one := h.explain(address, a.config.Groups.Of(address))
		if one.Judges, err = h.judges(u); err != nil {
			return nil, err
		}
		out.Directives = append(out.Directives, one)
		judged = judged || one.Judges != "no"
		refused = refused || one.Judges == "yes" && !one.admits()
		perhaps = perhaps || one.Judges == "unknown" && !one.admits()
	}
	if !served {
		return nil, badRequest(fmt.Errorf("url %q: no site is served under that name", target))
	}
	switch {
	case refused:
		out.Verdict = "refused"
	case perhaps:
		out.Verdict = "unknown"
	case judged:
		out.Verdict = "admitted"
	}
	return out, nil
}

// explain says which entries decide about an address.
func (h *Handler) explain(address string, groups []string) explainedDirective {
	allow, deny := h.rule.Deciding(address, groups)
	one := explainedDirective{Source: h.Source, AllowedBy: allow, DeniedBy: deny}
	if h.rule.MaxAge > 0 {
		one.MaxAge = h.rule.MaxAge.String()
	}
	return one
}

// judges says whether the directive is for the address.
func (h *Handler) judges(target *url.URL) (string, error) {
	if h.rule.Matches == nil {
		return "yes", nil
	}
	if !h.rule.ByTarget || !gateway.PlainPath(target.EscapedPath()) {
		return "unknown", nil // as what may be read in another way
	}
	app, err := h.app.httpApp()
	if err != nil {
		return "", err
	}
	r, err := http.NewRequest(http.MethodGet, target.String(), nil)
	if err != nil {
		return "", badRequest(err)
	}
	r.RequestURI = target.RequestURI()
	r.URL = &url.URL{Path: cmp.Or(target.Path, "/"), RawPath: target.RawPath, RawQuery: target.RawQuery}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, app.Servers[h.place.server])
	if h.rule.Matches(r) {
		return "yes", nil
	}
	return "no", nil
}
