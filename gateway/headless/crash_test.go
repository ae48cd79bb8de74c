package headless_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/gatewaytest"
	pb "github.com/postern-auth/postern/gateway/headless/headlesspb"
)

// TestFaultsAtEachWrite fails or kills at each write of each call: what was
// answered stays true, nothing verifies twice, and the next try works.
func TestFaultsAtEachWrite(t *testing.T) {
	t.Parallel()
	for _, kill := range []bool{false, true} {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("kill %v, done %v", kill, done), func(t *testing.T) {
				t.Parallel()
				n := 1
				for faultAt(t, n, kill, done) {
					n++
				}
				if n < 6 {
					t.Errorf("only %d writes were struck", n-1)
				}
			})
		}
	}
}

// faultAt goes through a sign-in in which the n-th write of each call is struck,
// and says whether any call had so many.
func faultAt(t *testing.T, n int, kill, done bool) (struck bool) {
	t.Helper()
	p := newPortal(t, gateway.Config{Limits: gateway.Limits{Mails: gateway.Limit{Count: 10, Window: time.Minute}}})
	shop := &restAPI{p, p.token("shop")}
	strike := func(call func()) {
		t.Helper()
		p.Settle()
		p.HoldMail() // so that the queue writes nothing of its own
		hit := func(w gatewaytest.Write) error {
			if w.N != n {
				return nil
			}
			if kill {
				p.Store.Kill()
			}
			return gatewaytest.ErrFault
		}
		if done {
			p.Store.Reset(nil, hit)
		} else {
			p.Store.Reset(hit, nil)
		}
		call()
		struck = struck || len(p.Store.Writes()) >= n
		p.Store.Reset(nil, nil)
		p.ReleaseMail()
		if kill {
			p.KillAndRestart()
		} else {
			p.Restart() // which finds a mail that was queued and not answered for
		}
		p.open()
	}

	strike(func() { _, _ = shop.send(to("ann@example.com")) })
	id, code, _ := sent(t, p, shop, to("ann@example.com"))
	strike(func() { _, _ = shop.resend(&pb.ResendPasswordlessRequest{AuthRequestId: id}) })
	if _, failed := shop.resend(&pb.ResendPasswordlessRequest{AuthRequestId: id}); failed != nil {
		t.Errorf("write %d: resend: %+v", n, failed)
	}
	strike(func() { _, _ = shop.verify(byCode(id, wrong(code, 1))) })
	var first *told
	strike(func() { _, first = shop.verify(byCode(id, code)) })
	_, second := shop.verify(byCode(id, code))
	switch {
	case first == nil || done && n == 1:
		second.want(t, 9, "AUTH_REQUEST_EXPIRED", "") // it is used up, whether the answer arrived or not
	case second != nil:
		t.Errorf("write %d: verify: %+v, then %+v", n, first, second)
	}
	return struck
}

// TestEqualWork: an address that the client may not mail is as much work as any
// other, in the calls and behind them.
func TestEqualWork(t *testing.T) {
	t.Parallel()
	var work [][]string
	for _, email := range []string{"ann@example.com", "eve@example.org"} {
		p := newPortal(t, gateway.Config{}, client(t, "shop", func(c *gateway.ClientConfig) { c.Allow = gatewaytest.Who(t, "*@example.com") }))
		shop := &restAPI{p, p.token("shop")}
		p.Store.Reset(nil, nil)
		out, _ := shop.send(to(email))
		p.Settle()
		_, _ = shop.resend(&pb.ResendPasswordlessRequest{AuthRequestId: out.AuthRequestId})
		p.Settle()
		_, _ = shop.verify(byCode(out.AuthRequestId, "000000"))
		work = append(work, p.Store.Kinds())
	}
	if !slices.Equal(work[0], work[1]) || len(work[0]) < 8 {
		t.Errorf("a mailed address: %v\na refused one: %v", work[0], work[1])
	}
}
