package mail

import (
	"context"
	"net"
	"time"

	"github.com/emersion/go-smtp"
)

const (
	// quitTimeout bounds the politeness of QUIT.
	quitTimeout = 2 * time.Second
	// aliveTimeout bounds the wait for a connection that may be dead without
	// telling, as behind a router that forgot it. A fresh one is quicker.
	aliveTimeout = 5 * time.Second
)

// session is one connection that is ready for MAIL. One goroutine at a time
// uses it.
type session struct {
	client *smtp.Client
	conn   net.Conn // below TLS: closing it ends everything at once
	born   time.Time
	stop   func() bool
	expiry *time.Timer // while idle
}

// watch closes the connection as soon as ctx ends, as the client knows no
// context.
func (c *session) watch(ctx context.Context) {
	c.stop = context.AfterFunc(ctx, func() { _ = c.conn.Close() })
}

// unwatch ends the watching and tells whether the connection is still whole.
func (c *session) unwatch() bool { return c.stop() }

func (c *session) deadline(d time.Duration) { _ = c.conn.SetDeadline(time.Now().Add(d)) }

// alive tells whether the server still listens.
func (c *session) alive() bool {
	usual := c.client.CommandTimeout
	defer func() { c.client.CommandTimeout = usual }()
	c.client.CommandTimeout = min(usual, aliveTimeout)
	return c.client.Noop() == nil
}

// quit says good-bye and closes the connection. What the server answers no
// longer matters.
func (c *session) quit() {
	c.client.CommandTimeout = quitTimeout
	_ = c.client.Quit()
	_ = c.conn.Close()
}

// abandon closes the connection without a word.
func (c *session) abandon() {
	c.stop()
	_ = c.conn.Close()
}
