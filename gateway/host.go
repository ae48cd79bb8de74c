package gateway

import (
	"net/netip"
	"strings"
)

// NormalHost returns a Host header's host in the form in which sites are named:
// lower case and without port. It returns "" for what is no host, a name that ends
// with a dot among them: matchers of servers do not take it for the name without,
// and some applications do.
func NormalHost(hostport string) string {
	host := hostport
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		if strings.Count(host, ":") > 1 && host[0] != '[' {
			return "" // a bare IPv6 address
		}
		host = host[:i]
	}
	host = lowerASCII(host)
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
		if addr, err := netip.ParseAddr(host); err != nil || !addr.Is6() || addr.Zone() != "" {
			return ""
		}
		return host
	}
	if !validHost(host) {
		return ""
	}
	return host
}

// lowerASCII folds A to Z alone: other letters that Unicode folds into ASCII
// ones would make one host of two.
func lowerASCII(s string) string {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				if b[j] >= 'A' && b[j] <= 'Z' {
					b[j] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// validHost says whether the text is a host name or an IP address, in lower case.
func validHost(host string) bool {
	if host == "" || len(host) > 253 {
		return false
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Zone() == ""
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// bracketed is how a URL writes the host.
func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// IsLoopbackName says whether the host is this machine for every browser that
// reads it: localhost, a name below it (RFC 6761), or a loopback address.
func IsLoopbackName(host string) bool {
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || isLoopbackIP(host)
}

func isLoopbackIP(ip string) bool {
	addr, err := netip.ParseAddr(ip)
	return err == nil && addr.Unmap().IsLoopback()
}

// MatchesHost says whether the host is the pattern, or one label below it where
// the pattern begins with "*.".
func MatchesHost(pattern, host string) bool {
	below, ok := strings.CutPrefix(pattern, "*.")
	if !ok {
		return pattern == host
	}
	label, rest, found := strings.Cut(host, ".")
	return found && label != "" && rest == below
}
