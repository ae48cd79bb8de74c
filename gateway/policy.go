package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Who is one entry of a policy: an address, a domain, a group, or anyone.
type Who struct {
	kind  whoKind
	value string
}

type whoKind int

const (
	whoAddress whoKind = iota
	whoDomain
	whoGroup
	whoAnyone
)

// Anyone admits every address that can receive mail.
var Anyone = Who{kind: whoAnyone, value: "anyone"}

// ParseWho reads an entry: `ann@example.com`, `*@example.com`, `group:staff` or
// `anyone`. Its errors say what to write instead.
func ParseWho(text string) (Who, error) {
	return parseWho(text, "an address (ann@example.com), a domain (*@example.com), group:<name> or anyone")
}

// parseMember reads an entry of a group, which holds no groups.
func parseMember(text string) (Who, error) {
	if strings.HasPrefix(text, "group:") {
		return Who{}, errGroupInGroup
	}
	return parseWho(text, "an address (ann@example.com), a domain (*@example.com) or anyone")
}

// parseWho names the choices where the text is none of them.
func parseWho(text, choices string) (Who, error) {
	name, isGroup := strings.CutPrefix(text, "group:")
	domain, isDomain := strings.CutPrefix(text, "*@")
	switch {
	case text == "anyone":
		return Anyone, nil
	case isGroup && !validGroupName(name):
		return Who{}, fmt.Errorf("%q: the name of a group is letters, digits, \"-\", \"_\" and \".\", as in group:staff", text)
	case isGroup:
		return Who{whoGroup, name}, nil
	case isDomain && strings.HasPrefix(domain, "*."):
		return Who{}, fmt.Errorf("%q: a domain does not cover its subdomains; write one *@sub.example.com for each", text)
	case isDomain:
		parsed, err := ParseDomain(domain)
		if err != nil {
			return Who{}, fmt.Errorf("%q: write *@ and a domain, as in *@example.com", text)
		}
		return Who{whoDomain, parsed}, nil
	}
	return parseWhoAddress(text, choices)
}

func parseWhoAddress(text, choices string) (Who, error) {
	address, err := ParseAddress(text)
	local, _ := SplitAddress(address)
	switch {
	case err == nil && strings.Contains(local, "*"):
		return Who{}, fmt.Errorf("%q: * is no part of a name: write the address without it (ann@example.com), or a whole domain (*@example.com)", text)
	case err == nil:
		return Who{whoAddress, address}, nil
	case text == "*" || text == "all" || text == "any" || text == "everyone":
		return Who{}, fmt.Errorf("%q: to admit every address that can receive mail, write anyone", text)
	case strings.HasPrefix(text, "@"):
		return Who{}, fmt.Errorf("%q: to admit a domain, write *%s", text, text)
	case strings.HasPrefix(text, "*."):
		return Who{}, fmt.Errorf("%q: a domain does not cover its subdomains; write one *@sub.example.com for each", text)
	case !strings.Contains(text, "@") && strings.Contains(text, "."):
		return Who{}, fmt.Errorf("%q: to admit a domain, write *@%s", text, text)
	}
	return Who{}, fmt.Errorf("%q: write %s", text, choices)
}

func validGroupName(name string) bool {
	return name != "" && len(name) <= 64 && strings.Trim(name, prefixChars) == ""
}

// String returns the entry as it is written in a configuration.
func (w Who) String() string {
	switch w.kind {
	case whoDomain:
		return "*@" + w.value
	case whoGroup:
		return "group:" + w.value
	}
	return w.value
}

// Group returns the name of the group that the entry is, if it is one.
func (w Who) Group() (name string, ok bool) { return w.value, w.kind == whoGroup }

// covers says whether the entry covers the address, which is in the groups.
func (w Who) covers(address string, groups []string) bool {
	switch w.kind {
	case whoAddress:
		return w.value == address
	case whoDomain:
		_, domain := SplitAddress(address)
		return w.value == domain
	case whoGroup:
		return slices.Contains(groups, w.value)
	}
	return true
}

// HeaderField is one more identity header. Name is in the form of
// http.CanonicalHeaderKey; Value may hold placeholders of the server.
type HeaderField struct{ Name, Value string }

