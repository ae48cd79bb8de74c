package main_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
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

// BenchmarkChain is what Caddy's compiled routes take for a request, without
// Postern and with it: a policy with a group and a domain, identity headers, one
// more header, an assertion, a session that counts as used.
func BenchmarkChain(b *testing.B) {
	s := load(b)
	browser, session := s.signIn(wikiHost, ann)
	all := cookies(browser, session)
	for _, kind := range []struct {
		name    string
		headers []string
	}{{"page", page}, {"xhr", xhr}} {
		b.Run("bare/"+kind.name, func(b *testing.B) {
			newRequest("GET", bareHost, "/projects/2024?tab=open", all, kind.headers).repeat(b, s.servers[bareHost], http.StatusOK)
		})
		b.Run("postern/"+kind.name, func(b *testing.B) {
			newRequest("GET", wikiHost, "/projects/2024?tab=open", all, kind.headers).repeat(b, s.servers[wikiHost], http.StatusOK)
		})
	}
}

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
