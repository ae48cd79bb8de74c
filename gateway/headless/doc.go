// Package headless is the door for applications that have sign-in pages of their
// own: three calls, in JSON and by gRPC, and the tokens that they need.
//
//	POST /oauth/token                                  client credentials → access token
//	POST /oauth/revoke                                 ends one
//	POST /api/v1/passwordless/email/{send,resend,verify}
//	POST /scalekit.v1.auth.passwordless.PasswordlessService/…
//	GET  /api/v1/openapi.json                          what the calls are like
//
// A call goes the same way in both forms: Handle (secure?) → authenticate →
// body → decode, or readFrame → service (calls.go), which asks the gateway. One table in
// failure.go says how an error is told.
package headless
