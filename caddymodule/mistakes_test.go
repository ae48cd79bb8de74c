package caddymodule_test

import (
	"fmt"
	"strings"
	"testing"
)

// mistake is a text with a mistake, and what its message must say.
type mistake struct{ text, want string }

// mark stands in the line of a mistake, and is taken out before it is read.
const mark = "‹›"

// check reads the text within another: the message must name the marked line and
// say what is wanted.
func (m mistake) check(t *testing.T, within string) {
	t.Helper()
	text := fmt.Sprintf(within, m.text)
	before, _, marked := strings.Cut(text, mark)
	err := check(strings.ReplaceAll(text, mark, ""))
	if err == nil {
		t.Errorf("no mistake found in:\n%s", text)
		return
	}
	message := err.Error()
	if place := fmt.Sprintf("Caddyfile:%d", 1+strings.Count(before, "\n")); marked && !strings.Contains(message, place) {
		t.Errorf("%s is missing in: %s\n%s", place, message, text)
	}
	if !strings.Contains(message, m.want) {
		t.Errorf("%q is missing in: %s\n%s", m.want, message, text)
	}
}

func checkMistakes(t *testing.T, within string, mistakes []mistake) {
	t.Helper()
	for _, m := range mistakes {
		m.check(t, within)
	}
}

func TestMistakesInWho(t *testing.T) {
	checkMistakes(t, "wiki.example.com {\n\trespond hello\n\temail_auth ‹›%s\n}\n", []mistake{
		{``, "nobody may enter: name who, as in `email_auth *@example.com`, or write anyone"},
		{"{\n\t}", "nobody may enter"},
		{"{\n\t\tdeny ann@example.com\n\t}", "nobody may enter"},
		{`*`, "as in `email_auth * *@example.com`, or write anyone"},
		{`/admin/*`, "as in `email_auth /admin/* *@example.com`"},
		{`example.com`, "to admit a domain, write *@example.com"},
		{`@example.com`, "to admit a domain, write *@example.com"},
		{`anyone @example.com`, "to admit a domain, write *@example.com"},
		{`@admin anyone`, "there is no matcher @admin: define it in this site, as in `@admin path /admin/*`"},
		{`anyone @admin`, "a matcher is the first word"},
		{`anyone /admin/*`, "a matcher is the first word, as in `email_auth /admin/* *@example.com`"},
		{`*@*.example.com`, "write one *@sub.example.com for each"},
		{`*.example.com`, "write one *@sub.example.com for each"},
		{`*@example`, "write *@ and a domain"},
		{`*ann@example.com`, "write the address without it (ann@example.com), or a whole domain (*@example.com)"},
		{`ann*@example.com`, "write the address without it"},
		{`all`, "write anyone"},
		{`any`, "write anyone"},
		{`everyone`, "write anyone"},
		{`anyone *`, "write anyone"},
		{`Anyone`, "in lower case"},
		{`Group:staff`, "in lower case"},
		{`ann`, "write an address (ann@example.com)"},
		{`ann@`, "write an address"},
		{`ann@example`, "write an address"},
		{`ann@example.com.`, "write an address"},
		{`ann@bob@example.com`, "write an address"},
		{`ann@[127.0.0.1]`, "write an address"},
		{`ann@xn--a`, "write an address"},
		{`ann@exämple..com`, "write an address"},
		{`ann＠example.com`, "write"},
		{`änn@example.com`, "write an address"},
		{`""`, "write an address"},
		{`"Ann <ann@example.com>"`, "write an address"},
		{`"ann smith@example.com"`, "write an address"},
		{"`\"ann smith\"@example.com`", "write an address"},
		{`ann@example.com,bob@example.com`, "put blanks between entries"},
		{`{env.WHO}`, "takes no placeholder"},
		{`{env.WHO}@example.com`, "takes no placeholder"},
		{`group:`, "as in group:staff"},
		{`group:a/b`, "as in group:staff"},
		{`group:nosuch`, "define it in the global option email_auth, as in `group nosuch ann@example.com`"},
	})
	for text, want := range map[string]string{
		"allow ‹›":            "write `allow <who>...`",
		"deny ‹›":             "write `deny <who>...`",
		"allow ‹›example.com": "write *@example.com",
		"deny ‹›all":          "write anyone",
	} {
		mistake{text, want}.check(t, "wiki.example.com {\n\temail_auth anyone {\n\t\t%s\n\t}\n}\n")
	}
}

