package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/postern-auth/postern/gateway"
)

// operator are the verbs of `caddy email-auth`, which ask the running server by its
// admin API: the database is open there, and nobody else can open it.
type operator struct {
	// address, config and adapter find the admin API, as for `caddy reload`.
	address, config, adapter string
	site, broken             string
	session                  string
	limit                    int
	json                     bool
}

func addCommand(root *cobra.Command) {
	var o operator
	root.Use = "email-auth <verb>"
	root.Args = cobra.NoArgs // what is no verb is an error
	root.RunE = func(command *cobra.Command, _ []string) error { return command.Help() }
	flags := root.PersistentFlags()
	flags.StringVar(&o.address, "address", "", "Address of the admin API. Default: that of the configuration, or localhost:2019")
	flags.StringVarP(&o.config, "config", "c", "", "Configuration file in which the address is looked for")
	flags.StringVarP(&o.adapter, "adapter", "a", "", "Name of the adapter for the configuration file")

	sessions := &cobra.Command{
		Use: "sessions [<address>|*@<domain>]", Short: "Lists live sessions, of everybody, a domain or an address",
		Args: cobra.MaximumNArgs(1), RunE: o.sessions,
	}
	sessions.Flags().StringVar(&o.site, "site", "", "Only those of the site with this host")
	sessions.Flags().IntVar(&o.limit, "limit", maxFound, "How many at most")
	sessions.Flags().BoolVar(&o.json, "json", false, "In JSON, one a line")

	revoke := &cobra.Command{
		Use: "revoke [<address>|*@<domain>]", Short: "Ends the sessions of an address or domain, or one session",
		Long: "Ends the sessions of an address or of all addresses of a domain, or the one with an id of `sessions`. They are over at once and for good, and their open streams end within a second. Whoever may enter can sign in again.",
		Args: cobra.MaximumNArgs(1), RunE: o.revoke,
	}
	revoke.Flags().StringVar(&o.site, "site", "", "Only those of the site with this host")
	revoke.Flags().StringVar(&o.session, "session", "", "The id of one session")

	keys := &cobra.Command{Use: "keys <verb>", Short: "Keys of assertions, mails and cookies", Args: cobra.NoArgs, RunE: root.RunE}
	keys.AddCommand(&cobra.Command{
		Use: "rotate", Short: "Makes new keys, which are in use after a day", Args: cobra.NoArgs, RunE: o.rotate,
		Long: "Makes new keys, as happens by itself every 90 days. The public key of assertions is published at once and signs after a day, so that applications that keep the key set have it by then. Sessions are not touched.",
	})
	assertion := &cobra.Command{
		Use: "assertion <address> --site <host>", Short: "Prints an assertion, to test an application with",
		Long: "Prints an assertion such as a site's application gets for the address, to test that application with. With --broken it is one that the application must refuse. It is valid for 5 minutes, for that site's application alone, and opens no session.",
		Args: cobra.ExactArgs(1), RunE: o.assertion,
	}
	assertion.Flags().StringVar(&o.site, "site", "", "The host of the site")
	assertion.Flags().StringVar(&o.broken, "broken", "", "What is wrong with it: "+strings.Join(gateway.BrokenAssertions, ", "))
	check := &cobra.Command{
		Use: "check <address> <url>", Short: "Tells who may open an address, and by which line",
		Args: cobra.ExactArgs(2), RunE: o.check,
	}
	root.AddCommand(sessions, revoke, keys, check, assertion, &cobra.Command{
		Use: "test-mail <address>", Short: "Sends a mail that signs nobody in, and tells what the mail server says",
		Args: cobra.ExactArgs(1), RunE: o.testMail,
	})
	for _, verb := range []string{"audit", "tokens", "link"} {
		root.AddCommand(&cobra.Command{
			Use: verb, Hidden: true, DisableFlagParsing: true,
			RunE: func(*cobra.Command, []string) error { return fmt.Errorf("%s is not built yet", verb) },
		})
	}
}

