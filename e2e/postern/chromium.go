package postern

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// chromium is the one process that all browsers of a test run share; each has a
// browser context of its own, so that they share no cookies.
var chromium struct {
	once   sync.Once
	err    error
	ctx    context.Context
	cancel func()
}

const chromiumPath = "/usr/bin/chromium"

func startChromium() {
	if _, err := os.Stat(chromiumPath); err != nil {
		chromium.err = errors.New("chromium is missing: apt-get install -y --no-install-recommends chromium")
		return
	}
	profile, err := os.MkdirTemp("", "postern-chromium-")
	if err != nil {
		chromium.err = err
		return
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromiumPath), chromedp.UserDataDir(profile), chromedp.CombinedOutput(io.Discard),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.IgnoreCertErrors, chromedp.WindowSize(1024, 800),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("proxy-server", "direct://"),
		chromedp.ModifyCmdFunc(dieWithParent),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	chromium.ctx = ctx
	chromium.cancel = func() {
		cancel()
		stop()
		os.RemoveAll(profile)
	}
	if err := chromedp.Do(ctx); err != nil {
		chromium.cancel()
		chromium.err = fmt.Errorf("starting chromium: %w", err)
	}
}

// CloseChromium ends the process, if any test started it.
func CloseChromium() {
	if chromium.ctx != nil && chromium.err == nil {
		chromium.cancel()
	}
}

// Browser is a real one, of somebody who uses no other.
type Browser struct {
	t   testing.TB
	ctx context.Context
}

// NewBrowser returns a new browser, which goes away with the test.
func NewBrowser(t testing.TB) *Browser {
	t.Helper()
	chromium.once.Do(startChromium)
	if chromium.err != nil {
		t.Fatal(chromium.err)
	}
	ctx, cancel := chromedp.NewContext(chromium.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("opening a browser: %v", err)
	}
	return &Browser{t, ctx}
}

// Tab is a tab of a browser. It notes what the console says.
type Tab struct {
	t        testing.TB
	ctx      context.Context
	mu       sync.Mutex
	problems []string
}

// Tab opens a new tab.
func (b *Browser) Tab() *Tab {
	b.t.Helper()
	tab := &Tab{t: b.t}
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithListener(tab.listen))
	b.t.Cleanup(cancel)
	tab.ctx = ctx
	if err := chromedp.Do(ctx); err != nil {
		b.t.Fatalf("opening a tab: %v", err)
	}
	return tab
}

// listen collects what a console shows in red or yellow, CSP violations among
// it. That a page has the status it should have is no problem.
func (tab *Tab) listen(event any) {
	problem := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		problem = "exception: " + e.ExceptionDetails.Text
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			problem = fmt.Sprintf("console.%s", e.Type)
		}
	case *log.EventEntryAdded:
		status := e.Entry.Source == log.EntrySourceNetwork && strings.Contains(e.Entry.Text, "responded with a status of")
		if (e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning) && !status {
			problem = fmt.Sprintf("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	}
	if problem != "" {
		tab.mu.Lock()
		defer tab.mu.Unlock()
		tab.problems = append(tab.problems, problem)
	}
}

// Problems returns what the console said.
func (tab *Tab) Problems() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return tab.problems
}

// WantQuiet fails the test for whatever the console said.
func (tab *Tab) WantQuiet() {
	tab.t.Helper()
	for _, problem := range tab.Problems() {
		tab.t.Errorf("the browser's console at %s: %s", tab.Address(), problem)
	}
}

// do runs steps in the tab, which must not take long.
func (tab *Tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		tab.t.Fatalf("%s: %v\n%s", what, err, tab.describe())
	}
}

func (tab *Tab) describe() string {
	return fmt.Sprintf("the tab is at %s and shows:\n%s", tab.Address(), tab.Text())
}

// eval evaluates a script, and returns "" while the page changes.
func (tab *Tab) eval(script string) string {
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[string](script))
	if err != nil {
		return ""
	}
	return value
}

// Eval evaluates a script that gives a text.
func (tab *Tab) Eval(script string) string {
	tab.t.Helper()
	return tab.eval(script)
}

// Go opens an address, as if it were typed.
func (tab *Tab) Go(address string) {
	tab.t.Helper()
	tab.do("opening "+address, chromedp.Navigate(address))
}