func TestMistakesInSiteOptions(t *testing.T) {
	checkMistakes(t, "wiki.example.com {\n\temail_auth anyone {\n\t\t‹›%s\n\t}\n}\n", []mistake{
		{"nosuch", "write allow, deny, max_age, session, header or origin"},
		{"Allow ann@example.com", "unknown option"},
		{"group staff ann@example.com", "write it in the global option email_auth"},
		{"smtp mail.example.com:587", "write it in the global option email_auth"},
		{"templates folder", "templates is for all sites: write it in the global option email_auth"},
		{"allow ann@example.com {\n\t\t\tnosuch\n\t\t}", "takes no block"},
		{"max_age", "as in `max_age 15m`"},
		{"max_age 5m 6m", "as in `max_age 15m`"},
		{"max_age 5", "write a duration, as in 90s, 10m, 12h or 7d"},
		{"max_age soon", "write a duration"},
		{"max_age 0", "write a duration"},
		{"max_age -5m", "write a duration"},
		{"max_age 500ms", "write 1s or more"},
		{"max_age 10m {\n\t\t}", "takes no block"},
		{"session", "as in `session 7d idle 3d`"},
		{"session 7d 3d", "as in `session 7d idle 3d`"},
		{"session 7d idle", "as in `session 7d idle 3d`"},
		{"session 7d idle 3d more", "as in `session 7d idle 3d`"},
		{"session 7x", "write a duration"},
		{"session 7d idle soon", "write a duration"},
		{"session 1ms", "1s or more"},
		{"session 500d", "at most 400d"},
		{"header", "as in `header X-WEBAUTH-USER {http.auth.user.email}`"},
		{"header X-User", "as in `header X-WEBAUTH-USER {http.auth.user.email}`"},
		{"header X-User two words", "write `header <field> <value>`"},
		{`header "X User" x`, "write letters, digits and hyphens"},
		{`header X-User ""`, "not empty"},
		{"header X-User \"a\nb\"", "on one line"},
		{"origin", "as in `origin https://wiki.example.com`"},
		{"origin https://a.example.com https://b.example.com", "as in `origin https://wiki.example.com`"},
		{"origin wiki.example.com", "write it as in https://wiki.example.com"},
		{"origin http://wiki.example.com", "only https works, but on loopback"},
		{"origin ftp://wiki.example.com", "only https works"},
		{"origin https://wiki.example.com/", "no path"},
		{"origin https://wiki.example.com/app", "no path"},
		{"origin https://wiki.example.com?a=b", "no path"},
		{"origin https://wiki.example.com#a", "no path"},
		{"origin https://ann@wiki.example.com", "no path, query or user"},
		{"origin https://", "no origin"},
		{"origin https://*", "host is not valid"},
		{"origin https://a.*.example.com", "host is not valid"},
		{"origin https://wiki.example.com:https", "no origin"},
		{"origin {env.ORIGIN}", "no origin"},
	})
	for _, field := range []string{
		"Cookie", "cookie", "Authorization", "Host", "Connection", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "TE",
		"Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Set-Cookie", "Remote-User", "Remote_Email", "X-Postern-Jwt-Assertion",
		"X-Forwarded-For",
	} {
		mistake{"header " + field + " x", "write a name of its own"}.check(t, "wiki.example.com {\n\temail_auth anyone {\n\t\t‹›%s\n\t}\n}\n")
	}
	for _, other := range []string{"X-User", "x-user", "X_User", "X.USER", "XUser"} {
		mistake{"header X-User x\n\t\t‹›header " + other + " y", "is there twice, as X-User: keep one"}.check(t, "wiki.example.com {\n\temail_auth anyone {\n\t\t%s\n\t}\n}\n")
	}
	for text, want := range map[string]string{"allow ‹›group:nosuch": "`group nosuch ann@example.com`", "deny ann@example.com\n\t\tdeny ‹›bob@example.com group:nosuch": "there is no such group"} {
		mistake{text, want}.check(t, "{\n\temail_auth {\n\t\tgroup staff ann@example.com\n\t}\n}\nwiki.example.com {\n\temail_auth group:staff {\n\t\t%s\n\t}\n}\n")
	}
	for _, option := range []string{"max_age 5m", "session 7d", "origin https://wiki.example.com"} {
		mistake{option + "\n\t\t‹›" + option, "is there twice: keep one"}.check(t, "wiki.example.com {\n\temail_auth anyone {\n\t\t%s\n\t}\n}\n")
	}
}

