package caddymodule

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/postern-auth/postern/gateway"
)

func (a *App) storeFolder() (string, error) {
	folder := filepath.Join(caddy.AppDataDir(), directive)
	if a.Store == nil {
		return folder, nil
	}
	switch a.Store.Backend {
	case "", "badger":
	case "redis":
		return "", errors.New("store redis: not built yet; write store badger")
	default:
		return "", fmt.Errorf("store %q: write badger", a.Store.Backend)
	}
	if a.Store.Folder == "" {
		return folder, nil
	}
	expanded, err := expand(a.Store.Folder)
	if err == nil {
		expanded, err = filepath.Abs(expanded)
	}
	if err == nil {
		err = checkFolder(expanded, "store")
	}
	if err != nil {
		return "", fmt.Errorf("store: %w", err)
	}
	return expanded, nil
}

// checkFolder refuses a file in the place of a folder, or on the way to it. A
// folder that is missing is made at the start.
func checkFolder(path, option string) error {
	info, err := os.Stat(path)
	if errors.Is(err, syscall.ENOTDIR) || err == nil && !info.IsDir() {
		return fmt.Errorf("%s is not a folder: name one, as in `%s`", path, usages[option].example)
	}
	return nil // what cannot be seen here, Caddy itself may see
}

// gatewayConfig translates the configuration for the gateway, which checks it.
func (a *App) gatewayConfig() (gateway.Config, error) {
	c := gateway.Config{
		Method: gateway.Method(a.Method), Expires: time.Duration(a.Expires),
		Session: a.Session.terms(), Prefix: a.Prefix, Log: a.log,
	}
	var err error
	if c.AnyBrowser, err = oneOf("same_browser", a.SameBrowser, "on", "off"); err != nil {
		return c, err
	}
	if c.RenewOnResend, err = oneOf("resend", a.Resend, "keep", "renew"); err != nil {
		return c, err
	}
	if a.Code != nil {
		c.CodeLength = a.Code.Length
		if c.CodeLetters, err = oneOf("code", a.Code.Alphabet, "digits", "letters"); err != nil {
			return c, err
		}
	}
	if c.Limits, err = a.limits(); err != nil {
		return c, err
	}
	if c.Groups, err = a.groups(); err != nil {
		return c, err
	}
	if c.Brand, err = a.Brand.config(); err != nil {
		return c, err
	}
	if c.Templates, err = a.templates(c.Brand); err != nil {
		return c, sourced(a.at("templates"), err)
	}
	if a.From != "" {
		if c.From, err = a.from(); err != nil {
			return c, sourced(a.Sources["from"], err)
		}
	}
	return c.WithDefaults()
}

// templates are those of the folder, if there is one. They are tried in the brand.
func (a *App) templates(brand gateway.Brand) (fs.FS, error) {
	folder, err := expandOptional(a.Templates)
	if err != nil || folder == "" {
		return nil, err
	}
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("templates: %s is no folder that can be read: name one, as in `%s`", folder, usages["templates"].example)
	}
	templates := os.DirFS(folder)
	if _, err := (gateway.Config{Brand: brand, Templates: templates}).WithDefaults(); err != nil {
		return nil, fmt.Errorf("in %s: %w", folder, err)
	}
	return templates, nil
}

// oneOf says whether value is the second of two words. Empty means the first.
func oneOf(option, value, first, second string) (bool, error) {
	if value != "" && value != first && value != second {
		return false, fmt.Errorf("%s %q: write %s or %s", option, value, first, second)
	}
	return value == second, nil
}

func (a *App) limits() (gateway.Limits, error) {
	var limits gateway.Limits
	byName := map[string]*gateway.Limit{
		"mails": &limits.Mails, "attempts": &limits.Attempts, "network": &limits.Network, "total": &limits.Total,
	}
	for name, limit := range a.Limits {
		field, ok := byName[name]
		if !ok {
			return limits, fmt.Errorf("limit %q: write mails, attempts, network or total", name)
		}
		if limit.Count < 1 {
			return limits, fmt.Errorf("limit %s %d: write a count of 1 or more", name, limit.Count)
		}
		*field = gateway.Limit{Count: limit.Count, Window: time.Duration(limit.Window)}
	}
	return limits, nil
}

func (a *App) groups() (*gateway.Groups, error) {
	var configs []gateway.GroupConfig
	for _, group := range a.Groups {
		config, err := group.config()
		if err != nil {
			return nil, sourced(group.Source, &gateway.GroupError{Name: group.Name, Err: err})
		}
		configs = append(configs, config)
	}
	groups, err := gateway.NewGroups(configs, a.log)
	if wrong, ok := errors.AsType[*gateway.GroupError](err); ok {
		at := slices.IndexFunc(a.Groups, func(g Group) bool { return g.Name == wrong.Name })
		return nil, sourced(a.Groups[at].Source, err)
	}
	return groups, err
}

func (g *Group) config() (gateway.GroupConfig, error) {
	config := gateway.GroupConfig{Name: g.Name}
	var err error
	if config.Members, err = parseAll(g.Who); err != nil {
		return config, err
	}
	if len(config.Members) == 0 && g.File == "" {
		return config, errors.New("name its members, or a file that lists them")
	}
	config.File, err = expandOptional(g.File)
	return config, err
}

func parseAll(texts []string) ([]gateway.Who, error) {
	var all []gateway.Who
	for _, text := range texts {
		who, err := gateway.ParseWho(text)
		if err != nil {
			return nil, err
		}
		all = append(all, who)
	}
	return all, nil
}

// expand fills the placeholders of a value that must not be empty.
func expand(value string) (string, error) {
	expanded, err := caddy.NewReplacer().ReplaceOrErr(value, true, true)
	if err != nil {
		return "", err
	}
	if strings.TrimSpace(expanded) == "" {
		return "", fmt.Errorf("%q is empty", value)
	}
	return expanded, nil
}

func expandOptional(value string) (string, error) {
	if value == "" {
		return "", nil
	}
	return expand(value)
}
