package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// streams compares what goes through after a request was admitted: messages of
// WebSockets, and large bodies.
func (b *bench) streams() error {
	size := int64(1 << 30)
	if b.short {
		size = 64 << 20
	}
	servers, cookies, err := b.streamServers()
	if err != nil {
		return err
	}
	for _, kind := range []struct {
		heading, perSecond, cpu string
		of                      func(s *server, cookie string) func(context.Context, time.Duration) (sample, error)
	}{
		{"WebSocket messages, echoed", "messages/s", "server CPU per message, µs", webSocketEcho},
		{fmt.Sprintf("Download of %d MiB", size>>20), "MB/s", "server CPU per MB, µs", transfer(size, download)},
		{fmt.Sprintf("Upload of %d MiB", size>>20), "MB/s", "server CPU per MB, µs", transfer(size, upload)},
	} {
		var targets []target
		for i, s := range servers {
			targets = append(targets, target{name: s.name, measure: kind.of(s, cookies[i]), server: s})
		}
		all, err := b.rounds(targets)
		if err != nil {
			return err
		}
		b.report.table(kind.heading, []string{"target", kind.perSecond, "ratio to bare Caddy", kind.cpu, "ratio to bare Caddy"}, compared(targets, all))
		if err := b.tableTogether(kind.heading+", all targets at the same time", kind.cpu, targets); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) streamServers() (servers []*server, cookies []string, err error) {
	for _, name := range []string{"bare Caddy", "bare Caddy again (noise)"} {
		s, err := b.start(name, b.bare, bareSite())
		if err != nil {
			return nil, nil, err
		}
		servers, cookies = append(servers, s), append(cookies, cookieHeader())
	}
	s, ann, err := b.startFull()
	return append(servers, s), append(cookies, cookieHeader(ann.session)), err
}

// webSocketEcho sends messages of 120 bytes on each connection and waits for
// each to come back.
func webSocketEcho(s *server, cookie string) func(context.Context, time.Duration) (sample, error) {
	return func(ctx context.Context, d time.Duration) (sample, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		var done atomic.Int64
		var clients sync.WaitGroup
		for range connections {
			clients.Go(func() {
				if err := echoClient(ctx, s, cookie, &done); err != nil {
					cancel(err)
				}
			})
		}
		sleep(ctx, min(d/4, 300*time.Millisecond))
		result, err := watch(ctx, s.pid(), &done, d)
		cancel(nil)
		clients.Wait()
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			return result, cause
		}
		return result, err
	}
}

func echoClient(ctx context.Context, s *server, cookie string, done *atomic.Int64) error {
	c, err := dial(s.addr())
	if err != nil {
		return err
	}
	defer c.close()
	a, err := c.do(get(s.host(), "/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+
		"Origin: http://"+s.host()+"\r\nSec-Fetch-Mode: websocket\r\nSec-Fetch-Dest: empty\r\nSec-Fetch-Site: same-origin\r\n"+cookie), false)
	if err != nil || a.status != 101 {
		return fmt.Errorf("upgrade: status %d, %w", a.status, err)
	}
	// A text frame with a mask of zeroes (RFC 6455, section 5.2).
	frame := append([]byte{0x81, 0x80 | 120, 0, 0, 0, 0}, bytes.Repeat([]byte("m"), 120)...)
	back := make([]byte, len(frame))
	for ctx.Err() == nil {
		if _, err := c.conn.Write(frame); err != nil {
			return err
		}
		if _, err := io.ReadFull(c.reader, back); err != nil {
			return err
		}
		if !bytes.Equal(frame, back) {
			return fmt.Errorf("%q came back", back)
		}
		done.Add(1)
	}
	return nil
}

// transfer makes a measurement of one large body.
func transfer(size int64, move func(*client, *server, string, int64) error) func(*server, string) func(context.Context, time.Duration) (sample, error) {
	return func(s *server, cookie string) func(context.Context, time.Duration) (sample, error) {
		return func(context.Context, time.Duration) (sample, error) {
			c, err := dial(s.addr())
			if err != nil {
				return sample{}, err
			}
			defer c.close()
			_ = c.conn.SetDeadline(time.Now().Add(5 * patience))
			before, err := cpuTime(s.pid())
			if err != nil {
				return sample{}, err
			}
			begin := time.Now()
			if err := move(c, s, cookie, size); err != nil {
				return sample{}, err
			}
			took := time.Since(begin)
			after, err := cpuTime(s.pid())
			mb := float64(size) / 1e6
			return sample{perSecond: mb / took.Seconds(), cpu: (after - before).Seconds() * 1e6 / mb}, err
		}
	}
}

func download(c *client, s *server, cookie string, size int64) error {
	if _, err := c.conn.Write(get(s.host(), "/download/"+strconv.FormatInt(size, 10), xhr+cookie)); err != nil {
		return err
	}
	status, err := c.reader.ReadString('\n')
	if err != nil {
		return err
	}
	if status != "HTTP/1.1 200 OK\r\n" {
		return fmt.Errorf("download: %q", status)
	}
	for line := status; line != "\r\n"; {
		if line, err = c.reader.ReadString('\n'); err != nil {
			return err
		}
	}
	left := size - int64(c.reader.Buffered())
	if _, err := c.reader.Discard(c.reader.Buffered()); err != nil {
		return err
	}
	room := make([]byte, 256<<10)
	for left > 0 {
		n, err := c.conn.Read(room)
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	if left < 0 {
		return errors.New("download: more came than was asked for")
	}
	return nil
}

func upload(c *client, s *server, cookie string, size int64) error {
	if _, err := fmt.Fprintf(c.conn, "POST /upload HTTP/1.1\r\nHost: %s\r\n%s%s%sContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n",
		s.host(), anyBrowser, xhr, cookie, size); err != nil {
		return err
	}
	for left := size; left > 0; {
		n, err := c.conn.Write(zeroes[:min(left, int64(len(zeroes)))])
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	a, err := readAnswer(c.reader, c.room, false)
	if err == nil && a.status != 200 {
		err = fmt.Errorf("upload: status %d: %.300s", a.status, a.body)
	}
	return err
}