func TestMistakesInGlobalOptions(t *testing.T) {
	checkMistakes(t, "{\n\temail_auth {\n\t\t‹›%s\n\t}\n}\n\nwiki.example.com {\n\temail_auth anyone\n}\n", []mistake{
		{"nosuch", "write from, smtp, mail_dir, store, method"},
		{"allow ann@example.com", "write it in the block of email_auth there"},
		{"origin https://wiki.example.com", "write it in the block of email_auth there"},
		{"from", "as in `from \"Example sign-in <signin@example.com>\"`"},
		{"from Example signin@example.com", "write `from <mailbox>`"},
		{`from ""`, "from is empty"},
		{"from example", "write one mailbox"},
		{"from ann@example", "write one mailbox"},
		{`from "Ann <ann@example.com>, Bob <bob@example.com>"`, "write one mailbox"},
		{"from signin@bücher.example", "write signin@xn--bcher-kva.example"},
		{"mail_dir", "write `mail_dir <folder>`"},
		{"mail_dir a b", "write `mail_dir <folder>`"},
		{"store", "write `store badger [<folder>]`"},
		{"store sqlite", "write `store badger [<folder>]`"},
		{"store badger a b", "write `store badger [<folder>]`"},
		{"store redis redis://localhost", "store redis is not built yet: write `store badger`"},
		{"method", "write `method both | code | link`"},
		{"method sms", "write both, code or link"},
		{"method code link", "write `method both | code | link`"},
		{"code", "as in `code 8 letters`"},
		{"code six", "as in `code 8 letters`"},
		{"code digits", "as in `code 8 letters`"},
		{"code 6 words", "as in `code 8 letters`"},
		{"code 6 digits letters", "as in `code 8 letters`"},
		{"code 5", "write a length of 6 to 12"},
		{"code 13", "write a length of 6 to 12"},
		{"code +8", "as in `code 8 letters`"},
		{"code -8", "as in `code 8 letters`"},
		{"expires", "write `expires <60s to 1h>`"},
		{"expires 5m 6m", "write `expires <60s to 1h>`"},
		{"expires 5", "write a duration"},
		{"expires 59s", "60s to 1h"},
		{"expires 61m", "60s to 1h"},
		{"same_browser", "write `same_browser on | off`"},
		{"same_browser yes", "write on or off"},
		{"resend", "write `resend keep | renew`"},
		{"resend new", "write keep or renew"},
		{"session", "as in `session 7d idle 3d`"},
		{"session 7d for 3d", "as in `session 7d idle 3d`"},
		{"session 500d", "at most 400d"},
		{"limit", "as in `limit mails 2 1m`"},
		{"limit mails", "as in `limit mails 2 1m`"},
		{"limit mails 2", "as in `limit mails 2 1m`"},
		{"limit mails 2 1m more", "as in `limit mails 2 1m`"},
		{"limit mail 2 1m", "write mails, attempts, network or total"},
		{"limit mails two 1m", "write a count of 1 or more"},
		{"limit mails 0 1m", "write a count of 1 or more"},
		{"limit mails -1 1m", "write a count of 1 or more"},
		{"limit mails +1 1m", "write a count of 1 or more"},
		{"limit mails 2 often", "write a duration"},
		{"limit mails 2 1ms", "a window of 1s to 30d"},
		{"limit mails 2 60d", "a window of 1s to 30d"},
		{"group", "write `group <name> <who>...` or `group <name> file <path>`"},
		{"group staff", "write `group <name> <who>...` or `group <name> file <path>`"},
		{"group staff example.com", "write *@example.com"},
		{"group staff group:other", "a group holds no groups; name its members"},
		{"group a/b ann@example.com", "write a name of letters, digits"},
		{"group group:staff ann@example.com", "write a name of letters, digits"},
		{"group staff file", "write one path"},
		{"group staff file a b", "write one path"},
		{"prefix", "write `prefix <path>`"},
		{"prefix auth", `write a path such as "/.auth"`},
		{"prefix /", "write a path"},
		{"prefix /auth/", "write a path"},
		{"prefix /../auth", "write a path"},
		{"prefix /auth*", "write a path"},
		{"method code {\n\t\t\tnosuch\n\t\t}", "takes no block"},
		{"admin ann@example.com", "admin is not built yet: remove it"},
		{"brand Example", "write `brand"},
		{"templates", "write `templates <folder>`"},
		{"audit 90d", "audit is not built yet"},
		{"portal https://login.example.com", "portal is not built yet"},
		{"smtp", "write `smtp <host:port>`"},
		{"smtp a:1 b:2", "write `smtp <host:port>`"},
		{"smtp mail.example.com:587", "smtp needs from: write `from \"Example sign-in <signin@example.com>\"` beside it"},
	})
	checkMistakes(t, "{\n\temail_auth {\n\t\tbrand {\n\t\t\t‹›%s\n\t\t}\n\t}\n}\n\nwiki.example.com {\n\temail_auth anyone\n}\n", []mistake{
		{"nosuch", "write name, logo, accent or support"},
		{"name", "write `name <text>`"},
		{"name a b", "write `name <text>`"},
		{"name " + strings.Repeat("x", 41), "write at most 40"},
		{"accent green", "write a colour as in \"#1b6350\""},
		{"accent \"#12345\"", "write a colour as in \"#1b6350\""},
		{"accent \"#12345g\"", "write a colour as in \"#1b6350\""},
		{"accent #1b6350", "write `accent \"<#rrggbb>\"`, as in `accent \"#1b6350\"`"},
		{"support nobody", "write an address (help@example.com) or an https URL"},
		{"support http://help.example.com", "write an address (help@example.com) or an https URL"},
		{"support javascript:alert(1)", "write an address (help@example.com) or an https URL"},
		{"logo", "write `logo <file>`"},
		{"logo a.svg {\n\t\t\t\tx\n\t\t\t}", "takes no block"},
	})
	for _, option := range []string{
		"from signin@example.com", "mail_dir a", "store badger", "method both", "code 6", "expires 5m", "same_browser on", "resend keep",
		"session 7d", "limit total 5 1m", "group staff ann@example.com", "group staff file testdata/staff.txt", "prefix /auth",
		"smtp mail.example.com:587",
	} {
		mistake{option + "\n\t\t‹›" + option, "is there twice: keep one"}.check(t, "{\n\temail_auth {\n\t\t%s\n\t}\n}\n")
	}
}

