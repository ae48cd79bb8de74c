package gateway

import "net/http"

// For the tests outside the package.

// MaxSessionsKept is how many sessions are kept in memory at most.
const MaxSessionsKept = stripes * 2 * maxYoung

// SessionsKept is how many sessions are kept in memory.
func SessionsKept(n *Node) (kept int) {
	for i := range n.sessions.shards {
		shard := &n.sessions.shards[i]
		shard.mu.RLock()
		kept += len(shard.kept.young) + len(shard.kept.old)
		shard.mu.RUnlock()
	}
	return kept
}

// ForgetSessions has all sessions read from the store again.
func ForgetSessions(n *Node) {
	for i := range n.sessions.shards {
		shard := &n.sessions.shards[i]
		shard.mu.Lock()
		shard.kept = generations{}
		shard.changes++
		shard.mu.Unlock()
	}
}

// StripOwnCookies removes the gateway's cookies.
func StripOwnCookies(h http.Header) { takeOwnCookies(h, h["Cookie"], nil) }

// MaxCookies is how many cookies of one name are tried.
const MaxCookies = maxCookies

// CookieValues are those that count under the name, at most MaxCookies.
func CookieValues(h http.Header, name string) []string {
	taken := ownCookies{sessionName: name}
	h = h.Clone()
	takeOwnCookies(h, h["Cookie"], &taken)
	var values []string
	for _, value := range taken.sessions {
		if value != "" {
			values = append(values, value)
		}
	}
	return values
}
