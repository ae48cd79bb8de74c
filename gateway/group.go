package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxGroupFile = 8 << 20 // bytes
	// lookAgain is how often a group's file is looked at, at most.
	lookAgain = time.Second
)

var errGroupInGroup = errors.New("a group holds no groups; name its members")

// lineError is a mistake in a group's file.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }

func (e *lineError) Unwrap() error { return e.err }

// GroupError says which group of a configuration cannot be, and why.
type GroupError struct {
	Name string
	Err  error
}

func (e *GroupError) Error() string { return fmt.Sprintf("group %s: %v", e.Name, e.Err) }

func (e *GroupError) Unwrap() error { return e.Err }

// GroupConfig names a group: its members, the file that lists them, or both.
type GroupConfig struct {
	Name    string
	Members []Who
	// File has a <who> on each line, and comments that begin with "#".
	File string
}

// Groups are the named groups of a configuration. The zero value has none.
type Groups struct {
	groups []*group
	// changes counts how often a list was read again.
	changes atomic.Uint64
}

type group struct {
	name    string
	path    string
	log     *slog.Logger
	members atomic.Pointer[memberSet] // of the list and the file together
	listed  []Who

	reading  sync.Mutex
	lookedAt atomic.Int64 // Unix nanoseconds
	seen     os.FileInfo
	failed   bool
}

// memberSet answers quickly for files of many thousand addresses.
type memberSet struct {
	anyone             bool
	addresses, domains map[string]struct{}
}

func newMemberSet(members []Who) *memberSet {
	set := &memberSet{addresses: map[string]struct{}{}, domains: map[string]struct{}{}}
	for _, who := range members {
		switch who.kind {
		case whoAddress:
			set.addresses[who.value] = struct{}{}
		case whoDomain:
			set.domains[who.value] = struct{}{}
		case whoAnyone:
			set.anyone = true
		}
	}
	return set
}

func (s *memberSet) has(address string) bool {
	_, domain := SplitAddress(address)
	_, byAddress := s.addresses[address]
	_, byDomain := s.domains[domain]
	return s.anyone || byAddress || byDomain
}

// NewGroups makes the groups of a configuration. It fails with a *GroupError
// where a name is used twice, where a member is itself a group, and where a file
// cannot be read.
func NewGroups(configs []GroupConfig, log *slog.Logger) (*Groups, error) {
	all := &Groups{}
	for _, config := range configs {
		if err := all.add(config, log); err != nil {
			return nil, &GroupError{config.Name, err}
		}
	}
	return all, nil
}

func (g *Groups) add(config GroupConfig, log *slog.Logger) error {
	if !validGroupName(config.Name) {
		return errors.New("write a name of letters, digits, \"-\", \"_\" and \".\"")
	}
	if g.Has(config.Name) {
		return errors.New("it is defined twice: put all its members into one")
	}
	if err := checkMembers(config.Members); err != nil {
		return err
	}
	one := &group{name: config.Name, path: config.File, listed: config.Members, log: log}
	one.members.Store(newMemberSet(config.Members))
	if config.File != "" {
		if err := one.read(); err != nil {
			return err
		}
	}
	g.groups = append(g.groups, one)
	return nil
}

func checkMembers(members []Who) error {
	for _, who := range members {
		if who.kind == whoGroup {
			return fmt.Errorf("%s: %w", who, errGroupInGroup)
		}
	}
	return nil
}

// Has says whether there is a group with the name.
func (g *Groups) Has(name string) bool {
	return slices.ContainsFunc(g.groups, func(group *group) bool { return group.name == name })
}

// Of returns the names of the groups that the address is in, in the order of
// the configuration.
func (g *Groups) Of(address string) []string {
	g.refresh()
	var names []string
	for _, group := range g.groups {
		if group.members.Load().has(address) {
			names = append(names, group.name)
		}
	}
	return names
}

// refresh reads files that changed, and returns how many changes there were.
func (g *Groups) refresh() uint64 {
	for _, group := range g.groups {
		if group.path != "" && group.refresh() {
			g.changes.Add(1)
		}
	}
	return g.changes.Load()
}

// refresh reads the group's file again where it changed, and says whether it
// did. A file that cannot be read keeps the last good list, and that is said
// once.
func (g *group) refresh() (changed bool) {
	now := time.Now().UnixNano()
	if now-g.lookedAt.Load() < int64(lookAgain) || !g.reading.TryLock() {
		return false
	}
	defer g.reading.Unlock()
	g.lookedAt.Store(now)
	info, err := os.Stat(g.path)
	if err == nil && g.seen != nil && !g.failed && os.SameFile(info, g.seen) && info.ModTime().Equal(g.seen.ModTime()) && info.Size() == g.seen.Size() {
		return false
	}
	if err == nil {
		err = g.read()
	}
	if err != nil && !g.failed {
		g.logFailure(err)
	}
	if err == nil {
		g.log.Info("group file read again", "group", g.name)
	}
	g.failed = err != nil
	return err == nil
}

// logFailure says whether the file is at fault or its text.
func (g *group) logFailure(err error) {
	trouble := "group file cannot be read"
	if _, isMistake := errors.AsType[*lineError](err); isMistake {
		trouble = "group file has a mistake"
	}
	g.log.Error(trouble+": its last good list stays in force", "group", g.name, "error", err)
}

// read takes the file's members in.
func (g *group) read() error {
	file, err := os.Open(g.path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(file, maxGroupFile+1))
	if err != nil {
		return err
	}
	if len(text) > maxGroupFile {
		return fmt.Errorf("%s is larger than %d MB", g.path, maxGroupFile>>20)
	}
	members, err := parseMembers(text)
	if err != nil {
		return fmt.Errorf("%s: %w", g.path, err)
	}
	g.members.Store(newMemberSet(slices.Concat(g.listed, members)))
	g.seen = info
	return nil
}

func parseMembers(text []byte) ([]Who, error) {
	var members []Who
	lines := bufio.NewScanner(bytes.NewReader(text))
	number := 1
	for ; lines.Scan(); number++ {
		// An address may contain "#": only a word that begins with it is a comment.
		words := strings.Fields(lines.Text())
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		who, err := parseMember(words[0])
		if err == nil && len(words) > 1 && words[1][0] != '#' {
			err = fmt.Errorf("%q: write one <who> a line", lines.Text())
		}
		if err != nil {
			return nil, &lineError{number, err}
		}
		members = append(members, who)
	}
	if err := lines.Err(); err != nil {
		return nil, &lineError{number, err}
	}
	return members, nil
}
