package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

const fewSessions = 1000

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
	few, fewCookies, _, err := b.filled("Postern with few sessions", fewSessions)
	if err != nil {
		return err
	}
	full, cookies, filling, err := b.filled("Postern with many sessions", many)
	if err != nil {
		return err
	}
	sizeFilled, err := diskSize(full.file("store"))
	if err != nil {
		return err
	}
	full.probe, full.probeStatus = get(full.host(), "/", xhr+cookieHeader(cookies[0])), 200
	ready, err := b.restarts(full)
	if err != nil {
		return err
	}
	atRest, err := memoryOf(full.pid())
	if err != nil {
		return err
	}
	if err := b.sessionRounds(bare, few, full, fewCookies, cookies); err != nil {
		return err
	}
	return b.sessionSizes(bare, full, many, filling, ready, atRest, sizeFilled)
}

// filled starts Postern with a store of n sessions.
func (b *bench) filled(name string, n int) (*server, []string, time.Duration, error) {
	s, err := b.prepare(name, b.postern, fullSite())
	if err != nil {
		return nil, nil, 0, err
	}
	begin := time.Now()
	cookies, err := fill(b.ctx, s.file("store"), n)
	if err != nil {
		return nil, nil, 0, fmt.Errorf("opening %d sessions: %w", n, err)
	}
	took := time.Since(begin)
	fmt.Fprintf(os.Stderr, "%d sessions opened in %.0f s\n", n, took.Seconds())
	return s, cookies, took, s.run(b.ctx)
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

func (b *bench) sessionRounds(bare, few, full *server, fewCookies, cookies []string) error {
	const path = "/projects/2024?tab=open"
	targets := []target{
		of("1,000 sessions", load{few, oneOf(fewCookies, few.host(), path, xhr), 200, knowsAsserted}),
		of(fmt.Sprintf("1,000 of %s sessions", number(float64(len(cookies)))), load{full, oneOf(cookies[:fewSessions], full.host(), path, xhr), 200, knowsAsserted}),
		of(fmt.Sprintf("all of %s sessions", number(float64(len(cookies)))), load{full, oneOf(cookies, full.host(), path, xhr), 200, knowsAsserted}),
		of("bare Caddy", load{bare, always(get(bare.host(), path, xhr+cookieHeader())), 200, knowsNobody}),
	}
	all, err := b.rounds(targets)
	if err != nil {
		return err
	}
	b.report.table("Requests of random sessions",
		[]string{"sessions", "requests/s", "ratio", cpuPerRequest, "ratio"}, compared(targets, all))
	b.report.note("The ratios are to the store with 1,000 sessions. Of all sessions, most are asked for once or a few times only, so that each of their requests needs a new assertion; of 1,000 sessions each is asked for often.")
	ratio := median(ratios(all[2], all[0], cost))
	b.report.target(fmt.Sprintf("requests of %s sessions take at most 10 %% more CPU; the ratio is %.2f", number(float64(len(cookies))), ratio), ratio <= 1.1)
	return b.tableTogether("Requests of random sessions, both stores loaded at the same time", cpuPerRequest, []target{targets[0], targets[2]})
}

func (b *bench) sessionSizes(bare, full *server, many int, filling time.Duration, ready []float64, atRest memory, sizeFilled float64) error {
	bareMemory, err := memoryOf(bare.pid())
	ourMemory, ourErr := memoryOf(full.pid())
	sizeUsed, sizeErr := diskSize(full.file("store"))
	if err := errors.Join(err, ourErr, sizeErr); err != nil {
		return err
	}
	full.stop()
	sizes, err := b.compacted(b.ctx, full.file("store"))
	if err != nil {
		return err
	}
	rows := [][]string{
		{"opening them, sessions/s", number(float64(many) / filling.Seconds())},
		{"start until a session is admitted, ms", number(median(ready))},
		{"memory (RSS) after the start, MB", megabytes(atRest.rss)},
		{"memory (RSS) after the load, MB", megabytes(ourMemory.rss)},
		{"of that anonymous, MB", megabytes(ourMemory.anonymous)},
		{"bare Caddy after the load (RSS), MB", megabytes(bareMemory.rss)},
		{"of that anonymous, MB", megabytes(bareMemory.anonymous)},
		{"store on disk when filled, MB", megabytes(sizeFilled)},
		{"store on disk after the load, MB", megabytes(sizeUsed)},
	}
	for i, size := range sizes {
		rows = append(rows, []string{fmt.Sprintf("store on disk %d s after compaction began, MB", (i+1)*int(compactionSample/time.Second)), megabytes(size)})
	}
	b.report.table(fmt.Sprintf("A store with %s live sessions", number(float64(many))), []string{"", ""}, rows)
	b.report.note("Memory that is not anonymous is of files, the store's tables among them, which the system takes back when it needs it.")
	above := ourMemory.rss - bareMemory.rss
	b.report.target(fmt.Sprintf("at most 150 MB above bare Caddy; it is %s MB (RSS), %s MB of them anonymous",
		megabytes(above), megabytes(ourMemory.anonymous-bareMemory.anonymous)), above <= 150e6)
	b.report.target("ready within 1 s of a restart", median(ready) <= 1000)
	return nil
}

// compactionSample is the time between two looks at a store that is compacted.
const compactionSample = 5 * time.Second

func (b *bench) compacted(ctx context.Context, folder string) ([]float64, error) {
	samples := 6
	if b.short {
		samples = 1
	}
	return compact(ctx, folder, samples, compactionSample)
}
