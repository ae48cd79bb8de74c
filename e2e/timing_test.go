package e2e_test

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
)

// TestNobodyCanTellWhoMayEnter compares what a stranger sees of addresses that
// may enter and of those that may not: bytes, status and headers always, times
// in the long form alone, since they mean nothing where much else goes on.
func TestNobodyCanTellWhoMayEnter(t *testing.T) {
	if !long() {
		t.Parallel() // times are compared with nothing beside it
	}
	smtp := startSMTP(t)
	smtp.delay = 10 * time.Millisecond // a server elsewhere takes none of this machine's time
	server := postern.Start(t, byScript(smtp, postern.StartUpstream(t), "limit attempts 100 10m"))
	n := times(300, 2000)
	kinds := make([]bool, 2*n)
	for i := range kinds {
		kinds[i] = i%2 == 0
	}
	rand.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })

	base := visitor(t, server)
	o := &observer{t: t, seen: make(map[string]map[string][2]int), took: make(map[string]*[2][]float64)}
	for i, admitted := range kinds {
		o.watch(base.Fresh(), i, admitted)
	}
	o.compareAnswers(n)
	o.compareTimes()
}

// observer notes what a stranger sees, by step, of both kinds of address.
type observer struct {
	t    *testing.T
	seen map[string]map[string][2]int
	took map[string]*[2][]float64
}

func index(admitted bool) int {
	if admitted {
		return 1
	}
	return 0
}

// watch goes through a sign-in as far as somebody gets who has no mail.
func (o *observer) watch(tab *postern.Visitor, i int, admitted bool) {
	email := fmt.Sprintf("u%05d@example.%s", i, map[bool]string{true: "com", false: "net"}[admitted])
	o.step(tab, "page", admitted, email, tab.AsNavigation(tab.NewRequest(http.MethodGet, "/.auth/sign-in", nil), "none"))
	started := o.step(tab, "start", admitted, email, tab.Form("/.auth/sign-in", url.Values{"email": {email}, "return_to": {"/"}}))
	location, err := url.Parse(started.Location())
	if err != nil {
		o.t.Fatal(err)
	}
	id := location.Query().Get("request")
	o.step(tab, "code page", admitted, id, tab.AsNavigation(tab.NewRequest(http.MethodGet, started.Location(), nil), "none"))
	verify := func(code string) *http.Request {
		return tab.Form("/.auth/verify", url.Values{"request": {id}, "code": {code}})
	}
	o.step(tab, "wrong code", admitted, id, verify(fmt.Sprintf("%06d", rand.IntN(1000000))))
	o.step(tab, "resend", admitted, id, tab.Form("/.auth/resend", url.Values{"request": {id}}))
	o.step(tab, "start again", admitted, id, tab.Form("/.auth/sign-in", url.Values{"email": {email}, "return_to": {"/x"}}))
	poll := tab.NewRequest(http.MethodGet, started.Location(), nil)
	poll.Header.Set("Accept", "application/json")
	o.step(tab, "poll", admitted, id, poll)
}

func (o *observer) step(tab *postern.Visitor, name string, admitted bool, value string, request *http.Request) *postern.Answer {
	begin := time.Now()
	answer, err := tab.TryDo(request)
	took := time.Since(begin)
	if err != nil {
		o.t.Fatal(err)
	}
	if o.took[name] == nil {
		o.took[name], o.seen[name] = new([2][]float64), make(map[string][2]int)
	}
	k := index(admitted)
	o.took[name][k] = append(o.took[name][k], float64(took))
	shape := shapeOf(answer, value)
	counts := o.seen[name][shape]
	counts[k]++
	o.seen[name][shape] = counts
	return answer
}

var (
	requestID  = regexp.MustCompile(`[A-Za-z0-9_-]{22}`)
	anyNumber  = regexp.MustCompile(`\d+`)
	someSecond = regexp.MustCompile(`(?i)\b(a|\d+) (second|minute)s?\b`)
)

