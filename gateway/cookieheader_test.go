package gateway_test

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/postern-auth/postern/gateway"
)

func TestCookieValues(t *testing.T) {
	const name = gateway.SessionCookie
	tests := []struct {
		lines, want []string
	}{
		{nil, nil},
		{[]string{""}, nil},
		{[]string{name + "=a"}, []string{"a"}},
		{[]string{"x=1; " + name + "=a; y=2"}, []string{"a"}},
		{[]string{"x=1;" + name + "=a;y=2"}, []string{"a"}},
		{[]string{name + "=a; " + name + "=b", "z=1", name + "=c"}, []string{"a", "b", "c"}},
		{[]string{strings.Repeat(name+"=a; ", 100)}, []string{"a", "a", "a"}},
		{[]string{";;;=; =x; \t" + name + "=a=b== \t;"}, []string{"a=b=="}},
		{[]string{name + "=; " + name + "=a"}, []string{"a"}},
		{[]string{name + `="a"`}, []string{`"a"`}},
		{[]string{name, name + ";", "=" + name + "=a", name + " =a", strings.ToLower(name) + "=a", "x" + name + "=a", name + "x=a", "x=" + name + "=a", "x," + name + "=a"}, nil},
		{[]string{"\xff\x00=\x01; " + name + "=a"}, []string{"a"}},
	}
	for _, test := range tests {
		if got := gateway.CookieValues(http.Header{"Cookie": test.lines}, name); !reflect.DeepEqual(got, test.want) {
			t.Errorf("CookieValues(%.200q) = %q, want %q", test.lines, got, test.want)
		}
	}
	if got := gateway.CookieValues(http.Header{"Cookie": {name + "=a"}}, gateway.LoopbackSessionCookie); got != nil {
		t.Errorf("the loopback cookie is %q", got)
	}
}

// ownSpellings are pairs that some party takes for a cookie of the gateway.
var ownSpellings = []string{
	"__Host-postern_session=x", "__Host-postern_browser=x", "postern_session=x", "postern_browser=x", "__HOST-POSTERN_SESSION=x", "__host-postern_session=x", "Postern_Session=x", "__Host-postern_session=",
	"__Host-postern_session", " __Host-postern_session=x", "\t__Host-postern_session=x", "__Host-postern_session =x", "__Host-postern_session\t= x", " \t postern_session \t =x", `__Host-postern_session="x"`,
	"=__Host-postern_session=x", " = __Host-postern_session=x", "=postern_session", "==postern_session=x", "__Host-postern_session=a=b=c", "\r\npostern_session=x", "postern_session\x00=x", "\x0bpostern_session\x0c=x",
}

var foreignSpellings = []string{
	"a=1", "session=x", "__Host-session=x", "xpostern_session=x", "postern_sessions=x", "postern-session=x", "a=postern_session", "a=postern_session=x", "postern_=x", "__Secure-postern_session=x", "postern_session2=__Host-postern_session",
	"__Host-__Host-postern_session=x", `"postern_session"=x`, "po\u017Ftern_session=x", "", "=", " ", "\xff=\xfe", "a=\"b c\"",
}

func TestStripOwnSetCookies(t *testing.T) {
	for _, field := range []string{"Set-Cookie", "set-cookie", "SET-COOKIE"} {
		for _, own := range ownSpellings {
			for _, attributes := range []string{"", ";", "; Path=/; Secure; HttpOnly", ";postern=x", "; Max-Age=0; Domain=example.com"} {
				h := http.Header{field: {"a=1; Path=/", own + attributes, "b=2"}, "Cookie": {"postern_session=x"}}
				gateway.StripOwnSetCookies(h)
				if got := h[field]; !reflect.DeepEqual(got, []string{"a=1; Path=/", "b=2"}) {
					t.Errorf("%s %q left %q", field, own+attributes, got)
				}
				h = http.Header{field: {own + attributes, own}}
				if gateway.StripOwnSetCookies(h); len(h) != 0 {
					t.Errorf("%s %q alone left %q", field, own+attributes, h)
				}
			}
		}
		for _, foreign := range foreignSpellings {
			h := http.Header{field: {foreign, foreign + "; Path=/postern_session=x", foreign + ";postern_session=x"}}
			want := h.Clone()
			if gateway.StripOwnSetCookies(h); !reflect.DeepEqual(h, want) {
				t.Errorf("%q became %q", want, h)
			}
		}
	}
}