// Address is the path and query of the page that is shown.
func (tab *Tab) Address() string { return tab.eval("location.pathname + location.search") }

// Text is the text of the page.
func (tab *Tab) Text() string { return tab.eval("document.body ? document.body.innerText : ''") }

// WaitAddress waits until the tab is at a path, which ends with the query or
// before it, and the page is whole.
func (tab *Tab) WaitAddress(want string) {
	tab.t.Helper()
	end := time.Now().Add(patience)
	for time.Now().Before(end) {
		address := tab.Address()
		path, _, _ := strings.Cut(address, "?")
		if (address == want || path == want) && tab.eval("document.readyState") == "complete" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	tab.t.Fatalf("the tab did not come to %s; %s", want, tab.describe())
}

// WaitText waits until the page shows a text.
func (tab *Tab) WaitText(want string) {
	tab.t.Helper()
	end := time.Now().Add(patience)
	for time.Now().Before(end) {
		if strings.Contains(tab.Text(), want) && tab.eval("document.readyState") == "complete" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	tab.t.Fatalf("the tab does not show %q; %s", want, tab.describe())
}

// Fill types a text into a field, over what is there.
func (tab *Tab) Fill(selector, text string) {
	tab.t.Helper()
	tab.do("filling "+selector, chromedp.Clear(chromedp.CSS(selector)), chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Click clicks on an element.
func (tab *Tab) Click(selector string) {
	tab.t.Helper()
	tab.do("clicking "+selector, chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// Press types keys wherever the focus is.
func (tab *Tab) Press(keys string) {
	tab.t.Helper()
	tab.do("typing", chromedp.KeyEvent(keys))
}

// Has says whether the page has an element.
func (tab *Tab) Has(selector string) bool {
	return tab.eval(fmt.Sprintf("String(document.querySelector(%q) !== null)", selector)) == "true"
}

// DisableScripts turns JavaScript off for the pages that the tab opens.
func (tab *Tab) DisableScripts() {
	tab.t.Helper()
	tab.do("turning scripts off", call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
}

// call makes a step of a protocol command whose result does not matter.
func call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, command, params)
		return err
	})
}

// Width makes the window so many pixels wide.
func (tab *Tab) Width(width int64) {
	tab.t.Helper()
	tab.do("changing the width", chromedp.EmulateViewport(width, 800))
}

// Overflow is by how many pixels the page is wider than the window.
func (tab *Tab) Overflow() string {
	tab.t.Helper()
	return tab.eval("String(Math.max(0, document.documentElement.scrollWidth - innerWidth))")
}

// Shoot takes pictures of the page, in light and in dark, into the folder that
// POSTERN_SHOTS names.
func (tab *Tab) Shoot(name string) {
	tab.t.Helper()
	folder := os.Getenv("POSTERN_SHOTS")
	if folder == "" {
		return
	}
	for _, scheme := range []string{"light", "dark"} {
		feature := &emulation.MediaFeature{Name: "prefers-color-scheme", Value: scheme}
		tab.do("changing the colours", call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{feature}}),
			chromedp.Sleep(400*time.Millisecond)) // until the colours have faded over
		ctx, cancel := context.WithTimeout(tab.ctx, patience)
		picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		cancel()
		if err == nil {
			err = os.MkdirAll(folder, 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, name+"-"+scheme+".png"), picture, 0o644)
		}
		if err != nil {
			tab.t.Fatalf("taking a picture of %s: %v", name, err)
		}
	}
}

// Cookies returns the cookies that the browser holds for an address, by name.
func (tab *Tab) Cookies(address string) map[string]*network.Cookie {
	tab.t.Helper()
	result, err := chromedp.Call(tab.ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{address}})
	if err != nil {
		tab.t.Fatalf("reading the cookies: %v", err)
	}
	cookies := make(map[string]*network.Cookie)
	for _, cookie := range result.Cookies {
		cookies[cookie.Name] = cookie
	}
	return cookies
}

// Status returns the status that opening an address in the tab has.
func (tab *Tab) Status(address string) int {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	response, err := chromedp.Run(ctx, chromedp.NavigateResponse(address))
	if err != nil {
		tab.t.Fatalf("opening %s: %v", address, err)
	}
	if response == nil {
		return http.StatusOK
	}
	return int(response.Status)
}
