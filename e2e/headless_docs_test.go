package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
)

// TestHeadlessDocs runs the examples of docs/headless.md as they stand, against
// the portal that the document sets up, on loopback.
func TestHeadlessDocs(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../docs/headless.md")
	if err != nil {
		t.Fatal(err)
	}
	setup, examples := section(t, string(document), "Set it up"), section(t, string(document), "Examples")
	_, portal, found := strings.Cut(fenced(t, setup, "caddyfile"), "\nlogin.example.com {")
	if !found {
		t.Fatal("the Caddyfile of docs/headless.md has no site login.example.com")
	}
	sites := "http://localhost:$HTTP {" + portal

	for _, test := range []struct {
		name, language, command, file string
		mails                         int
		credential                    string // what is typed: "code", "link" or "wrong code"
	}{
		{"curl", "sh", "sh", "sign-in.sh", 1, "code"},
		{"curl", "sh", "sh", "sign-in.sh", 1, "wrong code"},
		{"Node", "js", "node", "sign-in.mjs", 2, "code"},
		{"Node", "js", "node", "sign-in.mjs", 2, "wrong code"},
		{"Python", "python", "python3", "sign_in.py", 1, "code"},
		{"Python", "python", "python3", "sign_in.py", 1, "link"},
		{"Python", "python", "python3", "sign_in.py", 1, "wrong code"},
	} {
		t.Run(test.name+" "+test.credential, func(t *testing.T) {
			t.Parallel()
			const secret = "SHOP_SECRET=a+b&c d%2Fe" // one that has to be escaped in a form
			server := postern.Start(t, postern.Config{Sites: sites, Env: []string{secret}})
			example := docExample{command: test.command, file: filepath.Join(t.TempDir(), test.file),
				env: []string{"PORTAL=" + server.Plain("localhost"), secret}}
			if err := os.WriteFile(example.file, []byte(fenced(t, examples, test.language)), 0o600); err != nil {
				t.Fatal(err)
			}
			if test.language == "js" {
				if err := os.Symlink(postern.NodeModules(t), filepath.Join(filepath.Dir(example.file), "node_modules")); err != nil {
					t.Fatal(err)
				}
			}
			example.run(t, test.credential != "wrong code", func() string {
				code, _ := appMail(t, server, "ann@example.com", test.mails)
				mails := server.Mails("ann@example.com")
				if len(mails) != test.mails {
					t.Errorf("%d mails, want %d", len(mails), test.mails)
				}
				return map[string]string{"code": code, "link": appLink.FindString(mails[0].Text), "wrong code": otherCode(code, 1)}[test.credential]
			})
		})
	}
}

// TestHeadlessDocsTrial runs an example of docs/headless.md with the secret that
// the document names, against the portal of examples/headless/Caddyfile.
func TestHeadlessDocsTrial(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../docs/headless.md")
	if err != nil {
		t.Fatal(err)
	}
	caddyfile, err := os.ReadFile("../examples/headless/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	examples := section(t, string(document), "Examples")
	portal, secret, found := strings.Cut(strings.TrimPrefix(strings.TrimSpace(fenced(t, examples, "text")), "export PORTAL="), " ")
	if !found || !strings.Contains(string(caddyfile), "\n"+portal+" {\n") {
		t.Fatalf("examples/headless/Caddyfile has no site %q", portal)
	}
	server := postern.Start(t, postern.Config{Sites: strings.Replace(string(caddyfile), portal, "http://localhost:$HTTP", 1)})
	example := docExample{command: "sh", file: filepath.Join(t.TempDir(), "sign-in.sh"), env: []string{"PORTAL=" + server.Plain("localhost"), secret}}
	if err := os.WriteFile(example.file, []byte(fenced(t, examples, "sh")), 0o600); err != nil {
		t.Fatal(err)
	}
	example.run(t, true, func() string {
		code, _ := appMail(t, server, "ann@example.com", 1)
		return code
	})
}

// section returns what is below a heading of the second level.
func section(t *testing.T, document, heading string) string {
	t.Helper()
	_, text, found := strings.Cut(document, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/headless.md has no heading %q", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// fenced returns the one block of code in a language.
func fenced(t *testing.T, text, language string) string {
	t.Helper()
	parts := strings.Split(text, "\n```"+language+"\n")
	if len(parts) != 2 {
		t.Fatalf("%d blocks of %s, want 1", len(parts)-1, language)
	}
	block, _, found := strings.Cut(parts[1], "\n```\n")
	if !found {
		t.Fatalf("the block of %s has no end", language)
	}
	return block + "\n"
}

// wrongCode is how curl, Python and the SDK tell that a code was not right.
var wrongCode = regexp.MustCompile(`\b400\b|invalid code, 4 attempts left`)

// docExample is a program of a document: it asks for a credential with a colon
// after the question, and prints the verified address.
type docExample struct {
	command, file string
	env           []string
}

// run runs the program and answers its question. It has to print the address and
// nothing else, or where the answer is not right, to fail without printing it.
func (e docExample) run(t *testing.T, right bool, answer func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, e.command, e.file)
	command.Dir = filepath.Dir(e.file)
	command.Env = append(os.Environ(), append(e.env, "NO_PROXY=localhost", "no_proxy=localhost")...)
	command.WaitDelay = 10 * time.Second // for a child that holds the output open
	var problems bytes.Buffer
	command.Stderr = &problems
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	printed := talk(bufio.NewReader(out), in, answer)
	err = command.Wait()
	var exited *exec.ExitError
	switch {
	case right && (err != nil || printed != "ann@example.com"):
		t.Errorf("%s: %v, and it printed %q, want the address\n%s", e.command, err, printed, &problems)
	case !right && (!errors.As(err, &exited) || !exited.Exited() || printed != "" || !wrongCode.Match(problems.Bytes())):
		t.Errorf("%s: %v, and it printed %q, want a failure alone\n%s", e.command, err, printed, &problems)
	}
}

// talk waits for the question, answers it, and returns what is printed then. A
// program that ends before it asks gets no answer.
func talk(out *bufio.Reader, in io.WriteCloser, answer func() string) string {
	defer in.Close()
	if question, err := out.ReadString(':'); err != nil {
		return question
	}
	_, _ = io.WriteString(in, answer()+"\n") // a program that does not read it fails by itself
	rest, _ := io.ReadAll(out)
	return strings.TrimSpace(string(rest))
}
