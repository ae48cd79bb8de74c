package mail

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/textproto"
	"strings"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const xoauth2 = "XOAUTH2"

// loginClient speaks LOGIN with whatever prompts a server has. The one of
// go-sasl knows "Password:" alone.
type loginClient struct {
	username, password string
	prompts            int
}

func (c *loginClient) Start() (string, []byte, error) { return sasl.Login, nil, nil }

// Next answers the first prompt with the username and the second with the
// password; no prompt gets the password that asks for the user.
func (c *loginClient) Next(prompt []byte) ([]byte, error) {
	c.prompts++
	switch {
	case c.prompts == 1 && !bytes.Contains(bytes.ToLower(prompt), []byte("pass")):
		return []byte(c.username), nil
	case c.prompts == 2 && !bytes.Contains(bytes.ToLower(prompt), []byte("user")):
		return []byte(c.password), nil
	}
	return nil, sasl.ErrUnexpectedServerChallenge
}

// xoauth2Client speaks XOAUTH2 as Google and Microsoft do.
type xoauth2Client struct {
	username, token string
	problem         string
}

func (c *xoauth2Client) Start() (string, []byte, error) {
	return xoauth2, []byte("user=" + c.username + "\x01auth=Bearer " + c.token + "\x01\x01"), nil
}

// Next gets the details of a failure, which have to be answered by an empty
// response before the server says that it failed. Empty is not nil: that would
// end the exchange as a success.
func (c *xoauth2Client) Next(challenge []byte) ([]byte, error) {
	var details struct {
		Status string `json:"status"`
		Scope  string `json:"scope"`
	}
	if err := json.Unmarshal(challenge, &details); err == nil {
		c.problem = strings.TrimSpace("status " + details.Status + " " + details.Scope)
	}
	return []byte{}, nil
}

// withDetail adds to a refusal what the server said before it.
func withDetail(err error, client sasl.Client) error {
	c, ok := client.(*xoauth2Client)
	var reply *smtp.SMTPError
	if !ok || c.problem == "" || !errors.As(err, &reply) {
		return err
	}
	return &smtp.SMTPError{Code: reply.Code, EnhancedCode: reply.EnhancedCode, Message: reply.Message + " (" + c.problem + ")"}
}

// withoutSecret takes the credentials out of an answer to AUTH, plain and as
// they went over the wire: some servers quote the command they refuse.
func withoutSecret(err error, username, password string) error {
	encoded := base64.StdEncoding.EncodeToString
	hide := strings.NewReplacer(
		encoded([]byte("\x00"+username+"\x00"+password)), redacted,
		encoded([]byte(password)), redacted,
		password, redacted,
	)
	var reply *smtp.SMTPError
	var broken textproto.ProtocolError
	switch {
	case errors.As(err, &reply):
		return &smtp.SMTPError{Code: reply.Code, EnhancedCode: reply.EnhancedCode, Message: hide.Replace(reply.Message)}
	case errors.As(err, &broken):
		return textproto.ProtocolError(hide.Replace(string(broken)))
	}
	return err
}
