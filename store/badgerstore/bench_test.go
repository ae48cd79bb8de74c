package badgerstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/postern-auth/postern/store"
	"github.com/postern-auth/postern/store/badgerstore"
)

var value = []byte(strings.Repeat("v", 300))

func put([]byte) ([]byte, error) { return value, nil }

// fill stores n values and reopens the store, so that they are in tables.
func fill(b *testing.B, n int) store.Store {
	b.Helper()
	dir := b.TempDir()
	s := open(b, badgerstore.Config{Dir: dir})
	var next atomic.Int64
	work(n, 64, func() {
		if err := s.Update(context.Background(), fmt.Sprint("key", next.Add(1)-1), 0, put); err != nil {
			b.Error(err)
		}
	})
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return open(b, badgerstore.Config{Dir: dir})
}

func get(b *testing.B, s store.Store, n int) {
	if _, err := s.Get(context.Background(), fmt.Sprint("key", rand.IntN(n))); err != nil {
		b.Error(err)
	}
}

func BenchmarkGet(b *testing.B) {
	const n = 50_000
	s := fill(b, n)
	b.Run("Serial", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			get(b, s, n)
		}
	})
	b.Run("Parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				get(b, s, n)
			}
		})
	})
}

// BenchmarkGetWhileWriting shows that readers do not wait for the disk.
func BenchmarkGetWhileWriting(b *testing.B) {
	s := open(b, badgerstore.Config{Dir: b.TempDir()})
	if err := s.Update(context.Background(), "key0", 0, put); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for range 8 {
		go func() {
			for ctx.Err() == nil {
				_ = s.Update(ctx, "other", 0, put)
			}
		}()
	}
	for b.Loop() {
		get(b, s, 1)
	}
}

func BenchmarkUpdate(b *testing.B) {
	for _, writers := range []int{1, 64} {
		for _, name := range []string{"SameKey", "Keys"} {
			b.Run(fmt.Sprintf("%s/%d", name, writers), func(b *testing.B) {
				s := open(b, badgerstore.Config{Dir: b.TempDir()})
				update := func() {
					key := "key"
					if name == "Keys" {
						key = fmt.Sprint("key", rand.IntN(1_000_000))
					}
					if err := s.Update(context.Background(), key, 0, put); err != nil {
						b.Error(err)
					}
				}
				b.ResetTimer()
				work(b.N, writers, update)
			})
		}
	}
}

// work calls fn n times, from so many goroutines.
func work(n, goroutines int, fn func()) {
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				fn()
			}
		})
	}
	wg.Wait()
}
