package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/gatewaytest"
)

// inParallel runs fn n times at once.
func inParallel(n int, fn func(i int)) {
	var ready, done sync.WaitGroup
	ready.Add(1)
	for i := range n {
		done.Go(func() {
			ready.Wait()
			fn(i)
		})
	}
	ready.Done()
	done.Wait()
}

// asked is a sign-in request at the engine, without HTTP.
type asked struct {
	site    *gatewaytest.Site
	browser *gateway.Browser
	id      string
}

func ask(t *testing.T, site *gatewaytest.Site, browser *gateway.Browser, email string) asked {
	t.Helper()
	started, err := site.Engine.Start(t.Context(), gateway.StartRequest{
		Site: site.Site(site.Host), Browser: browser, Email: email, ReturnTo: "/", ClientIP: "192.0.2.1",
	})
	if err != nil {
		t.Fatal(err)
	}
	return asked{site, browser, started.ID}
}

func (a asked) code(code string) (gateway.Verified, error) {
	return a.site.Engine.Verify(context.Background(), gateway.Answer{Site: a.site.Site(a.site.Host), Browser: a.browser, Request: a.id, Code: code})
}

func aBrowser(name string) *gateway.Browser { return &gateway.Browser{Binding: "binding of " + name} }

func TestParallelWrongCodes(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 5, 20} {
		t.Run(strconv.Itoa(limit), func(t *testing.T) {
			t.Parallel()
			site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{Limits: gateway.Limits{Attempts: gateway.Limit{Count: limit, Window: time.Minute}}}})
			a := ask(t, site, aBrowser("ann"), ann)
			right := site.LastMail(ann).Code
			codes := wrongCodes(right, 1000)
			var compared, refused atomic.Int64
			left := make([]atomic.Int64, limit)
			inParallel(len(codes), func(i int) {
				_, err := a.code(codes[i])
				var wrong *gateway.WrongCodeError
				var over *gateway.LimitError
				switch {
				case errors.As(err, &wrong):
					compared.Add(1)
					left[wrong.Left].Add(1)
				case errors.As(err, &over) && over.Limit == "attempts" && over.RetryAfter > 0:
					refused.Add(1)
				default:
					t.Errorf("%v", err)
				}
			})
			if compared.Load() != int64(limit) || refused.Load() != int64(1000-limit) {
				t.Errorf("%d compared and %d refused", compared.Load(), refused.Load())
			}
			for n := range left {
				if left[n].Load() != 1 {
					t.Errorf("%d answers say that %d are left", left[n].Load(), n)
				}
			}
			if _, err := a.code(right); err == nil {
				t.Error("the right code got in after the last attempt")
			}
		})
	}
}

func TestParallelGuessesOverHTTP(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	b.Start(ann)
	right := site.LastMail(ann).Code
	// The right one is among them; whether it comes in time is chance.
	codes := append(wrongCodes(right, 299), right)
	var mu sync.Mutex
	statuses := map[int]int{}
	inParallel(len(codes), func(i int) {
		a := b.Code(codes[i])
		mu.Lock()
		defer mu.Unlock()
		statuses[a.Status]++
	})
	if statuses[422] > 5 || statuses[303] > 1 || statuses[303] == 0 && statuses[422] != 5 || statuses[422]+statuses[303]+statuses[429]+statuses[410] != 300 {
		t.Errorf("statuses %v", statuses)
	}
}

func TestEqualWrongCodesCountOnce(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	a := ask(t, site, aBrowser("ann"), ann)
	right := site.LastMail(ann).Code
	wrong := wrongCodes(right, 2)
	spellings := []string{wrong[0], " " + wrong[0], wrong[0][:3] + " " + wrong[0][3:], wrong[0][:3] + "-" + wrong[0][3:]}
	inParallel(200, func(i int) {
		_, err := a.code(spellings[i%len(spellings)])
		var wrong *gateway.WrongCodeError
		if !errors.As(err, &wrong) || wrong.Left != 4 {
			t.Errorf("%v", err)
		}
	})
	_, err := a.code(wrong[1])
	var second *gateway.WrongCodeError
	if !errors.As(err, &second) || second.Left != 3 {
		t.Errorf("another one: %v", err)
	}
	// The same code for another request is another attempt.
	_, err = ask(t, site, aBrowser("another"), ann).code(wrong[0])
	if !errors.As(err, &second) || second.Left != 2 {
		t.Errorf("for another request: %v", err)
	}
}

