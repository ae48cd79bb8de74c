package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-auth/postern/store"
)

// A lane is one way to an address with counts of its own. A browser that signed
// in as the address before has one for itself; all others share one, which
// alone has the daily caps. So a stranger can neither lock out nor flood
// somebody who is known in their browser.
//
// Its record also says which sign-in requests were used up, because what must
// happen at once, counting an attempt, comparing the code and using up the
// request, must be one update of one key.
type lane struct {
	Attempts     window `json:"attempts"`
	AttemptsADay window `json:"attempts_a_day"`
	Mails        window `json:"mails"`
	MailsADay    window `json:"mails_a_day"`
	// CodesStopped is until when no code is compared, because of the daily cap.
	CodesStopped time.Time `json:"codes_stopped,omitzero"`
	// Requests holds what was answered for each request that is still kept.
	Requests map[string]*answers `json:"requests,omitempty"`
}

// UnmarshalJSON refuses null in the place of answers, which would bring used
// credentials back.
func (l *lane) UnmarshalJSON(data []byte) error {
	type plain lane
	if err := json.Unmarshal(data, (*plain)(l)); err != nil {
		return err
	}
	for _, a := range l.Requests {
		if a == nil {
			return errors.New("the answers to a sign-in request are null")
		}
	}
	return nil
}

// answers is what was tried for one sign-in request.
type answers struct {
	Deadline time.Time `json:"deadline"`
	// Wrong holds hashes of the wrong codes: an equal one counts once.
	Wrong []string `json:"wrong,omitempty"`
	Used  *usedUp  `json:"used,omitempty"`
}

// usedUp says that a request was answered rightly, and what session it became.
type usedUp struct {
	Session string    `json:"session"` // hash of its secret; an application's has none
	At      time.Time `json:"at"`
}

// laneState is what a lane says about one request now.
type laneState struct {
	used         *usedUp
	attemptsLeft int
	retryAfter   time.Duration // until there are attempts again
	resendAfter  time.Duration // until there may be another mail
	codesStopped bool          // by the daily cap
}

const sharedLane = "*"

// laneOf is the key of the lane in which the browser asks for the address.
func (e *Engine) laneOf(address, browserHash string, browser *Browser) string {
	key := LimitKey(address)
	// Elsewhere than in limits, a suffix makes another address.
	if browser.knows(e.keys.hash("remembered", address)) {
		return "lane/" + key + "/" + browserHash
	}
	return "lane/" + key + "/" + sharedLane
}

func isShared(laneKey string) bool { return strings.HasSuffix(laneKey, "/"+sharedLane) }

// at returns the lane as it stands now, without what is over.
func (l *lane) at(now time.Time, limits Limits) *lane {
	next := &lane{Requests: make(map[string]*answers)}
	if l == nil {
		l = next
	}
	next.Attempts = l.Attempts.at(now, limits.Attempts)
	next.Mails = l.Mails.at(now, limits.Mails)
	next.AttemptsADay = l.AttemptsADay.at(now, Limit{DailyWrongCodes, day})
	next.MailsADay = l.MailsADay.at(now, Limit{DailyMails, day})
	if now.Before(l.CodesStopped) && !l.CodesStopped.After(now.Add(day)) {
		next.CodesStopped = l.CodesStopped
	}
	for id, a := range l.Requests {
		if now.Before(a.Deadline) {
			next.Requests[id] = a
		}
	}
	return next
}

// attempts is how many more codes would be compared, and how long none will.
func (l *lane) attempts(now time.Time, limits Limits, shared bool) (int, time.Duration) {
	left, wait := l.Attempts.left(limits.Attempts), l.Attempts.wait(now, limits.Attempts)
	if !shared {
		return left, wait
	}
	if now.Before(l.CodesStopped) {
		return 0, max(wait, l.CodesStopped.Sub(now))
	}
	return min(left, l.AttemptsADay.left(Limit{DailyWrongCodes, day})), wait
}

// countWrong counts a wrong code. The last one of a day stops codes for the
// 24 hours that follow.
func (l *lane) countWrong(now time.Time) {
	l.Attempts.Count++
	l.AttemptsADay.Count++
	if l.AttemptsADay.left(Limit{DailyWrongCodes, day}) == 0 {
		l.CodesStopped, l.AttemptsADay = now.Add(day), window{}
	}
}

// mailWait is how long there may be no further mail.
func (l *lane) mailWait(now time.Time, limits Limits, shared bool) time.Duration {
	wait := l.Mails.wait(now, limits.Mails)
	if shared {
		wait = max(wait, l.MailsADay.wait(now, Limit{DailyMails, day}))
	}
	return wait
}

// of returns the answers to a request, which it makes where there are none.
func (l *lane) of(c *challenge) *answers {
	a := l.Requests[c.ID]
	if a == nil {
		a = &answers{Deadline: c.Deadline}
		l.Requests[c.ID] = a
	}
	return a
}

// errUnchanged makes changeLane leave the lane as it was.
var errUnchanged = errors.New("unchanged")

