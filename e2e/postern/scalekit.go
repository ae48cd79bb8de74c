package postern

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// NodeSDK is a program that calls the headless API by the official Node SDK, as
// it comes from its registry.
type NodeSDK struct {
	t   testing.TB
	in  *json.Encoder
	out *bufio.Scanner
}

// NodeAnswer is what a call of the SDK returned or threw.
type NodeAnswer struct {
	OK    map[string]any `json:"ok"`
	Error *NodeError     `json:"error"`
}

// NodeError is an exception of the SDK: its class, the error_code, and the
// status of gRPC.
type NodeError struct {
	Name    string           `json:"name"`
	Message string           `json:"message"`
	Code    string           `json:"code"`
	Status  int              `json:"status"`
	Details []map[string]any `json:"details"`
}

// StartNodeSDK starts the program for a client of the portal at url.
func (s *Server) StartNodeSDK(t testing.TB, url, client, secret string) *NodeSDK {
	t.Helper()
	folder, err := installNodeSDK()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command("node", "calls.js", url, client, secret)
	command.Dir, command.Stderr = folder, os.Stderr
	command.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+filepath.Join(s.Dir, "storage/pki/authorities/local/root.crt"))
	command.SysProcAttr = dieWithTest()
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
	t.Cleanup(func() {
		_ = in.Close()
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	return &NodeSDK{t: t, in: json.NewEncoder(in), out: bufio.NewScanner(out)}
}

// Call calls a method of the SDK's passwordless client.
func (n *NodeSDK) Call(method string, args ...any) NodeAnswer {
	n.t.Helper()
	if err := n.in.Encode(map[string]any{"call": method, "args": args}); err != nil {
		n.t.Fatal(err)
	}
	if !n.out.Scan() {
		n.t.Fatalf("the SDK's program ended: %v", n.out.Err())
	}
	var answer NodeAnswer
	if err := json.Unmarshal(n.out.Bytes(), &answer); err != nil {
		n.t.Fatalf("%v: %s", err, n.out.Bytes())
	}
	return answer
}

// NodeModules installs the SDK and returns the folder node_modules that has it.
func NodeModules(t testing.TB) string {
	t.Helper()
	folder, err := installNodeSDK()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(folder, "node_modules")
}

// installNodeSDK installs what package-lock.json pins into a cache folder, once.
var installNodeSDK = sync.OnceValues(func() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	files := map[string][]byte{}
	for _, name := range []string{"package.json", "package-lock.json", "calls.js"} {
		if files[name], err = os.ReadFile(filepath.Join(root, "e2e", "scalekit-node", name)); err != nil {
			return "", err
		}
		sum.Write(files[name])
	}
	folder := filepath.Join(cache, "postern-e2e", "scalekit-node-"+hex.EncodeToString(sum.Sum(nil))[:16])
	installed := filepath.Join(folder, "installed")
	if _, err := os.Stat(installed); err == nil {
		return folder, nil
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			return "", err
		}
	}
	install := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = folder
	if output, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, output)
	}
	return folder, os.WriteFile(installed, nil, 0o600)
})