func TestParallelRightAnswers(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"code", "link", "both"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			site := gatewaytest.New(t, gatewaytest.Options{})
			b := site.Browser()
			b.Start(ann)
			mail := site.LastMail(ann)
			var in, gone atomic.Int64
			inParallel(50, func(i int) {
				var a *gatewaytest.Answer
				if kind == "code" || kind == "both" && i%2 == 0 {
					a = b.On(site).Code(mail.Code) // with the cookies from before
				} else {
					a = b.On(site).OpenLink(mail.Link)
				}
				switch {
				case a.Status == 303 && a.Cookie(gateway.SessionCookie) != nil:
					in.Add(1)
				case a.Status == 410 && a.Cookie(gateway.SessionCookie) == nil:
					gone.Add(1)
				default:
					t.Errorf("status %d", a.Status)
				}
			})
			if in.Load() != 1 || gone.Load() != 49 {
				t.Errorf("%d got in, %d are told that it is used", in.Load(), gone.Load())
			}
		})
	}
}

func TestAttemptsAreForTheAddress(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	// Each guess by another browser, for another request, another spelling of the
	// address, from another network.
	spellings := []string{ann, "ANN@example.com", "ann+a@example.com", "ann+b+c@example.com", " ann@Example.com ", "ann+@example.com"}
	for i, spelling := range spellings {
		b := site.Browser()
		b.IP = fmt.Sprintf("192.0.2.%d", i+1)
		b.Start(spelling).Want(t, 303)
		want := 422
		if i >= 5 {
			want = 429
		}
		b.Code(fmt.Sprintf("%06d", i)).Want(t, want)
	}
	// Another address is not concerned.
	b := site.Browser()
	b.SignIn(bob)
}

func TestWindowsAreFixed(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{Expires: time.Hour}})
	a := ask(t, site, aBrowser("ann"), ann)
	codes := wrongCodes(site.LastMail(ann).Code, 20)
	try := func(i, left int) {
		t.Helper()
		_, err := a.code(codes[i])
		var wrong *gateway.WrongCodeError
		var over *gateway.LimitError
		if left < 0 && !errors.As(err, &over) || left >= 0 && (!errors.As(err, &wrong) || wrong.Left != left) {
			t.Errorf("try %d: %v, want %d left", i, err, left)
		}
	}
	try(0, 4)
	site.Advance(9 * time.Minute)
	try(1, 3) // does not begin the window anew
	site.Advance(time.Minute - time.Second)
	try(2, 2)
	try(3, 1)
	try(4, 0)
	try(5, -1)
	site.Advance(time.Second) // 10:00 after the first
	try(6, 4)
	site.Advance(10*time.Minute - time.Second)
	try(7, 3)
	site.Advance(time.Second)
	try(8, 4)
}

func TestNothingResetsACount(t *testing.T) {
	t.Parallel()
	for _, renew := range []bool{false, true} {
		t.Run(fmt.Sprint("renew ", renew), func(t *testing.T) {
			t.Parallel()
			site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{RenewOnResend: renew}})
			b := site.Browser()
			b.Start(ann)
			codes := wrongCodes(site.LastMail(ann).Code, 20)
			b.Code(codes[0]).WantText(t, "4 attempts left")
			b.Resend().Want(t, 303)
			right := site.LastMail(ann).Code
			codes = wrongCodes(right, 20)
			b.Code(codes[1]).WantText(t, "3 attempts left")
			b.Code(right).WantLocation(t, "/")
			other := site.Browser()
			site.Advance(time.Minute)
			other.Start(ann).Want(t, 303)
			other.Code(codes[2]).WantText(t, "2 attempts left")
			site.Restart()
			other.Code(codes[3]).WantText(t, "1 attempt left")
			site.Reload(func(*gatewaytest.Options) {})
			other.Code(codes[4]).WantText(t, "no attempts left")
			other.Code(codes[5]).Want(t, 429)
		})
	}
}

