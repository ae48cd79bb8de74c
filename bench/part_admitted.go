package main

import (
	"encoding/base64"
	"fmt"
	"os/exec"
	"path/filepath"
)

// password is what basic_auth asks for.
const password = "correct horse battery staple"

// admitted compares ways to let somebody in who is known, with Caddy's proxy
// behind each.
func (b *bench) admitted() error {
	targets, err := b.admittedTargets()
	if err != nil {
		return err
	}
	all, err := b.shortRounds(targets)
	if err != nil {
		return err
	}
	b.report.table("Admitted requests over sockets",
		[]string{"target", "requests/s", "ratio to bare Caddy", cpuPerRequest, "ratio to bare Caddy"}, compared(targets, all))
	b.report.note("Ratios are medians over the rounds, each to bare Caddy in the same round, with the least and the greatest. `basic_auth` is used from a Caddyfile, which always caches passwords that were right; `forward_auth` asks a service on this machine that does nothing. `a handler that sets five headers` is bare Caddy with a handler that sets what Postern sets, always the same and as quickly as can be: what it costs Caddy to hand an identity on.")
	ours := all[len(all)-1]
	ratio := median(ratios(ours, all[0], rate))
	b.report.target(fmt.Sprintf("at least 0.97 of bare Caddy's throughput; it is %.3f, where bare Caddy again has %.3f and a handler that only sets such headers %.3f (Postern has %.3f of that one's)",
		ratio, median(ratios(all[1], all[0], rate)), median(ratios(all[2], all[0], rate)), median(ratios(ours, all[2], rate))), ratio >= 0.97)
	return b.tableTogether("Admitted requests, all targets loaded at the same time", cpuPerRequest, targets)
}

func (b *bench) admittedTargets() ([]target, error) {
	hash, err := exec.CommandContext(b.ctx, b.bare, "hash-password", "--plaintext", password).Output()
	if err != nil {
		return nil, fmt.Errorf("hash-password: %w", err)
	}
	headers := filepath.Join(b.dir, "headers")
	if err := b.build(headers, "./bench/headers"); err != nil {
		return nil, err
	}
	postern, ann, err := b.startFull()
	if err != nil {
		return nil, err
	}
	if err := admittedLoad(postern, ann).once(); err != nil {
		return nil, err
	}
	basic := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("ann:"+password)) + "\r\n"
	var targets []target
	for _, t := range []struct {
		name, program, config, headers, body string
	}{
		{"bare Caddy", b.bare, bareSite(), "", knowsNobody},
		{"bare Caddy again (noise)", b.bare, bareSite(), "", knowsNobody},
		{"a handler that sets five headers", headers, headersSite(int(b.upstream.assertion.Load())), "", knowsAsserted},
		{"Postern's program, without email_auth", b.postern, bareSite(), "", knowsNobody},
		{"basic_auth", b.bare, basicAuthSite(string(hash)), basic, knowsNobody},
		{"forward_auth", b.bare, forwardAuthSite(), "", knowsUser},
	} {
		s, err := b.start(t.name, t.program, t.config)
		if err != nil {
			return nil, err
		}
		// All get the same request, with the cookies of somebody who is signed in.
		request := get(s.host(), "/projects/2024?tab=open", xhr+t.headers+cookieHeader(ann.browser, ann.session))
		targets = append(targets, of(t.name, load{s, always(request), 200, t.body}))
	}
	return append(targets, of("Postern", admittedLoad(postern, ann))), nil
}

// startFull starts Postern, and signs somebody in.
func (b *bench) startFull() (*server, signedIn, error) {
	s, err := b.start("Postern", b.postern, fullSite())
	if err != nil {
		return nil, signedIn{}, err
	}
	ann, err := b.visitor(s, "ann@example.com")
	return s, ann, err
}

func admittedLoad(s *server, who signedIn) load {
	request := get(s.host(), "/projects/2024?tab=open", xhr+cookieHeader(who.browser, who.session))
	return load{s, always(request), 200, knowsAsserted}
}