func TestStripOwnSetCookiesAllocatesNothing(t *testing.T) {
	h := responseHeader()
	if n := testing.AllocsPerRun(100, func() { gateway.StripOwnSetCookies(h) }); n != 0 {
		t.Errorf("%v allocations with nothing to remove", n)
	}
}

func FuzzStripOwnSetCookies(f *testing.F) {
	for _, own := range ownSpellings {
		f.Add(own + "; Path=/")
	}
	for _, foreign := range foreignSpellings {
		f.Add(foreign)
	}
	f.Fuzz(func(t *testing.T, line string) {
		h := http.Header{"Set-Cookie": {line, "a=1"}}
		gateway.StripOwnSetCookies(h)
		if n := len(h["Set-Cookie"]); n == 0 || h["Set-Cookie"][n-1] != "a=1" {
			t.Fatalf("%q: another cookie was removed", line)
		}
		if cookie, err := http.ParseSetCookie(line); err == nil {
			own := isOwnName(cookie.Name)
			if left := len(h["Set-Cookie"]) == 2; own && left {
				t.Errorf("%q is left", line)
			}
		}
		// What a browser would send back must not be read as a cookie of the gateway.
		if len(h["Set-Cookie"]) == 2 {
			pair, _, _ := strings.Cut(line, ";")
			name, value, found := strings.Cut(pair, "=")
			name, value = strings.Trim(name, " \t\r\n"), strings.Trim(value, " \t\r\n")
			sent := name + "=" + value
			if !found {
				sent = name
			} else if name == "" {
				sent = value
			}
			for _, own := range ownNames {
				if got := gateway.CookieValues(http.Header{"Cookie": {sent}}, own); got != nil {
					t.Errorf("%q comes back as %s", line, own)
				}
			}
		}
	})
}

var ownNames = []string{gateway.SessionCookie, gateway.BrowserCookie, gateway.LoopbackSessionCookie, gateway.LoopbackBrowserCookie}

func isOwnName(name string) bool {
	for _, own := range ownNames {
		if lowerLetters(name) == lowerLetters(own) {
			return true
		}
	}
	return false
}

func responseHeader() http.Header {
	return http.Header{
		"Content-Type": {"text/html; charset=utf-8"}, "Date": {"Mon, 01 Jan 2024 00:00:00 GMT"}, "Cache-Control": {"private"}, "Etag": {`"x"`}, "Vary": {"Cookie"}, "Content-Length": {"1234"},
		"Set-Cookie": {"csrftoken=0123456789abcdef0123456789abcdef; Path=/; Secure; SameSite=Lax", "sessionid=0123456789abcdef0123456789abcdef; Path=/; HttpOnly"},
	}
}

func BenchmarkStripOwnSetCookies(b *testing.B) {
	h := responseHeader()
	b.ReportAllocs()
	for b.Loop() {
		gateway.StripOwnSetCookies(h)
	}
}

func BenchmarkOwnCookies(b *testing.B) {
	secret := strings.Repeat("s", 43)
	for name, line := range map[string]string{"there": "theme=dark; " + gateway.SessionCookie + "=" + secret + "; _ga=GA1.1.1", "absent": "theme=dark; _ga=GA1.1.123456789.987654321"} {
		lines := []string{line}
		h := http.Header{}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				lines[0], h["Cookie"] = line, lines
				gateway.StripOwnCookies(h)
			}
		})
	}
}

