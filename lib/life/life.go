// Package life is what each of our programs does about its own process: it is
// told to stop by a signal, it waits, and when it panics it says where. What is
// answered to whom in such a case is for the contract's package, lib/ocf or
// lib/stonith; other programs are run by lib/proc.
package life

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// UntilTold is a context that ends, with the cause, when a signal tells the
// program to stop. It is for Main: it takes the signals for good.
func UntilTold(cause error) context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-term
		cancel(cause)
	}()
	// If Pacemaker dies under a running action, the next line to its pipe must not kill the action
	// half-way. A handler, not "ignore": children would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return ctx
}

// Pause waits, or returns ctx's error if that ends first, or has ended.
func Pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// PanicSite names the function and line that panicked. It has to be called by
// the deferred function itself.
func PanicSite() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "runtime.") {
			return fmt.Sprintf("%s:%d", f.Function, f.Line)
		}
		if !more {
			return "an unknown place"
		}
	}
}
