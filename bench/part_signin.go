package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// signIn measures sign-ins over HTTP, with mails to a folder, one at a time and
// 64 at once, by code and by link. Whatever is answered is synced to disk.
func (b *bench) signIn() error {
	var rows [][]string
	for _, atOnce := range []int{1, 64} {
		for _, byLink := range []bool{false, true} {
			some, err := b.signIns(atOnce, byLink)
			if err != nil {
				return err
			}
			rows = append(rows, some...)
		}
	}
	synced, err := b.syncTime()
	if err != nil {
		return err
	}
	b.report.table("Sign-ins over HTTP, synced to disk",
		[]string{"step", "number", "p50, ms", "p95, ms", "p99, ms", "sign-ins/s"}, rows)
	b.report.note("The mail is timed from the answer to the form until its file was seen; each is synced to disk as well, which only this way of sending does. A sync of 4 kB to that disk takes %.2f ms here (median).", synced)
	return nil
}

// signIns runs so many visitors at once, and returns a row for each step.
func (b *bench) signIns(atOnce int, byLink bool) ([][]string, error) {
	s, err := b.start("Postern", b.postern, fullSite())
	if err != nil {
		return nil, err
	}
	defer s.stop()
	ctx, cancel := context.WithCancelCause(b.ctx)
	defer cancel(nil)
	box := openMailbox(ctx, s)
	all, begin := make([][]took, atOnce), time.Now()
	end := begin.Add(time.Duration(b.options.rounds) * b.each / 2)
	var next atomic.Int64
	var visitors sync.WaitGroup
	for i := range atOnce {
		visitors.Go(func() {
			var err error
			if all[i], err = signInUntil(ctx, end, s, box, &next, byLink); err != nil {
				cancel(err)
			}
		})
	}
	visitors.Wait()
	lasted := time.Since(begin)
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	return signInRows(atOnce, byLink, slices.Concat(all...), lasted), nil
}

// signInUntil signs one new visitor in after the other.
func signInUntil(ctx context.Context, end time.Time, s *server, box *mailbox, next *atomic.Int64, byLink bool) ([]took, error) {
	c, err := dial(s.addr())
	if err != nil {
		return nil, err
	}
	defer c.close()
	var all []took
	for time.Now().Before(end) && ctx.Err() == nil {
		_, times, err := c.signIn(ctx, s, box, fmt.Sprintf("visitor%d@example.org", next.Add(1)), byLink)
		if err != nil {
			return all, err
		}
		all = append(all, times)
	}
	return all, nil
}

func signInRows(atOnce int, byLink bool, all []took, lasted time.Duration) (rows [][]string) {
	answer := "code"
	if byLink {
		answer = "link"
	}
	for _, step := range []struct {
		name string
		of   func(took) time.Duration
	}{
		{"form", func(t took) time.Duration { return t.start }},
		{"mail", func(t took) time.Duration { return t.mail }},
		{answer, func(t took) time.Duration { return t.answer }},
	} {
		var times []float64
		for _, t := range all {
			times = append(times, step.of(t).Seconds()*1000)
		}
		slices.Sort(times)
		perSecond := ""
		if step.name == answer {
			perSecond = number(float64(len(all)) / lasted.Seconds())
		}
		rows = append(rows, []string{
			fmt.Sprintf("%s, %d at once", step.name, atOnce), number(float64(len(all))),
			quantile(times, 0.50), quantile(times, 0.95), quantile(times, 0.99), perSecond,
		})
	}
	return rows
}

func quantile(sorted []float64, q float64) string {
	if len(sorted) == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", sorted[int(q*float64(len(sorted)-1))])
}

// syncTime is what the disk takes to sync 4 kB at the end of a file, in ms.
func (b *bench) syncTime() (float64, error) {
	file, err := os.Create(filepath.Join(b.dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	var all []float64
	for range 200 {
		begin := time.Now()
		if _, err := file.Write(zeroes[:4<<10]); err != nil {
			return 0, err
		}
		if err := file.Sync(); err != nil {
			return 0, err
		}
		all = append(all, time.Since(begin).Seconds()*1000)
	}
	return median(all), nil
}
