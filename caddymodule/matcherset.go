package caddymodule

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// matcherSet is what one of a route's matcher sets cares for.
type matcherSet struct {
	hosts []string // nil: not for the host
	paths []string // nil: not for the path
	other bool     // for something else
	text  string
}

// lets says whether a request for a page below the prefix can come through: where
// the set cares for nothing but the host, or for a path that covers the pages.
func (s matcherSet) lets(prefix string) bool {
	if s.other {
		return false
	}
	return s.paths == nil || slices.ContainsFunc(s.paths, func(path string) bool {
		stem, wild := strings.CutSuffix(path, "*")
		return wild && strings.HasPrefix(prefix+"/", stem)
	})
}

// letsAll says whether requests for any path can come through. What else the set
// cares for, such as the client's address, may be meant so.
func (s matcherSet) letsAll() bool {
	return s.paths == nil || slices.ContainsFunc(s.paths, func(path string) bool { return path == "*" || path == "/*" })
}

// matcherSets reads the matchers of a route in either form.
func matcherSets(route caddyhttp.Route) ([]matcherSet, error) {
	var sets []matcherSet
	for _, matchers := range route.MatcherSets {
		var set matcherSet
		for _, matcher := range matchers {
			set.add(matcher)
		}
		sets = append(sets, set)
	}
	if len(sets) > 0 {
		return sets, nil
	}
	for _, raw := range route.MatcherSetsRaw {
		var set matcherSet
		if err := set.addRaw(raw); err != nil {
			return nil, err
		}
		sets = append(sets, set)
	}
	return sets, nil
}

func (s *matcherSet) add(matcher any) {
	switch m := matcher.(type) {
	case *caddyhttp.MatchHost:
		s.addHosts(*m)
	case caddyhttp.MatchHost:
		s.addHosts(m)
	case *caddyhttp.MatchPath:
		s.addPaths(*m)
	case caddyhttp.MatchPath:
		s.addPaths(m)
	default:
		s.other = true
		if module, ok := matcher.(caddy.Module); ok {
			s.text = module.CaddyModule().ID.Name()
		}
	}
}

func (s *matcherSet) addRaw(raw caddy.ModuleMap) error {
	for name, value := range raw {
		var list []string
		switch name {
		case "host", "path":
			if err := json.Unmarshal(value, &list); err != nil {
				return fmt.Errorf("reading the matcher %s: %w", name, err)
			}
		}
		switch name {
		case "host":
			s.addHosts(list)
		case "path":
			s.addPaths(list)
		default:
			s.other, s.text = true, name
		}
	}
	return nil
}

func (s *matcherSet) addHosts(hosts []string) {
	for _, host := range hosts {
		s.hosts = append(s.hosts, strings.ToLower(host))
	}
}

func (s *matcherSet) addPaths(paths []string) {
	s.paths = append(s.paths, paths...)
	s.text = "path " + strings.Join(paths, " ")
}
