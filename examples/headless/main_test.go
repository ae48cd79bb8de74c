package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestWords: what the API says is not shown to visitors.
func TestWords(t *testing.T) {
	for answer, want := range map[string]string{
		`{"message":"invalid code, 1 attempt left","details":[{"error_code":"INVALID_CODE"}]}`:                                           "That is not the code of the newest mail. Please look again.",
		`{"message":"x","details":[{"error_code":"INVALID_ARGUMENT","validation_error_info":{"field_violations":[{"field":"email"}]}}]}`: "That is not an email address.",
		`{"message":"x","details":[{"error_code":"RATE_LIMITED"}]}`:                                                                      "That was too often. Try again in 11 minutes.",
		`{"message":"x","details":[{"error_code":"UNAUTHENTICATED"}]}`:                                                                   "",
		`{"message":"x","details":[{"error_code":"INVALID_ARGUMENT"}]}`:                                                                  "",
		`nonsense`: "",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "601")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, answer)
		}))
		r, err := http.NewRequest(http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = (&postern{http: server.Client()}).do(r, nil)
		server.Close()
		var refused *refusal
		if !errors.As(err, &refused) || refused.words() != want {
			t.Errorf("%s: %v, want %q", answer, err, want)
		}
	}
}

func TestWait(t *testing.T) {
	for seconds, want := range map[int]string{0: "in a minute", 60: "in a minute", 61: "in 2 minutes", 120: "in 2 minutes", 86400: "in 1440 minutes"} {
		if got := wait(seconds); got != want {
			t.Errorf("%d: %q, want %q", seconds, got, want)
		}
	}
}

func TestCookies(t *testing.T) {
	for origin, secure := range map[string]bool{"http://localhost:3000": false, "https://shop.example.com": true} {
		w := httptest.NewRecorder()
		(&app{origin: origin}).setCookie(w, requestCookie, "value", time.Hour)
		c := w.Result().Cookies()[0]
		if c.Secure != secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 3600 {
			t.Errorf("%s: %s", origin, c)
		}
	}
}
