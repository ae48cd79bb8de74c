package main

import (
	"fmt"
	"os"
	"time"
)

// size compares the two programs as they are: their files, how soon they answer,
// and what they need with nothing to do.
func (b *bench) size() error {
	var rows [][]string
	bareFile, err := fileSize(b.bare)
	if err != nil {
		return err
	}
	ourFile, err := fileSize(b.postern)
	if err != nil {
		return err
	}
	bare, err := b.prepare("bare Caddy", b.bare, bareSite())
	if err != nil {
		return err
	}
	ours, err := b.prepare("Postern", b.postern, fullSite())
	if err != nil {
		return err
	}
	bareRest, ourRest, err := b.starts(bare, ours)
	if err != nil {
		return err
	}
	row := func(what string, bare, ours float64, format func(float64) string) {
		rows = append(rows, []string{what, format(bare), format(ours), format(ours - bare)})
	}
	row("program, MB", bareFile, ourFile, megabytes)
	row("start to first answer, ms", median(bareRest.ready), median(ourRest.ready), number)
	row("memory at rest (RSS), MB", median(bareRest.rss), median(ourRest.rss), megabytes)
	row("of that anonymous, MB", median(bareRest.anonymous), median(ourRest.anonymous), megabytes)
	b.report.table("Size, start and memory", []string{"", "bare Caddy", "Postern", "difference"}, rows)
	b.report.note("Medians of %d starts, in turn. Memory is looked at one second after the first answer.", len(ourRest.ready))
	b.report.target("the program is at most 5 MB larger", ourFile-bareFile <= 5e6)
	b.report.target("at most 15 MB more memory at rest", median(ourRest.rss)-median(bareRest.rss) <= 15e6)
	return nil
}

func fileSize(name string) (float64, error) {
	info, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	return float64(info.Size()), nil
}

// rest is what starts of one program took: milliseconds, and bytes.
type rest struct{ ready, rss, anonymous []float64 }

// starts starts both in turn.
func (b *bench) starts(bare, ours *server) (bareRest, ourRest rest, err error) {
	times := 20
	if b.short {
		times = 3
	}
	for range times {
		for _, one := range []struct {
			s    *server
			rest *rest
		}{{bare, &bareRest}, {ours, &ourRest}} {
			if err := one.rest.start(b, one.s); err != nil {
				return bareRest, ourRest, err
			}
		}
	}
	return bareRest, ourRest, nil
}

// start starts a server, looks at it, and stops it.
func (r *rest) start(b *bench, s *server) error {
	if err := s.run(b.ctx); err != nil {
		return err
	}
	sleep(b.ctx, time.Second)
	m, err := memoryOf(s.pid())
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	r.ready = append(r.ready, s.ready.Seconds()*1000)
	r.rss, r.anonymous = append(r.rss, m.rss), append(r.anonymous, m.anonymous)
	s.stop()
	return b.ctx.Err()
}
