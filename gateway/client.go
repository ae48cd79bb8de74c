package gateway

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/postern-auth/postern/pages"
)

// A client is an application that has pages of its own and asks for sign-ins by
// the headless API. To the engine it is a site of its own, under a name that no
// host can have: its credentials are worth nothing at the pages, and those of
// pages nothing here. The binding is the client, and the id that it keeps for
// its user, in place of a browser. No session comes of it.

// ClientConfig is what a Client is made of.
type ClientConfig struct {
	// ID names the client: letters, digits, "-", "_" and ".", at most 64. Required.
	ID string
	// Secret authenticates it. Required.
	Secret Secret
	// RedirectURIs are where links may lead. Needed where mails carry links.
	RedirectURIs []string
	// Allow and Deny are who may be mailed. Default: anyone, since the
	// application decides who signs in.
	Allow, Deny []Who
	// Groups are those that Allow and Deny name.
	Groups *Groups
	// Mails bounds the mails of the client. Default: 1000 in 1 hour.
	Mails Limit
	// Letters are the templates of its mails. Default: those that are built in.
	Letters *pages.AppMails
	// Source is where the client was written, for messages.
	Source string
}

// Client is an application that may ask. It does not change once it is made.
type Client struct {
	ID string

	name    string
	secret  Secret
	links   []string
	site    *Site
	mails   Limit
	letters *pages.AppMails
}

// DefaultClientMails is how many mails a client may ask for.
var DefaultClientMails = Limit{1000, time.Hour}

// NewClient makes a client, or says what cannot be and what to write instead.
func NewClient(config ClientConfig) (*Client, error) {
	if err := ValidateClientID(config.ID); err != nil {
		return nil, err
	}
	if config.Secret.kind == noSecret {
		return nil, fmt.Errorf("client %s has no secret: write `secret {env.SHOP_SECRET}`", config.ID)
	}
	for i, uri := range config.RedirectURIs {
		if err := ValidateRedirectURI(uri, config.RedirectURIs[:i]...); err != nil {
			return nil, err
		}
	}
	setDefault(&config.Mails, DefaultClientMails)
	if err := (Limits{Mails: config.Mails, Attempts: config.Mails, Network: config.Mails, Total: config.Mails}).validate(); err != nil {
		return nil, err
	}
	if len(config.Allow) == 0 {
		config.Allow = []Who{Anyone}
	}
	letters, err := config.Letters, error(nil)
	if letters == nil {
		if letters, err = pages.LoadAppMails(nil); err != nil {
			return nil, err
		}
	}
	rule := &Rule{Allow: config.Allow, Deny: config.Deny, Source: config.Source}
	return &Client{
		ID: config.ID, name: clientName(config), secret: config.Secret,
		links: slices.Clone(config.RedirectURIs), mails: config.Mails, letters: letters,
		site: NewSite(SiteConfig{Host: "client:" + config.ID, Rules: []*Rule{rule}, Groups: config.Groups}),
	}, nil
}

// MailForms are the forms that mails of a client can have, to try its templates
// with. linked says that it has a redirect_uri: no mail of another has a link.
// The configuration is one with its defaults.
func (c Config) MailForms(linked bool) []pages.AppForm {
	code := (&challenge{CodeLength: c.CodeLength, CodeLetters: c.CodeLetters}).sampleCode()
	link := "https://app.example.com/link?link_token=" + sampleToken
	switch {
	case c.Method == MethodLink:
		return []pages.AppForm{{Link: link}}
	case c.Method == MethodBoth:
		return []pages.AppForm{{Code: code, Link: link}}
	case !linked:
		return []pages.AppForm{{Code: code}}
	}
	instead := fmt.Sprintf("after %d wrong codes a day, where the call has a magiclink_auth_uri", DailyWrongCodes)
	return []pages.AppForm{{Code: code}, {Link: link, When: instead}}
}

// clientName is how readers of its mails know the application, unless a request
// has app_name: the host that its links lead to, or its id.
func clientName(config ClientConfig) string {
	for _, uri := range config.RedirectURIs {
		if u, err := url.Parse(uri); err == nil && u.Host != "" {
			return u.Host
		}
	}
	return config.ID
}

// ValidateClientID says whether a client may be named so.
func ValidateClientID(id string) error {
	if !validGroupName(id) {
		return fmt.Errorf("client %q: write an id of letters, digits, \"-\", \"_\" and \".\", at most 64, as in `client shop`", id)
	}
	return nil
}

// ValidateRedirectURI says whether links may lead to the URI: https, or http on
// loopback, to one host, without a fragment or user. others are there already.
func ValidateRedirectURI(uri string, others ...string) error {
	bad := func(why string) error {
		return fmt.Errorf("redirect_uri %q: %s; write a whole address, as in https://app.example.com/sign-in/link", uri, why)
	}
	u, err := url.Parse(uri)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || u.Hostname() == "":
		return bad("this is no address")
	case len(uri) > maxMagicLink:
		return bad(fmt.Sprintf("it is longer than %d characters", maxMagicLink))
	case strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"<>\^{}|`+"`", r) }):
		return bad("it holds a character that an address cannot hold as it is")
	case strings.Contains(uri, "#"):
		return bad("it must not have a fragment, which browsers keep to themselves")
	case u.User != nil:
		return bad("it must not have a user")
	case strings.Contains(u.Host, "*"):
		return bad("a wildcard stands for no host here, since a call names the address byte for byte")
	case slices.Contains(others, uri):
		return fmt.Errorf("redirect_uri %q is there twice: keep one", uri)
	case u.Scheme != "https" && !(u.Scheme == "http" && IsLoopbackName(lowerASCII(u.Hostname()))):
		return bad("only https works, but on loopback")
	}
	return nil
}

const (
	// maxMagicLink bounds a redirect_uri, in characters, so that any can be asked for.
	maxMagicLink = 1000
	// DefaultClientExpiry is how long the credentials of an application's
	// request live, whatever the configuration says of the pages'.
	DefaultClientExpiry = 5 * time.Minute
)
