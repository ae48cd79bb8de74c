package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// target is one of those that are compared.
type target struct {
	name string
	// measure does so once, for about as long as given.
	measure func(context.Context, time.Duration) (sample, error)
	// server is the one to take a profile of.
	server *server
	// once is called before the first round. May be nil.
	once func() error
}

// of makes a target of a load.
func of(name string, l load) target { return target{name, l.measure, l.server, l.once} }

// rounds measures all targets in turn, round after round, each round beginning
// with another of them. The samples are by target and round.
func (b *bench) rounds(targets []target) ([][]sample, error) {
	return b.inTurn(targets, b.options.rounds, b.each)
}

// shortRounds takes as long as rounds, with more and shorter rounds: for ratios
// near 1, which what else the machine does would hide.
func (b *bench) shortRounds(targets []target) ([][]sample, error) {
	return b.inTurn(targets, 3*b.options.rounds, b.each/3)
}

func (b *bench) inTurn(targets []target, rounds int, each time.Duration) ([][]sample, error) {
	for _, t := range targets {
		if t.once == nil {
			continue
		}
		if err := t.once(); err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
	}
	all := make([][]sample, len(targets))
	for round := range rounds {
		for i := range targets {
			n := (i + round) % len(targets)
			s, err := targets[n].measure(b.ctx, each)
			if err == nil {
				err = b.ctx.Err()
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", targets[n].name, err)
			}
			all[n] = append(all[n], s)
		}
	}
	return all, b.profiles(targets)
}

// together measures all targets at the same time, a few times: what else the
// machine does then disturbs all of them alike. They must be of servers of their
// own. Only the CPU that they take can be compared, since they share it.
func (b *bench) together(targets []target) ([][]sample, error) {
	all := make([][]sample, len(targets))
	for range max(1, b.options.rounds/3) {
		failed := make([]error, len(targets))
		var measuring sync.WaitGroup
		for i, t := range targets {
			all[i] = append(all[i], sample{})
			measuring.Go(func() { all[i][len(all[i])-1], failed[i] = t.measure(b.ctx, 2*b.each) })
		}
		measuring.Wait()
		if err := errors.Join(append(failed, b.ctx.Err())...); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// tableTogether measures targets together and writes the table. unit says what
// takes the CPU.
func (b *bench) tableTogether(heading, unit string, targets []target) error {
	all, err := b.together(targets)
	if err != nil {
		return err
	}
	var rows [][]string
	for i, t := range targets {
		rows = append(rows, []string{t.name, fmt.Sprintf("%.1f", median(values(all[i], cost))), spread(ratios(all[i], all[0], cost))})
	}
	b.report.table(heading, []string{"target", unit, "ratio to the first"}, rows)
	return nil
}

// profiles measures each target once more with a profile being taken, which
// would disturb the figures.
func (b *bench) profiles(targets []target) error {
	if b.options.profile == "" {
		return nil
	}
	if err := os.MkdirAll(b.options.profile, 0o755); err != nil {
		return err
	}
	const profiled = 10 * time.Second
	for _, t := range targets {
		failed := make(chan error, 1)
		name := strings.Map(plainLetter, t.name) + ".pprof"
		go func() { failed <- t.server.profile(b.ctx, filepath.Join(b.options.profile, name), profiled) }()
		_, err := t.measure(b.ctx, profiled+time.Second)
		if profileErr := <-failed; profileErr != nil {
			err = profileErr
		}
		if err != nil {
			return fmt.Errorf("profile of %s: %w", t.name, err)
		}
	}
	return nil
}

func plainLetter(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
		return r
	}
	return '-'
}

func rate(s sample) float64 { return s.perSecond }
func cost(s sample) float64 { return s.cpu }

// values are one figure of all samples.
func values(samples []sample, figure func(sample) float64) (all []float64) {
	for _, s := range samples {
		all = append(all, figure(s))
	}
	return all
}

// ratios are those of each round, to the base in the same round.
func ratios(samples, base []sample, figure func(sample) float64) (all []float64) {
	for i := range samples {
		all = append(all, figure(samples[i])/figure(base[i]))
	}
	return all
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	if len(sorted) == 0 {
		return 0
	}
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

const cpuPerRequest = "server CPU per request, µs"

// compared writes a row for each target: its medians, and the ratios to the
// first one with their range over the rounds.
func compared(targets []target, all [][]sample) [][]string {
	var rows [][]string
	for i, t := range targets {
		rows = append(rows, []string{
			t.name, number(median(values(all[i], rate))), spread(ratios(all[i], all[0], rate)),
			fmt.Sprintf("%.1f", median(values(all[i], cost))), spread(ratios(all[i], all[0], cost)),
		})
	}
	return rows
}

// spread writes the median of ratios, and the least and the greatest.
func spread(all []float64) string {
	return fmt.Sprintf("%.3f (%.2f–%.2f)", median(all), slices.Min(all), slices.Max(all))
}
