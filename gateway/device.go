package gateway

import (
	"net/netip"
	"strings"
)

// maxUserAgent is how much of a User-Agent is looked at.
const maxUserAgent = 512

// userAgentMark says that a User-Agent with a mark in it is a thing.
type userAgentMark struct{ mark, name string }

// The order matters: nearly every browser names those before it as well, Chrome
// says Safari and Edge says Chrome.
var knownBrowsers = []userAgentMark{
	{"Edg/", "Edge"}, {"EdgA/", "Edge"}, {"EdgiOS/", "Edge"}, {"Edge/", "Edge"},
	{"OPR/", "Opera"}, {"OPT/", "Opera"}, {"OPiOS/", "Opera"},
	{"SamsungBrowser/", "Samsung Internet"}, {"Vivaldi/", "Vivaldi"}, {"YaBrowser/", "Yandex Browser"},
	{"DuckDuckGo/", "DuckDuckGo"}, {"Ddg/", "DuckDuckGo"}, {"Focus/", "Firefox Focus"},
	{"FxiOS/", "Firefox"}, {"Firefox/", "Firefox"},
	{"CriOS/", "Chrome"}, {"Chromium/", "Chromium"}, {"HeadlessChrome/", "Chrome"}, {"Chrome/", "Chrome"},
	{"Trident/", "Internet Explorer"}, {"Safari/", "Safari"}, {"curl/", "curl"},
}

// iPhones say Mac OS X, Android says Linux, and an iPad says Macintosh, so
// there is no telling that one.
var knownSystems = []userAgentMark{
	{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"CrOS", "ChromeOS"}, {"Windows", "Windows"},
	{"Macintosh", "Mac"}, {"FreeBSD", "FreeBSD"}, {"OpenBSD", "OpenBSD"}, {"Linux", "Linux"},
}

// DescribeDevice says in a few words which browser a User-Agent names, such as
// "Firefox on Linux". It has a fixed vocabulary, so that nothing a stranger
// wrote comes into a mail or a page.
func DescribeDevice(userAgent string) string {
	if len(userAgent) > maxUserAgent {
		userAgent = userAgent[:maxUserAgent]
	}
	browser, system := findMark(knownBrowsers, userAgent), findMark(knownSystems, userAgent)
	if browser == "" {
		browser = "an unknown browser"
	}
	if system == "" {
		return browser
	}
	return browser + " on " + system
}

func findMark(words []userAgentMark, text string) string {
	for _, w := range words {
		if strings.Contains(text, w.mark) {
			return w.name
		}
	}
	return ""
}

// NetworkOf returns the client network that limits count by: an IPv4 address as
// it is, the /64 of an IPv6 address, since a home or a server has at least that
// many addresses of its own (RFC 6177), and "" for what is no IP address.
func NetworkOf(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	addr = addr.WithZone("").Unmap() // a zone means something on this host alone
	if addr.Is4() {
		return addr.String()
	}
	return netip.PrefixFrom(addr, 64).Masked().String()
}
