package e2e_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
)

// onOwnDisk is a configuration whose store is on a disk of its own, while the
// mails are not.
func onOwnDisk(t *testing.T, megabytes int) (config postern.Config, disk string) {
	t.Helper()
	disk = t.TempDir()
	mount(t, "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", megabytes), "tmpfs", disk)
	t.Cleanup(func() { _ = exec.Command("umount", "-l", disk).Run() })
	return postern.Config{
		Sites: silent, Upstream: postern.StartUpstream(t),
		Auth: unlimited + "\nstore badger " + filepath.Join(disk, "store"),
	}, disk
}

func mount(t *testing.T, args ...string) {
	t.Helper()
	if output, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
		t.Fatalf("mount %v: %v\n%s", args, err, output)
	}
}

// leaveFree fills a disk so that about so many bytes are left.
func leaveFree(t *testing.T, disk string, left int) {
	t.Helper()
	free := freeSpace(t, disk)
	if free <= left {
		return
	}
	ballast, err := os.OpenFile(filepath.Join(disk, "ballast"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer ballast.Close()
	block := make([]byte, 64<<10)
	for n := free - left; n > 0; n -= len(block) {
		if _, err := ballast.Write(block[:min(n, len(block))]); err != nil {
			return // full
		}
	}
}

// freeSpace asks df, which knows every system.
func freeSpace(t *testing.T, disk string) (bytes int) {
	t.Helper()
	output, err := exec.Command("df", "--output=avail", "-B1", disk).Output()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(strings.Fields(string(output))[1], &bytes); err != nil {
		t.Fatal(err)
	}
	return bytes
}

// TestFullDisk fills the disk of the store in two steps: nearly, and wholly.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	config, disk := onOwnDisk(t, 96)
	server := postern.Start(t, config)
	stays, leaves, tries := visitor(t, server), visitor(t, server), visitor(t, server)
	stays.SignIn(ann)
	leaves.SignIn("bob@example.com")
	tries.SignIn("cid@example.com")
	waiting := visitor(t, server).Ask("dan@example.com", "/")
	code := waiting.Mail().Code

	leaveFree(t, disk, 16<<20)
	for i := range 5 {
		wantNoRoom(t, visitor(t, server), fmt.Sprintf("nearly%d@example.com", i))
	}
	wantDoor(t, server, stays)
	wantLogged(t, server, `"error"`, "the disk is nearly full", disk)
	leaves.SignOut() // what only takes away goes on
	if leaves.Me() != "" {
		t.Error("the session goes on after its sign-out on a disk that is nearly full")
	}
	wantRefusedForNow(t, waiting.Answer(code))

	leaveFree(t, disk, 1<<20)
	wantNoRoom(t, visitor(t, server), "wholly@example.com")
	for range 5 {
		wantDoor(t, server, stays)
	}
	wantLogged(t, server, `"error"`, "the disk is full", disk)
	signOutOrSaySo(t, tries)
	wantRefusedForNow(t, waiting.Answer(code))
	if !server.Alive() {
		t.Fatal("the program died of the full disk")
	}

	if err := os.Remove(filepath.Join(disk, "ballast")); err != nil {
		t.Fatal(err)
	}
	postern.Eventually(t, 20*time.Second, "the recovery", func() bool {
		return askQuietly(visitor(t, server), "after@example.com").request != ""
	})
	waiting.Answer(code).WantRedirect(t, "/") // it was not used up
	fresh := visitor(t, server)
	fresh.SignIn("eve@example.com")
	if stays.Me() != ann || fresh.Me() != "eve@example.com" {
		t.Error("a session is lost")
	}
	server.Kill()
	server.Run()
	if stays.Me() != ann || leaves.Me() != "" {
		t.Error("after a kill, a session is lost or back")
	}
}

// TestFullDiskAndLoad fills the disk while many sign in, and takes some room
// away and gives it back.
func TestFullDiskAndLoad(t *testing.T) {
	t.Parallel()
	config, disk := onOwnDisk(t, 96)
	server := postern.Start(t, config)
	v := visitor(t, server)
	v.SignIn(ann)
	for round := range times(3, 30) {
		for i := range 30 {
			if i == 10 {
				leaveFree(t, disk, (round%4)*6<<20)
			}
			result := askQuietly(visitor(t, server), fmt.Sprintf("r%dn%d@example.com", round, i))
			if result.request == "" && result.status != http.StatusServiceUnavailable {
				t.Errorf("a start on a full disk got status %d", result.status)
			}
			v.Fetch("/").Want(t, http.StatusOK)
		}
		if err := os.Remove(filepath.Join(disk, "ballast")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		postern.Eventually(t, 20*time.Second, "the recovery", func() bool {
			return askQuietly(visitor(t, server), fmt.Sprintf("r%dok@example.com", round)).request != ""
		})
	}
	if !server.Alive() || v.Me() != ann {
		t.Error("the program died, or the session is lost")
	}
}

func wantNoRoom(t *testing.T, v *postern.Visitor, email string) {
	t.Helper()
	v.Navigate("/.auth/sign-in").Want(t, http.StatusOK)
	wantRefusedForNow(t, v.Submit("/.auth/sign-in", url.Values{"email": {email}, "return_to": {"/"}}))
}

func wantRefusedForNow(t *testing.T, answer *postern.Answer) {
	t.Helper()
	if answer.Status != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" || holds(answer) {
		t.Errorf("%s on a full disk: status %d, Retry-After %q", answer.URL, answer.Status, answer.Header.Get("Retry-After"))
	}
}

var saysStillIn = regexp.MustCompile(`(?i)signing out|sign-out|still signed in|not signed out`)

// signOutOrSaySo signs out on a full disk: the session is over, or the answer
// does not say so.
func signOutOrSaySo(t *testing.T, v *postern.Visitor) {
	t.Helper()
	answer := v.Submit("/.auth/sign-out", nil)
	over := v.Me() == ""
	t.Logf("a sign-out on a full disk: status %d, over: %t", answer.Status, over)
	switch {
	case answer.Status == http.StatusSeeOther && !over:
		t.Error("a sign-out was confirmed, but the session goes on")
	case answer.Status != http.StatusSeeOther && answer.Status != http.StatusServiceUnavailable:
		t.Errorf("a sign-out on a full disk: status %d", answer.Status)
	case answer.Status == http.StatusServiceUnavailable && over:
		t.Error("a sign-out was refused, but the browser has lost its session")
	case answer.Status == http.StatusServiceUnavailable && !saysStillIn.MatchString(answer.Body):
		t.Errorf("the page does not say that the sign-out failed:\n%s", answer.Brief())
	}
}

// TestStartsThatMustFail gives the program stores that it cannot use: it says
// which and what to do, ends, and leaves everything as it was.
func TestStartsThatMustFail(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(t *testing.T, store string)
		say   []string
		// remount is of the disk, before the start.
		remount string
	}{
		"no-keys":        {func(t *testing.T, s string) { remove(t, s, "keys.json") }, []string{"keys.json", "backup"}, ""},
		"empty-keys":     {func(t *testing.T, s string) { overwrite(t, s, "keys.json", "") }, []string{"keys.json", "damaged", "backup"}, ""},
		"half-keys":      {func(t *testing.T, s string) { halve(t, s, "keys.json") }, []string{"keys.json", "damaged", "backup"}, ""},
		"short-key":      {func(t *testing.T, s string) { overwrite(t, s, "keys.json", `{"lookup":"AAAA","roots":[]}`) }, []string{"keys.json", "damaged", "backup"}, ""},
		"empty-manifest": {func(t *testing.T, s string) { overwrite(t, s, "db/MANIFEST", "") }, []string{"damaged", "backup"}, ""},
		"no-manifest":    {func(t *testing.T, s string) { remove(t, s, "db/MANIFEST") }, []string{"damaged", "backup"}, ""},
		"half-table":     {func(t *testing.T, s string) { halve(t, s, "db/*.sst") }, []string{"damaged", "backup"}, ""},
		"garbled-table":  {func(t *testing.T, s string) { garble(t, s, "db/*.sst", -60) }, []string{"damaged", "backup"}, ""},
		"garbled-record": {func(t *testing.T, s string) { garble(t, s, "db/*.sst", 20) }, []string{"damaged", "backup"}, ""},
		"no-table":       {func(t *testing.T, s string) { remove(t, s, "db/*.sst") }, []string{"damaged", "backup"}, ""},
		"read-only":      {nil, []string{"read-only", "may not write|writable|write access|not read-only"}, "remount,ro"},
		"full":           {func(t *testing.T, s string) { leaveFree(t, filepath.Dir(s), 2<<20) }, []string{"full", "free some space"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, disk := onOwnDisk(t, 80)
			server := postern.Start(t, config)
			visitor(t, server).SignIn(ann)
			server.Stop() // so that there is a table
			store := filepath.Join(disk, "store")
			if c.spoil != nil {
				c.spoil(t, store)
			}
			if c.remount != "" {
				mount(t, "-o", c.remount, disk)
			}
			before := listing(t, store)
			wantFailedStart(t, server, append(c.say, disk)...)
			for path, sum := range before {
				after, ok := listing(t, store)[path]
				if !ok {
					t.Errorf("%s is gone", path)
				} else if after != sum && !strings.HasSuffix(path, "LOCK") {
					t.Errorf("%s has been changed", path)
				}
			}
		})
	}
}