// A right code is no wrong guess: who signs in six times in ten minutes does.
func TestSuccessIsNoAttempt(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{Limits: gateway.Limits{Mails: gateway.Limit{Count: 100, Window: time.Minute}}}})
	b := site.Browser()
	for range 8 {
		b.SignIn(ann)
	}
}

// A code that was wrong before a renewing resend is compared with another code
// after it, so it is a guess like any other, and one too many is not compared.
func TestRenewedCodesAreNotGuessedForFree(t *testing.T) {
	t.Parallel()
	config := gateway.Config{RenewOnResend: true, Method: gateway.MethodCode}
	begin := func(t *testing.T) (*gatewaytest.Site, *gatewaytest.Browser, string) {
		site := gatewaytest.New(t, gatewaytest.Options{Config: config})
		b := site.Browser()
		b.Start(ann)
		first := site.LastMail(ann).Code
		// What the next mail will say, learnt in a copy of this world.
		fork := site.Copy()
		there := b.On(fork)
		there.Resend().Want(t, 303)
		next := fork.LastMail(ann).Code
		if next == first {
			t.Skip("one in a million")
		}
		return site, b, next
	}
	t.Run("counted", func(t *testing.T) {
		t.Parallel()
		site, b, next := begin(t)
		codes := wrongCodes(next, 4)
		for _, code := range codes {
			b.Code(code)
		}
		b.Resend().Want(t, 303)
		site.Settle()
		compared := 0
		for _, code := range codes {
			if b.Code(code).Status == 422 {
				compared++
			}
		}
		if compared > 1 {
			t.Errorf("%d codes were compared with the new one, with one attempt left", compared)
		}
	})
	t.Run("not told apart", func(t *testing.T) {
		t.Parallel()
		site, b, next := begin(t)
		codes := append(wrongCodes(next, 4), next)
		for _, code := range codes {
			if a := b.Code(code); a.Status != 422 {
				t.Skip("one in a million")
			}
		}
		b.Resend().Want(t, 303)
		site.Settle()
		wrong, right := b.Code(codes[0]), b.Code(next)
		if wrong.Status != right.Status {
			t.Errorf("without attempts a wrong code gets %d and the right one %d", wrong.Status, right.Status)
		}
	})
}

func TestTwoLanes(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	known := site.Browser()
	known.SignIn(ann)
	known.SignOut()
	site.Advance(time.Hour)

	// Strangers use up all attempts and mails that they can.
	for i := range 30 {
		stranger := site.Browser()
		stranger.IP = fmt.Sprintf("198.51.100.%d", i)
		stranger.Start(ann).Want(t, 303)
		for n := range 6 {
			stranger.Code(fmt.Sprintf("%06d", 10*i+n))
		}
		site.Advance(3 * time.Minute)
	}
	site.Settle()
	if got := len(site.Mails.To(ann)); got != 1+gateway.DailyMails-1 && got != 1+gateway.DailyMails {
		t.Errorf("%d mails", got)
	}
	stranger := site.Browser()
	stranger.IP = "203.0.113.9"
	stranger.Start(ann)
	stranger.Code("123456").Want(t, 429)

	before := len(site.Mails.To(ann))
	known.Start(ann).Want(t, 303)
	mail := site.LastMail(ann)
	if len(site.Mails.To(ann)) != before+1 {
		t.Fatal("the known browser gets no mail")
	}
	for _, code := range wrongCodes(mail.Code, 4) {
		known.Code(code).Want(t, 422)
	}
	known.Code(mail.Code).WantLocation(t, "/")

	// What happens in the known browser's lane is nothing to the others: theirs
	// opens again at its own time.
	other := site.Browser()
	site.Advance(24 * time.Hour)
	other.SignIn(ann)
}