func TestMistakesInSMTP(t *testing.T) {
	checkMistakes(t, "{\n\temail_auth {\n\t\tfrom signin@example.com\n\t\tsmtp mail.example.com:587 {\n\t\t\t‹›%s\n\t\t}\n\t}\n}\n", []mistake{
		{"nosuch", "write username, password, auth, tls or dkim"},
		{"username", "write `username <text>`"},
		{"username two words", "write `username <text>`"},
		{"password", "as in `password {env.SMTP_PASSWORD}`"},
		{"password {$NOSUCH}", "as in `password {env.SMTP_PASSWORD}`"},
		{`password ""`, "password is empty"},
		{"auth", "write `auth auto | plain"},
		{"auth plain login", "write `auth auto | plain"},
		{"auth cram-md5", "write auto, plain, login, oauthbearer, xoauth2 or none"},
		{"tls", "write `tls starttls | implicit | none`"},
		{"tls ssl", "write starttls, implicit or none"},
		{"dkim", "write `dkim <domain> <selector> <key file>`"},
		{"dkim example.com mail", "write `dkim <domain> <selector> <key file>`"},
		{"dkim example.com mail a b", "write `dkim <domain> <selector> <key file>`"},
		{"tls none {\n\t\t\t\tnosuch\n\t\t\t}", "takes no block"},
	})
	for _, option := range []string{"username a", "password a", "auth none", "tls none"} {
		mistake{option + "\n\t\t\t‹›" + option, "is there twice: keep one"}.check(t, "{\n\temail_auth {\n\t\tfrom signin@example.com\n\t\tsmtp mail.example.com:587 {\n\t\t\t%s\n\t\t}\n\t}\n}\n")
	}
	// What does not go together is blamed on the line of smtp.
	checkMistakes(t, "{\n\temail_auth {\n\t\tfrom signin@example.com\n\t\t‹›smtp %s\n\t\t}\n\t}\n}\n", []mistake{
		{"mail.example.com {", "host:port is needed"},
		{":587 {", "host:port is needed"},
		{"mail.example.com:smtp {", "port must be a number"},
		{"mail.example.com:587 {\n\t\t\tusername a", "without a password"},
		{"mail.example.com:587 {\n\t\t\tpassword a", "without a username"},
		{"mail.example.com:587 {\n\t\t\tauth none\n\t\t\tusername a\n\t\t\tpassword b", "remove username and password, or auth none"},
		{"mail.example.com:587 {\n\t\t\tauth none\n\t\t\tpassword b", "remove username and password, or auth none"},
		{"mail.example.com:587 {\n\t\t\tauth plain", "needs a username and a password"},
		{"192.0.2.1:25 {\n\t\t\ttls none\n\t\t\tusername a\n\t\t\tpassword b", "without TLS"},
	})
	mistake{"", "exclude each other"}.check(t, "{\n\temail_auth {\n\t\tfrom signin@example.com\n\t\tsmtp mail.example.com:587\n\t\t‹›mail_dir mails\n\t}%s\n}\n")
}

