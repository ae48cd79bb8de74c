package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

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
