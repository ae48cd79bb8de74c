package postern

import "net/http"

// Over returns a tab of the same browser whose requests go another way: by
// another protocol, or from another address.
func (v *Visitor) Over(transport http.RoundTripper) *Visitor {
	tab, client := *v, *v.client
	client.Transport = transport
	tab.client = &client
	return &tab
}
