package caddymodule

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// What another proxy asks about never went through the routes here. A directive's
// matchers can judge it where they read nothing but what the proxy says of it, and
// where no handler of the routes would have changed that.

// targetMatchers read method, host, path and query alone.
var targetMatchers = map[string]bool{"method": true, "host": true, "path": true, "path_regexp": true, "query": true}

// byTarget says whether matchers read nothing else.
func byTarget(sets caddyhttp.RawMatcherSets) bool {
	for _, set := range sets {
		for name, text := range set {
			if name == "not" {
				var inner caddyhttp.RawMatcherSets
				if json.Unmarshal(text, &inner) != nil || !byTarget(inner) {
					return false
				}
			} else if !targetMatchers[name] || hasPlaceholder(text) {
				return false
			}
		}
	}
	return true
}

// hasPlaceholder says whether a text in JSON may hold a placeholder.
func hasPlaceholder(text json.RawMessage) bool {
	var value any
	return json.Unmarshal(text, &value) != nil || anyText(value, func(s string) bool { return strings.Contains(s, "{") })
}

// anyText says whether fn is true for any text within a value of JSON.
func anyText(value any, fn func(string) bool) bool {
	switch v := value.(type) {
	case string:
		return fn(v)
	case []any:
		for _, inner := range v {
			if anyText(inner, fn) {
				return true
			}
		}
	case map[string]any:
		for name, inner := range v {
			if fn(name) || anyText(inner, fn) {
				return true
			}
		}
	}
	return false
}

// keepsTarget are the handlers of Caddy that leave method, host, path and query of
// a request as they are. Any other may change them.
var keepsTarget = map[caddy.ModuleID]bool{
	"http.handlers.authentication": true, "http.handlers.encode": true, "http.handlers.error": true, "http.handlers.file_server": true,
	"http.handlers.log_append": true, "http.handlers.map": true, "http.handlers.metrics": true, "http.handlers.request_body": true,
	"http.handlers.static_response": true, "http.handlers.templates": true,
	"http.handlers.tracing": true, "http.handlers.vars": true,
}

// changesTarget says whether a handler may change them.
func changesTarget(handler caddyhttp.MiddlewareHandler) bool {
	switch h := handler.(type) {
	case *headers.Handler:
		return h.Request != nil && changesHost(h.Request)
	case *reverseproxy.Handler:
		return len(h.HandleResponse) > 0 // whose routes go on with what follows
	}
	module, ok := handler.(caddy.Module)
	return !ok || !keepsTarget[module.CaddyModule().ID]
}

// changesHost says whether Caddy sets the host of a request with its header.
func changesHost(ops *headers.HeaderOps) bool {
	return namesHost(ops.Add) || namesHost(ops.Set) || namesHost(ops.Replace) || slices.ContainsFunc(ops.Delete, mayBeHost)
}

func namesHost[M ~map[string]V, V any](fields M) bool {
	for field := range fields {
		if mayBeHost(field) {
			return true
		}
	}
	return false
}

func mayBeHost(field string) bool {
	return strings.EqualFold(field, "Host") || strings.ContainsAny(field, "*{")
}
