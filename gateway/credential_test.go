package gateway_test

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/gatewaytest"
)

const (
	digits     = "0123456789"
	consonants = "BCDFGHJKLMNPQRSTVWXZ"
)

// someCodes returns the codes of n mails of an installation of its own.
func someCodes(t *testing.T, n int, config gateway.Config) (codes []string) {
	t.Helper()
	config.Method = gateway.MethodCode
	config.Limits.Total = gateway.Limit{Count: n, Window: time.Hour}
	site := gatewaytest.New(t, gatewaytest.Options{Config: config})
	inParallel(8, func(worker int) {
		for i := worker; i < n; i += 8 {
			_, err := site.Engine.Start(t.Context(), gateway.StartRequest{
				Site: site.Site(site.Host), Browser: aBrowser(fmt.Sprint(i)), Email: fmt.Sprintf("user%d@example.com", i), ReturnTo: "/",
			})
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	site.Settle()
	for _, mail := range site.Mails.All() {
		codes = append(codes, mail.Code)
	}
	return codes
}

// TestCodesAreUniform looks at every position and at every pair of neighbours.
// POSTERN_LONG has it look at 100,000 codes of each kind.
func TestCodesAreUniform(t *testing.T) {
	t.Parallel()
	batches := 1
	if os.Getenv("POSTERN_LONG") != "" {
		batches = 10
	}
	const batch, length = 10_000, 12
	for name, alphabet := range map[string]string{"digits": digits, "letters": consonants} {
		t.Run(name, func(t *testing.T) {
			var codes []string
			for i := range batches {
				t.Run(fmt.Sprint(i), func(t *testing.T) {
					codes = append(codes, someCodes(t, batch, gateway.Config{CodeLength: length, CodeLetters: alphabet == consonants})...)
				})
			}
			if len(codes) != batches*batch {
				t.Fatalf("%d codes", len(codes))
			}
			for i := range length {
				wantUniform(t, fmt.Sprint("position ", i), codes, alphabet, func(code string) string { return code[i : i+1] }, 1)
				if i > 0 {
					wantUniform(t, fmt.Sprint("neighbours ", i), codes, alphabet, func(code string) string { return code[i-1 : i+1] }, 2)
				}
			}
		})
	}
}

// TestManyCodesAreUniform looks at every position, and at all characters
// together, of 100,000 codes of each form.
func TestManyCodesAreUniform(t *testing.T) {
	t.Parallel()
	for name, alphabet := range map[string]string{"digits": digits, "letters": consonants} {
		for _, length := range []int{6, 12} {
			t.Run(fmt.Sprint(name, length), func(t *testing.T) {
				t.Parallel()
				codes := gateway.DeriveCodes(100_000, length, alphabet == consonants)
				var characters []string
				for i := range length {
					wantUniform(t, fmt.Sprint("position ", i), codes, alphabet, func(code string) string { return code[i : i+1] }, 1)
				}
				for _, code := range codes {
					if len(code) != length {
						t.Fatalf("code %q", code)
					}
					characters = append(characters, strings.Split(code, "")...)
				}
				wantUniform(t, "all characters", characters, alphabet, func(c string) string { return c }, 1)
			})
		}
	}
}

// wantUniform is Pearson's chi-squared test. The threshold is that of five
// standard deviations, in the approximation of Wilson and Hilferty: a sound
// generator fails once in some million tests.
func wantUniform(t *testing.T, what string, codes []string, alphabet string, part func(string) string, width int) {
	t.Helper()
	counts := map[string]int{}
	for _, code := range codes {
		if strings.Trim(code, alphabet) != "" {
			t.Fatalf("code %q", code)
		}
		counts[part(code)]++
	}
	cells := math.Pow(float64(len(alphabet)), float64(width))
	expected := float64(len(codes)) / cells
	chi := (cells - float64(len(counts))) * expected // the cells that are empty
	for _, n := range counts {
		chi += (float64(n) - expected) * (float64(n) - expected) / expected
	}
	freedom := cells - 1
	variance := 2 / (9 * freedom)
	threshold := freedom * math.Pow(1-variance+5*math.Sqrt(variance), 3)
	if chi > threshold {
		t.Errorf("%s: chi-squared %.1f of %.0f degrees of freedom, more than %.1f", what, chi, freedom, threshold)
	}
}

func TestCodesDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, code := range someCodes(t, 2000, gateway.Config{CodeLength: 12}) {
		if seen[code] {
			t.Errorf("%s came twice", code)
		}
		seen[code] = true
	}
}

func TestCodeForms(t *testing.T) {
	t.Parallel()
	for length := 6; length <= 12; length += 3 {
		for _, letters := range []bool{false, true} {
			t.Run(fmt.Sprint(length, letters), func(t *testing.T) {
				t.Parallel()
				site := gatewaytest.New(t, gatewaytest.Options{Config: gateway.Config{CodeLength: length, CodeLetters: letters}})
				b := site.Browser()
				b.Start(ann)
				code := site.LastMail(ann).Code
				alphabet := digits
				if letters {
					alphabet = consonants
				}
				if len(code) != length || strings.Trim(code, alphabet) != "" {
					t.Fatalf("code %q", code)
				}
				for _, malformed := range []string{code[1:], code + code[:1], "A" + code[1:], "ı" + code[2:], "e" + code[1:]} {
					b.Code(malformed).Want(t, 422).WantNoText(t, "attempts left")
				}
				b.Code(strings.ToLower(code)).WantLocation(t, "/")
			})
		}
	}
}

// What a mail says is the same when it is written again, by another process.
func TestCredentialsOutliveAProcess(t *testing.T) {
	t.Parallel()
	site := gatewaytest.New(t, gatewaytest.Options{})
	b := site.Browser()
	b.Start(ann)
	first := site.LastMail(ann)
	site.KillAndRestart()
	b.Resend().Want(t, 303)
	if second := site.LastMail(ann); second.Code != first.Code || second.Link != first.Link {
		t.Error("other credentials")
	}
	// With other keys they are worth nothing.
	stolen := gatewaytest.New(t, gatewaytest.Options{Database: site.CopyDatabase(), Clock: site.Clock})
	thief := b.On(stolen)
	thief.OpenLink(first.Link).Want(t, 410)
	thief.Code(first.Code).Want(t, 403)
	b.Code(first.Code).WantLocation(t, "/")
}