// TestDamagedLog garbles the log of the database after a kill, which holds what
// is not in a table yet. What it says from there on may be gone, but strangers
// stay out, and who signs in is in.
func TestDamagedLog(t *testing.T) {
	t.Parallel()
	config, disk := onOwnDisk(t, 80)
	server := postern.Start(t, config)
	in := visitor(t, server)
	in.SignIn(ann)
	for i := range 20 {
		askQuietly(visitor(t, server), fmt.Sprintf("u%d@example.com", i))
	}
	server.Kill()
	garble(t, filepath.Join(disk, "store"), "db/*.mem", 12000)
	server.Run()
	wantShut(t, server)
	wantLogged(t, server, "log cannot be read", disk, "backup")
	t.Logf("the session of before belongs to %q", in.Me())
	fresh := visitor(t, server)
	fresh.SignIn(ann)
	wantDoor(t, server, fresh)
}

// TestStoreFolderIsAFile names a file where the store should be.
func TestStoreFolderIsAFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "store")
	overwrite(t, filepath.Dir(file), "store", "something of the operator's\n")
	server := postern.New(t, postern.Config{Sites: silent, Upstream: postern.StartUpstream(t), Auth: "store badger " + file})
	wantFailedStart(t, server, file, "is a file|not a folder|name a folder|another folder")
	if text, err := os.ReadFile(file); err != nil || string(text) != "something of the operator's\n" {
		t.Errorf("the file has been changed: %q, %v", text, err)
	}
}

