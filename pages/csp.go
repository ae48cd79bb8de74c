package pages

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// policyOf is the policy of a look, whose style and script are the same bytes on
// every page, so that one header fits all and names them by hash. Nothing of a
// request may ever become part of them: the script takes its settings from data
// attributes.
func policyOf(css, script string) string {
	return strings.Join([]string{
		"default-src 'none'",
		"style-src " + sourceHash(css),
		"script-src " + sourceHash(script),
		"connect-src 'self'",
		"img-src data:",
		"base-uri 'none'",
		"frame-ancestors 'none'",
	}, "; ")
}

func sourceHash(block string) string {
	sum := sha256.Sum256([]byte(block))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// compact returns a file without its indentation, empty lines and comments that
// have a line of their own. It knows no grammar: the file must have no string or
// comment that goes over several lines.
func compact(source string) string {
	var out strings.Builder
	for line := range strings.Lines(source) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "//") || strings.HasPrefix(line, "/*") {
			continue
		}
		out.WriteString(line + "\n")
	}
	return out.String()
}
