package life

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestUntilTold(t *testing.T) {
	cause := errors.New("told so")
	ctx := UntilTold(cause)
	for _, sig := range []syscall.Signal{syscall.SIGPIPE, syscall.SIGTERM} {
		if ctx.Err() != nil {
			t.Fatalf("ended before %v", sig)
		}
		if err := syscall.Kill(syscall.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the signal was not heard")
	}
	if !errors.Is(context.Cause(ctx), cause) {
		t.Errorf("the cause is %v", context.Cause(ctx))
	}
}

func TestPause(t *testing.T) {
	begin := time.Now()
	if err := Pause(t.Context(), 20*time.Millisecond); err != nil || time.Since(begin) < 20*time.Millisecond {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, d := range []time.Duration{-1, 0, time.Hour} {
		if err := Pause(ended, d); !errors.Is(err, context.Canceled) {
			t.Errorf("%v: %v", d, err)
		}
	}
	if err := Pause(t.Context(), 0); err != nil {
		t.Error(err)
	}
}

func TestPanicSite(t *testing.T) {
	site := ""
	func() {
		defer func() {
			if recover() != nil {
				site = PanicSite()
			}
		}()
		var list []int
		_ = list[len(site)+1]
	}()
	if !strings.Contains(site, "life.TestPanicSite") {
		t.Errorf("the panic was here, not at %q", site)
	}
}
