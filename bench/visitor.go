package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Cookies of plain-HTTP loopback.
const (
	sessionCookie = "postern_session"
	browserCookie = "postern_browser"
)

// mail is one that came.
type mail struct {
	code, link string // link is its path and query
	at         time.Time
}

var (
	codeInMail = regexp.MustCompile(`(?m)^@\S+ #(\d+)\r?$`)
	linkInMail = regexp.MustCompile(`(?m)^https?://[^/\s]+(/\S+/link\?token=\S+)\r?$`)
	toInMail   = regexp.MustCompile(`(?m)^To: (\S+)\r?$`)
)

// mailbox reads the folder that a server writes mails to, and hands them out by
// address.
type mailbox struct {
	folder string
	mu     sync.Mutex
	byTo   map[string]chan mail
	failed error
}

// openMailbox reads until ctx ends.
func openMailbox(ctx context.Context, s *server) *mailbox {
	m := &mailbox{folder: s.file("mail"), byTo: map[string]chan mail{}}
	go func() {
		for ctx.Err() == nil {
			if err := m.read(); err != nil {
				m.mu.Lock()
				m.failed = err
				m.mu.Unlock()
			}
			sleep(ctx, time.Millisecond)
		}
	}()
	return m
}

func (m *mailbox) of(address string) chan mail {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byTo[address] == nil {
		m.byTo[address] = make(chan mail, 8)
	}
	return m.byTo[address]
}

// read hands out what is in the folder, and removes it, so that looking stays
// quick.
func (m *mailbox) read() error {
	folder, err := os.Open(m.folder)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer folder.Close()
	names, err := folder.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".eml") {
			continue
		}
		path := filepath.Join(m.folder, name)
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.Remove(path); err != nil {
			return err
		}
		to, one, err := parseMail(text)
		if err != nil {
			return err
		}
		select {
		case m.of(to) <- one:
		default:
			return fmt.Errorf("more mails to %s than anybody reads", to)
		}
	}
	return nil
}

func parseMail(text []byte) (to string, m mail, err error) {
	text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("=\r\n"), nil), []byte("=3D"), []byte("="))
	address, code, link := toInMail.FindSubmatch(text), codeInMail.FindSubmatch(text), linkInMail.FindSubmatch(text)
	if address == nil || code == nil || link == nil {
		return "", mail{}, errors.New("a mail lacks its address, its code or its link")
	}
	return string(address[1]), mail{string(code[1]), string(link[1]), time.Now()}, nil
}

// wait returns the next mail to an address.
func (m *mailbox) wait(ctx context.Context, address string) (mail, error) {
	select {
	case one := <-m.of(address):
		return one, nil
	case <-ctx.Done():
		return mail{}, ctx.Err()
	case <-time.After(patience):
		m.mu.Lock()
		defer m.mu.Unlock()
		return mail{}, errors.Join(fmt.Errorf("no mail to %s", address), m.failed)
	}
}

// signedIn is a browser with a session.
type signedIn struct{ browser, session string } // cookies, as name=value

// took is how long the steps of a sign-in were.
type took struct{ start, mail, answer time.Duration }

// signIn signs in on a connection, by code or by link.
func (c *client) signIn(ctx context.Context, s *server, box *mailbox, email string, byLink bool) (signedIn, took, error) {
	var times took
	begin := time.Now()
	started, err := c.do(post(s.host(), "/.auth/sign-in", "", url.Values{"email": {email}, "return_to": {"/"}}.Encode()), true)
	if err != nil {
		return signedIn{}, times, err
	}
	asked := time.Now()
	times.start = asked.Sub(begin)
	_, id, found := strings.Cut(started.location, "request=")
	if started.status != 303 || !found {
		return signedIn{}, times, fmt.Errorf("sign-in of %s: status %d: %.300s", email, started.status, started.body)
	}
	browser := started.cookie(browserCookie)
	letter, err := box.wait(ctx, email)
	if err != nil {
		return signedIn{}, times, err
	}
	times.mail = letter.at.Sub(asked)
	request := post(s.host(), "/.auth/verify", cookieHeader(browser), url.Values{"request": {id}, "code": {letter.code}}.Encode())
	if byLink {
		request = get(s.host(), letter.link, page+cookieHeader(browser))
	}
	begin = time.Now()
	verified, err := c.do(request, true)
	times.answer = time.Since(begin)
	if err == nil && (verified.status != 303 || verified.cookie(sessionCookie) == "") {
		err = fmt.Errorf("answer of %s: status %d: %.300s", email, verified.status, verified.body)
	}
	return signedIn{verified.cookie(browserCookie), verified.cookie(sessionCookie)}, times, err
}

// visitor signs in at a server by code.
func (b *bench) visitor(s *server, email string) (signedIn, error) {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	c, err := dial(s.addr())
	if err != nil {
		return signedIn{}, err
	}
	defer c.close()
	in, _, err := c.signIn(ctx, s, openMailbox(ctx, s), email, false)
	return in, err
}
