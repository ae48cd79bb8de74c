package gateway_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/gatewaytest"
)

func TestParseWho(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"ann@example.com": "ann@example.com", "Ann@Example.COM": "ann@example.com", "*@example.com": "*@example.com", "*@EXAMPLE.com": "*@example.com",
		"group:staff": "group:staff", "group:a-b_c.D1": "group:a-b_c.D1", "anyone": "anyone", "ann+tag@example.com": "ann+tag@example.com",
		"*@xn--bcher-kva.example": "*@xn--bcher-kva.example", "*@bücher.example": "*@xn--bcher-kva.example", "*@Bücher.example": "*@xn--bcher-kva.example",
		"ann@BÜCHER.example": "ann@xn--bcher-kva.example", "*@bu\u0308cher.example": "*@xn--bcher-kva.example",
	} {
		who, err := gateway.ParseWho(text)
		if err != nil || who.String() != want {
			t.Errorf("%q: %v, %v", text, who, err)
		}
	}
	for text, remedy := range map[string]string{
		"": "write an address", "*": "write anyone", "all": "write anyone", "everyone": "write anyone", "@example.com": "write *@example.com",
		"example.com": "write *@example.com", "*@*.example.com": "subdomains", "*@": "write *@ and a domain", "*@localhost": "write *@", "group:": "name of a group",
		"group:a b": "name of a group", "group:é": "name of a group", "ann": "write an address", "ann@example.com,bob@example.com": "write an address",
		"*ann@example..com": "write an address",
		"*ann@example.com":  "write the address without it", "ann*@example.com": "write the address without it", "**@example.com": "a whole domain (*@example.com)", "a*n+*@example.com": "* is no part of a name",
		" *ann@example.com": "* is no part of a name", "*+x@example.com": "* is no part of a name", "Anyone": "write an address", "*@exa\u212ample.com": "write *@", "*@ΟΔΟΣ.example": "write *@", "group:" + strings.Repeat("a", 65): "name of a group",
	} {
		who, err := gateway.ParseWho(text)
		if err == nil || !strings.Contains(err.Error(), remedy) {
			t.Errorf("%q: %v, %v; want %q", text, who, err, remedy)
		}
	}
	// The zero value of an entry must not be one that admits everybody.
	if d := gateway.Decide([]*gateway.Rule{{Allow: []gateway.Who{{}}}}, &gateway.Visitor{Email: ann}, time.Now()); d.Verdict == gateway.Admit {
		t.Error("an empty entry admits")
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	now := time.Now()
	rule := func(maxAge time.Duration, allow, deny string) *gateway.Rule {
		return &gateway.Rule{Allow: gatewaytest.Who(t, strings.Fields(allow)...), Deny: gatewaytest.Who(t, strings.Fields(deny)...), MaxAge: maxAge}
	}
	example := rule(0, "*@example.com", "")
	for name, test := range map[string]struct {
		rules  []*gateway.Rule
		email  string
		groups []string
		age    time.Duration
		want   gateway.Decision
	}{
		"nobody":                    {[]*gateway.Rule{example}, "", nil, 0, gateway.Decision{Verdict: gateway.SignIn}},
		"nobody, where anyone may":  {[]*gateway.Rule{rule(0, "anyone", "")}, "", nil, 0, gateway.Decision{Verdict: gateway.SignIn}},
		"no rule":                   {nil, ann, nil, 0, gateway.Decision{Verdict: gateway.SignIn}},
		"the domain":                {[]*gateway.Rule{example}, ann, nil, 0, gateway.Decision{Verdict: gateway.Admit}},
		"not a subdomain":           {[]*gateway.Rule{example}, "ann@sub.example.com", nil, 0, gateway.Decision{Verdict: gateway.Refuse}},
		"not a longer domain":       {[]*gateway.Rule{example}, "ann@notexample.com", nil, 0, gateway.Decision{Verdict: gateway.Refuse}},
		"not one that goes on":      {[]*gateway.Rule{example}, "ann@example.com.evil.example", nil, 0, gateway.Decision{Verdict: gateway.Refuse}},
		"the address":               {[]*gateway.Rule{rule(0, ann, "")}, ann, nil, 0, gateway.Decision{Verdict: gateway.Admit}},
		"not with a suffix":         {[]*gateway.Rule{rule(0, ann, "")}, "ann+x@example.com", nil, 0, gateway.Decision{Verdict: gateway.Refuse}},
		"the group":                 {[]*gateway.Rule{rule(0, "group:staff", "")}, ann, []string{"x", "staff"}, 0, gateway.Decision{Verdict: gateway.Admit}},
		"another group":             {[]*gateway.Rule{rule(0, "group:staff", "")}, ann, []string{"x"}, 0, gateway.Decision{Verdict: gateway.Refuse}},
		"anyone":                    {[]*gateway.Rule{rule(0, "anyone", "")}, eve, nil, 0, gateway.Decision{Verdict: gateway.Admit}},
		"nobody is allowed":         {[]*gateway.Rule{{}}, ann, nil, 0, gateway.Decision{Verdict: gateway.Refuse}},
		"deny wins":                 {[]*gateway.Rule{rule(0, "anyone "+ann, ann)}, ann, nil, 0, gateway.Decision{Verdict: gateway.Refuse}},
		"deny wins for a group":     {[]*gateway.Rule{rule(0, ann, "group:out")}, ann, []string{"out"}, 0, gateway.Decision{Verdict: gateway.Refuse}},
		"deny wins for all":         {[]*gateway.Rule{rule(0, ann, "anyone")}, ann, nil, 0, gateway.Decision{Verdict: gateway.Refuse}},
		"denied elsewhere alone":    {[]*gateway.Rule{rule(0, "anyone", bob)}, ann, nil, 0, gateway.Decision{Verdict: gateway.Admit}},
		"each rule must admit":      {[]*gateway.Rule{example, rule(0, bob, "")}, ann, nil, 0, gateway.Decision{Verdict: gateway.Refuse}},
		"each rule admits":          {[]*gateway.Rule{example, rule(0, ann, "")}, ann, nil, 0, gateway.Decision{Verdict: gateway.Admit}},
		"young enough":              {[]*gateway.Rule{rule(time.Minute, ann, "")}, ann, nil, time.Minute, gateway.Decision{Verdict: gateway.Admit, MaxAge: time.Minute}},
		"too old":                   {[]*gateway.Rule{rule(time.Minute, ann, "")}, ann, nil, time.Minute + 1, gateway.Decision{Verdict: gateway.StepUp, MaxAge: time.Minute}},
		"the smallest":              {[]*gateway.Rule{rule(time.Hour, ann, ""), rule(time.Minute, ann, ""), example}, ann, nil, 2 * time.Minute, gateway.Decision{Verdict: gateway.StepUp, MaxAge: time.Minute}},
		"refused, not asked again":  {[]*gateway.Rule{rule(time.Minute, ann, ""), rule(0, bob, "")}, ann, nil, time.Hour, gateway.Decision{Verdict: gateway.Refuse}},
		"from the future, by clock": {[]*gateway.Rule{rule(time.Minute, ann, "")}, ann, nil, -time.Second, gateway.Decision{Verdict: gateway.Admit, MaxAge: time.Minute}},
	} {
		var v *gateway.Visitor
		if test.email != "" {
			v = &gateway.Visitor{Email: test.email, Groups: test.groups, SignedIn: now.Add(-test.age)}
		}
		if got := gateway.Decide(test.rules, v, now); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
		slices.Reverse(test.rules)
		if got := gateway.Decide(test.rules, v, now); got != test.want {
			t.Errorf("%s, in another order: %+v, want %+v", name, got, test.want)
		}
	}
}