// TestMistakesFoundLater is about files and the environment, of which nothing is
// known when the Caddyfile is read.
func TestMistakesFoundLater(t *testing.T) {
	t.Setenv("MISTAKE_EMPTY", "")
	checkMistakes(t, "{\n\temail_auth {\n\t\tmethod code\n\t\t‹›%s\n\t}\n}\n", []mistake{
		{"group staff file testdata/nosuch.txt", "testdata/nosuch.txt: no such file"},
		{"group staff file testdata/least.json", "testdata/least.json: line 1"},
		{"group staff file {env.MISTAKE_EMPTY}", "{env.MISTAKE_EMPTY} is empty"},
		{"group staff file testdata/nosuch.txt\n\t\tgroup staff ann@example.com", "testdata/nosuch.txt: no such file"},
		{"store badger {env.MISTAKE_EMPTY}", "{env.MISTAKE_EMPTY} is empty"},
		{"store badger testdata/staff.txt", "testdata/staff.txt is not a folder: name one, as in `store badger /var/lib/postern`"},
		{"store badger testdata/staff.txt/below", "is not a folder"},
		{"mail_dir {env.MISTAKE_EMPTY}", "{env.MISTAKE_EMPTY} is empty"},
		{"mail_dir testdata/staff.txt", "testdata/staff.txt is not a folder: name one, as in `mail_dir /tmp/mails`"},
		{"mail_dir testdata/staff.txt/below", "is not a folder"},
		{"from {env.MISTAKE_EMPTY}", "{env.MISTAKE_EMPTY} is empty"},
		{"templates {env.MISTAKE_EMPTY}", "{env.MISTAKE_EMPTY} is empty"},
		{"templates testdata/nosuch", "is no folder that can be read: name one, as in `templates /etc/caddy/templates`"},
		{"templates testdata/staff.txt", "is no folder"},
		{"templates testdata/broken", "in testdata/broken: templates: there is none: they are layout.html, parts.html"},
	})
	checkMistakes(t, "{\n\temail_auth {\n\t\tbrand {\n\t\t\t‹›logo %s\n\t\t}\n\t}\n}\n", []mistake{
		{"{env.MISTAKE_EMPTY}", "{env.MISTAKE_EMPTY} is empty"},
		{"testdata/nosuch.svg", "testdata/nosuch.svg: no such file"},
		{"testdata/staff.txt", "logo is no picture"},
	})
	mistake{"testdata/nosuch.txt", "no such file"}.check(t, "{\n\temail_auth {\n\t\tgroup staff ann@example.com\n\t\t‹›group staff file %s\n\t}\n}\n")
	checkMistakes(t, "{\n\temail_auth {\n\t\tfrom signin@example.com\n\t\tsmtp %s\n\t}\n}\n", []mistake{
		{"mail.example.com:587 {\nusername a\n‹›password {env.MISTAKE_EMPTY}\n}", "{env.MISTAKE_EMPTY} is empty"},
		{"mail.example.com:587 {\nusername a\n‹›password {file.testdata/nosuch.txt}\n}", "{file.testdata/nosuch.txt} is empty"},
		{"mail.example.com:587 {\n‹›username {env.MISTAKE_EMPTY}\npassword a\n}", "{env.MISTAKE_EMPTY} is empty"},
		{"‹›{env.MISTAKE_EMPTY}:587", "{env.MISTAKE_EMPTY} is empty"},
		{"mail.example.com:587 {\n‹›dkim example.com mail testdata/nosuch.pem\n}", "testdata/nosuch.pem: no such file"},
		{"mail.example.com:587 {\n‹›dkim example.com mail testdata/staff.txt\n}", "PEM"},
		{"mail.example.com:587 {\n‹›dkim example mail testdata/staff.txt\n}", "dkim"},
	})
}

