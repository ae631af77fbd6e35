package pg

import (
	"context"
	"testing"
)

// One monitor's share of this package: find the processes, connect, ask.
func BenchmarkMonitor(b *testing.B) {
	s := newServer(b)
	startServer(b, s)
	ctx := context.Background()
	b.Run("processes", func(b *testing.B) {
		for b.Loop() {
			if ps, err := s.Processes(); err != nil || ps.Postmaster == 0 {
				b.Fatal(ps, err)
			}
		}
	})
	b.Run("connect", func(b *testing.B) {
		for b.Loop() {
			c, err := s.Connect(ctx)
			if err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
	})
	b.Run("connect+status", func(b *testing.B) {
		for b.Loop() {
			c, err := s.Connect(ctx)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := c.Status(ctx); err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
	})
	b.Run("status", func(b *testing.B) {
		c, err := s.Connect(ctx)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		for b.Loop() {
			if _, err := c.Status(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
}
