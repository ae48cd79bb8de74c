package gatewaytest

import (
	"context"
	"regexp"
	"sync"
	"time"

	"github.com/postern-auth/postern/gateway/mail"
)

// Mail is one that was delivered.
type Mail struct {
	mail.Message
	// Code and Link are the credentials in it, or empty.
	Code, Link string
}

var (
	codeInMail = regexp.MustCompile(`(?m)^@\S+ #(\S+)$`)
	linkInMail = regexp.MustCompile(`(?m)^https?://\S+/link\?token=\S+$`)
)

func readMail(m mail.Message) Mail {
	read := Mail{Message: m, Link: linkInMail.FindString(m.Text)}
	if found := codeInMail.FindStringSubmatch(m.Text); found != nil {
		read.Code = found[1]
	}
	return read
}

// Fault is what the mail server does to deliveries.
type Fault int

// The faults of a mail server.
const (
	Healthy   Fault = iota
	Temporary       // refuses for now
	Permanent       // refuses for good
	Hang            // never answers
	Cut             // takes the mail over, and the connection breaks before it says so
)

// Mails is a mail server that keeps what it gets. It is a mail.Transport.
type Mails struct {
	mu    sync.Mutex
	delay time.Duration
	fault Fault
	all   []Mail
	tries int
}

var _ mail.Transport = (*Mails)(nil)

// Break makes the server behave badly, or well again.
func (m *Mails) Break(f Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = f
}

// Delay makes each delivery take that long, in real time.
func (m *Mails) Delay(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.delay = d
}

// Deliver implements mail.Transport.
func (m *Mails) Deliver(ctx context.Context, message mail.Message) error {
	m.mu.Lock()
	delay := m.delay
	m.mu.Unlock()
	time.Sleep(delay)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tries++
	switch m.fault {
	case Temporary:
		return &mail.Error{Reason: "450 try again"}
	case Permanent:
		return &mail.Error{Reason: "550 nobody here", Permanent: true}
	case Hang:
		m.mu.Unlock()
		<-ctx.Done()
		m.mu.Lock()
		return &mail.Error{Reason: "no answer", Err: ctx.Err()}
	}
	m.all = append(m.all, readMail(message))
	if m.fault == Cut {
		return &mail.Error{Reason: "cut off", Err: mail.ErrUnconfirmed}
	}
	return nil
}

// Close implements mail.Transport.
func (m *Mails) Close() error { return nil }

// To returns the mails that an address got, in order.
func (m *Mails) To(address string) []Mail {
	m.mu.Lock()
	defer m.mu.Unlock()
	var mails []Mail
	for _, one := range m.all {
		if one.Message.To == address {
			mails = append(mails, one)
		}
	}
	return mails
}

// All returns every mail, in order.
func (m *Mails) All() []Mail {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Mail(nil), m.all...)
}

// Tries is how often a delivery was begun.
func (m *Mails) Tries() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tries
}
