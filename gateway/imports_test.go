package gateway_test

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/postern-auth/postern"

// listed is what the go command says of a package.
type listed struct {
	ImportPath                               string
	Imports, TestImports, XTestImports, Deps []string
	Error                                    *struct{ Err string }
}

// list asks the go command about packages of the module.
func list(t *testing.T, patterns ...string) []listed {
	t.Helper()
	command := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,TestImports,XTestImports,Deps,Error"}, patterns...)...)
	command.Dir = ".."
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for decoder := json.NewDecoder(strings.NewReader(string(out))); decoder.More(); {
		var p listed
		if err := decoder.Decode(&p); err != nil {
			t.Fatal(err)
		}
		if p.Error != nil {
			t.Fatalf("%s: %s", p.ImportPath, p.Error.Err)
		}
		all = append(all, p)
	}
	return all
}

// below says whether a package is the one, or in a folder below it.
func below(path, of string) bool { return path == of || strings.HasPrefix(path, of+"/") }

func TestImports(t *testing.T) {
	t.Parallel()
	packages := list(t, "./...")
	find := func(name string) listed {
		t.Helper()
		for _, p := range packages {
			if p.ImportPath == module+name {
				return p
			}
		}
		t.Fatalf("there is no package %s", name)
		return listed{}
	}
	reaches := func(name, what string) {
		t.Helper()
		for _, dependency := range find(name).Deps {
			if below(dependency, what) {
				t.Errorf("%s depends on %s", name, dependency)
			}
		}
	}

	for _, name := range []string{"/gateway", "/gateway/mail", "/gateway/headless"} {
		reaches(name, "github.com/caddyserver")
		reaches(name, "github.com/dgraph-io")
		reaches(name, module+"/caddymodule")
		reaches(name, module+"/store/badgerstore")
	}
	reaches("/gateway", "connectrpc.com")
	reaches("/gateway", module+"/gateway/headless")
	reaches("/gateway/mail", module+"/store")
	reaches("/gateway/mail", module+"/pages")
	reaches("/gateway/mail", module+"/gateway")
	reaches("/store/badgerstore", module+"/gateway")
	reaches("/store/badgerstore", "github.com/caddyserver")
	reaches("/caddymodule", "testing") // no test helper gets into the program
	reaches("/gateway", "testing")

	standard := map[string]bool{}
	for _, p := range list(t, "std") {
		standard[p.ImportPath] = true
	}
	for _, name := range []string{"/store", "/pages"} {
		for _, imported := range find(name).Imports {
			if !standard[imported] {
				t.Errorf("%s imports %s, which is not of the standard library", name, imported)
			}
		}
	}

	for _, p := range packages {
		if slices.Contains([]string{module, module + "/cmd/caddy"}, p.ImportPath) || below(p.ImportPath, module+"/caddymodule") {
			continue
		}
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if below(imported, module+"/caddymodule") {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
		if below(p.ImportPath, module+"/gateway/gatewaytest") {
			continue
		}
		for _, imported := range p.Imports {
			if below(imported, module+"/gateway/gatewaytest") || below(imported, module+"/store/storetest") && !strings.Contains(p.ImportPath, "test") {
				t.Errorf("%s imports %s outside its tests", p.ImportPath, imported)
			}
		}
	}
}
