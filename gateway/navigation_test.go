package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/postern-auth/postern/gateway"
)

const (
	chromeAccept = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
	navigate     = "Sec-Fetch-Mode: navigate\nSec-Fetch-Site: none\nSec-Fetch-Dest: "
)

// request has a method and headers, each on a line as "Field: value".
func request(method, lines string) *http.Request {
	r := httptest.NewRequest(method, "/", nil)
	for line := range strings.SplitSeq(lines, "\n") {
		if field, value, found := strings.Cut(line, ": "); found {
			r.Header.Add(field, value)
		}
	}
	return r
}

func TestKindOf(t *testing.T) {
	tests := []struct {
		method, headers string
		want            gateway.Kind
	}{
		// Fetch metadata
		{"GET", navigate + "document", gateway.Navigation},
		{"HEAD", navigate + "document", gateway.Navigation},
		{"POST", navigate + "document", gateway.FormPost},
		{"PUT", navigate + "document", gateway.Program},
		{"OPTIONS", navigate + "document", gateway.Program},
		{"get", navigate + "document", gateway.Program},
		{"GET", "Sec-Fetch-Mode: navigate", gateway.Navigation},
		{"GET", "Sec-Fetch-Mode: navigate\nX-Requested-With: XMLHttpRequest", gateway.Navigation},
		{"GET", navigate + "iframe", gateway.Program},
		{"GET", navigate + "frame", gateway.Program},
		{"GET", navigate + "embed", gateway.Program},
		{"GET", navigate + "object", gateway.Program},
		{"GET", navigate + "fencedframe\nAccept: " + chromeAccept, gateway.Program},
		{"POST", navigate + "iframe", gateway.Program},
		{"GET", navigate + "document\nSec-Fetch-Dest: iframe", gateway.Program},
		{"GET", navigate + "document\nSec-Fetch-Mode: cors", gateway.Program},
		{"GET", "Sec-Fetch-Mode: cors\nAccept: " + chromeAccept, gateway.Program},
		{"GET", "Sec-Fetch-Mode: no-cors\nAccept: " + chromeAccept, gateway.Program},
		{"GET", "Sec-Fetch-Mode: same-origin\nAccept: text/html", gateway.Program},
		{"GET", "Sec-Fetch-Mode: websocket\nAccept: text/html", gateway.Program},
		{"GET", "Sec-Fetch-Mode: NAVIGATE", gateway.Program},
		{"GET", "Sec-Fetch-Site: same-origin\nAccept: text/html", gateway.Program},
		{"GET", "Sec-Fetch-Dest: document\nAccept: text/html", gateway.Program},
		// Accept
		{"GET", "Accept: " + chromeAccept, gateway.Navigation},
		{"HEAD", "Accept: " + chromeAccept, gateway.Navigation},
		{"POST", "Accept: " + chromeAccept + "\nContent-Type: application/x-www-form-urlencoded", gateway.FormPost},
		{"DELETE", "Accept: " + chromeAccept, gateway.Program},
		{"GET", "Accept: TEXT/HTML;charset=utf-8", gateway.Navigation},
		{"GET", "Accept: application/json\nAccept: text/html", gateway.Navigation},
		{"GET", "Accept: */*", gateway.Program},
		{"GET", "Accept: text/*", gateway.Program},
		{"GET", "Accept: application/json", gateway.Program},
		{"GET", "Accept: text/htmlx, xtext/html", gateway.Program},
		{"GET", "Accept: application/json, text/html;q=0", gateway.Program},
		{"GET", "Accept: text/html;level=1;q=0.0", gateway.Program},
		{"GET", "Accept: text/html;q=0.1", gateway.Navigation},
		{"GET", "Accept: text/html\nX-Requested-With: XMLHttpRequest", gateway.Program},
		{"POST", "Accept: text/html\nX-Requested-With: x", gateway.Program},
		{"GET", "", gateway.Program},
		{"POST", "", gateway.Program},
		// gRPC
		{"POST", "Content-Type: application/grpc", gateway.GRPC},
		{"POST", "Content-Type: application/grpc+proto", gateway.GRPC},
		{"POST", "Content-Type: Application/gRPC ; charset=x", gateway.GRPC},
		{"POST", "Content-Type: application/grpc-web", gateway.Program},
		{"POST", "Content-Type: application/grpc-web+proto", gateway.Program},
		{"POST", "Content-Type: application/grpcx", gateway.Program},
		{"POST", "Content-Type: application/grpc\nContent-Type: text/plain", gateway.Program},
		{"GET", "Content-Type: application/grpc", gateway.Program},
		// upgrades
		{"GET", "Connection: Upgrade\nUpgrade: websocket", gateway.Upgrade},
		{"GET", "Connection: keep-alive, uPGRADE\nUpgrade: websocket\nSec-Fetch-Mode: websocket", gateway.Upgrade},
		{"GET", "Connection: keep-alive\nConnection: upgrade\nUpgrade: x\nAccept: text/html", gateway.Upgrade},
		{"POST", "Connection: upgrade\nUpgrade: x\nContent-Type: application/grpc", gateway.Upgrade},
		{"GET", "Connection: upgrade", gateway.Program},
		{"GET", "Upgrade: websocket", gateway.Program},
		{"GET", "Connection: upgraded\nUpgrade: websocket", gateway.Program},
	}
	for _, test := range tests {
		if got := gateway.KindOf(request(test.method, test.headers)); got != test.want {
			t.Errorf("KindOf(%s %q) = %v, want %v", test.method, test.headers, got, test.want)
		}
	}
}