// Rule is what one directive demands.
type Rule struct {
	// Matches says whether the rule is for a request. Nil: for every one.
	Matches func(*http.Request) bool
	// ByTarget says that Matches decides by method, host, path and query alone, as
	// the client sent them. Else the rule is for whatever another proxy asks about.
	ByTarget bool
	// Reread makes a copy of a request, whose path was changed, ready for Matches.
	// Nil: nothing is to be done.
	Reread func(*http.Request)
	// Allow and Deny are who may enter; Deny wins. Nobody is allowed by default.
	Allow, Deny []Who
	// MaxAge is how old the sign-in may be. 0: as old as the session.
	MaxAge time.Duration
	// Session overrides the terms of the configuration. Zero: does not.
	Session SessionTerms
	// Header are further identity headers.
	Header []HeaderField
	// Source is where the rule was written, for messages.
	Source string
}

// Validate says whether the rule can be, and what to write instead.
func (r *Rule) Validate() error {
	if len(r.Allow) == 0 {
		return errors.New("nobody may enter: name who, as in `email_auth *@example.com`, or write anyone")
	}
	if r.MaxAge < 0 || r.MaxAge > 0 && r.MaxAge < time.Second {
		return fmt.Errorf("max_age %s: write 1s or more, or nobody could enter in time", r.MaxAge)
	}
	seen := make(map[string]string)
	for _, field := range r.Header {
		if err := ValidateHeaderField(field.Name); err != nil {
			return err
		}
		if canonical := http.CanonicalHeaderKey(field.Name); field.Name != canonical {
			return fmt.Errorf("header %s: write %s", field.Name, canonical)
		}
		if strings.ContainsFunc(field.Value, unicode.IsControl) {
			return fmt.Errorf("header %s: its value has a line break or another control character; write it in one line", field.Name)
		}
		folded := string(foldField(nil, field.Name))
		if other := seen[folded]; other != "" {
			return fmt.Errorf("header %s is there twice, as %s: keep one", field.Name, other)
		}
		seen[folded] = field.Name
	}
	return r.Session.Validate()
}

// matchesAs says whether the rule would be for the request under another path.
func (r *Rule) matchesAs(request *http.Request, path string) bool {
	if r.Matches == nil {
		return true
	}
	read, where := *request, *request.URL
	read.URL = &where
	where.Path, where.RawPath = path, ""
	if r.Reread != nil {
		r.Reread(&read)
	}
	return r.matches(request, &read)
}

// matches says whether the rule is for another form of the request. A matcher may
// read the body, and puts another one in its place: the request gets it too.
func (r *Rule) matches(request, form *http.Request) bool {
	form.Body = request.Body
	match := r.Matches(form)
	request.Body = form.Body
	return match
}

// admits says whether the rule lets the address in.
func (r *Rule) admits(address string, groups []string) bool {
	covers := func(w Who) bool { return w.covers(address, groups) }
	return slices.ContainsFunc(r.Allow, covers) && !slices.ContainsFunc(r.Deny, covers)
}

// Deciding returns the entries that decide about an address, as they are written:
// the first that allows it, and the first that denies it, which wins. "": none.
func (r *Rule) Deciding(address string, groups []string) (allow, deny string) {
	first := func(entries []Who) string {
		for _, who := range entries {
			if who.covers(address, groups) {
				return who.String()
			}
		}
		return ""
	}
	return first(r.Allow), first(r.Deny)
}

// Verdict is what becomes of a request.
type Verdict int

const (
	// SignIn asks for a sign-in. It is the zero value: what was not decided is
	// refused.
	SignIn Verdict = iota
	// StepUp asks for a newer sign-in than the session's.
	StepUp
	// Refuse says that this address may not enter.
	Refuse
	// Admit passes the request on.
	Admit
)

// Visitor is who asks, as far as a policy cares.
type Visitor struct {
	Email    string
	Groups   []string
	SignedIn time.Time
}

// Decision is a Verdict, with what an answer needs to say about it.
type Decision struct {
	Verdict Verdict
	// MaxAge is the smallest of the rules, or 0. It is what StepUp asks for.
	MaxAge time.Duration
}

// Decide says what becomes of a request at the time now that the rules are for.
// v is nil where nobody is signed in. Every rule must admit; at least one must
// be given. It is a pure function.
func Decide(rules []*Rule, v *Visitor, now time.Time) Decision {
	if v == nil || len(rules) == 0 {
		return Decision{Verdict: SignIn}
	}
	d := Decision{Verdict: Admit}
	for _, rule := range rules {
		if !rule.admits(v.Email, v.Groups) {
			return Decision{Verdict: Refuse}
		}
		if rule.MaxAge > 0 && (d.MaxAge == 0 || rule.MaxAge < d.MaxAge) {
			d.MaxAge = rule.MaxAge
		}
	}
	if d.MaxAge > 0 && now.Sub(v.SignedIn) > d.MaxAge {
		d.Verdict = StepUp
	}
	return d
}
