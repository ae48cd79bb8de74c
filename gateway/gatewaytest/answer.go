package gatewaytest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Answer is what came back for a request.
type Answer struct {
	Status  int
	Header  http.Header
	Trailer http.Header
	Body    string
	// Asked is the method and path of the request, for messages.
	Asked string
}

// Want fails the test where the status is another one.
func (a *Answer) Want(t testing.TB, status int) *Answer {
	t.Helper()
	if a.Status != status {
		t.Errorf("%s: status %d, want %d (Location %q)\n%.600s", a.Asked, a.Status, status, a.Location(), a.text())
	}
	return a
}

// WantLocation fails the test where the answer is no redirect to the path.
func (a *Answer) WantLocation(t testing.TB, path string) *Answer {
	t.Helper()
	if a.Status != http.StatusSeeOther || a.Location() != path {
		t.Errorf("%s: status %d to %q, want 303 to %q\n%.600s", a.Asked, a.Status, a.Location(), path, a.text())
	}
	return a
}

// WantText fails the test where the body lacks one of the texts.
func (a *Answer) WantText(t testing.TB, texts ...string) *Answer {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(a.Body, text) {
			t.Errorf("%s: no %q in\n%s", a.Asked, text, a.text())
		}
	}
	return a
}

// WantNoText fails the test where the body has one of the texts.
func (a *Answer) WantNoText(t testing.TB, texts ...string) *Answer {
	t.Helper()
	for _, text := range texts {
		if text == "" || strings.Contains(a.Body, text) {
			t.Errorf("%s: there is %q in\n%s", a.Asked, text, a.text())
		}
	}
	return a
}

// text is the page without its style and script.
func (a *Answer) text() string {
	if _, main, ok := strings.Cut(a.Body, "<main"); ok {
		return "<main" + main
	}
	return a.Body
}

// Location is where the answer leads.
func (a *Answer) Location() string { return a.Header.Get("Location") }

// Query is a value of the query of the place where the answer leads.
func (a *Answer) Query(name string) string {
	u, err := url.Parse(a.Location())
	if err != nil {
		return ""
	}
	return u.Query().Get(name)
}

// Cookie returns the cookie that the answer sets, or nil.
func (a *Answer) Cookie(name string) *http.Cookie {
	for _, cookie := range (&http.Response{Header: a.Header}).Cookies() {
		if cookie.Name == name {
			return cookie
		}
	}
	return nil
}

// JSON reads the body.
func (a *Answer) JSON(t testing.TB) map[string]any {
	t.Helper()
	values := map[string]any{}
	if err := json.Unmarshal([]byte(a.Body), &values); err != nil {
		t.Errorf("%s: %v in %.200q", a.Asked, err, a.Body)
	}
	return values
}

// Echo is what the upstream was sent.
type Echo struct {
	Method, URI string
	Header      http.Header
	Trailer     http.Header
	Body        string
}

// Upstream reads what the upstream was sent, and fails the test where the
// request did not reach it.
func (a *Answer) Upstream(t testing.TB) Echo {
	t.Helper()
	var e Echo
	if a.Header.Get("Upstream") == "" {
		t.Errorf("%s: did not reach the upstream: status %d (Location %q)\n%.600s", a.Asked, a.Status, a.Location(), a.text())
	} else if err := json.Unmarshal([]byte(a.Body), &e); err != nil {
		t.Errorf("%s: %v", a.Asked, err)
	}
	return e
}