func TestKnownBrowserHasLimitsToo(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	known := site.Browser()
	known.SignIn(ann)
	site.Advance(24 * time.Hour)
	known.Start(ann)
	code := site.LastMail(ann).Code
	for _, wrong := range wrongCodes(code, 5) {
		known.Code(wrong).Want(t, 422)
	}
	known.Code(code).Want(t, 429)
	known.Resend().Want(t, 303)
	known.Resend().Want(t, 429)
	// A lane belongs to one address: this browser is a stranger to others.
	known.Start(bob)
	known.Code("000000").WantText(t, "4 attempts left")
	stranger := site.Browser()
	stranger.Start(bob)
	stranger.Code("000001").WantText(t, "3 attempts left")
}

func TestLinkIsNotBlockedByGuesses(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	b.Start(ann)
	mail := site.LastMail(ann)
	for _, wrong := range wrongCodes(mail.Code, 5) {
		b.Code(wrong)
	}
	b.Code(mail.Code).Want(t, 429).WantText(t, "The link in the mail still works")
	b.OpenLink(mail.Link).WantLocation(t, "/")
}

// burn types 20 wrong codes a day from strangers' browsers; it takes half an hour.
func burn(t *testing.T, site *gatewaytest.Site, email string) {
	t.Helper()
	for i := range 4 {
		if i > 0 {
			site.Advance(10 * time.Minute)
		}
		stranger := site.Browser()
		stranger.IP = fmt.Sprintf("198.51.100.%d", i+1)
		stranger.Start(email).Want(t, 303)
		for n := range 5 {
			stranger.Code(fmt.Sprintf("%06d", 100*i+n)).Want(t, 422)
		}
	}
}

func TestDailyCapOfCodes(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	burn(t, site, ann)
	reached := site.Clock.Now()
	site.Advance(10 * time.Minute)
	b := site.Browser()
	b.Start(ann).Want(t, 303)
	mail := site.LastMail(ann)
	a := b.Code(mail.Code).Want(t, 429)
	if wait, _ := strconv.Atoi(a.Header.Get("Retry-After")); time.Duration(wait)*time.Second < 23*time.Hour || wait > 86400 {
		t.Errorf("Retry-After %d", wait)
	}
	b.OpenLink(mail.Link).WantLocation(t, "/") // links go on
	site.Browser().SignIn(bob)

	t.Run("for 24 h", func(t *testing.T) {
		site.Advance(reached.Add(24*time.Hour - time.Minute).Sub(site.Clock.Now()))
		late := site.Browser()
		late.Start(ann)
		late.Code(site.LastMail(ann).Code).Want(t, 429)
	})
	site.Advance(reached.Add(24 * time.Hour).Sub(site.Clock.Now()))
	next := site.Browser()
	next.Start(ann)
	next.Code(site.LastMail(ann).Code).WantLocation(t, "/")
}

func TestDailyCapMailsLinks(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{Method: gateway.MethodCode}})
	// Somebody has asked, and will find the codes stopped.
	waiting := site.Browser()
	burnFirst := func() {
		for i := range 3 {
			stranger := site.Browser()
			stranger.Start(ann).Want(t, 303)
			for n := range 5 {
				stranger.Code(fmt.Sprintf("%06d", 100*i+n)).Want(t, 422)
			}
			site.Advance(10 * time.Minute)
		}
	}
	burnFirst()
	waiting.Start(ann).Want(t, 303)
	if mail := site.LastMail(ann); mail.Link != "" || mail.Code == "" {
		t.Fatalf("before the cap the mail has link %q and code %q", mail.Link, mail.Code)
	}
	stranger := site.Browser()
	stranger.Start(ann)
	for n := range 5 {
		stranger.Code(fmt.Sprintf("%06d", 900+n)).Want(t, 422)
	}
	site.Advance(time.Minute)

	b := site.Browser()
	b.Start(ann).Want(t, 303)
	mail := site.LastMail(ann)
	if mail.Link == "" || mail.Code != "" {
		t.Fatalf("after it the mail has link %q and code %q", mail.Link, mail.Code)
	}
	b.Open("/.auth/code?request="+b.Request).Want(t, 200).WantNoText(t, `name="code"`)
	b.Code("123456").Want(t, 422).WantText(t, "has no code")
	b.OpenLink(mail.Link).WantLocation(t, "/")

	t.Run("for a request from before too", func(t *testing.T) {
		site.Advance(time.Minute)
		waiting.Resend().Want(t, 303)
		mail := site.LastMail(ann)
		if mail.Link == "" {
			t.Fatal("the mail that was asked for again has a code alone, which does not work")
		}
		waiting.OpenLink(mail.Link).WantLocation(t, "/")
	})
}

