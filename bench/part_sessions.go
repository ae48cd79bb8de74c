package main

import (
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	fewSessions = 1000
	// visit is how many requests a page is taken to make with its parts.
	visit = 20
)

// sessions compares a store with a million live sessions with one of a thousand.
func (b *bench) sessions() error {
	many := 1_000_000
	if b.short {
		many = 20_000
	}
	bare, err := b.start("bare Caddy", b.bare, bareSite())
	if err != nil {
		return err
	}
	few, err := b.filled("Postern with few sessions", fewSessions)
	if err != nil {
		return err
	}
	full, err := b.filled("Postern with many sessions", many)
	if err != nil {
		return err
	}
	full.probe, full.probeStatus = get(full.host(), "/", xhr+cookieHeader(full.cookies[0])), 200
	if full.ready, err = b.restarts(full.server); err != nil {
		return err
	}
	if full.atRest, err = memoryOf(full.pid()); err != nil {
		return err
	}
	if err := b.sessionRounds(bare, few, full); err != nil {
		return err
	}
	return b.sessionSizes(bare, full)
}

// filledServer is Postern with a store that was filled and, if large, compacted.
type filledServer struct {
	*server
	cookies []string
	filling time.Duration
	sizes   []float64 // on disk: when filled, and while it was compacted
	ready   []float64 // after each restart, in ms
	atRest  memory    // after the last
}

// filled starts Postern with a store of n sessions.
func (b *bench) filled(name string, n int) (*filledServer, error) {
	s, err := b.prepare(name, b.postern, fullSite())
	if err != nil {
		return nil, err
	}
	f := &filledServer{server: s}
	begin := time.Now()
	if f.cookies, err = fill(b.ctx, s.file("store"), n); err != nil {
		return nil, fmt.Errorf("opening %d sessions: %w", n, err)
	}
	f.filling = time.Since(begin)
	fmt.Fprintf(os.Stderr, "%d sessions opened in %.0f s\n", n, f.filling.Seconds())
	size, err := diskSize(s.file("store"))
	if err != nil {
		return nil, err
	}
	f.sizes = []float64{size}
	if n > fewSessions {
		sizes, err := b.compacted(s.file("store"))
		if err != nil {
			return nil, err
		}
		f.sizes = append(f.sizes, sizes...)
	}
	return f, s.run(b.ctx)
}

// restarts returns how long it took until a session was admitted, in ms.
func (b *bench) restarts(s *server) (all []float64, err error) {
	for range 5 {
		s.stop()
		if err := s.run(b.ctx); err != nil {
			return nil, err
		}
		all = append(all, s.ready.Seconds()*1000)
	}
	sleep(b.ctx, 2*time.Second)
	return all, b.ctx.Err()
}

func (b *bench) sessionRounds(bare *server, few, full *filledServer) error {
	const path = "/projects/2024?tab=open"
	many := number(float64(len(full.cookies)))
	targets := []target{
		of("1,000 sessions", load{few.server, oneOf(few.cookies, few.host(), path, xhr), 200, knowsAsserted}),
		of("1,000 of "+many+" sessions", load{full.server, oneOf(full.cookies[:fewSessions], full.host(), path, xhr), 200, knowsAsserted}),
		of(fmt.Sprintf("all of %s sessions, visits of %d requests", many, visit), load{full.server, visits(visit, full.cookies, full.host(), path, xhr), 200, knowsAsserted}),
		of("all of "+many+" sessions, each request another", load{full.server, oneOf(full.cookies, full.host(), path, xhr), 200, knowsAsserted}),
		of("bare Caddy", load{bare, always(get(bare.host(), path, xhr+cookieHeader())), 200, knowsNobody}),
	}
	all, err := b.rounds(targets)
	if err != nil {
		return err
	}
	b.report.table("Requests of random sessions",
		[]string{"sessions", "requests/s", "ratio", cpuPerRequest, "ratio"}, compared(targets, all))
	b.report.note("The ratios are to the store with 1,000 sessions, each of which is asked for often. `visits` are what browsers make: a random session of all sends some requests, as a page with its parts does, and then another one; the first of them finds the session in the database and needs a new assertion. With `each request another`, every request does, which is the worst there is.")
	for i, t := range targets[1:4] {
		ratio := median(ratios(all[i+1], all[0], cost))
		b.report.target(fmt.Sprintf("requests take at most 10 %% more CPU; for %s the ratio is %.2f", t.name, ratio), ratio <= 1.1)
	}
	return b.tableTogether("Requests of random sessions in visits, both stores loaded at the same time", cpuPerRequest, []target{targets[0], targets[2]})
}

func (b *bench) sessionSizes(bare *server, full *filledServer) error {
	bareMemory, err := memoryOf(bare.pid())
	ourMemory, ourErr := memoryOf(full.pid())
	sizeUsed, sizeErr := diskSize(full.file("store"))
	if err := errors.Join(err, ourErr, sizeErr); err != nil {
		return err
	}
	many := float64(len(full.cookies))
	rows := [][]string{
		{"opening them, sessions/s", number(many / full.filling.Seconds())},
		{"store on disk when filled, MB", megabytes(full.sizes[0])},
	}
	for i, size := range full.sizes[1:] {
		rows = append(rows, []string{fmt.Sprintf("store on disk %d s after compaction began, MB", (i+1)*int(compactionSample/time.Second)), megabytes(size)})
	}
	rows = append(rows, [][]string{
		{"start until a session is admitted, ms", number(median(full.ready))},
		{"memory (RSS) after the start, MB", megabytes(full.atRest.rss)},
		{"of that anonymous, MB", megabytes(full.atRest.anonymous)},
		{"memory (RSS) after the load, MB", megabytes(ourMemory.rss)},
		{"of that anonymous, MB", megabytes(ourMemory.anonymous)},
		{"bare Caddy after the load (RSS), MB", megabytes(bareMemory.rss)},
		{"of that anonymous, MB", megabytes(bareMemory.anonymous)},
		{"store on disk after the load, MB", megabytes(sizeUsed)},
	}...)
	b.report.table(fmt.Sprintf("A store with %s live sessions", number(many)), []string{"", ""}, rows)
	b.report.note("Memory that is not anonymous is of files, the store's tables among them, which the system takes back when it needs it.")
	above := ourMemory.rss - bareMemory.rss
	b.report.target(fmt.Sprintf("at most 150 MB above bare Caddy; it is %s MB (RSS), %s MB of them anonymous",
		megabytes(above), megabytes(ourMemory.anonymous-bareMemory.anonymous)), above <= 150e6)
	b.report.target("ready within 1 s of a restart", median(full.ready) <= 1000)
	return nil
}

// compactionSample is the time between two looks at a store that is compacted.
const compactionSample = 5 * time.Second

func (b *bench) compacted(folder string) ([]float64, error) {
	samples := 6
	if b.short {
		samples = 1
	}
	return compact(b.ctx, folder, samples, compactionSample)
}