func TestStripOwnCookies(t *testing.T) {
	tests := []struct{ lines, want []string }{
		{nil, nil},
		{[]string{"a=1"}, []string{"a=1"}},
		{[]string{"a=1;  b=\"2\";;c"}, []string{"a=1;  b=\"2\";;c"}},
		{[]string{"a=1; postern_session=x; b=2"}, []string{"a=1; b=2"}},
		{[]string{"postern_session=x; b=2"}, []string{"b=2"}},
		{[]string{"a=1; postern_session=x"}, []string{"a=1"}},
		{[]string{"a=1;postern_session=x;b=2"}, []string{"a=1;b=2"}},
		{[]string{"a=1;;postern_session=x;  b=\"2\"; c"}, []string{"a=1;;  b=\"2\"; c"}},
		{[]string{"postern_session=x"}, nil},
		{[]string{"postern_session=x; ", "; ;postern_browser=y;"}, nil},
		{[]string{"postern_session=x", "b=2", "__Host-postern_session=x; __Host-postern_browser=y", " c=3 "}, []string{"b=2", " c=3 "}},
		{[]string{"postern_session=x; postern_session=y; a=1; postern_session=z"}, []string{"a=1"}},
		{[]string{"", "postern_session=x"}, []string{""}},
		{[]string{`a="x; postern_session=y"`}, []string{`a="x`}},
	}
	for _, test := range tests {
		h := http.Header{}
		if test.lines != nil {
			h["Cookie"] = test.lines
		}
		gateway.StripOwnCookies(h)
		if got := h["Cookie"]; !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q became %q, want %q", test.lines, got, test.want)
		}
	}
	for _, own := range ownSpellings {
		h := http.Header{"Cookie": {"a=1; " + own + "; b=2"}}
		if gateway.StripOwnCookies(h); h.Get("Cookie") != "a=1; b=2" {
			t.Errorf("%q left %q", own, h)
		}
	}
	for _, foreign := range foreignSpellings {
		line := "a=1; " + foreign + "; b=2"
		h := http.Header{"Cookie": {line}}
		if gateway.StripOwnCookies(h); h.Get("Cookie") != line {
			t.Errorf("%q became %q", line, h)
		}
	}
}

func FuzzStripCookies(f *testing.F) {
	for _, own := range ownSpellings {
		f.Add("a=1; "+own+"; b=2", own)
	}
	for _, foreign := range foreignSpellings {
		f.Add(foreign, foreign+";postern_session=x")
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		h := http.Header{"Cookie": {first, second, "kept=1"}}
		before := (&http.Request{Header: h.Clone()}).Cookies()
		gateway.StripOwnCookies(h)
		for _, name := range ownNames {
			if got := gateway.CookieValues(h, name); got != nil {
				t.Errorf("%q, %q: left %q", first, second, h["Cookie"])
			}
		}
		var want []string
		for _, cookie := range before {
			if !isOwnName(cookie.Name) {
				want = append(want, cookie.Name+"="+cookie.Value)
			}
		}
		var got []string
		for _, cookie := range (&http.Request{Header: h}).Cookies() {
			got = append(got, cookie.Name+"="+cookie.Value)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q, %q: net/http reads %q, want %q", first, second, got, want)
		}
	})
}

// FuzzCookieValues compares with net/http, which reads what a server's own
// cookies are: what it finds is found too, and nothing is cut from another name.
func FuzzCookieValues(f *testing.F) {
	for _, line := range []string{"postern_session=x", "a=1; postern_session=x; postern_session=y", `postern_session="x"`, "xpostern_session=1;postern_session =2; postern_session==3", "postern_session=", ";;=;", "postern_session=x,y;\tpostern_session=z"} {
		f.Add(line, line)
	}
	const name = gateway.LoopbackSessionCookie
	f.Fuzz(func(t *testing.T, first, second string) {
		h := http.Header{"Cookie": {first, second}}
		values := gateway.CookieValues(h, name)
		for _, value := range values {
			if value == "" || strings.Contains(value, ";") || !strings.Contains(first+"\n"+second, name+"="+value) {
				t.Errorf("%q, %q: value %q", first, second, value)
			}
		}
		if strings.ContainsFunc(first+second, func(c rune) bool { return c < ' ' && c != '\t' }) || len(values) == gateway.MaxCookies {
			return // what no server lets through, and what may be more
		}
		if strings.Contains(first+second, name+" ") || strings.Contains(first+second, name+"\t") {
			return // net/http reads a name with blanks behind it, which no browser sends
		}
		for _, cookie := range (&http.Request{Header: h}).CookiesNamed(name) {
			if cookie.Value != "" && !slices.Contains(values, cookie.Value) && !slices.Contains(values, `"`+cookie.Value+`"`) {
				t.Errorf("%q, %q: %q, but net/http reads %q", first, second, values, cookie.Value)
			}
		}
	})
}