func TestDailyCapOfMails(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{Limits: gateway.Limits{Mails: gateway.Limit{Count: 100, Window: time.Minute}}}})
	for i := range gateway.DailyMails + 3 {
		b := site.Browser()
		b.IP = fmt.Sprintf("198.51.100.%d", i)
		b.Start(ann).Want(t, 303) // nobody is told
		site.Settle()
		if got := len(site.Mails.To(ann)); got != min(i+1, gateway.DailyMails) {
			t.Fatalf("%d mails after %d starts", got, i+1)
		}
		if i >= gateway.DailyMails {
			a := b.Resend().Want(t, 429)
			if wait, _ := strconv.Atoi(a.Header.Get("Retry-After")); wait != 86400 {
				t.Errorf("Retry-After %d", wait)
			}
		}
	}
	site.Advance(24 * time.Hour)
	site.Browser().SignIn(ann)
}

func TestSuffixesShareLimitsAlone(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{Rules: []*gateway.Rule{gatewaytest.Rule(t, "ann+work@example.com")}})
	b := site.Browser()
	b.Start("ann+work@example.com").Want(t, 303)
	mail := site.LastMail("ann+work@example.com")
	plain := site.Browser()
	plain.Start(ann).Want(t, 303)
	site.Settle()
	if len(site.Mails.To(ann)) != 0 {
		t.Error("policy dropped the suffix")
	}
	third := site.Browser()
	third.Start("ann+third@example.com")
	third.Resend().Want(t, 429) // the mails of the minute are used up by the others
	plain.Code("000000").WantText(t, "4 attempts left")
	b.Code("000001").WantText(t, "3 attempts left")
	b.Code(mail.Code).WantLocation(t, "/")
	if b.SignedIn() != "ann+work@example.com" {
		t.Error("the session dropped the suffix")
	}
}

func TestLimitNetwork(t *testing.T) {
	t.Parallel()
	limits := gateway.Limits{Network: gateway.Limit{Count: 3, Window: time.Minute}}
	for name, test := range map[string]struct{ same, others []string }{
		"IPv4":   {[]string{"192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"}, []string{"192.0.2.2", "192.0.3.1"}},
		"IPv6":   {[]string{"2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff:ffff:ffff:ffff", "2001:DB8::3"}, []string{"2001:db8:0:1::1", "2001:db8:1::"}},
		"mapped": {[]string{"::ffff:198.51.100.1", "198.51.100.1", "::ffff:c633:6401", "198.51.100.1"}, []string{"::ffff:198.51.100.2"}},
		"zones":  {[]string{"fe80::1%eth0", "fe80::2%eth1", "fe80::3", "fe80::4"}, []string{"fe80:0:0:1::1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{Limits: limits}})
			for i, ip := range test.same {
				b := site.Browser()
				b.IP = ip
				a := b.Start(fmt.Sprintf("user%d@example.com", i))
				if i < 3 {
					a.Want(t, 303)
					continue
				}
				wantPage(t, a.Want(t, 429))
				if a.Header.Get("Retry-After") != "60" {
					t.Errorf("Retry-After %q", a.Header.Get("Retry-After"))
				}
			}
			for _, ip := range test.others {
				b := site.Browser()
				b.IP = ip
				b.Start(ann).Want(t, 303)
			}
			site.Restart()
			late := site.Browser()
			late.IP = test.same[0]
			late.Start(ann).Want(t, 429)
			site.Advance(time.Minute)
			late.Start(ann).Want(t, 303)
		})
	}
	t.Run("in parallel", func(t *testing.T) {
		t.Parallel()
		site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{Limits: gateway.Limits{Network: gateway.Limit{Count: 7, Window: time.Minute}}}})
		var ok atomic.Int64
		inParallel(60, func(i int) {
			if site.Browser().Start(fmt.Sprintf("user%d@example.com", i)).Status == 303 {
				ok.Add(1)
			}
		})
		if ok.Load() != 7 {
			t.Errorf("%d starts", ok.Load())
		}
	})
	t.Run("a limited start does nothing", func(t *testing.T) {
		t.Parallel()
		site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{Limits: gateway.Limits{Network: gateway.Limit{Count: 1, Window: time.Minute}}}})
		site.Browser().Start(bob)
		site.Settle()
		before := site.Dump()
		site.Browser().Start(ann).Want(t, 429)
		if site.Dump() != before {
			t.Error("the store changed")
		}
	})
}

