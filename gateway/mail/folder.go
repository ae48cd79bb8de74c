package mail

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// FolderConfig says where mails are written.
type FolderConfig struct {
	// Path is the folder, which is made if it is missing. Required.
	Path string
	// Log gets every mail's address, subject and text, codes and links
	// included, at level Info: this transport is for trying things out.
	// Default: nothing is logged.
	Log *slog.Logger
	// Now is the clock that names the files. Default: time.Now.
	Now func() time.Time
}

// Folder writes each mail to a file of its own instead of sending it. It is a
// Transport.
type Folder struct {
	config FolderConfig

	mu     sync.Mutex
	last   time.Time // of the newest file
	closed bool
}

var _ Transport = (*Folder)(nil)

// NewFolder makes the folder, for the owner alone, along with missing parents.
// The rights of a folder that exists are left alone, with a warning if others
// can look into it.
func NewFolder(config FolderConfig) (*Folder, error) {
	if config.Path == "" {
		return nil, errors.New("mail folder: no path is given")
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if err := os.MkdirAll(config.Path, 0o700); err != nil {
		return nil, fmt.Errorf("mail folder: %w", err)
	}
	info, err := os.Stat(config.Path)
	if err != nil {
		return nil, fmt.Errorf("mail folder: %w", err)
	}
	if rights := info.Mode().Perm(); rights&0o077 != 0 {
		config.Log.Warn("others can look into the mail folder; its files are for the owner alone",
			"folder", config.Path, "rights", rights.String())
	}
	return &Folder{config: config}, nil
}

// Deliver writes the mail to a file, whole or not at all, that is named by the
// time, so that the names sort in the order of delivery.
func (f *Folder) Deliver(ctx context.Context, m Message) error {
	content, err := Compose(m, nil)
	if err != nil {
		return &Error{Permanent: true, Reason: "the mail cannot be composed: " + err.Error(), Err: err}
	}
	name, err := f.nextName()
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = writeFile(name, content)
	}
	if err != nil {
		return &Error{Reason: "mail folder: " + err.Error(), Err: err}
	}
	f.config.Log.Info("MAIL NOT SENT, for trying it out: "+oneLine(m.Subject),
		"to", m.To, "link", firstLink(m.Text), "file", name, "text", m.Text)
	return nil
}

// firstLink is the first line of a text that is a link, for copying it out of
// the log. Empty: there is none.
func firstLink(text string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "http") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// Close refuses later deliveries.
func (f *Folder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

// nextName returns the path of the next file: later than every one before,
// even if the clock stands still or goes back.
func (f *Folder) nextName() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return "", ErrClosed
	}
	now := f.config.Now().UTC().Round(0)
	if !now.After(f.last) {
		now = f.last.Add(1)
	}
	f.last = now
	// The random end keeps processes apart that share the folder.
	name := now.Format("20060102T150405.000000000Z") + "-" + strings.ToLower(rand.Text()[:6]) + ".eml"
	return filepath.Join(f.config.Path, name), nil
}

// writeFile writes a file of mode 0600 beside its final name, and renames it
// when all of it is on disk. A hidden name keeps half files from *.eml.
func writeFile(name string, content []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(name), ".mail-*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // of no effect after the renaming
	_, err = temp.Write(content)
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err != nil {
		return err
	}
	return os.Rename(temp.Name(), name)
}
