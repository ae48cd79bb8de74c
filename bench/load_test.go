package main

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestReadAnswer(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       answer
		fails      bool
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", answer{status: 200, body: []byte("hello")}, false},
		{"chunks", "HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", answer{status: 401, body: []byte("hello")}, false},
		{"redirect", "HTTP/1.1 303 See Other\r\nLocation: /there\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n", answer{status: 303, location: "/there", cookies: []string{"a=b"}}, false},
		{"upgrade", "HTTP/1.1 101 Switching Protocols\r\n\r\n", answer{status: 101}, false},
		{"cut off", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", answer{}, true},
		{"cut off between chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", answer{}, true},
		{"another protocol", "220 mail.example.com ready\r\n", answer{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := readAnswer(bufio.NewReader(strings.NewReader(c.text)), nil, true)
			if (err != nil) != c.fails {
				t.Fatalf("error %v, want one: %v", err, c.fails)
			}
			if !c.fails && (got.status != c.want.status || string(got.body) != string(c.want.body) ||
				got.location != c.want.location || !slices.Equal(got.cookies, c.want.cookies)) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// self makes a server of the application, in this process.
func self(t *testing.T) *server {
	t.Helper()
	u, err := startUpstream()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.close)
	_, port, _ := net.SplitHostPort(u.addr)
	s := &server{name: "application", process: &exec.Cmd{Process: &os.Process{Pid: os.Getpid()}}}
	s.port, _ = strconv.Atoi(port)
	return s
}

// TestLoadChecksAnswers makes sure that a wrong answer is no throughput.
func TestLoadChecksAnswers(t *testing.T) {
	s := self(t)
	user := always(get(s.host(), "/", "Remote-User: ann@example.com\r\n"))
	for _, c := range []struct {
		name  string
		load  load
		fails bool
	}{
		{"as expected", load{s, user, 200, knowsUser}, false},
		{"another status", load{s, user, 303, knowsUser}, true},
		{"another body", load{s, user, 200, knowsNobody}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.load.measure(context.Background(), 50*time.Millisecond)
			if (err != nil) != c.fails {
				t.Fatalf("error %v, want one: %v", err, c.fails)
			}
			if err == nil && got.perSecond <= 0 {
				t.Errorf("%v requests a second", got.perSecond)
			}
		})
	}
}

func TestFigures(t *testing.T) {
	if got := median([]float64{3, 1, 2}); got != 2 {
		t.Errorf("median of three: %v", got)
	}
	if got := median([]float64{4, 1, 2, 3}); got != 2.5 {
		t.Errorf("median of four: %v", got)
	}
	samples, base := []sample{{perSecond: 50}, {perSecond: 30}}, []sample{{perSecond: 100}, {perSecond: 30}}
	if got := ratios(samples, base, rate); !slices.Equal(got, []float64{0.5, 1}) {
		t.Errorf("ratios: %v", got)
	}
	if got := number(1234567.4); got != "1,234,567" {
		t.Errorf("number: %s", got)
	}
	if got := number(-1234); got != "-1,234" {
		t.Errorf("negative number: %s", got)
	}
	if got := number(-123); got != "-123" {
		t.Errorf("small negative number: %s", got)
	}
}

func TestReadBenchmarks(t *testing.T) {
	result := &benchmarks{all: map[string]*figures{}}
	for range 2 {
		if err := result.add([]byte("goos: linux\nBenchmarkSignIn/64-2   \t     164\t   3720187 ns/op\t       280.9 sign-ins/s\t  118815 B/op\t    1038 allocs/op\nPASS\n")); err != nil {
			t.Fatal(err)
		}
	}
	got := result.all["SignIn/64"]
	if got == nil || !slices.Equal(got.ns, []float64{3720187, 3720187}) || got.rate[0] != 280.9 || got.bytes[0] != 118815 || got.allocs[0] != 1038 {
		t.Errorf("got %+v of %q", got, result.names)
	}
}

func TestRouteRows(t *testing.T) {
	lines := "BenchmarkChain/bare/page 1 100 ns/op 0 B/op 60 allocs/op\nBenchmarkChain/bare/xhr 1 90 ns/op 0 B/op 50 allocs/op\n" +
		"BenchmarkChain/postern/page 1 130 ns/op 0 B/op 63 allocs/op\nBenchmarkChain/postern/xhr 1 100 ns/op 0 B/op 55 allocs/op\n" +
		"BenchmarkSignInPage/get 1 200 ns/op 0 B/op 70 allocs/op\nBenchmarkOver/postern/page 1 9000 ns/op 25.0 ns-over-bare\n"
	result := &benchmarks{all: map[string]*figures{}}
	if err := result.add([]byte(lines)); err != nil {
		t.Fatal(err)
	}
	result.names = slices.DeleteFunc(result.names, func(name string) bool { return strings.HasPrefix(name, "Over/") })
	rows, err := routeRows(result)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"Chain/bare/page", "100", "0", "60", "0", "1.00"},
		{"Chain/bare/xhr", "90", "0", "50", "0", "0.90"},
		{"Chain/postern/page", "130", "25", "63", "3", "1.30"},
		{"Chain/postern/xhr", "100", "10", "55", "5", "1.00"},
		{"SignInPage/get", "200", "100", "70", "10", "2.00"},
	}
	if !slices.EqualFunc(rows, want, slices.Equal) {
		t.Errorf("got %q, want %q", rows, want)
	}
	delete(result.all, "Chain/bare/page")
	if _, err := routeRows(result); err == nil {
		t.Error("no error without bare Caddy's page")
	}
}

func TestParseMail(t *testing.T) {
	to, m, err := parseMail([]byte("To: ann@example.com\r\nSubject: x\r\n\r\nhttp://localhost:80/.auth/link?token=3Dabc=\r\ndef\r\n@localhost #123456\r\n"))
	if err != nil || to != "ann@example.com" || m.code != "123456" || m.link != "/.auth/link?token=abcdef" {
		t.Errorf("%q, %+v, %v", to, m, err)
	}
	if _, _, err := parseMail([]byte("To: ann@example.com\r\n\r\nnothing\r\n")); err == nil {
		t.Error("a mail without a code was read")
	}
}