func TestLimitTotal(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{Expires: time.Hour, Limits: gateway.Limits{Total: gateway.Limit{Count: 3, Window: 30 * time.Minute}}}})
	for i := range 5 {
		site.Browser().Start(fmt.Sprintf("user%d@example.com", i)).Want(t, 303) // nobody is told
	}
	waiting := func(times int) func() bool {
		return func() bool { return strings.Count(site.Log(), "limit total allows") >= times }
	}
	eventually(t, "two mails wait", waiting(2))
	eventually(t, "three are sent", func() bool { return len(site.Mails.All()) >= 3 })
	if got := len(site.Mails.All()); got != 3 {
		t.Errorf("%d mails", got)
	}
	site.Restart()
	eventually(t, "they wait again", waiting(4))
	if got := len(site.Mails.All()); got != 3 {
		t.Errorf("%d mails after a restart", got)
	}
	site.Advance(30 * time.Minute)
	site.Flush()
	if got := len(site.Mails.All()); got != 5 {
		t.Errorf("%d mails when the window is over", got)
	}
}

// eventually waits for what happens in the background.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("waited in vain until %s", what)
}

// TestFullServerKeepsNothing: once the server takes no further sign-in request,
// asking from yet another network leaves nothing behind.
func TestFullServerKeepsNothing(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	full := fmt.Sprintf(`{"start":%q,"count":%d}`, site.Clock.Now().Format(time.RFC3339), gateway.MaxStartsPerHour)
	err := site.Store.Update(t.Context(), "limit/starts", time.Hour, func([]byte) ([]byte, error) { return []byte(full), nil })
	if err != nil {
		t.Fatal(err)
	}
	before := site.Dump()
	for i := range 5 {
		b := site.Browser()
		b.IP = fmt.Sprintf("2001:db8:0:%x::1", i)
		b.Start(ann).Want(t, http.StatusTooManyRequests)
	}
	if after := site.Dump(); after != before {
		t.Errorf("this was kept:\n%s\nand before:\n%s", after, before)
	}
	site.Advance(time.Hour)
	site.Browser().SignIn(ann)
}

func TestPostponedMail(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		window time.Duration
		waits  time.Duration
		want   int
	}{
		{"goes out when the window is over", time.Minute, time.Minute, 3},
		{"not before", time.Minute, time.Minute - time.Second, 2},
		{"not when its credentials expired", 20 * time.Minute, 20 * time.Minute, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{Limits: gateway.Limits{Mails: gateway.Limit{Count: 2, Window: test.window}}}})
			var last *gatewaytest.Browser
			for range 3 {
				last = site.Browser()
				last.Start(ann).Want(t, 303)
				site.Settle()
			}
			if got := len(site.Mails.To(ann)); got != 2 || site.Queued() != 1 {
				t.Errorf("%d mails at first, %d queued", got, site.Queued())
			}
			last.Resend().Want(t, 429)
			site.Advance(test.waits)
			site.Settle()
			mails := site.Mails.To(ann)
			if len(mails) != test.want {
				t.Fatalf("%d mails, want %d", len(mails), test.want)
			}
			if test.want == 3 {
				if site.Queued() != 0 {
					t.Error("it stays in the queue")
				}
				last.Code(mails[2].Code).WantLocation(t, "/")
			}
		})
	}
}

