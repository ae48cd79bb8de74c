// Package gateway is Postern's core: who may enter, and how they prove it.
//
// It has two halves. The Engine has no HTTP in it: Start makes a sign-in request
// and queues its mail, Resend sends it again, Verify compares an answer and uses
// the request up, Open makes a session, Identify finds it again, End ends it.
// The Door stands in front of a site's upstream: Handle passes an admitted
// request on and answers every other itself.
//
//	request ── Handle ── scrub ──┬─ below the prefix ── page ── Start, Verify, End …
//	                             ├─ for no rule ─────── public ── next
//	                             └─ identify ── Decide ──┬─ Admit ── setIdentity ── next
//	                                                     └─ refuse
//
// Applications with pages of their own come by another door, package headless,
// to the same engine: StartFor, ResendFor and VerifyFor (clientcalls.go) make, mail
// and use up the same sign-in requests, for which no session is opened.
//
// A sign-in request lives like this:
//
//	Start ──► open ──► used up (Verify) ──► session
//	           │ ▲
//	   Resend ─┘ └─ wrong code (counted in its lane)
//	           └──► expired
//
// Records in the store, each under one key, with who writes them:
//
//	signin/<id>                 challenge        Start, StartFor, Resend, ResendFor
//	browser/<site>/<browser>    browserRequests  Start
//	lane/<address>/<browser|*>  lane             Start, Resend, Verify, outbox
//	limit/<name>                window           Start, outbox
//	outbox/<id>/<n>             queuedMail       Start, Resend, outbox
//	session/<hash>              Session          Open, Identify, End
//	sessions-of/<subject>/<site>/<hash>  nothing  Open
//	client-token/<hash>         clientToken      NewClientToken, RevokeClientToken
//	user/<address>              user             Open
//
// Secrets are in none of them: codes and link tokens are derived from a key and
// the request (credential.go), sessions and browsers are known by keyed hashes.
package gateway