// drawnRule is a rule, with what it says in plain words beside it.
type drawnRule struct {
	rule        *gateway.Rule
	allow, deny []string
}

var drawnEntries = []string{"anyone", "*@example.com", "*@example.org", ann, bob, "group:staff", "group:guests"}

func drawRule(t *rapid.T) drawnRule {
	entries := rapid.SliceOfN(rapid.SampledFrom(drawnEntries), 0, 3)
	d := drawnRule{allow: entries.Draw(t, "allow"), deny: entries.Draw(t, "deny")}
	d.rule = &gateway.Rule{MaxAge: time.Duration(rapid.SampledFrom([]int{0, 0, 10, 60, 3600}).Draw(t, "max_age")) * time.Second}
	for _, text := range d.allow {
		who, _ := gateway.ParseWho(text)
		d.rule.Allow = append(d.rule.Allow, who)
	}
	for _, text := range d.deny {
		who, _ := gateway.ParseWho(text)
		d.rule.Deny = append(d.rule.Deny, who)
	}
	return d
}

// covers is what an entry means, said once more in other words.
func covers(entries []string, email string, groups []string) bool {
	for _, entry := range entries {
		if entry == "anyone" || entry == email || strings.HasPrefix(entry, "*") && strings.HasSuffix(email, entry[1:]) {
			return true
		}
		if slices.ContainsFunc(groups, func(g string) bool { return entry == "group:"+g }) {
			return true
		}
	}
	return false
}

