package postern

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Answer is a response that was read to its end.
type Answer struct {
	Status  int
	Header  http.Header
	Trailer http.Header
	Body    string
	// URL is what was asked for.
	URL string
}

func readAnswer(response *http.Response) (*Answer, error) {
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	answer := &Answer{Status: response.StatusCode, Header: response.Header, Trailer: response.Trailer, Body: string(body)}
	if response.Request != nil && response.Request.URL != nil {
		answer.URL = response.Request.URL.String()
	}
	return answer, err
}

// Location is the header of that name.
func (a *Answer) Location() string { return a.Header.Get("Location") }

// Cookie returns a cookie that the answer sets, or nil.
func (a *Answer) Cookie(name string) *http.Cookie {
	for _, cookie := range (&http.Response{Header: a.Header}).Cookies() {
		if cookie.Name == name {
			return cookie
		}
	}
	return nil
}

// JSON reads the body into value.
func (a *Answer) JSON(t testing.TB, value any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.Body), value); err != nil {
		t.Fatalf("the answer of %s is no JSON: %v\n%s", a.URL, err, a.Brief())
	}
}

// Want fails the test where the status is another, and returns the answer.
func (a *Answer) Want(t testing.TB, status int) *Answer {
	t.Helper()
	if a.Status != status {
		t.Fatalf("%s: status %d, want %d\n%s", a.URL, a.Status, status, a.Brief())
	}
	return a
}

// WantRedirect fails the test where the answer is no 303 to a location.
func (a *Answer) WantRedirect(t testing.TB, location string) *Answer {
	t.Helper()
	a.Want(t, http.StatusSeeOther)
	if a.Location() != location {
		t.Fatalf("%s: Location %q, want %q", a.URL, a.Location(), location)
	}
	return a
}

// WantText fails the test where the body lacks one of the texts.
func (a *Answer) WantText(t testing.TB, texts ...string) *Answer {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(a.Body, text) {
			t.Fatalf("%s: the answer lacks %q\n%s", a.URL, text, a.Brief())
		}
	}
	return a
}

// Brief is the answer in short, for messages.
func (a *Answer) Brief() string {
	body := a.Body
	if i := strings.Index(body, "<body>"); i >= 0 {
		body = body[i:] // what comes before is style
	}
	var out strings.Builder
	a.Header.Write(&out)
	return out.String() + "\n" + body[:min(len(body), 1500)]
}
