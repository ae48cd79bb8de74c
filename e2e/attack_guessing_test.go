package e2e_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/postern-auth/postern/e2e/postern"
)

// guesser is one of many browsers that ask for the same mailbox.
type guesser struct {
	v       *postern.Visitor
	client  string // as a trusted proxy tells it
	pending string
	email   string
}

// send sends a form as its client. Caddy loses a few connections at a reload:
// lost counts those, and the form is sent again.
func (g *guesser) send(path string, form url.Values) (answer *postern.Answer, lost int) {
	for {
		request := g.v.Form(path, form)
		request.Header.Set("X-Forwarded-For", g.client)
		answer, err := g.v.TryDo(request)
		if err == nil {
			return answer, lost
		}
		if lost++; lost == 20 {
			return &postern.Answer{Body: err.Error()}, lost
		}
	}
}

// guess sends a code and says whether it was compared: only then the answer
// names what is left, or that it was the last.
func (g *guesser) guess(code string) (compared bool, status, lost int) {
	answer, lost := g.send("/.auth/verify", url.Values{"request": {g.pending}, "code": {code}})
	return answer.Status == http.StatusUnprocessableEntity, answer.Status, lost
}

// behindProxy believes what this machine says of its clients.
const behindProxy = "servers {\n\t\ttrusted_proxies static 127.0.0.1/32\n\t}"

// TestGuessingFromEverywhere guesses the codes of one mailbox by many sign-in
// requests, spellings and client networks at once, while the configuration is
// loaded again and again.
func TestGuessingFromEverywhere(t *testing.T) {
	t.Parallel()
	config := postern.Config{
		Upstream: postern.StartUpstream(t), Sites: plain, Global: behindProxy,
		Auth: "limit attempts 6 10m\nlimit mails 1000 1m\nlimit network 100000 10m",
	}
	server := postern.Start(t, config)
	base := visitor(t, server)
	spellings := []string{"ann@example.com", "Ann@Example.COM", "  ann@example.com ", "ann+x@example.com", "ANN+Y@example.com", "ann+@example.com", "ann+x+y@example.com", "ann+%s@example.com"}
	clients := []string{"198.51.100.%d", "203.0.113.%d", "2001:db8:%d::1", "2001:db8:1:%d::1", "::ffff:192.0.2.%d"}
	var guessers []*guesser
	for i := range 16 {
		g := &guesser{v: base.Fresh(), client: fmt.Sprintf(clients[i%len(clients)], i+1), email: spellings[i%len(spellings)]}
		answer, _ := g.send("/.auth/sign-in", url.Values{"email": {g.email}})
		location, _ := url.Parse(answer.Want(t, http.StatusSeeOther).Location())
		g.pending = location.Query().Get("request")
		guessers = append(guessers, g)
	}
	mail := server.WaitMails(t, ann, 1)[0]
	var mu sync.Mutex
	statuses, compared, unanswered := make(map[int]int), 0, 0
	var group sync.WaitGroup
	for i, g := range guessers {
		group.Go(func() {
			for n := range 15 {
				was, status, lost := g.guess(fmt.Sprintf("%06d", 100000+1000*i+n))
				mu.Lock()
				statuses[status]++
				unanswered += lost
				if was {
					compared++
				}
				mu.Unlock()
			}
		})
	}
	for range 4 {
		server.Reload(config)
	}
	group.Wait()
	if compared > 6 || compared < 6-unanswered || statuses[http.StatusUnprocessableEntity]+statuses[http.StatusTooManyRequests] != 16*15 {
		t.Errorf("%d guesses were compared, want 6; %d answers were lost; statuses %v", compared, unanswered, statuses)
	}
	server.Reload(config)
	server.Restart()
	for i, g := range guessers {
		if was, status, _ := g.guess(mail.Code); was || status != http.StatusTooManyRequests {
			t.Errorf("guesser %d, %q: status %d after the limit", i, g.email, status)
		}
	}
	// Nobody else's mailbox is touched, and a right link works.
	other := base.Fresh()
	bob := other.Ask("bob@example.com", "/")
	bob.Answer(bob.Mail().Code).WantRedirect(t, "/")
	if location := guessers[0].v.OpenLink(mail.Link).Location(); location != "/" {
		t.Errorf("the link leads to %q", location)
	}
}

// TestOneSessionOfEverything answers one request rightly in all ways at once:
// the code, the link, and the button of other browsers.
func TestOneSessionOfEverything(t *testing.T) {
	t.Parallel()
	server, _ := start(t, plain, noLimits+"\nsame_browser off")
	for round := range 3 {
		v := visitor(t, server)
		pending := v.Ask(fmt.Sprintf("ann%d@example.com", round), "/")
		mail := pending.Mail()
		binding := v.Cookie(postern.LoopbackBrowserCookie)
		tabs := make(chan *postern.Visitor, 60)
		inParallel(make([]string, 20), func(string) int {
			byCode, byLink, byButton := v.Fresh(), v.Fresh(), v.Fresh()
			for _, tab := range []*postern.Visitor{byCode, byLink} {
				tab.SetCookie(postern.LoopbackBrowserCookie, binding)
			}
			answerIn(byCode, pending, mail.Code)
			_, _ = byLink.TryDo(byLink.AsNavigation(byLink.NewRequest(http.MethodGet, mail.Link, nil), "cross-site"))
			_, _ = byButton.TryDo(byButton.Form("/.auth/link", url.Values{"token": {tokenOf(t, mail.Link)}}))
			tabs <- byCode
			tabs <- byLink
			tabs <- byButton
			return 0
		})
		close(tabs)
		sessions := 0
		for tab := range tabs {
			if tab.Me() != "" {
				sessions++
			}
		}
		if sessions != 1 {
			t.Errorf("%d sessions of one sign-in request", sessions)
		}
	}
}

