// Package mail is how a finished message leaves the process: composed, signed
// and handed to an SMTP server, or written to a folder for trying things out.
//
// A [Message] goes to a [Transport]; [SMTP] and [Folder] are the two there are.
//
//	Message ── Compose ── multipart/alternative, quoted-printable ── Signer (DKIM)
//	   │
//	   ├─ SMTP    pool ── connect (TLS, AUTH) ── MAIL, RCPT, DATA
//	   └─ Folder  one .eml file a mail, and a line in the log
//
// A delivery on SMTP takes these steps, and ends at the first that fails:
//
//	step          permanent when the server refuses it with 5xx
//	connect       no: the server or its address is at fault
//	STARTTLS, TLS no: the configuration or a certificate is at fault
//	EHLO          no: policy towards this host
//	AUTH          no: the credentials are at fault
//	MAIL FROM     no: the sender's address is at fault
//	RCPT TO       yes, but for 530, 534, 535, 538 and words about relaying or
//	              authentication: then the server wants to know us first
//	DATA          yes, but for the same codes
//	end of DATA   yes, but for the same codes; without an answer the mail may come twice
//
// Whatever an operator can mend is temporary, so that mending it saves the
// mails that wait. The package knows no sign-in requests, no queue and no
// Caddy: when to try again, and for how long, is for the caller to decide.
package mail