func TestTabsJoin(t *testing.T) {
	t.Parallel()
	for _, email := range []string{ann, eve} {
		t.Run(email, func(t *testing.T) {
			t.Parallel()
			site := gatewaytest.New(t, gatewaytest.Options{})
			b := site.Browser()
			b.Open("/.auth/sign-in")
			started := make([]*gatewaytest.Answer, 10)
			inParallel(10, func(i int) {
				started[i] = b.Submit("/.auth/sign-in", "email", []string{email, "  " + email}[i%2], "return_to", fmt.Sprintf("/tab/%d", i))
			})
			site.Settle()
			if email == ann && len(site.Mails.All()) != 1 {
				t.Errorf("%d mails", len(site.Mails.All()))
			}
			for i, a := range started {
				a.Want(t, http.StatusSeeOther)
				if a.Query("request") != started[0].Query("request") {
					t.Errorf("tab %d has a request of its own", i)
				}
			}
			if email == eve {
				return
			}
			b.Request = started[0].Query("request")
			b.OpenLink(site.LastMail(ann).Link).Want(t, 303)
			for i, a := range started {
				b.Open(a.Location()).WantLocation(t, fmt.Sprintf("/tab/%d", i))
			}
		})
	}
	t.Run("the code leads where its tab began", func(t *testing.T) {
		t.Parallel()
		site := gatewaytest.New(t, gatewaytest.Options{})
		b := site.Browser()
		b.StartFor(ann, "/one")
		second := b.StartFor(ann, "/two")
		page := b.Open(second.Location()).Want(t, 200).WantText(t, `name="return_to" value="/two"`)
		wantPage(t, page)
		b.Submit("/.auth/verify", "request", b.Request, "code", site.LastMail(ann).Code, "return_to", "/two").WantLocation(t, "/two")
	})
	t.Run("not over sites and browsers", func(t *testing.T) {
		t.Parallel()
		site := gatewaytest.New(t, gatewaytest.Options{Others: []gateway.SiteConfig{{Host: "blog.example.com", Origin: "https://blog.example.com"}}})
		b := site.Browser()
		ids := []string{b.Start(ann).Query("request"), site.Browser().Start(ann).Query("request"), b.At("blog.example.com").Start(ann).Query("request"), b.Start(bob).Query("request")}
		slices.Sort(ids)
		if len(slices.Compact(ids)) != 4 || ids[0] == "" {
			t.Errorf("requests %v", ids)
		}
	})
}

func TestPendingPerBrowser(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	for i := range 10 {
		b.Start(fmt.Sprintf("user%d@example.com", i)).Want(t, 303)
	}
	a := b.Start("user10@example.com").Want(t, 429)
	wantPage(t, a)
	if a.Header.Get("Retry-After") != "600" {
		t.Errorf("Retry-After %q", a.Header.Get("Retry-After"))
	}
	b.Start("user3@example.com").Want(t, 303) // joins
	site.Browser().Start("user10@example.com").Want(t, 303)
	// One that is answered makes room.
	mail := site.LastMail("user4@example.com")
	b.OpenLink(mail.Link).WantLocation(t, "/")
	b.Start("user10@example.com").Want(t, 303)
	b.Start("user11@example.com").Want(t, 429)
	site.Advance(10 * time.Minute)
	b.Start("user11@example.com").Want(t, 303)

	t.Run("in parallel", func(t *testing.T) {
		b := site.Browser()
		b.IP = "198.51.100.1"
		b.Open("/.auth/sign-in")
		var ok atomic.Int64
		inParallel(25, func(i int) {
			if b.Submit("/.auth/sign-in", "email", fmt.Sprintf("other%d@example.com", i)).Status == 303 {
				ok.Add(1)
			}
		})
		if ok.Load() != 10 {
			t.Errorf("%d requests", ok.Load())
		}
	})
}
