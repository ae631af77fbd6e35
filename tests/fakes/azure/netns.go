package azure

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// ListenAt listens on an address such as "127.0.0.1:443" or, inside of a network
// namespace, "169.254.169.254:80@/run/netns/n1". The latter needs root.
func ListenAt(ctx context.Context, spec string) (net.Listener, error) {
	address, ns, inside := strings.Cut(spec, "@")
	if !inside {
		return new(net.ListenConfig).Listen(ctx, "tcp", address)
	}
	type result struct {
		l   net.Listener
		err error
	}
	done := make(chan result, 1)
	go func() {
		// The thread stays in the namespace, so it is not given back: it ends with
		// this goroutine, while the socket lives on.
		runtime.LockOSThread()
		l, err := listenIn(ctx, ns, address)
		done <- result{l, err}
	}()
	r := <-done
	return r.l, r.err
}

func listenIn(ctx context.Context, ns, address string) (net.Listener, error) {
	f, err := os.Open(ns)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("entering network namespace %s: %w", ns, err)
	}
	// A context without deadline keeps the dialer from using another thread; a
	// numeric address needs no resolver.
	return new(net.ListenConfig).Listen(ctx, "tcp", address)
}
