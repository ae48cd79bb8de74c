package gateway

import "time"

// DeriveCodes returns the codes of n new sign-in requests, without all else that
// belongs to one.
func DeriveCodes(n, length int, letters bool) []string {
	root := newRoot(time.Now())
	codes := make([]string, n)
	for i := range codes {
		codes[i] = root.code(&challenge{ID: newRequestID(), Generation: i % 3, Method: MethodBoth, CodeLength: length, CodeLetters: letters})
	}
	return codes
}
