package mail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/emersion/go-smtp"
)

// SMTP delivers to a mail server and keeps a few connections for the next
// mails. It is a Transport.
type SMTP struct {
	config SMTPConfig
	pool   *pool
}

var _ Transport = (*SMTP)(nil)

// NewSMTP checks the configuration; it does not connect. Its errors name the
// option at fault and hold no secret.
func NewSMTP(config SMTPConfig) (*SMTP, error) {
	if err := config.complete(); err != nil {
		return nil, fmt.Errorf("smtp: %w", err)
	}
	for _, s := range config.Signers {
		if s.weak() {
			config.Log.Warn("the DKIM key is short: 2048 bits are advised, and some receivers ignore less",
				"domain", s.options.Domain, "selector", s.options.Selector, "bits", s.bits)
		}
	}
	config.Signers = slices.Clone(config.Signers)
	return &SMTP{config: config, pool: newPool(config.Connections, config.IdleTimeout)}, nil
}

// Deliver sends one mail and waits for the server to take it over. When as many
// mails as Connections allows are on their way, it waits for its turn first. A
// server that keeps it waiting at every step can hold it for about six minutes
// with the default timeouts, unless ctx ends before.
//
// A mail that the server took over is never reported as failed, whatever
// happens to the connection afterwards. A connection that fails after the end
// of the mail was sent and before the server answered is reported as
// temporary, with ErrUnconfirmed: another try may deliver the mail twice, none
// may lose it.
func (s *SMTP) Deliver(ctx context.Context, m Message) error {
	envelope, err := m.check()
	if err != nil {
		return &Error{Permanent: true, Reason: "the mail cannot be sent: " + err.Error(), Err: err}
	}
	if err := s.pool.acquire(ctx); err != nil {
		return s.failure(ctx, stepConnect, err)
	}
	defer s.pool.release()

	content, err := Compose(m, s.config.Signers)
	if err != nil {
		return &Error{Permanent: true, Reason: "the mail cannot be composed: " + err.Error(), Err: err}
	}
	c, err := s.begin(ctx, envelope, len(content))
	if err != nil {
		return err
	}
	err = s.transfer(ctx, c, envelope.to, content)
	s.settle(c, err)
	return err
}

// Close ends the idle connections.
func (s *SMTP) Close() error {
	s.pool.close()
	return nil
}

// begin returns a connection on which the server accepted the sender. Servers
// drop idle connections and limit the mails on one, so whatever fails on a used
// connection is tried once more on a fresh one; up to here nothing was sent
// that could come twice.
func (s *SMTP) begin(ctx context.Context, e envelope, size int) (*session, error) {
	if c := s.pool.take(); c != nil {
		c.watch(ctx)
		if c.alive() && s.mailFrom(ctx, c, e, size) == nil {
			return c, nil
		}
		c.abandon()
		s.config.Log.Debug("an idle connection to the mail server was of no more use", "server", s.config.Addr)
	}
	c, err := s.connect(ctx, e.domain)
	if err != nil {
		return nil, err
	}
	if err := s.mailFrom(ctx, c, e, size); err != nil {
		s.settle(c, err)
		return nil, err
	}
	return c, nil
}

func (s *SMTP) mailFrom(ctx context.Context, c *session, e envelope, size int) error {
	if err := c.client.Mail(e.from.address, &smtp.MailOptions{Size: int64(size)}); err != nil {
		return s.failure(ctx, stepMail, err)
	}
	return nil
}

// transfer goes from RCPT to the server's answer to the mail.
func (s *SMTP) transfer(ctx context.Context, c *session, to string, content []byte) error {
	if err := c.client.Rcpt(to, nil); err != nil {
		return s.failure(ctx, stepRcpt, err)
	}
	w, err := c.client.Data()
	if err != nil {
		return s.failure(ctx, stepData, err)
	}
	// Writing has no deadline of its own, and a server that does not read
	// would hold it for ever.
	c.deadline(s.config.SubmissionTimeout)
	if _, err := w.Write(content); err != nil {
		return s.failure(ctx, stepData, err)
	}
	return s.finish(ctx, w)
}

// finish sends the final dot and reads the answer, which alone tells who has
// the mail now.
func (s *SMTP) finish(ctx context.Context, w io.Closer) error {
	err := w.Close()
	var reply *smtp.SMTPError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &reply) && reply.Code/100 == 2:
		return nil // taken over, with another code than 250
	}
	failed := s.failure(ctx, stepEnd, err)
	if failed.Code == 0 {
		failed.Reason += " (" + ErrUnconfirmed.Error() + ")"
		failed.Err = errors.Join(ErrUnconfirmed, failed.Err)
	}
	return failed
}

// settle keeps the connection after a success. After a failure its state is
// anybody's guess, and a fresh one is cheap.
func (s *SMTP) settle(c *session, err error) {
	whole := c.unwatch()
	switch {
	case err == nil && whole:
		s.pool.put(c)
	case refused(err) && whole:
		c.quit()
	default:
		c.abandon()
	}
}
