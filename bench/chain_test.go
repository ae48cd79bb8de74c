package main_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	sessionCookie = "__Host-postern_session"
	browserCookie = "__Host-postern_browser"
	// ownCookies are those of the application.
	ownCookies = "theme=dark; _ga=GA1.1.123456789.1700000000"
)

// signIn signs in at a host, and returns both cookies.
func (s *sites) signIn(host, email string) (browser, session string) {
	s.b.Helper()
	start := newRequest("POST", host, "/.auth/sign-in", "", page, form)
	start.body = url.Values{"email": {email}, "return_to": {"/"}}.Encode()
	s.want(start, host, http.StatusSeeOther)
	_, id, _ := strings.Cut(start.response.header.Get("Location"), "request=")
	browser = start.response.cookie(browserCookie)
	verify := newRequest("POST", host, "/.auth/verify", browser, page, form)
	verify.body = url.Values{"request": {id}, "code": {s.nextCode()}}.Encode()
	s.want(verify, host, http.StatusSeeOther)
	return verify.response.cookie(browserCookie), verify.response.cookie(sessionCookie)
}

func (s *sites) want(r *request, host string, status int) {
	s.b.Helper()
	if got := r.send(s.servers[host]); got != status {
		s.b.Fatalf("%s %s: status %d, want %d: %s", r.method, r.url, got, status, r.response.brief())
	}
}

// cookies of a browser that has more than ours.
func cookies(all ...string) string { return strings.Join(append([]string{ownCookies}, all...), "; ") }

// forged are cookies that look like a session's.
func forged(n int) (all []string) {
	for range n {
		secret := make([]byte, 32)
		rand.Read(secret)
		all = append(all, cookies(sessionCookie+"="+base64.RawURLEncoding.EncodeToString(secret)))
	}
	return all
}

// kinds are the requests of BenchmarkChain and BenchmarkOver.
var kinds = []struct {
	name    string
	headers []string
}{{"page", page}, {"xhr", xhr}}

// protected are the sites with Postern that they go to.
var protected = []struct{ name, host string }{{"postern", wikiHost}, {"header", headerHost}}

// BenchmarkChain is what Caddy's compiled routes take for a request, without
// Postern and with it: a policy with a group and a domain, identity headers, an
// assertion, a session that counts as used; and with one more header.
func BenchmarkChain(b *testing.B) {
	s := load(b)
	for i, site := range protected {
		known := cookies(s.signIn(site.host, ann))
		run := func(name, host string) {
			for _, kind := range kinds {
				b.Run(name+"/"+kind.name, func(b *testing.B) {
					newRequest("GET", host, "/projects/2024?tab=open", known, kind.headers).repeat(b, s.servers[host], http.StatusOK)
				})
			}
		}
		if i == 0 {
			run("bare", bareHost)
		}
		run(site.name, site.host)
	}
}

// BenchmarkOver is what Postern adds to a request of BenchmarkChain: the median of
// differences between as many requests with it and without, one after the other,
// so that both see the same of what else the machine does.
func BenchmarkOver(b *testing.B) {
	s := load(b)
	for _, site := range protected {
		all := cookies(s.signIn(site.host, ann))
		for _, kind := range kinds {
			b.Run(site.name+"/"+kind.name, func(b *testing.B) {
				batch := func(host string) float64 {
					r, server := newRequest("GET", host, "/projects/2024?tab=open", all, kind.headers), s.servers[host]
					begin := time.Now()
					for range overBatch {
						if got := r.send(server); got != http.StatusOK {
							b.Fatalf("status %d: %s", got, r.response.brief())
						}
					}
					return float64(time.Since(begin).Nanoseconds()) / overBatch
				}
				var over []float64
				for b.Loop() {
					// In turns the one and the other comes first.
					over = append(over, -batch(bareHost)+batch(site.host), batch(site.host)-batch(bareHost))
				}
				slices.Sort(over)
				b.ReportMetric(over[len(over)/2], "ns-over-bare")
			})
		}
	}
}

// overBatch is enough for what the garbage collector does to be in each.
const overBatch = 2000

// BenchmarkRefused is what requests take that are not passed on.
func BenchmarkRefused(b *testing.B) {
	s := load(b)
	_, revoked := s.signIn(wikiHost, ann)
	s.want(newRequest("POST", wikiHost, "/.auth/sign-out", revoked, page, form), wikiHost, http.StatusSeeOther)
	_, expired := s.signIn(shortHost, "bob@example.com")
	time.Sleep(1100 * time.Millisecond)
	for _, kind := range []struct {
		name, host string
		cookies    []string
	}{
		{"none", wikiHost, []string{ownCookies}},
		{"forged", wikiHost, forged(4096)},
		{"revoked", wikiHost, []string{cookies(revoked)}},
		{"expired", shortHost, []string{cookies(expired)}},
	} {
		b.Run(kind.name+"/page", func(b *testing.B) {
			newRequest("GET", kind.host, "/projects/2024?tab=open", ownCookies, page).repeat(b, s.servers[kind.host], http.StatusSeeOther, kind.cookies...)
		})
		b.Run(kind.name+"/xhr", func(b *testing.B) {
			newRequest("GET", kind.host, "/projects/2024?tab=open", ownCookies, xhr).repeat(b, s.servers[kind.host], http.StatusUnauthorized, kind.cookies...)
		})
	}
}

// BenchmarkSignInPage is what its form takes: to show it, and to send it, once
// for a sign-in request that is made and once for one that is joined.
func BenchmarkSignInPage(b *testing.B) {
	s := load(b)
	server := s.servers[wikiHost]
	b.Run("get", func(b *testing.B) {
		newRequest("GET", wikiHost, "/.auth/sign-in?return_to=%2Fprojects", ownCookies, page).repeat(b, server, http.StatusOK)
	})
	browser, _ := s.signIn(wikiHost, ann)
	b.Run("post/joined", func(b *testing.B) {
		post := newRequest("POST", wikiHost, "/.auth/sign-in", cookies(browser), page, form)
		post.body = url.Values{"email": {ann}, "return_to": {"/projects"}}.Encode()
		post.repeat(b, server, http.StatusSeeOther)
	})
	visitor := 0
	b.Run("post/made", func(b *testing.B) {
		post := newRequest("POST", wikiHost, "/.auth/sign-in", ownCookies, page, form)
		b.ReportAllocs()
		for b.Loop() {
			visitor++
			post.body = url.Values{"email": {fmt.Sprintf("visitor%d@example.org", visitor)}, "return_to": {"/projects"}}.Encode()
			if got := post.send(server); got != http.StatusSeeOther {
				b.Fatalf("status %d: %s", got, post.response.brief())
			}
		}
	})
}