// TestCredentialsElsewhere uses the credentials of one request in every place
// that they are not for.
func TestCredentialsElsewhere(t *testing.T) {
	t.Parallel()
	server, _ := start(t, plain, noLimits+"\nlimit attempts 100 10m\ncode 12")
	v, eve := visitor(t, server), visitor(t, server)
	mine, bobs, eves := v.Ask(ann, "/"), v.Ask("bob@example.com", "/"), eve.Ask("eve@example.com", "/")
	code, token := mine.Mail().Code, tokenOf(t, mine.Mail().Link)
	verify := func(v *postern.Visitor, request, code string) *postern.Answer {
		return v.Submit("/.auth/verify", url.Values{"request": {request}, "code": {code}})
	}
	tokens := []string{
		"", "x", mine.ID, code, token + "A", token[1:], token[:len(token)-1], strings.ToLower(token), strings.ToUpper(token), token + "=", token + "\n", " " + token + "x", mine.ID + token, token + token,
		strings.Repeat("A", len(token)), tokenOf(t, bobs.Mail().Link)[:20] + token[20:], token[:22] + tokenOf(t, eves.Mail().Link)[22:], v.Cookie(postern.LoopbackBrowserCookie), strings.Repeat("A", 10000), "../" + token, token + "%00", "null", "0", "*",
	}
	for _, wrong := range tokens {
		v.OpenLink(v.Origin+"/.auth/link?token="+url.QueryEscape(wrong)).Want(t, http.StatusGone)
		v.Submit("/.auth/link", url.Values{"token": {wrong}}).Want(t, http.StatusGone)
	}
	for name, answer := range map[string]*postern.Answer{
		"a code for another request of this browser": verify(v, bobs.ID, code),
		"a code for another browser's request":       verify(v, eves.ID, eves.Mail().Code),
		"this browser's code in another":             verify(eve, mine.ID, code),
		"a code in another's request":                verify(eve, eves.ID, code),
		"a token as code":                            verify(v, mine.ID, token),
		"an id as code":                              verify(v, mine.ID, mine.ID),
		"a token as request":                         verify(v, token, code),
		"a code as request":                          verify(v, code, code),
		"no request":                                 verify(v, "", code),
		"two codes":                                  v.Submit("/.auth/verify", url.Values{"request": {mine.ID}, "code": {strings.Repeat("1", 12), code}}),
		"two requests":                               v.Submit("/.auth/verify", url.Values{"request": {bobs.ID, mine.ID}, "code": {code}}),
		"a code in the query":                        v.Submit("/.auth/verify?request="+mine.ID+"&code="+code, nil),
		"a request with another's path":              verify(v, "../"+mine.ID, code),
		"a code with more":                           verify(v, mine.ID, code+code),
		"a code in other digits":                     verify(v, mine.ID, strings.NewReplacer("0", "٠", "1", "١", "2", "٢", "3", "٣", "4", "٤", "5", "٥", "6", "٦", "7", "٧", "8", "٨", "9", "٩").Replace(code)),
		"another's link":                             eve.OpenLink(mine.Mail().Link),
		"another's link by the button":               eve.Submit("/.auth/link", url.Values{"token": {token}}),
	} {
		if answer.Status == http.StatusSeeOther || answer.Cookie(postern.LoopbackSessionCookie) != nil {
			t.Errorf("%s: status %d", name, answer.Status)
		}
	}
	if v.Me() != "" || eve.Me() != "" {
		t.Error("somebody was signed in")
	}
	// None of it used anything up. What was used is worth nothing elsewhere.
	mine.Answer(code).WantRedirect(t, "/")
	for _, other := range []*postern.Visitor{eve, visitor(t, server)} {
		other.OpenLink(mine.Mail().Link).Want(t, http.StatusGone)
		if answer := verify(other, mine.ID, code); answer.Status == http.StatusSeeOther {
			t.Errorf("a used code elsewhere: status %d", answer.Status)
		}
	}
	v.SignOut()
	mine.Answer(code).Want(t, http.StatusGone)
	v.OpenLink(mine.Mail().Link).Want(t, http.StatusGone)
	bobs.Answer(bobs.Mail().Code).WantRedirect(t, "/")
	if v.Me() != "bob@example.com" {
		t.Error("the other request of the browser is gone")
	}
}
