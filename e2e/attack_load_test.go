package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern-auth/postern/e2e/postern"
)

// endless is a request whose head is written once, and then a piece again and
// again until the server ends it or limit bytes were sent.
type endless struct {
	head, piece string
	limit       int
}

// send returns the status, 0 where the connection was cut without an answer, and
// how many bytes were taken.
func (e endless) send(addr string) (status, sent int) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, 0
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(longestDrip))
	_, _ = io.WriteString(conn, strings.ReplaceAll(e.head, "\n", "\r\n"))
	answered := make(chan int, 1)
	go func() { // the answer may come before the end
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			answered <- 0
			return
		}
		response.Body.Close()
		answered <- response.StatusCode
	}()
	for sent < e.limit {
		n, err := io.WriteString(conn, e.piece)
		sent += n
		if err != nil {
			break
		}
	}
	return <-answered, sent
}

// residentMemory is what the process has in memory, in bytes.
func residentMemory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kilobytes, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// wantLittleMore bounds what an attack may leave in memory. The race detector
// takes several times as much.
func wantLittleMore(t *testing.T, before, after int) {
	t.Helper()
	bound := 150 << 20
	if os.Getenv("POSTERN_E2E_RACE") == "1" {
		bound *= 8
	}
	t.Logf("memory: %d MB before, %d MB after", before>>20, after>>20)
	if after > before+bound {
		t.Error("an attack leaves too much in memory")
	}
}

// TestOversizedRequests sends too much of everything, many at a time: it is
// refused, others are served meanwhile, and no memory stays taken.
func TestOversizedRequests(t *testing.T) {
	t.Parallel()
	upstream := postern.StartUpstream(t)
	// Caddy refuses heads of more than 16 kB, where nobody allows more.
	server := postern.Start(t, postern.Config{Sites: plain, Auth: noLimits, Upstream: upstream, Global: "servers {\n\t\tmax_header_size 1MB\n\t}"})
	bystander := visitor(t, server)
	bystander.SignIn(ann)
	bystander.Fetch("/x").Want(t, http.StatusOK)
	before := residentMemory(t, server.PID())

	form := "POST %s HTTP/1.1\nHost: " + hostOf(server) + "\nSec-Fetch-Site: same-origin\nContent-Type: application/x-www-form-urlencoded\n"
	block := strings.Repeat("a", 16<<10)
	kinds := map[string]struct {
		endless
		want []int
	}{}
	add := func(name string, e endless, want ...int) {
		kinds[name] = struct {
			endless
			want []int
		}{e, want}
	}
	for _, path := range []string{"/.auth/sign-in", "/.auth/verify", "/.auth/resend", "/.auth/link", "/.auth/sign-out"} {
		head := fmt.Sprintf(form, path)
		add(path+", a length of gigabytes", endless{head + "Content-Length: 9999999999\n\nemail=", block, 64 << 20}, http.StatusRequestEntityTooLarge, 0)
		add(path+", endless chunks", endless{head + "Transfer-Encoding: chunked\n\n", fmt.Sprintf("%x\r\n%s\r\n", len(block), block), 64 << 20}, http.StatusRequestEntityTooLarge, 0)
		add(path+", one endless chunk", endless{head + "Transfer-Encoding: chunked\n\nffffffffff\n", block, 64 << 20}, http.StatusRequestEntityTooLarge, 0)
		add(path+", endless chunk extensions", endless{head + "Transfer-Encoding: chunked\n\n1;", block, 64 << 20}, http.StatusBadRequest, http.StatusUnsupportedMediaType, 0)
		add(path+", many fields", endless{head + "Content-Length: 16384\n\n", strings.Repeat("a&", 8<<10), 16 << 10}, http.StatusUnprocessableEntity, http.StatusSeeOther, http.StatusGone, http.StatusForbidden)
		add(path+", compressed", endless{strings.Replace(head, "\nSec", "\nContent-Encoding: gzip\nSec", 1) + "Content-Length: 16384\n\n", strings.Repeat("\x1f\x8b", 8<<10), 16 << 10}, http.StatusUnprocessableEntity, http.StatusSeeOther, http.StatusGone, http.StatusForbidden, http.StatusUnsupportedMediaType)
	}
	get := "GET /.auth/sign-in HTTP/1.1\nHost: " + hostOf(server) + "\n"
	tooMuch := []int{http.StatusRequestHeaderFieldsTooLarge, 0}
	add("an endless request line", endless{"GET /.auth/sign-in?", block, 8 << 20}, tooMuch...)
	add("an endless header line", endless{get + "X-Long: ", block, 8 << 20}, tooMuch...)
	add("an endless header name", endless{get, block, 8 << 20}, tooMuch...)
	add("endless headers", endless{get, strings.Repeat("A: b\r\n", 2000), 8 << 20}, tooMuch...)
	add("endless cookies", endless{get + "Cookie: ", strings.Repeat("postern_session=A; ", 800), 8 << 20}, tooMuch...)
	add("very many cookies", endless{get + "Connection: close\nCookie: a=b", strings.Repeat("; postern_browser=MTc5", 18000) + "\r\n\r\n", 1}, http.StatusOK)
	add("very many cookie lines", endless{get + "Connection: close\n", strings.Repeat("Cookie: postern_session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n", 5500) + "\r\n", 1}, http.StatusOK)
	add("a long User-Agent and Accept", endless{get + "Connection: close\n", "User-Agent: " + strings.Repeat(block, 12) + "\r\nAccept: " + strings.Repeat("text/html;q=0,", 12000) + "\r\n\r\n", 1}, http.StatusOK)
	add("a long path", endless{"", "GET /" + strings.Repeat("%2e%2e%2f", 40000) + " HTTP/1.1\r\nHost: " + hostOf(server) + "\r\nAccept: text/html\r\nConnection: close\r\n\r\n", 1}, http.StatusSeeOther)
	add("a long return_to", endless{"", "GET /.auth/sign-in?return_to=/" + strings.Repeat("%252e", 75000) + " HTTP/1.1\r\nHost: " + hostOf(server) + "\r\nConnection: close\r\n\r\n", 1}, http.StatusOK)

	done := make(chan struct{})
	go func() {
		defer close(done)
		var names []string
		for range 4 {
			for name := range kinds {
				names = append(names, name)
			}
		}
		inParallel(names, func(name string) int {
			kind := kinds[name]
			status, sent := kind.send(server.PlainAddr())
			for _, want := range kind.want {
				if status == want {
					return status
				}
			}
			t.Errorf("%s: status %d after %d bytes, want one of %v", name, status, sent, kind.want)
			return status
		})
	}()
	for served := 0; ; served++ {
		bystander.Fetch("/x").Want(t, http.StatusOK)
		select {
		case <-done:
			if served == 0 {
				t.Error("the bystander was not served meanwhile")
			}
		case <-time.After(20 * time.Millisecond):
			continue
		}
		break
	}
	wantLittleMore(t, before, residentMemory(t, server.PID()))
	for _, seen := range upstream.Seen() {
		if seen.URI != "/x" {
			t.Errorf("the upstream saw %.100s", seen.URI)
		}
	}
}

