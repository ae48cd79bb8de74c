package caddymodule_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocs adapts every whole Caddyfile in the documents, which are fenced as
// caddyfile, and validates those that name no files.
func TestDocs(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../docs/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	blocks := 0
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, block := range caddyfileBlocks(string(content)) {
			blocks++
			t.Run(fmt.Sprintf("%s/%d", filepath.Base(file), i+1), func(t *testing.T) { checkDoc(t, block) })
		}
	}
	if blocks < 10 {
		t.Errorf("only %d Caddyfiles found in %v", blocks, files)
	}
}

func TestExample(t *testing.T) {
	for _, file := range []string{"../Caddyfile.example", "../examples/headless/Caddyfile"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		checkDoc(t, string(content))
	}
}

func caddyfileBlocks(text string) []string {
	var blocks []string
	for _, part := range strings.Split(text, "```caddyfile\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		blocks = append(blocks, block)
	}
	return blocks
}

var (
	envPlaceholder = regexp.MustCompile(`\{env\.(\w+)\}`)
	namesFile      = regexp.MustCompile(`\{file\.|(?m)^\s*(dkim |logo |group \S+ file )`)
)

func checkDoc(t *testing.T, text string) {
	config, warnings, err := adapt(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if len(warnings) > 0 {
		t.Errorf("%v\n%s", warnings, text)
	}
	if namesFile.MatchString(text) {
		return
	}
	for _, name := range envPlaceholder.FindAllStringSubmatch(text, -1) {
		t.Setenv(name[1], "something")
	}
	if err := validate(config); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}