// connect is a CONNECT request as the servers of Caddy hand it over.
func connect(major int, proto, protocol string) *http.Request {
	r := &http.Request{Method: "CONNECT", ProtoMajor: major, Proto: proto, Header: http.Header{}}
	if protocol != "" {
		r.Header[":protocol"] = []string{protocol}
	}
	return r
}

func TestRefusedMethodAndExtendedConnect(t *testing.T) {
	tests := map[string]struct {
		r        *http.Request
		extended bool
	}{
		"HTTP/1.1":                        {connect(1, "HTTP/1.1", ""), false},
		"HTTP/1.1 with a :protocol":       {connect(1, "HTTP/1.1", "websocket"), false},
		"HTTP/2":                          {connect(2, "HTTP/2.0", ""), false},
		"HTTP/3":                          {connect(3, "HTTP/3.0", ""), false},
		"HTTP/3 with a header":            {connect(3, "HTTP/3.0", "websocket"), false},
		"extended, HTTP/2":                {connect(2, "HTTP/2.0", "websocket"), true},
		"extended, HTTP/2, something new": {connect(2, "HTTP/2.0", "connect-udp"), true},
		"extended, HTTP/3":                {connect(3, "websocket", ""), true},
	}
	for name, test := range tests {
		if got := gateway.RefusedMethod(test.r); got == test.extended {
			t.Errorf("%s: RefusedMethod = %v", name, got)
		}
		if got := gateway.KindOf(test.r) == gateway.Upgrade; got != test.extended {
			t.Errorf("%s: an upgrade is %v", name, got)
		}
	}
	for method, want := range map[string]bool{"TRACE": true, "trace": true, "Trace": true, "connect": true, "Connect": true, "GET": false, "OPTIONS": false, "PROPFIND": false, "TRACES": false, "": false} {
		if got := gateway.RefusedMethod(&http.Request{Method: method, ProtoMajor: 1, Header: http.Header{}}); got != want {
			t.Errorf("RefusedMethod(%q) = %v", method, got)
		}
	}
}

func TestIsTopLevelNavigation(t *testing.T) {
	tests := []struct {
		method, headers string
		want            bool
	}{
		{"GET", "", true},
		{"GET", "Accept: */*", true},
		{"GET", navigate + "document", true},
		{"GET", navigate + "document\nSec-Fetch-User: ?1", true},
		{"HEAD", "", false},
		{"HEAD", navigate + "document", false},
		{"POST", navigate + "document", false},
		{"OPTIONS", "", false},
		{"GET", navigate + "iframe", false},
		{"GET", navigate + "object", false},
		{"GET", navigate + "empty", false},
		{"GET", "Sec-Fetch-Mode: navigate", false},
		{"GET", "Sec-Fetch-Dest: document", false},
		{"GET", "Sec-Fetch-Site: cross-site", false},
		{"GET", "Sec-Fetch-User: ?1", false},
		{"GET", "Sec-Fetch-Mode: no-cors\nSec-Fetch-Dest: image", false},
		{"GET", "Sec-Fetch-Mode: cors\nSec-Fetch-Dest: document", false},
		{"GET", navigate + "document\nSec-Fetch-Mode: cors", false},
		{"GET", navigate + "document\nSec-Purpose: prefetch", false},
		{"GET", navigate + "document\nSec-Purpose: prefetch;prerender", false},
		{"GET", navigate + "document\nSec-Purpose: prefetch;anonymous-client-ip", false},
		{"GET", "Purpose: prefetch", false},
		{"GET", "X-Purpose: preview", false},
		{"GET", "X-Moz: prefetch", false},
	}
	for _, test := range tests {
		if got := gateway.IsTopLevelNavigation(request(test.method, test.headers)); got != test.want {
			t.Errorf("IsTopLevelNavigation(%s %q) = %v", test.method, test.headers, got)
		}
	}
}

