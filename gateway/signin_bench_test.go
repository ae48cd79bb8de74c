package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/gatewaytest"
	"github.com/postern-auth/postern/gateway/mail"
)

// mailboxes hands each mail to whoever waits for it. It is a mail.Transport.
type mailboxes struct{ byAddress sync.Map }

func (m *mailboxes) of(address string) chan mail.Message {
	box, _ := m.byAddress.LoadOrStore(address, make(chan mail.Message, 1))
	return box.(chan mail.Message)
}

// Deliver implements mail.Transport.
func (m *mailboxes) Deliver(_ context.Context, message mail.Message) error {
	m.of(message.To) <- message
	return nil
}

// Close implements mail.Transport.
func (m *mailboxes) Close() error { return nil }

var codeOfMail = regexp.MustCompile(`(?m)^@\S+ #(\S+)$`)

// BenchmarkSignIn signs visitors in at an engine whose database is on disk: the
// start, the wait for the mail, the code. One is a sign-in with nobody else
// there; with 64 at once, the rate is what counts.
func BenchmarkSignIn(b *testing.B) {
	for _, atOnce := range []int{1, 64} {
		b.Run(fmt.Sprint(atOnce), func(b *testing.B) {
			boxes := &mailboxes{}
			many := gateway.Limit{Count: 1 << 30, Window: time.Hour}
			e := onDisk(b, b.TempDir(), gateway.Config{Limits: gateway.Limits{Network: many, Total: many}}, boxes)
			defer e.close(b)
			b.ReportAllocs()
			b.ResetTimer()
			var next atomic.Int64
			var group sync.WaitGroup
			for range atOnce {
				group.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						if err := e.signIn(boxes, fmt.Sprintf("visitor%d@example.com", n)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sign-ins/s")
		})
	}
}

func (e *diskEngine) signIn(boxes *mailboxes, email string) error {
	ctx := context.Background()
	browser := &gateway.Browser{Binding: randomSecret()}
	started, err := e.Start(ctx, gateway.StartRequest{
		Site: e.site, Browser: browser, Email: email, ReturnTo: "/", ClientIP: "192.0.2.1", UserAgent: gatewaytest.Chrome,
	})
	if err != nil {
		return err
	}
	var found []string
	select {
	case message := <-boxes.of(email):
		found = codeOfMail.FindStringSubmatch(message.Text)
	case <-time.After(time.Minute):
	}
	if found == nil {
		return errors.New("no mail with a code came to " + email)
	}
	_, err = e.Verify(ctx, gateway.Answer{
		Site: e.site, Request: started.ID, Code: found[1], Browser: browser, ClientIP: "192.0.2.1", UserAgent: gatewaytest.Chrome,
	})
	return err
}
