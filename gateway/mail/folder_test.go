package mail_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-auth/postern/gateway/mail"
)

func TestFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "mails")
	var log bytes.Buffer
	// The clock stands still, and once goes back.
	now := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	folder, err := mail.NewFolder(mail.FolderConfig{
		Path: path, Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		m := example()
		m.Subject = fmt.Sprint(i)
		if i == 6 {
			now = now.Add(-time.Hour)
		}
		if err := folder.Deliver(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	for i, text := range readFolder(t, path) {
		if !bytes.Contains(text, []byte(fmt.Sprintf("\r\nSubject: %d\r\n", i))) {
			t.Errorf("file %d is another mail:\n%s", i, text)
		}
	}
	if !strings.Contains(log.String(), "#"+secretCode) || !strings.Contains(log.String(), "user@example.com") {
		t.Errorf("the log lacks the mail: %s", log.String())
	}
	if strings.Contains(log.String(), "others can look") {
		t.Error("a warning about rights")
	}
}

// readFolder returns the mails in the order of their names, and checks rights.
func readFolder(t *testing.T, path string) [][]byte {
	t.Helper()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(path) // sorted
	if err != nil {
		t.Fatal(err)
	}
	var mails [][]byte
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 || filepath.Ext(e.Name()) != ".eml" {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
		text, err := os.ReadFile(filepath.Join(path, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		mails = append(mails, text)
	}
	return mails
}

func TestFolderConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mails")
	folder, err := mail.NewFolder(mail.FolderConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	var sending sync.WaitGroup
	for range 50 {
		sending.Go(func() {
			if err := folder.Deliver(t.Context(), example()); err != nil {
				t.Error(err)
			}
		})
	}
	sending.Wait()
	mails := readFolder(t, path)
	if len(mails) != 50 {
		t.Errorf("%d files, want 50", len(mails))
	}
	checkContent(t, mails[0], example())
}

func TestFolderErrors(t *testing.T) {
	if _, err := mail.NewFolder(mail.FolderConfig{}); err == nil {
		t.Error("no path was taken")
	}
	path := t.TempDir() // open to others
	var log bytes.Buffer
	folder, err := mail.NewFolder(mail.FolderConfig{Path: path, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "others can look into the mail folder") {
		t.Errorf("no warning about rights in %q", log.String())
	}
	m := example()
	m.To = "nobody"
	checkError(t, folder.Deliver(t.Context(), m), mail.Error{Permanent: true, Reason: "recipient: the address has no @"})

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	checkError(t, folder.Deliver(ctx, example()), mail.Error{Reason: "context canceled"})

	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	checkError(t, folder.Deliver(t.Context(), example()), mail.Error{Reason: "mail folder: "})

	folder.Close()
	if err := folder.Deliver(t.Context(), example()); !errors.Is(err, mail.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
