package eximtest

import (
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// configuration is the whole of Exim's. Deliveries run as Exim's own user: it
// never delivers as root, and only root may switch users with a configuration
// from elsewhere. One Maildir takes all, as an address must not name a file.
const configuration = `
primary_hostname = mx.eximtest.invalid
spool_directory = %[1]s/spool
log_file_path = %[1]s/log/%%s
pid_file_path = %[1]s/spool/exim.pid
keep_environment =
local_interfaces = 127.0.0.1
daemon_smtp_ports = %[2]d : %[3]d
tls_on_connect_ports = %[3]d
daemon_startup_retries = 0
notifier_socket =
host_lookup =
rfc1413_query_timeout = 0s
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
deliver_drop_privilege = true
log_selector = +smtp_protocol_error +tls_cipher

tls_advertise_hosts = %[4]s
tls_certificate = %[1]s/cert.pem
tls_privatekey = %[1]s/key.pem
auth_advertise_hosts = %[5]s
acl_smtp_rcpt = check_rcpt
acl_smtp_data = check_data

begin acl
check_rcpt:
  deny  message = no such user here
        local_parts = lsearch;%[1]s/reject
  defer message = try again later
        local_parts = lsearch;%[1]s/defer
  %[6]s
  deny  message = relay not permitted, authentication required
check_data:
  deny  message = this content is not wanted
        condition = ${if forany{<, $recipients}{!eq{${lookup{${local_part:$item}}lsearch{%[1]s/reject-data}{yes}}}{}}}
  accept

begin routers
sink:
  driver = accept
  transport = maildir

begin transports
maildir:
  driver = appendfile
  directory = %[1]s/maildir
  maildir_format
  create_directory
  envelope_to_add
  return_path_add

begin retry
* * F,1h,5s

begin authenticators
%[7]s
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${if eq{$auth2}{${lookup{$auth1}lsearch{%[1]s/users}{$value}fail}}}
  server_set_id = $auth1
`

const plainAuthenticator = `
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if eq{$auth3}{${lookup{$auth2}lsearch{%s/users}{$value}fail}}}
  server_set_id = $auth2
`

// prepare fills the folder with all that Exim needs.
func (s *Server) prepare(o Options) error {
	if err := s.makeFolders(); err != nil {
		return err
	}
	if err := s.writeCertificates(); err != nil {
		return err
	}
	users := o.Users
	if users == nil {
		users = map[string]string{Username: Password}
	}
	if err := s.writeUsers(users); err != nil {
		return err
	}
	for name, list := range map[string][]string{"reject": o.Reject, "defer": o.Defer, "reject-data": o.RejectData} {
		if err := s.writeList(name, list); err != nil {
			return err
		}
	}
	return s.writeConfig(o)
}

func (s *Server) writeConfig(o Options) (err error) {
	if s.port, err = freePort(); err != nil {
		return err
	}
	for s.tlsPort = s.port; s.tlsPort == s.port; {
		if s.tlsPort, err = freePort(); err != nil {
			return err
		}
	}
	text := fmt.Sprintf(configuration, s.dir, s.port, s.tlsPort,
		either(o.NoSTARTTLS, "", "*"),
		either(o.AuthWithoutTLS, "*", "${if eq{$tls_in_cipher}{}{}{*}}"),
		either(o.Open, "accept", "accept authenticated = *"),
		either(o.NoPlain, "", fmt.Sprintf(plainAuthenticator, s.dir)))
	return os.WriteFile(s.path("exim.conf"), []byte(text), 0o644)
}

// makeFolders gives Exim's user the folders it writes to.
func (s *Server) makeFolders() error {
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"spool", "log"} {
		if err := os.Mkdir(s.path(name), 0o750); err != nil {
			return err
		}
		if err := giveToExim(s.path(name)); err != nil {
			return err
		}
	}
	if err := os.Mkdir(s.path("maildir"), 0o700); err != nil {
		return err
	}
	return giveToExim(s.path("maildir"))
}

func giveToExim(path string) error {
	u, err := user.Lookup("Debian-exim")
	if err != nil {
		return fmt.Errorf("%w: %s", err, install)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	return os.Chown(path, uid, gid)
}

// writeUsers writes the file that Exim reads at each authentication.
func (s *Server) writeUsers(users map[string]string) error {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(users)) {
		lines = append(lines, strconv.Quote(name)+": "+users[name])
	}
	return s.replace("users", lines)
}

// writeList writes a file that Exim reads at each mail.
func (s *Server) writeList(name string, localParts []string) error {
	var lines []string
	for _, part := range localParts {
		lines = append(lines, strconv.Quote(part)+": yes")
	}
	return s.replace(name, lines)
}

// replace writes a file in one step, as Exim may be reading it.
func (s *Server) replace(name string, lines []string) error {
	temp := s.path(name + ".new")
	if err := os.WriteFile(temp, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(temp, s.path(name))
}

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

func either(condition bool, yes, no string) string {
	if condition {
		return yes
	}
	return no
}
