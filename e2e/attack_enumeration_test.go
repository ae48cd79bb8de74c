package e2e_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/postern-auth/postern/e2e/postern"
)

// countdowns are the numbers that differ where a second passes between two
// answers. All others have to be the same.
var countdowns = regexp.MustCompile(`data-(wait|expires)="\d+"|Retry-After: \d+|\b\d+ (second|minute)s?\b`)

// stranger is somebody without the mail who tries to find out whether an
// address may enter. What is seen is noted, each answer without its ids.
type stranger struct {
	t       *testing.T
	v       *postern.Visitor
	email   string
	request string
	names   []string
	seen    []string
}

// note keeps the whole answer, headers too.
func (s *stranger) note(name string, answer *postern.Answer) *postern.Answer {
	var out strings.Builder
	fmt.Fprintln(&out, answer.Status)
	header := answer.Header.Clone()
	header.Del("Date")
	header.Del("Content-Length") // of a body with countdowns, which follows
	for i, cookie := range header["Set-Cookie"] {
		value, rest, _ := strings.Cut(cookie, ";")
		header["Set-Cookie"][i] = fmt.Sprintf("%d bytes;%s", len(value), rest)
	}
	_ = header.Write(&out)
	out.WriteString(answer.Body)
	text := requestID.ReplaceAllString(out.String(), "ID")
	text = strings.ReplaceAll(strings.ReplaceAll(text, s.email, "ADDRESS"), url.QueryEscape(s.email), "ADDRESS")
	s.names = append(s.names, name)
	s.seen = append(s.seen, countdowns.ReplaceAllString(text, "COUNTDOWN"))
	return answer
}

func (s *stranger) start(v *postern.Visitor, returnTo string) string {
	answer := s.note("start", v.Submit("/.auth/sign-in", url.Values{"email": {s.email}, "return_to": {returnTo}}))
	location, err := url.Parse(answer.Location())
	if err != nil {
		s.t.Fatal(err)
	}
	return location.Query().Get("request")
}

func (s *stranger) page(v *postern.Visitor) {
	s.note("code page", v.Navigate("/.auth/code?request="+s.request))
	poll := v.NewRequest(http.MethodGet, "/.auth/code?request="+s.request, nil)
	poll.Header.Set("Accept", "application/json")
	s.note("poll", v.Do(poll))
	program := v.NewRequest(http.MethodGet, "/.auth/code?request="+s.request, nil)
	s.note("a program", v.Do(program))
	s.note("HEAD", v.Do(v.AsNavigation(v.NewRequest(http.MethodHead, "/.auth/code?request="+s.request, nil), "none")))
}

func (s *stranger) code(v *postern.Visitor, code string) {
	s.note("code "+code, v.Submit("/.auth/verify", url.Values{"request": {s.request}, "code": {code}}))
}

// play goes through all that can be done without the mail: each page in each of
// its states, resends, limits, other browsers.
func (s *stranger) play() {
	s.note("form", s.v.Navigate("/.auth/sign-in?return_to=/x"))
	s.request = s.start(s.v, "/x")
	s.page(s.v)
	s.start(s.v, "/x") // joins
	s.start(s.v, "/other-tab")
	for _, code := range []string{"", "x", "12345", "1234567", "BCDFGH", "000000", "000000", "000001", "BBBBBB", "BBBBBB", "CCCCCC"} {
		s.code(s.v, code)
		s.page(s.v)
	}
	for range 3 {
		s.note("resend", s.v.Submit("/.auth/resend", url.Values{"request": {s.request}}))
		s.page(s.v)
	}
	for _, code := range []string{"000000", "000001", "000002", "DDDDDD", "FFFFFF", "000003", ""} { // some when none are left
		s.code(s.v, code)
	}
	s.page(s.v)
	s.start(s.v, "/x")
	// Another browser, which has the id, and then its own request.
	other := s.v.Fresh()
	s.page(other)
	s.code(other, "000004")
	s.note("resend", other.Submit("/.auth/resend", url.Values{"request": {s.request}}))
	s.request = s.start(other, "/y")
	s.page(other)
	s.code(other, "000005")
	s.note("resend", other.Submit("/.auth/resend", url.Values{"request": {s.request}}))
	// Beside it, and with other spellings.
	for _, odd := range []string{strings.ToUpper(s.email), " " + s.email + " "} {
		third := s.v.Fresh()
		answer := third.Submit("/.auth/sign-in", url.Values{"email": {odd}})
		s.note("start by another spelling", answer)
		s.note("its page", third.Navigate(answer.Location()))
	}
	for _, path := range []string{"/.auth/me", "/.auth/", "/.auth/signed-out", "/x", "/.auth/sign-in", "/.auth/sign-in?prompt=login", "/.auth/link?token=" + s.request} {
		s.note(path, s.v.Navigate(path))
		s.note(path+" by a program", s.v.Fetch(path))
	}
	s.note("sign-out", s.v.Submit("/.auth/sign-out", nil))
	s.page(s.v)
}

// TestAnswersTellNobodyWhoMayEnter plays with addresses that may enter, that may
// not, and that are denied by name, and compares all answers byte for byte.
func TestAnswersTellNobodyWhoMayEnter(t *testing.T) {
	t.Parallel()
	site := strings.Replace(plain, "*@example.com", "*@example.com group:staff {\n\t\tdeny deny@example.com\n\t}", 1)
	for name, auth := range map[string]string{
		"both": "", "codes of letters, renewed": "method code\ncode 6 letters\nresend renew", "links in any browser": "method link\nsame_browser off", "no mails left": "limit total 1 1h",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, _ := start(t, site, "group staff staf@example.net\nlimit network 100000 10m\nlimit attempts 3 10m\nlimit mails 2 1m\n"+auth)
			players := make([]*stranger, 0, 4)
			for _, email := range []string{"able@example.com", "evil@example.net", "deny@example.com", "staf@example.net"} {
				s := &stranger{t: t, v: visitor(t, server), email: email}
				s.play()
				players = append(players, s)
			}
			first := players[0]
			for _, other := range players[1:] {
				for i := range first.seen {
					if first.seen[i] != other.seen[i] {
						t.Errorf("step %d, %q, of %s and %s:\n%s", i, first.names[i], first.email, other.email, difference(first.seen[i], other.seen[i]))
					}
				}
			}
			if len(first.seen) < 100 {
				t.Errorf("%d answers", len(first.seen))
			}
			if n := len(server.Mails("evil@example.net")) + len(server.Mails("deny@example.com")); n != 0 {
				t.Errorf("%d mails to addresses that may not enter", n)
			}
		})
	}
}

// difference is where two texts part.
func difference(a, b string) string {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	around := func(text string) string { return text[max(0, min(i, len(text))-80):min(len(text), i+160)] }
	return fmt.Sprintf("…%s…\n…%s…", around(a), around(b))
}