// TestHangingConnections leaves many connections half-way in a head: nobody
// waits for them.
func TestHangingConnections(t *testing.T) {
	t.Parallel()
	server, _ := plainSite(t, "")
	bystander := visitor(t, server)
	bystander.SignIn(ann)
	before := residentMemory(t, server.PID())
	for i := range 500 {
		conn, err := net.Dial("tcp", server.PlainAddr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		head := "POST /.auth/sign-in HTTP/1.1\r\nHost: " + hostOf(server) + "\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nemail=ann"
		_, _ = io.WriteString(conn, head[:len(head)*(i%100+1)/100])
	}
	for range 20 {
		bystander.Fetch("/").Want(t, http.StatusOK)
	}
	other := visitor(t, server)
	other.SignIn("bob@example.com")
	wantLittleMore(t, before, residentMemory(t, server.PID()))
}

// TestPendingIsBoundedPerNetwork starts hundreds of sign-ins at once from one
// network, as ever new browsers and addresses, and some from another.
func TestPendingIsBoundedPerNetwork(t *testing.T) {
	t.Parallel()
	server, _ := start(t, silent, "limit network 30 10m\nlimit mails 100 1m")
	base := visitor(t, server)
	start := func(tab *postern.Visitor, email string) int {
		answer, err := tab.TryDo(tab.Form("/.auth/sign-in", url.Values{"email": {email}}))
		if err != nil {
			return 0
		}
		return answer.Status
	}
	emails := make([]string, 300)
	for i := range emails {
		emails[i] = fmt.Sprintf("flood%d@example.com", i)
	}
	statuses := inParallel(emails, func(email string) int { return start(base.Fresh(), email) })
	if statuses[http.StatusSeeOther] != 30 || statuses[http.StatusTooManyRequests] != len(emails)-30 {
		t.Errorf("statuses of one network: %v", statuses)
	}
	// What a client says of itself changes nothing.
	for _, name := range []string{"X-Forwarded-For", "X-Real-IP", "Forwarded", "CF-Connecting-IP", "True-Client-IP", "X-Client-IP", "Client-IP", "X-Cluster-Client-IP"} {
		tab := base.Fresh()
		request := tab.Form("/.auth/sign-in", url.Values{"email": {"again@example.com"}})
		request.Header.Set(name, "198.51.100.7")
		if name == "Forwarded" {
			request.Header.Set(name, "for=198.51.100.7")
		}
		tab.Do(request).Want(t, http.StatusTooManyRequests)
	}
	for i := range 3 {
		if status := start(fromAddress(t, base.Fresh(), fmt.Sprintf("127.0.0.%d", 5+i)), fmt.Sprintf("other%d@example.com", i)); status != http.StatusSeeOther {
			t.Errorf("another network: status %d", status)
		}
	}
	time.Sleep(postern.Quiet)
	if n := len(mailedTo(t, server)); n != 33 {
		t.Errorf("%d addresses got a mail, want 33", n)
	}
}
