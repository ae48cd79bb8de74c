package gatewaytest

import (
	"encoding/json"
	"io"
	"net/http"
)

// echo is the default upstream: it answers with what it was sent.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Upstream", "yes")
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(Echo{
		Method: r.Method, URI: r.URL.RequestURI(), Header: r.Header, Trailer: r.Trailer, Body: string(body),
	})
}
