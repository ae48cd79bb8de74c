package gateway

import "net/http"

// ReachedSafely says whether a request came by TLS, here or at a trusted proxy
// that says so, or in plain from this machine to a loopback name. What came
// otherwise may have been read on its way. It is for doors without a Site.
func ReachedSafely(r *http.Request, trustedProxy bool) bool {
	return r.TLS != nil || trustedProxy && saysHTTPS(r) ||
		IsLoopbackName(NormalHost(r.Host)) && isLoopbackIP(peerIP(r))
}

// SecureHeaders sets the headers that every answer of ours has.
func SecureHeaders(h http.Header) { secureHeaders(h) }