func TestMistakesInPlace(t *testing.T) {
	checkMistakes(t, "%s\n", []mistake{
		{":8080 {\n\t‹›email_auth anyone\n}", "say it, as in `origin https://wiki.example.com`"},
		{":443 {\n\t‹›email_auth anyone\n}", "say it, as in `origin https://wiki.example.com`"},
		{"*.example.com {\n\t‹›email_auth anyone\n}", "write `origin https://*.example.com`"},
		{"wiki.example.com, *.example.com {\n\t‹›email_auth anyone\n}", "write `origin https://*.example.com`"},
		{"wiki.example.com, :8080 {\n\t‹›email_auth anyone\n}", "say it, as in `origin"},
		{"wiki.example.com/app/* {\n\t‹›email_auth anyone\n}", "put it at the level of the site"},
		{"wiki.example.com {\n\thandle /app/* {\n\t\t‹›email_auth anyone\n\t}\n}", "(matcher: path /app/*); put it at the level of the site, with the matcher after its name"},
		{"wiki.example.com {\n\thandle_path /app/* {\n\t\t‹›email_auth anyone\n\t}\n}", "put it at the level of the site"},
		{"wiki.example.com {\n\troute /app {\n\t\t‹›email_auth anyone\n\t}\n}", "put it at the level of the site"},
		{"wiki.example.com {\n\troute {\n\t\thandle {\n\t\t\thandle /a* {\n\t\t\t\t‹›email_auth anyone\n\t\t\t}\n\t\t}\n\t}\n}", "put it at the level of the site"},
		{"wiki.example.com {\n\t@get method GET\n\thandle @get {\n\t\t‹›email_auth anyone\n\t}\n}", "(matcher: method); put it"},
		{"wiki.example.com {\n\t@rest not path /public/*\n\thandle @rest {\n\t\t‹›email_auth anyone\n\t}\n}", "(matcher: not); put it"},
		{"*.example.com {\n\t@wiki `{host} == \"wiki.example.com\"`\n\thandle @wiki {\n\t\t‹›email_auth anyone\n\t}\n}", "(matcher: expression); put it"},
		{"*.example.com {\n\t@wiki {\n\t\thost wiki.example.com\n\t\tpath /app/*\n\t}\n\thandle @wiki {\n\t\t‹›email_auth anyone\n\t}\n}", "put it at the level of the site"},
		{"wiki.example.com {\n\thandle_errors {\n\t\t‹›email_auth anyone\n\t}\n}", "handle_errors, where it protects nothing"},
		{"&(protected) {\n\t‹›email_auth anyone\n}\nwiki.example.com {\n\tinvoke protected\n}", "say it, as in `origin"},
		{"wiki.example.com, www.example.com {\n\t‹›email_auth anyone {\n\t\torigin https://wiki.example.com\n\t}\n}", "give each host a site of its own"},
		{"*.example.com {\n\t‹›email_auth anyone {\n\t\torigin https://*.example.org\n\t}\n}", "does not cover *.example.com"},
		{"wiki.example.com {\n\t‹›email_auth anyone {\n\t\torigin https://*.example.org\n\t}\n}", "does not cover wiki.example.com"},
		{":8080 {\n\temail_auth anyone {\n\t\torigin https://a.example.com\n\t}\n\t‹›email_auth anyone {\n\t\torigin https://b.example.com\n\t}\n}", "differs from that of another email_auth of the same site, https://a.example.com (Caddyfile:2)"},
		{"wiki.example.com {\n\t@bad header_regexp X ([a\n\t‹›email_auth @bad anyone\n}", "error parsing regexp"},
		{"{\n\t‹›email_auth anyone\n}", "who may enter goes into a site, after its address"},
		{"{\n\temail_auth {\n\t}\n\t‹›email_auth {\n\t}\n}", "is there twice"},
		{"(protected) {\n\t‹›email_auth {args[0]}\n}\nwiki.example.com {\n\timport protected example.com\n}", "import chain ['Caddyfile:5 (import protected)']"},
	})
}