// wantFailedStart runs the program and wants it to end by itself, with a message
// that holds each text, or one of its alternatives.
func wantFailedStart(t *testing.T, server *postern.Server, say ...string) {
	t.Helper()
	_, messages, err := server.Command("run", "--config", server.ConfigFile(), "--adapter", "caddyfile")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() <= 0 {
		t.Fatalf("the program did not fail by itself: %v\n%s", err, tail(messages, 2000))
	}
	last := lastError(messages)
	t.Log(last)
	for _, text := range say {
		if !slices.ContainsFunc(strings.Split(text, "|"), func(one string) bool { return strings.Contains(last, one) }) {
			t.Errorf("the message lacks %q:\n%s", text, last)
		}
	}
	if strings.Contains(messages, "panic: ") || strings.Contains(messages, "goroutine ") {
		t.Errorf("the program panicked:\n%s", tail(messages, 3000))
	}
}

// lastError is what an operator reads: the last line that is one.
func lastError(messages string) string {
	lines := strings.Split(strings.TrimSpace(messages), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.HasPrefix(lines[i], "Error:") || strings.Contains(lines[i], `"level":"error"`) {
			return lines[i]
		}
	}
	return lines[len(lines)-1]
}

func tail(text string, n int) string { return text[max(0, len(text)-n):] }

