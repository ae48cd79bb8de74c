package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/store/badgerstore"
)

// fill opens n sessions, ten for each address, in a store's folder that no
// server has open, as the engine does after a sign-in. It returns their cookies.
func fill(ctx context.Context, folder string, n int) (cookies []string, err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	db, err := badgerstore.Open(badgerstore.Config{Dir: filepath.Join(folder, "db"), Log: quiet})
	if err != nil {
		return nil, err
	}
	keys, err := gateway.OpenKeys(filepath.Join(folder, "keys.json"), true, time.Now())
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	node := gateway.NewNode(db, keys, quiet)
	defer func() { err = errors.Join(err, node.Close()) }()
	engine, err := gateway.NewEngine(node, gateway.Config{})
	if err != nil {
		return nil, err
	}
	domain, err := gateway.ParseWho("*@example.org")
	if err != nil {
		return nil, err
	}
	site := gateway.NewSite(gateway.SiteConfig{
		Host: "localhost", Origin: "http://localhost", Rules: []*gateway.Rule{{Allow: []gateway.Who{domain}}},
	})
	return openSessions(ctx, engine, site, n)
}

var quiet = slog.New(slog.DiscardHandler)

func openSessions(ctx context.Context, engine *gateway.Engine, site *gateway.Site, n int) ([]string, error) {
	const atOnce = 1024
	cookies := make([]string, n)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var workers sync.WaitGroup
	for worker := range atOnce {
		workers.Go(func() {
			for i := worker; i < n && ctx.Err() == nil; i += atOnce {
				secret := newSecret()
				_, err := engine.Open(ctx, gateway.OpenSession{
					Site: site, Secret: secret, Email: fmt.Sprintf("visitor%d@example.org", i/10), Method: "code",
					ClientIP: "192.0.2.1", UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
				})
				if err != nil {
					cancel(err)
				}
				cookies[i] = sessionCookie + "=" + secret
			}
		})
	}
	workers.Wait()
	return cookies, context.Cause(ctx)
}

// diskSize is what a folder takes on the disk, in bytes.
func diskSize(folder string) (total float64, err error) {
	err = filepath.WalkDir(folder, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // compaction removes files meanwhile
		}
		if err == nil {
			total += float64(allocated(info))
		}
		return err
	})
	return total, err
}

// compact has the store drop what it does not need, as a server does every six
// hours, and returns its size on the disk over time.
func compact(ctx context.Context, folder string, samples int, every time.Duration) (sizes []float64, err error) {
	db, err := badgerstore.Open(badgerstore.Config{Dir: filepath.Join(folder, "db"), Log: quiet, TidyEvery: time.Second})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for range samples {
		sleep(ctx, every)
		size, err := diskSize(folder)
		if err != nil {
			return nil, err
		}
		sizes = append(sizes, size)
	}
	return sizes, ctx.Err()
}
