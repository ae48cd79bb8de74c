package caddymodule

import (
	"errors"
	"fmt"
	netmail "net/mail"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/gateway/mail"
)

// checkMail finds mistakes in the mail settings without reaching any server.
func (a *App) checkMail() error {
	if a.MailDir != "" {
		return errors.New("smtp and mail_dir: write one of them")
	}
	if a.From == "" {
		return errors.New(`smtp needs from: write the mailbox that mails come from, as in from "Example sign-in <signin@example.com>"`)
	}
	_, err := a.newSMTP()
	return err
}

// newTransport makes what mails leave by.
func (a *App) newTransport() (mail.Transport, error) {
	if a.SMTP != nil {
		return a.newSMTP()
	}
	a.warnOfTrial(a.mails)
	return mail.NewFolder(mail.FolderConfig{Path: a.mails, Log: a.log})
}

// mailFolder is where mails go while there is no mail server.
func (a *App) mailFolder() (string, error) {
	if a.MailDir == "" {
		return filepath.Join(caddy.AppDataDir(), directive, "mail"), nil
	}
	folder, err := expand(a.MailDir)
	if err == nil {
		err = checkFolder(folder, "mail_dir")
	}
	if err != nil {
		return "", fmt.Errorf("mail_dir: %w", err)
	}
	return folder, nil
}

func (a *App) warnOfTrial(folder string) {
	if slices.ContainsFunc(a.handlers, (*Handler).public) || slices.ContainsFunc(a.portals, (*Portal).public) {
		a.log.Error("NO MAIL SERVER IS SET, AND A SITE IS PUBLIC: nobody gets their mail, and whoever reads this log or folder can sign in as anybody; set smtp in the global option email_auth", "mail_dir", folder)
		return
	}
	a.log.Warn("no mail server is set: mails are written to a folder and to this log, which is for trying it out alone; set smtp in the global option email_auth", "mail_dir", folder)
}

func (a *App) newSMTP() (*mail.SMTP, error) {
	var err error
	config := mail.SMTPConfig{Auth: a.SMTP.Auth, TLS: a.SMTP.TLS, Log: a.log}
	if config.Addr, err = expand(a.SMTP.Address); err != nil {
		return nil, fmt.Errorf("smtp: %w", err)
	}
	if config.Username, err = expandOptional(a.SMTP.Username); err != nil {
		return nil, sourced(a.SMTP.Sources["username"], fmt.Errorf("smtp username: %w", err))
	}
	if a.SMTP.Password != "" {
		config.Password = func() (string, error) { return expand(a.SMTP.Password) }
		if _, err := config.Password(); err != nil {
			return nil, sourced(a.SMTP.Sources["password"], fmt.Errorf("smtp password: %w", err))
		}
	}
	for _, dkim := range a.SMTP.DKIM {
		signer, err := dkim.signer()
		if err != nil {
			return nil, sourced(dkim.Source, fmt.Errorf("dkim: %w", err))
		}
		config.Signers = append(config.Signers, signer)
	}
	return mail.NewSMTP(config)
}

func (d *DKIM) signer() (mail.Signer, error) {
	file, err := expand(d.KeyFile)
	if err != nil {
		return mail.Signer{}, err
	}
	return mail.LoadSigner(d.Domain, d.Selector, file)
}

// from is the mailbox that mails come from.
func (a *App) from() (string, error) {
	mailbox, err := expand(a.From)
	if err != nil {
		return "", fmt.Errorf("from: %w", err)
	}
	return mailbox, checkFrom(mailbox)
}

// checkFrom refuses a mailbox that no mail can come from.
func checkFrom(mailbox string) error {
	from, err := netmail.ParseAddress(mailbox)
	if err != nil {
		return fmt.Errorf(`from %q: write one mailbox, as in "Example sign-in <signin@example.com>"`, mailbox)
	}
	if _, err := gateway.ParseAddress(from.Address); err != nil || !isASCII(from.Address) {
		return fmt.Errorf("from %q: its address must be plain ASCII with a domain; write a domain with other letters in its xn-- form", mailbox)
	}
	return nil
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) < 0
}
