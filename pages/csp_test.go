package pages_test

import (
	"crypto/sha256"
	"encoding/base64"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/postern-auth/postern/pages"
)

// checkPolicy wants one style and one script, and both to be named by the header.
func checkPolicy(t testing.TB, page string) {
	t.Helper()
	checkPolicyOf(t, pages.ContentSecurityPolicy(), page)
}

func checkPolicyOf(t testing.TB, policy, page string) {
	t.Helper()
	found := map[string]int{}
	for _, m := range block.FindAllStringSubmatch(page, -1) {
		found[m[1]]++
		sum := sha256.Sum256([]byte(m[2]))
		want := m[1] + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "';"
		if !strings.Contains(policy, want) {
			t.Errorf("the policy has no %s", want)
		}
	}
	if found["style"] != 1 || found["script"] != 1 {
		t.Errorf("blocks: %v", found)
	}
}

func TestPolicyNamesTheBlocks(t *testing.T) {
	for _, view := range views() {
		checkPolicy(t, draw(t, view))
	}
}

func TestPolicy(t *testing.T) {
	policy := pages.ContentSecurityPolicy()
	for _, want := range []string{"default-src 'none'", "connect-src 'self'", "img-src data:", "base-uri 'none'", "frame-ancestors 'none'"} {
		if !strings.Contains("; "+policy+";", "; "+want+";") {
			t.Errorf("missing %q in %q", want, policy)
		}
	}
	for _, bad := range []string{"form-action", "unsafe", "*", "\n"} {
		if strings.Contains(policy, bad) {
			t.Errorf("%q in %q", bad, policy)
		}
	}
}

// TestContrast holds the colours of both modes to WCAG 2.2 AA: 4.5 for text, 3
// for the edges of fields and the ring around what has the focus.
func TestContrast(t *testing.T) {
	page := draw(t, pages.SignedOut{Common: around})
	light, dark, ok := strings.Cut(page, "@media (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("no dark mode")
	}
	for mode, css := range map[string]string{"light": light, "dark": dark} {
		for _, pair := range []struct {
			front, back string
			least       float64
		}{
			{"ink", "sheet", 4.5}, {"ink", "ground", 4.5}, {"ink", "over", 4.5},
			{"soft", "sheet", 4.5}, {"soft", "ground", 4.5}, {"soft", "over", 4.5},
			{"on-accent", "accent", 4.5}, {"on-accent", "accent-over", 4.5}, {"bad", "bad-ground", 4.5},
			{"edge", "sheet", 3}, {"accent", "sheet", 3}, {"bad", "sheet", 3},
		} {
			front, back := luminance(t, css, pair.front), luminance(t, css, pair.back)
			if got := (max(front, back) + .05) / (min(front, back) + .05); got < pair.least {
				t.Errorf("%s: %s on %s is %.2f, below %.1f", mode, pair.front, pair.back, got, pair.least)
			}
		}
	}
}

func luminance(t *testing.T, css, name string) float64 {
	t.Helper()
	m := regexp.MustCompile(`--` + name + `: #([0-9a-f]+);`).FindStringSubmatch(css)
	if m == nil {
		t.Fatalf("no colour %s", name)
	}
	return luminanceOf(t, m[1])
}

// luminanceOf is the relative luminance of a colour in hexadecimal digits.
func luminanceOf(t *testing.T, hex string) float64 {
	t.Helper()
	if len(hex) == 3 {
		hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
	}
	sum := 0.0
	for i, weight := range []float64{.2126, .7152, .0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		part := float64(n) / 255
		if part <= .04045 {
			sum += weight * part / 12.92
		} else {
			sum += weight * math.Pow((part+.055)/1.055, 2.4)
		}
	}
	return sum
}
