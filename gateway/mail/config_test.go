package mail_test

import (
	"strings"
	"testing"

	"github.com/postern-auth/postern/gateway/mail"
)

func TestConfig(t *testing.T) {
	secret := func() (string, error) { return password, nil }
	for _, test := range []struct {
		config mail.SMTPConfig
		want   string // "" for success
	}{
		{mail.SMTPConfig{Addr: "mail.example.com:587"}, ""},
		{mail.SMTPConfig{Addr: "[::1]:25", TLS: "none", Username: "u", Password: secret}, ""},
		{mail.SMTPConfig{Addr: "127.0.0.1:25", TLS: "none", Username: "u", Password: secret}, ""},
		{mail.SMTPConfig{Addr: "192.0.2.1:25", TLS: "none"}, ""},
		{mail.SMTPConfig{Addr: "a:25", HelloName: "[IPv6:::1]"}, ""},
		{mail.SMTPConfig{Addr: "192.0.2.1:25", TLS: "none", Username: "u", Password: secret}, "refusing to send the password without TLS"},
		{mail.SMTPConfig{}, "host:port is needed"},
		{mail.SMTPConfig{Addr: "mail.example.com"}, "host:port is needed"},
		{mail.SMTPConfig{Addr: ":25"}, "host:port is needed"},
		{mail.SMTPConfig{Addr: "a:smtp"}, "the port must be a number"},
		{mail.SMTPConfig{Addr: "a:0"}, "the port must be a number"},
		{mail.SMTPConfig{Addr: "a:70000"}, "the port must be a number"},
		{mail.SMTPConfig{Addr: "a b:25"}, "plain ASCII name"},
		{mail.SMTPConfig{Addr: "a:25", TLS: "ssl"}, `tls "ssl": use starttls`},
		{mail.SMTPConfig{Addr: "a:25", Auth: "cram-md5"}, `auth "cram-md5": use auto`},
		{mail.SMTPConfig{Addr: "a:25", Auth: "plain"}, "needs a username"},
		{mail.SMTPConfig{Addr: "a:25", Auth: "none"}, ""},
		{mail.SMTPConfig{Addr: "a:25", Auth: "none", Username: "u"}, "remove username and password, or auth none"},
		{mail.SMTPConfig{Addr: "a:25", Auth: "none", Password: secret}, "remove username and password, or auth none"},
		{mail.SMTPConfig{Addr: "a:25", Username: "u"}, "without a password"},
		{mail.SMTPConfig{Addr: "a:25", Password: secret}, "without a username"},
		{mail.SMTPConfig{Addr: "a:25", Username: "u\x00", Password: secret}, "control character"},
		{mail.SMTPConfig{Addr: "a:25", HelloName: "a\r\nMAIL FROM:<>"}, "EHLO"},
	} {
		_, err := mail.NewSMTP(test.config)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%+v: %v", test.config.Addr, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %q", test.config.Addr, err, test.want)
		}
	}
}