// ask calls the admin API and reads its answer into to.
func (o *operator) ask(method, path string, body, to any) error {
	address, err := o.adminAddress()
	if err != nil {
		return fmt.Errorf("finding the admin API: %w", err)
	}
	var sent bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			return err
		}
	}
	answer, err := caddycmd.AdminAPIRequest(address, method, path, http.Header{"Content-Type": {"application/json"}}, &sent)
	if err != nil {
		return plainly(address, err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(to); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}

// adminAddress finds the admin API as `caddy reload` does, but asks no other server
// where the configuration has none.
func (o *operator) adminAddress() (string, error) {
	if o.address != "" || o.config == "" {
		return caddycmd.DetermineAdminAPIAddress(o.address, nil, "", "")
	}
	config, _, _, err := caddycmd.LoadConfig(o.config, o.adapter)
	if err != nil {
		return "", err
	}
	var parsed struct{ Admin struct{ Disabled bool } }
	if err := json.Unmarshal(config, &parsed); err != nil {
		return "", err
	}
	if parsed.Admin.Disabled {
		return "", fmt.Errorf("%s has `admin off`, and there are no commands without it", o.config)
	}
	return caddycmd.DetermineAdminAPIAddress("", config, o.config, o.adapter)
}

// plainly says in words what Caddy's own function says with status and JSON, or
// what to do where nobody answers.
func plainly(address string, err error) error {
	text := err.Error()
	if strings.HasPrefix(text, "performing request:") {
		return fmt.Errorf("no admin API answers at %s: start Caddy first, or name its address by --address or --config: %w", address, err)
	}
	var refused struct{ Error string }
	if i := strings.IndexByte(text, '{'); i >= 0 && json.Unmarshal([]byte(text[i:]), &refused) == nil && refused.Error != "" {
		return errors.New(refused.Error)
	}
	return err
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func (o *operator) sessions(command *cobra.Command, args []string) error {
	query := url.Values{"limit": {strconv.Itoa(o.limit)}}
	for field, value := range map[string]string{"address": first(args), "site": o.site} {
		if value != "" {
			query.Set(field, value)
		}
	}
	var found foundSessions
	if err := o.ask(http.MethodGet, adminSessions+"?"+query.Encode(), nil, &found); err != nil {
		return err
	}
	if found.More {
		fmt.Fprintf(os.Stderr, "there are more than %d: name an address, or a larger --limit\n", len(found.Sessions))
	}
	out := command.OutOrStdout()
	if o.json {
		encoder := json.NewEncoder(out)
		for _, session := range found.Sessions {
			if err := encoder.Encode(session); err != nil {
				return err
			}
		}
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tADDRESS\tSITE\tDEVICE\tNETWORK\tMETHOD\tSIGNED IN\tLAST SEEN\tEXPIRES")
	for _, s := range found.Sessions {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.ID, s.Address, s.Site, s.Device, s.Network, s.Method, minute(s.SignedIn), minute(s.LastSeen), minute(s.Expires))
	}
	return table.Flush()
}

// minute is a time as tables show it.
func minute(t time.Time) string { return t.UTC().Format("2006-01-02T15:04Z") }

func (o *operator) revoke(command *cobra.Command, args []string) error {
	query := sessionQuery{Address: first(args), Site: o.site, Session: o.session}
	if query.Address == "" && query.Session == "" {
		return fmt.Errorf("name an address, or a session by --session <id>")
	}
	var answer struct{ Revoked int }
	if err := o.ask(http.MethodPost, adminRevoke, query, &answer); err != nil {
		return err
	}
	_, err := fmt.Fprintln(command.OutOrStdout(), "sessions ended:", answer.Revoked)
	return err
}

func (o *operator) rotate(command *cobra.Command, _ []string) error {
	var answer struct {
		ActiveFrom time.Time `json:"active_from"`
	}
	if err := o.ask(http.MethodPost, adminRotate, nil, &answer); err != nil {
		return err
	}
	_, err := fmt.Fprintln(command.OutOrStdout(), "new keys are in use from", minute(answer.ActiveFrom))
	return err
}

// verdicts are what check says at last.
var verdicts = map[string]string{
	"admitted": "may open it", "refused": "may not open it", "public": "may open it, as anybody may",
	"unknown": "may open it or not: that depends on more of the request than its address",
}

func (o *operator) check(command *cobra.Command, args []string) error {
	var answer explanation
	if err := o.ask(http.MethodGet, adminCheck+"?"+url.Values{"address": {args[0]}, "url": {args[1]}}.Encode(), nil, &answer); err != nil {
		return err
	}
	out := command.OutOrStdout()
	for _, one := range answer.Directives {
		fmt.Fprintf(out, "%s: email_auth %s; %s\n", one.Source, map[string]string{
			"yes": "is for this address", "no": "is not for this address", "unknown": "may be for this address: it depends on more than that",
		}[one.Judges], one.words())
	}
	_, err := fmt.Fprintln(out, answer.Address, verdicts[answer.Verdict])
	return err
}

// words say what the directive makes of somebody.
func (d explainedDirective) words() string {
	switch {
	case d.DeniedBy != "":
		return "denied by " + d.DeniedBy
	case d.AllowedBy == "":
		return "not allowed"
	case d.MaxAge != "":
		return "allowed by " + d.AllowedBy + ", with a sign-in of at most " + d.MaxAge
	}
	return "allowed by " + d.AllowedBy
}

func (o *operator) assertion(command *cobra.Command, args []string) error {
	var answer struct{ Assertion string }
	asked := map[string]string{"address": args[0], "site": o.site, "broken": o.broken}
	if err := o.ask(http.MethodPost, adminAssert, asked, &answer); err != nil {
		return err
	}
	_, err := fmt.Fprintln(command.OutOrStdout(), answer.Assertion)
	return err
}

func (o *operator) testMail(command *cobra.Command, args []string) error {
	var answer struct {
		Address string
		Seconds float64
		MailDir string `json:"mail_dir"`
	}
	if err := o.ask(http.MethodPost, adminTestMail, map[string]string{"address": args[0]}, &answer); err != nil {
		return err
	}
	where := "the mail server took it"
	if answer.MailDir != "" {
		where = "no mail server is set: it was written to " + answer.MailDir
	}
	_, err := fmt.Fprintf(command.OutOrStdout(), "mail to %s: %s (%.1f s)\n", answer.Address, where, answer.Seconds)
	return err
}