// changeLane updates a lane where fn says that it changed it. fn may run more
// than once.
func (e *Engine) changeLane(ctx context.Context, key string, fn func(l *lane, now time.Time) (changed bool)) error {
	keep := max(day, e.config.Limits.Attempts.Window, e.config.Limits.Mails.Window) + time.Hour
	err := store.Change(ctx, e.store, key, keep, func(old *lane) (*lane, error) {
		now := e.now()
		l := old.at(now, e.config.Limits)
		if !fn(l, now) {
			return nil, errUnchanged
		}
		return l, nil
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

func (e *Engine) laneState(ctx context.Context, c *challenge) (laneState, error) {
	stored, err := store.Load[lane](ctx, e.store, c.Lane)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return laneState{}, fmt.Errorf("loading the lane: %w", err)
	}
	now := e.now()
	l := stored.at(now, e.config.Limits)
	var state laneState
	state.attemptsLeft, state.retryAfter = l.attempts(now, e.config.Limits, isShared(c.Lane))
	state.resendAfter = l.mailWait(now, e.config.Limits, isShared(c.Lane))
	state.codesStopped = isShared(c.Lane) && now.Before(l.CodesStopped)
	if a := l.Requests[c.ID]; a != nil {
		state.used = a.Used
	}
	return state, nil
}

// takeMail counts a mail of the lane and says when it may go out: now, or when
// the lane has room again, and then it is to be counted then.
func (e *Engine) takeMail(ctx context.Context, laneKey string) (wait time.Duration, err error) {
	err = e.changeLane(ctx, laneKey, func(l *lane, now time.Time) bool {
		wait = l.mailWait(now, e.config.Limits, isShared(laneKey))
		if wait > 0 {
			return false
		}
		l.Mails.Count++
		l.MailsADay.Count++
		return true
	})
	if err != nil {
		return 0, fmt.Errorf("counting a mail: %w", err)
	}
	return wait, nil
}

// answer is what a browser says to a sign-in request.
type answer struct {
	request *challenge
	// code is what was typed; right compares it. Both are unset for a link: it
	// was verified before, and nobody's wrong guesses block it.
	code  string
	right func() bool
	// session is the hash of the session to be opened, held that of the session
	// the browser has. An application has none: held is empty.
	session, held string
}

// settle compares an answer with its request and uses the request up, all at
// once: of any number of parallel right ones, one gets the session, and of any
// number of wrong ones the configured number is compared.
//
// It returns nil where the session is to be opened now. It fails with errAgain,
// ErrUnknown, a *WrongCodeError, a *LimitError, or a failure of the store.
func (e *Engine) settle(ctx context.Context, a answer) error {
	var result error
	err := e.changeLane(ctx, a.request.Lane, func(l *lane, now time.Time) (changed bool) {
		changed, result = e.judge(l, now, a)
		return changed
	})
	if err != nil {
		return fmt.Errorf("answering sign-in request: %w", err)
	}
	return result
}

// errAgain says that a request was answered rightly before, by this browser,
// which still holds the session: a double click, or the back button.
var errAgain = errors.New("answered again")

const (
	// maxUsed bounds the record of a lane; the default limits stay far below.
	maxUsed = 256
	// maxAttempts bounds limit attempts, since as many wrong codes are remembered of
	// one request.
	maxAttempts = 500
)

// judge is the decision of settle.
func (e *Engine) judge(l *lane, now time.Time, a answer) (changed bool, result error) {
	tried := l.of(a.request)
	isLink := a.right == nil
	switch {
	case tried.Used != nil && a.held != "" && tried.Used.Session == a.held && (isLink || a.right()):
		return false, errAgain
	case tried.Used != nil || !now.Before(a.request.Expires):
		return false, ErrUnknown
	case len(l.Requests) > maxUsed:
		return false, &LimitError{Limit: limitAttempts, RetryAfter: a.request.Deadline.Sub(now)}
	case isLink:
		tried.Used = &usedUp{Session: a.session, At: now}
		return true, nil
	}
	return e.judgeCode(l, now, a, tried)
}

func (e *Engine) judgeCode(l *lane, now time.Time, a answer, tried *answers) (changed bool, result error) {
	shared := isShared(a.request.Lane)
	left, wait := l.attempts(now, e.config.Limits, shared)
	// Of a fresh generation every code may be right, so it counts again.
	hash := e.keys.hash("wrong code", fmt.Sprint(a.request.ID, " ", a.request.Generation, " ", a.code))[:16]
	if slices.Contains(tried.Wrong, hash) {
		return false, &WrongCodeError{Left: left, RetryAfter: wait, Again: true}
	}
	if left == 0 {
		return false, &LimitError{Limit: limitAttempts, RetryAfter: wait}
	}
	if a.right() {
		tried.Used = &usedUp{Session: a.session, At: now}
		return true, nil
	}
	l.countWrong(now)
	tried.Wrong = append(tried.Wrong, hash)
	tried.Wrong = tried.Wrong[max(0, len(tried.Wrong)-maxAttempts):]
	left, wait = l.attempts(now, e.config.Limits, shared)
	return true, &WrongCodeError{Left: left, RetryAfter: wait}
}
