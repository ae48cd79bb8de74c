package gateway

// For the tests outside the package.
var (
	StripOwnCookies = stripOwnCookies
)