// TestPlaces are the places that are fine.
func TestPlaces(t *testing.T) {
	for _, text := range []string{
		"wiki.example.com {\n\troute {\n\t\temail_auth anyone\n\t}\n}",
		"wiki.example.com {\n\thandle {\n\t\troute {\n\t\t\temail_auth anyone\n\t\t}\n\t}\n}",
		"wiki.example.com {\n\thandle /* {\n\t\temail_auth anyone\n\t}\n}",
		"wiki.example.com {\n\thandle_path /* {\n\t\temail_auth anyone\n\t}\n}",
		"*.example.com {\n\t@a host a.example.com\n\thandle @a {\n\t\temail_auth anyone\n\t}\n}",
		"*.example.com {\n\temail_auth anyone {\n\t\torigin https://*.example.com\n\t}\n\t@a host a.example.com\n\thandle @a {\n\t\temail_auth /admin* ann@example.com\n\t}\n}",
		"localhost {\n\temail_auth anyone\n}",
		"http://localhost:8080, http://127.0.0.1:8080 {\n\temail_auth anyone\n}",
		"http://*.localhost:8080 {\n\temail_auth anyone\n}",
		"[::1]:8443 {\n\temail_auth anyone\n}",
		"http:// {\n\temail_auth anyone {\n\t\torigin https://wiki.example.com\n\t}\n}",
		"http://wiki.internal {\n\temail_auth anyone {\n\t\torigin https://wiki.example.com\n\t}\n\temail_auth /admin* ann@example.com\n}",
		"wiki.example.com, www.example.com {\n\temail_auth anyone\n}",
		"wiki.example.com, www.example.com {\n\temail_auth anyone {\n\t\torigin https://*.example.com\n\t}\n}",
		"http://wiki.example.com {\n\temail_auth anyone\n}",
		"bücher.example {\n\temail_auth anyone\n}",
	} {
		if err := check(text + "\n"); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
}
