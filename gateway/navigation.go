package gateway

import (
	"net/http"
	"strings"
)

// Kind says who waits for the answer to a request, and so in which form it can
// be refused.
type Kind int

// The kinds of requests.
const (
	Program    Kind = iota // anything that does not show a page: scripts, API clients, images, frames
	Navigation             // a browser that goes to a page, with GET or HEAD
	FormPost               // a browser that goes to a page by sending a form
	Upgrade                // a request for another protocol on this connection or stream
	GRPC                   // a gRPC call
)

// String names the kind, for logs.
func (k Kind) String() string {
	names := [...]string{"program", "navigation", "form", "upgrade", "grpc"}
	if k < 0 || int(k) >= len(names) {
		return "unknown"
	}
	return names[k]
}

// KindOf tells which kind a request is. A page navigation is known by its Fetch
// metadata (W3C Fetch Metadata Request Headers), or, where a browser sends
// none, by an Accept that names text/html without the X-Requested-With of
// scripts. A navigation in a frame is a Program, since a sign-in page must not
// be framed.
func KindOf(r *http.Request) Kind {
	switch {
	case isUpgrade(r):
		return Upgrade
	case isGRPC(r):
		return GRPC
	case !isPageNavigation(r.Header):
		return Program
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return Navigation
	case http.MethodPost:
		return FormPost
	}
	return Program
}

// IsTopLevelNavigation reports whether a request is a person's browser that
// opens a page as a tab of its own, as far as one can know: a GET which, if it
// has Fetch metadata at all, says so, and no prefetch or prerendering. Only
// such a request may use up a link.
func IsTopLevelNavigation(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	for _, field := range [...]string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		if len(r.Header[field]) > 0 {
			return false
		}
	}
	return !hasFetchMetadata(r.Header) ||
		onlyValue(r.Header, "Sec-Fetch-Mode") == "navigate" && onlyValue(r.Header, "Sec-Fetch-Dest") == "document"
}

// SameOriginPost reports whether a page of this site, or the person by the
// browser's own means, sent a request: Sec-Fetch-Site is same-origin or none,
// or, where a browser does not send that, Origin (RFC 6454) is one of origins,
// each written as browsers do, "https://host[:port]". A header that comes
// twice, or not at all, counts for nothing.
func SameOriginPost(r *http.Request, origins ...string) bool {
	if _, sent := r.Header["Sec-Fetch-Site"]; sent {
		site := onlyValue(r.Header, "Sec-Fetch-Site")
		return site == "same-origin" || site == "none"
	}
	sent := onlyValue(r.Header, "Origin")
	if sent == "" || sent == "null" {
		return false
	}
	for _, origin := range origins {
		if sent == origin {
			return true
		}
	}
	return false
}

// RefusedMethod reports whether a method is one that no upstream may see:
// TRACE, which answers with the request's cookies and identity headers (RFC
// 9110, section 9.3.8), and CONNECT but for the extended one of RFC 8441.
func RefusedMethod(r *http.Request) bool {
	return equalFoldASCII(r.Method, http.MethodTrace) || equalFoldASCII(r.Method, http.MethodConnect) && !isExtendedConnect(r)
}

// isUpgrade knows the Upgrade of RFC 9110, section 7.8, and extended CONNECT,
// which has taken its place in HTTP/2 (RFC 8441) and HTTP/3 (RFC 9220).
func isUpgrade(r *http.Request) bool {
	if isExtendedConnect(r) {
		return true
	}
	return r.ProtoMajor == 1 && len(r.Header["Upgrade"]) > 0 && hasOption(r.Header["Connection"], "upgrade")
}

// isExtendedConnect knows where Go's HTTP/2 server and quic-go's HTTP/3 server
// put the :protocol of a request.
func isExtendedConnect(r *http.Request) bool {
	if r.Method != http.MethodConnect {
		return false
	}
	switch r.ProtoMajor {
	case 2:
		protocol := r.Header[":protocol"]
		return len(protocol) > 0 && protocol[0] != ""
	case 3:
		return r.Proto != "" && !strings.HasPrefix(r.Proto, "HTTP/")
	}
	return false
}

// isGRPC leaves out gRPC-Web: it is what scripts in pages speak, whose
// libraries read an HTTP status.
func isGRPC(r *http.Request) bool {
	if r.Method != http.MethodPost {
		return false
	}
	const grpc = "application/grpc"
	media, _, _ := strings.Cut(onlyValue(r.Header, "Content-Type"), ";")
	media = trimBlanks(media)
	if len(media) < len(grpc) || !equalFoldASCII(media[:len(grpc)], grpc) {
		return false
	}
	return len(media) == len(grpc) || media[len(grpc)] == '+'
}

func isPageNavigation(h http.Header) bool {
	if hasFetchMetadata(h) {
		return onlyValue(h, "Sec-Fetch-Mode") == "navigate" && !isEmbedded(h)
	}
	return len(h["X-Requested-With"]) == 0 && acceptsHTML(h["Accept"])
}

func isEmbedded(h http.Header) bool {
	if len(h["Sec-Fetch-Dest"]) == 0 {
		return false
	}
	switch onlyValue(h, "Sec-Fetch-Dest") {
	case "document", "empty":
		return false
	}
	return true // iframe, frame, embed, object, fencedframe, and what may be invented
}

func hasFetchMetadata(h http.Header) bool {
	for _, field := range [...]string{"Sec-Fetch-Mode", "Sec-Fetch-Dest", "Sec-Fetch-Site", "Sec-Fetch-User"} {
		if _, sent := h[field]; sent {
			return true
		}
	}
	return false
}

// acceptsHTML reports whether text/html is named, and not with a weight of 0
// (RFC 9110, section 12.4.2).
func acceptsHTML(values []string) bool {
	for _, value := range values {
		for element := range strings.SplitSeq(value, ",") {
			media, parameters, _ := strings.Cut(element, ";")
			if equalFoldASCII(trimBlanks(media), "text/html") {
				return !hasZeroWeight(parameters)
			}
		}
	}
	return false
}

func hasZeroWeight(parameters string) bool {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, weight, _ := strings.Cut(trimBlanks(parameter), "=")
		if equalFoldASCII(name, "q") && weight != "" {
			return strings.Trim(weight, "0.") == ""
		}
	}
	return false
}

// hasOption reports whether a list of options, over all lines of a header, has
// one.
func hasOption(values []string, option string) bool {
	for _, value := range values {
		for one := range strings.SplitSeq(value, ",") {
			if equalFoldASCII(trimBlanks(one), option) {
				return true
			}
		}
	}
	return false
}

// onlyValue is the value of a header that comes once, or "": of two, one may be
// somebody else's.
func onlyValue(h http.Header, field string) string {
	if values := h[field]; len(values) == 1 {
		return values[0]
	}
	return ""
}