func TestSameOriginPost(t *testing.T) {
	origins := []string{"", "null", "https://wiki.example.com", "https://wiki.example.com:8443"}
	tests := map[string]bool{
		"":                                                           false,
		"Sec-Fetch-Site: same-origin":                                true,
		"Sec-Fetch-Site: none":                                       true,
		"Sec-Fetch-Site: same-site":                                  false,
		"Sec-Fetch-Site: cross-site":                                 false,
		"Sec-Fetch-Site: ":                                           false,
		"Sec-Fetch-Site: Same-Origin":                                false,
		"Sec-Fetch-Site: same-origin, x":                             false,
		"Origin: https://wiki.example.com":                           true,
		"Origin: https://wiki.example.com:8443":                      true,
		"Origin: http://wiki.example.com":                            false,
		"Origin: https://wiki.example.com:443":                       false,
		"Origin: https://wiki.example.com/":                          false,
		"Origin: https://wiki.example.com.evil.com":                  false,
		"Origin: https://evil.com":                                   false,
		"Origin: https://evilwiki.example.com":                       false,
		"Origin: null":                                               false,
		"Origin: ":                                                   false,
		"Origin: https://wiki.example.com https://evil.com":          false,
		"Origin: https://wiki.example.com\nOrigin: https://evil.com": false,
		"Origin: https://wiki.example.com\nOrigin: https://wiki.example.com":                        false,
		"Referer: https://wiki.example.com/":                                                        false,
		"Sec-Fetch-Site: cross-site\nOrigin: https://wiki.example.com":                              false,
		"Sec-Fetch-Site: same-site\nOrigin: https://wiki.example.com":                               false,
		"Sec-Fetch-Site: \nOrigin: https://wiki.example.com":                                        false,
		"Sec-Fetch-Site: same-origin\nSec-Fetch-Site: cross-site\nOrigin: https://wiki.example.com": false,
		"Sec-Fetch-Site: same-origin\nSec-Fetch-Site: same-origin":                                  false,
		"Sec-Fetch-Mode: navigate\nOrigin: https://wiki.example.com":                                true,
	}
	for headers, want := range tests {
		if got := gateway.SameOriginPost(request("POST", headers), origins...); got != want {
			t.Errorf("SameOriginPost(%q) = %v", headers, got)
		}
	}
	if gateway.SameOriginPost(request("POST", "Origin: https://wiki.example.com")) {
		t.Error("an Origin was accepted without any to compare with")
	}
}

func BenchmarkKindOf(b *testing.B) {
	for name, r := range map[string]*http.Request{"navigation": browserRequest(), "program": request("GET", "Accept: */*"), "old browser": request("GET", "Accept: "+chromeAccept)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				gateway.KindOf(r)
			}
		})
	}
}

// FuzzFetchMetadata has headers say what a browser says of a request, each once
// or twice: nothing but a top-level navigation uses up a link, nothing in a
// frame is led to a page, and no other site sends a form.
func FuzzFetchMetadata(f *testing.F) {
	for _, method := range []string{"GET", "HEAD", "POST", "get"} {
		for _, mode := range []string{"", "navigate", "cors"} {
			f.Add(method, mode, "document", "none", "https://wiki.example.com", chromeAccept, "", uint8(0))
			f.Add(method, mode, "iframe", "cross-site", "null", "*/*", "", uint8(0))
		}
	}
	for _, site := range []string{"", "same-origin", "same-site"} {
		f.Add("POST", "", "", site, "https://wiki.example.com", "text/html", "", uint8(0))
	}
	f.Add("POST", "", "", "", "https://evil.example", "text/html;q=0", "prefetch", uint8(9))
	const own = "https://wiki.example.com"
	f.Fuzz(func(t *testing.T, method, mode, dest, site, origin, accept, purpose string, twice uint8) {
		r := &http.Request{Method: method, ProtoMajor: 1, Header: http.Header{}}
		for i, field := range [][2]string{{"Sec-Fetch-Mode", mode}, {"Sec-Fetch-Dest", dest}, {"Sec-Fetch-Site", site}, {"Origin", origin}, {"Accept", accept}, {"Sec-Purpose", purpose}} {
			if field[1] != "" {
				r.Header.Add(field[0], field[1])
			}
			if twice>>i&1 == 1 {
				r.Header.Add(field[0], "x")
			}
		}
		only := func(field, value string) bool { return slices.Equal(r.Header[field], []string{value}) }
		metadata := len(r.Header["Sec-Fetch-Mode"])+len(r.Header["Sec-Fetch-Dest"])+len(r.Header["Sec-Fetch-Site"]) > 0
		if gateway.IsTopLevelNavigation(r) && (method != "GET" || len(r.Header["Sec-Purpose"]) > 0 || metadata && !(only("Sec-Fetch-Mode", "navigate") && only("Sec-Fetch-Dest", "document"))) {
			t.Errorf("%s %v is a top-level navigation", method, r.Header)
		}
		switch kind := gateway.KindOf(r); kind {
		case gateway.Navigation, gateway.FormPost:
			if (kind == gateway.FormPost) != (method == "POST") || !slices.Contains([]string{"GET", "HEAD", "POST"}, method) {
				t.Errorf("%s is a %v", method, kind)
			}
			if metadata && (!only("Sec-Fetch-Mode", "navigate") || slices.Contains(r.Header["Sec-Fetch-Dest"], "iframe")) {
				t.Errorf("%s %v is a %v", method, r.Header, kind)
			}
			if !metadata && !strings.Contains(strings.ToLower(accept), "text/html") {
				t.Errorf("%s with Accept %q is a %v", method, accept, kind)
			}
		}
		sameSite := only("Sec-Fetch-Site", "same-origin") || only("Sec-Fetch-Site", "none")
		if got, want := gateway.SameOriginPost(r, own), sameSite || len(r.Header["Sec-Fetch-Site"]) == 0 && only("Origin", own); got != want {
			t.Errorf("a form of %v: %t", r.Header, got)
		}
	})
}