// shapeOf is an answer without the values that differ between any two: ids,
// addresses, counts of seconds, and what is in cookies, of which the length
// stays.
func shapeOf(answer *postern.Answer, value string) string {
	var out strings.Builder
	fmt.Fprintln(&out, answer.Status)
	for _, name := range slices.Sorted(mapKeys(answer.Header)) {
		for _, field := range answer.Header[name] {
			switch name {
			case "Date":
				continue
			case "Set-Cookie":
				cookie, rest, _ := strings.Cut(field, ";")
				field = fmt.Sprintf("%s, %d bytes; %s", cookie[:strings.IndexByte(cookie, '=')], len(cookie), rest)
			}
			fmt.Fprintf(&out, "%s: %s\n", name, field)
		}
	}
	out.WriteString(answer.Body)
	text := requestID.ReplaceAllString(out.String(), "ID")
	text = strings.ReplaceAll(strings.ReplaceAll(text, url.QueryEscape(value), "VALUE"), value, "VALUE")
	text = regexp.MustCompile(`u\d{5}@example\.(com|net)`).ReplaceAllString(text, "ADDRESS")
	return anyNumber.ReplaceAllString(someSecond.ReplaceAllString(text, "TIME"), "N")
}

func mapKeys(header http.Header) func(func(string) bool) {
	return func(yield func(string) bool) {
		for name := range header {
			if !yield(name) {
				return
			}
		}
	}
}

// compareAnswers wants each shape as often, or at least not never, of the other
// kind. A shape that came up once or twice (a guess that was right, an hour that
// began) tells nothing.
func (o *observer) compareAnswers(n int) {
	for name, shapes := range o.seen {
		for shape, counts := range shapes {
			if few, many := min(counts[0], counts[1]), max(counts[0], counts[1]); few == 0 && many > 2 {
				o.t.Errorf("%s: %d of %d admitted and %d refused addresses were answered so:\n%s", name, counts[1], n, counts[0], shape[:min(len(shape), 1500)])
			}
		}
		if len(shapes) > 4 {
			o.t.Errorf("%s: %d different answers: values were not left out", name, len(shapes))
		}
	}
}

// compareTimes tells whether times give away which kind an address is.
func (o *observer) compareTimes() {
	for name, took := range o.took {
		refused, admitted := took[0], took[1]
		p := mannWhitney(refused, admitted)
		a, b := middle(refused), middle(admitted)
		difference := math.Abs(a-b) / min(a, b)
		o.t.Logf("%-11s refused %v, admitted %v, difference %.1f %%, p = %s", name,
			time.Duration(a).Round(time.Microsecond), time.Duration(b).Round(time.Microsecond), 100*difference, strconv.FormatFloat(p, 'g', 2, 64))
		if long() && p < 0.001 && difference > 0.05 {
			o.t.Errorf("%s: the time tells who may enter", name)
		}
	}
}

func middle(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// mannWhitney is the two-sided p of the rank test that both samples are of one
// distribution, by the normal approximation, which is exact enough for hundreds.
func mannWhitney(a, b []float64) float64 {
	type sample struct {
		value float64
		ofA   bool
	}
	all := make([]sample, 0, len(a)+len(b))
	for _, value := range a {
		all = append(all, sample{value, true})
	}
	for _, value := range b {
		all = append(all, sample{value, false})
	}
	slices.SortFunc(all, func(x, y sample) int { return cmp.Compare(x.value, y.value) })
	ranks, ties := 0.0, 0.0
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j].value == all[i].value {
			j++
		}
		equal := float64(j - i)
		ties += equal*equal*equal - equal
		for ; i < j; i++ {
			if all[i].ofA {
				ranks += float64(j) - (equal-1)/2
			}
		}
	}
	n, m := float64(len(a)), float64(len(b))
	u := ranks - n*(n+1)/2
	variance := n * m / 12 * (n + m + 1 - ties/((n+m)*(n+m-1)))
	return math.Erfc(math.Abs(u-n*m/2) / math.Sqrt(2*variance))
}

// The test itself must find a difference, and none where there is none.
func TestRankTest(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	same, other, later := make([]float64, 500), make([]float64, 500), make([]float64, 500)
	for i := range same {
		same[i], other[i], later[i] = random.ExpFloat64(), random.ExpFloat64(), random.ExpFloat64()+0.3
	}
	if p := mannWhitney(same, other); p < 0.01 {
		t.Errorf("p = %g of equal distributions", p)
	}
	if p := mannWhitney(same, later); p > 1e-6 {
		t.Errorf("p = %g of different distributions", p)
	}
}