func TestDecideProperties(t *testing.T) {
	t.Parallel()
	now := time.Now()
	rapid.Check(t, func(t *rapid.T) {
		drawn := rapid.SliceOfN(rapid.Custom(drawRule), 1, 4).Draw(t, "rules")
		v := &gateway.Visitor{
			Email:    rapid.SampledFrom([]string{ann, bob, "ann@example.org", "ann@sub.example.com"}).Draw(t, "email"),
			Groups:   rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"staff", "guests"}), 0, 2, rapid.ID).Draw(t, "groups"),
			SignedIn: now.Add(-time.Duration(rapid.IntRange(0, 4000).Draw(t, "age")) * time.Second),
		}
		var rules []*gateway.Rule
		admitted, smallest := true, time.Duration(0)
		for _, d := range drawn {
			rules = append(rules, d.rule)
			admitted = admitted && covers(d.allow, v.Email, v.Groups) && !covers(d.deny, v.Email, v.Groups)
			if d.rule.MaxAge > 0 && (smallest == 0 || d.rule.MaxAge < smallest) {
				smallest = d.rule.MaxAge
			}
		}
		want := gateway.Admit
		switch {
		case !admitted:
			want = gateway.Refuse
		case smallest > 0 && now.Sub(v.SignedIn) > smallest:
			want = gateway.StepUp
		}
		if got := gateway.Decide(rules, v, now); got.Verdict != want || want != gateway.Refuse && got.MaxAge != smallest {
			t.Fatalf("%+v, want %v and %s", got, want, smallest)
		}
		if got := gateway.Decide(rules, nil, now); got.Verdict != gateway.SignIn {
			t.Fatalf("nobody: %+v", got)
		}
		// One more rule never opens what was shut.
		if more := append(rules, drawRule(t).rule); want != gateway.Admit && gateway.Decide(more, v, now).Verdict == gateway.Admit {
			t.Fatal("a further rule opens")
		}
	})
}

func TestRuleValidate(t *testing.T) {
	t.Parallel()
	good := func() *gateway.Rule { return gatewaytest.Rule(t, ann) }
	if err := good().Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*gateway.Rule){
		"nobody":          func(r *gateway.Rule) { r.Allow = nil },
		"max_age":         func(r *gateway.Rule) { r.MaxAge = time.Millisecond },
		"a negative age":  func(r *gateway.Rule) { r.MaxAge = -time.Hour },
		"session":         func(r *gateway.Rule) { r.Session.Lifetime = time.Millisecond },
		"too long":        func(r *gateway.Rule) { r.Session.Lifetime = 401 * 24 * time.Hour },
		"idle":            func(r *gateway.Rule) { r.Session.Idle = -1 },
		"cookie":          func(r *gateway.Rule) { r.Header = []gateway.HeaderField{{Name: "Cookie"}} },
		"authorization":   func(r *gateway.Rule) { r.Header = []gateway.HeaderField{{Name: "authorization"}} },
		"host":            func(r *gateway.Rule) { r.Header = []gateway.HeaderField{{Name: "Host"}} },
		"hop-by-hop":      func(r *gateway.Rule) { r.Header = []gateway.HeaderField{{Name: "Transfer_Encoding"}} },
		"our own":         func(r *gateway.Rule) { r.Header = []gateway.HeaderField{{Name: "X-Postern-Jwt-Assertion"}} },
		"not a name":      func(r *gateway.Rule) { r.Header = []gateway.HeaderField{{Name: "X User"}} },
		"of another rule": func(r *gateway.Rule) { r.Header = []gateway.HeaderField{{Name: "X-Ok"}, {Name: "Connection"}} },
	} {
		rule := good()
		change(rule)
		if err := rule.Validate(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Header fields of all rules that match are united; the values are those of who
// is signed in.
func TestHeadersOfRules(t *testing.T) {
	t.Parallel()
	first, second := gatewaytest.Rule(t, "*@example.com"), gatewaytest.Rule(t, "anyone")
	first.Header = []gateway.HeaderField{{Name: "X-Webauth-User", Value: "{http.auth.user.email}"}}
	second.Header = []gateway.HeaderField{{Name: "X-How", Value: "by {http.auth.user.method}"}}
	site := gatewaytest.New(t, gatewaytest.Options{Rules: []*gateway.Rule{first, second}})
	b := site.Browser()
	b.SignIn(ann)
	sent := b.Do(gatewaytest.Sent{Method: "GET", Path: "/", Header: map[string]string{"X-How": "{http.auth.user.email}", "X_webauth_user": bob, "Other": "{env.HOME}"}}).Upstream(t)
	if sent.Header.Get("X-Webauth-User") != ann || sent.Header.Get("X-How") != "by code" || sent.Header.Get("Other") != "{env.HOME}" || sent.Header.Get("X_webauth_user") != "" {
		t.Errorf("upstream was sent %v", sent.Header)
	}
	for _, field := range []string{"X-Webauth-User", "X-How"} {
		if n := len(sent.Header[field]); n != 1 {
			t.Errorf("%s has %d values", field, n)
		}
	}
}

func ExampleDecide() {
	anyone := []gateway.Who{gateway.Anyone}
	rules := []*gateway.Rule{{Allow: anyone, MaxAge: time.Hour}}
	now := time.Now()
	d := gateway.Decide(rules, &gateway.Visitor{Email: ann, SignedIn: now.Add(-2 * time.Hour)}, now)
	fmt.Println(d.Verdict == gateway.StepUp, d.MaxAge)
	// Output: true 1h0m0s
}