// only returns the one file that a pattern is for, or the first of some.
func only(t *testing.T, folder, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no file %s in %s: %v", pattern, folder, err)
	}
	return files[0]
}

func remove(t *testing.T, folder, pattern string) {
	t.Helper()
	if err := os.Remove(only(t, folder, pattern)); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, folder, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func halve(t *testing.T, folder, pattern string) {
	t.Helper()
	path := only(t, folder, pattern)
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()/2)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// garble changes 40 bytes of a file; from is below 0 from its end, where tables
// have their index.
func garble(t *testing.T, folder, pattern string, from int) {
	t.Helper()
	path := only(t, folder, pattern)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if from < 0 {
		from = max(0, len(data)+from)
	}
	for i := from; i < min(from+40, len(data)); i++ {
		data[i] ^= 0x5a
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// listing has a sum of each file below a folder.
func listing(t *testing.T, folder string) map[string]string {
	t.Helper()
	sums := make(map[string]string)
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		sums[path] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

// TestDiskTurnsReadOnly makes the store's folder read-only under the running
// program, as far as the system allows it: files that are open can be written,
// new ones cannot be made. So it takes until the database needs one.
func TestDiskTurnsReadOnly(t *testing.T) {
	t.Parallel()
	config, disk := onOwnDisk(t, 160)
	server := postern.Start(t, config)
	v := visitor(t, server)
	v.SignIn(ann)
	store := filepath.Join(disk, "store")
	mount(t, "--bind", store, store)
	mount(t, "-o", "remount,bind,ro", store)
	writable := func() { _ = exec.Command("umount", "-l", store).Run() }
	t.Cleanup(writable)

	refused := startUntilRefused(t, server)
	t.Logf("refused after %d starts", refused)
	wantLogged(t, server, `"error"`, "read-only", store)
	for range 5 {
		wantShut(t, server)
		if answer := v.Fetch("/"); answer.Status != http.StatusOK && answer.Status < 500 {
			t.Errorf("with a store that failed, a session got status %d", answer.Status)
		}
	}
	if !server.Alive() {
		t.Fatal("the program died")
	}
	writable()
	postern.Eventually(t, 30*time.Second, "the recovery", func() bool {
		return askQuietly(visitor(t, server), "after@example.com").request != ""
	})
	if v.Me() != ann {
		t.Error("the session is lost")
	}
}

// startUntilRefused starts sign-ins until the store takes no more.
func startUntilRefused(t *testing.T, server *postern.Server) int {
	t.Helper()
	var started, refused atomic.Int64
	var group sync.WaitGroup
	for i := range 8 {
		base := visitor(t, server)
		group.Go(func() {
			for k := 0; k < 1500 && refused.Load() == 0; k++ {
				result := askQuietly(base.Fresh(), fmt.Sprintf("w%dn%d@example.com", i, k))
				if result.request == "" {
					refused.Add(1)
					if result.status < 500 {
						t.Errorf("a start with a store that failed got status %d", result.status)
					}
					return
				}
				started.Add(1)
			}
		})
	}
	group.Wait()
	if refused.Load() == 0 {
		t.Error("nothing was refused on a disk that is read-only")
	}
	return int(started.Load())
}
