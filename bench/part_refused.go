package main

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
)

// refused compares requests that are not passed on with one that is: whoever
// floods a site with them must not cost it more than its visitors.
func (b *bench) refused() error {
	targets, err := b.refusedTargets()
	if err != nil {
		return err
	}
	all, err := b.rounds(targets)
	if err != nil {
		return err
	}
	b.report.table("Refused requests over sockets",
		[]string{"request", "requests/s", "ratio to an admitted one", cpuPerRequest, "ratio to an admitted one"}, compared(targets, all))
	dearest, name := 0.0, ""
	for i, t := range targets[1:] {
		if ratio := median(ratios(all[i+1], all[0], cost)); ratio > dearest {
			dearest, name = ratio, t.name
		}
	}
	b.report.target(fmt.Sprintf("none takes more CPU than an admitted request; the dearest is %s, with %.2f", name, dearest), dearest <= 1)
	return nil
}

func (b *bench) refusedTargets() ([]target, error) {
	s, ann, err := b.startFull()
	if err != nil {
		return nil, err
	}
	bob, err := b.visitor(s, "bob@example.com")
	if err != nil {
		return nil, err
	}
	out, err := ask(s.addr(), post(s.host(), "/.auth/sign-out", cookieHeader(bob.session), ""))
	if err != nil || out.status != 303 {
		return nil, fmt.Errorf("signing out: status %d, %w", out.status, err)
	}
	const path = "/projects/2024?tab=open"
	targets := []target{of("admitted", admittedLoad(s, ann))}
	for _, kind := range []struct {
		name    string
		cookies []string
	}{
		{"no cookie", []string{""}}, {"forged cookie", forgedCookies(10_000)}, {"revoked session", []string{bob.session}},
	} {
		targets = append(targets,
			of(kind.name+", page", load{s, oneOf(kind.cookies, s.host(), path, page), 303, ""}),
			of(kind.name+", script", load{s, oneOf(kind.cookies, s.host(), path, xhr), 401, "sign_in_url"}))
	}
	form := get(s.host(), "/.auth/sign-in?return_to=%2Fprojects", page+cookieHeader())
	return append(targets, of("the sign-in page", load{s, always(form), 200, "</form>"})), nil
}

// forgedCookies look like those of sessions.
func forgedCookies(n int) (all []string) {
	for range n {
		all = append(all, sessionCookie+"="+newSecret())
	}
	return all
}

// newSecret looks like one of a session.
func newSecret() string {
	secret := make([]byte, 32)
	rand.Read(secret)
	return base64.RawURLEncoding.EncodeToString(secret)
}
