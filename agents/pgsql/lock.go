package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// What is kept while the machine is up, beside the cache: each with the resource's
// name and a digest of its data directory before it.
const (
	runLock    = ".lock"    // held by whoever changes something: an action or a round
	runWatcher = ".watcher" // held by the watcher for its life, and by those who end it
	runRejoin  = ".rejoin"  // held by the worker that replaces the data directory
	runTold    = ".told"    // whose end was reported to the cluster, and by whom
	runFull    = ".full"    // since when the data directory's volume has no room
	runBarred  = ".barred"  // when it was said last that the monitor's role is not let in, and why
)

// runFile is the path of one of these files.
func (a *agent) runFile(kind string) string {
	dir := a.call.Getenv("HA_RSCTMP")
	if dir == "" {
		dir = "/run/resource-agents" // as resource-agents are built
	}
	return filepath.Join(dir, fmt.Sprintf("%s-%.4x%s", filepath.Base("pgrex-"+a.call.Resource), sha256.Sum256([]byte(a.conf.data)), kind))
}

// lockPoll is how often a lock that somebody else holds is asked for.
const lockPoll = 10 * time.Millisecond

// errBusy: somebody else holds the lock.
var errBusy = errors.New("another action of the resource, or its watcher, is at work")

// tryLock locks a file, which it creates if need be. The kernel releases it with
// the file, so that nobody who was killed holds anything up; children do not
// inherit it. The error wraps errBusy if somebody else has it.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errBusy
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// awaitLock is tryLock with patience. busy, if not nil, is called at each attempt
// that fails.
func awaitLock(ctx context.Context, path string, patience time.Duration, busy func(since time.Duration)) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	began := time.Now()
	for {
		f, err := tryLock(path)
		if err == nil || !errors.Is(err, errBusy) {
			return f, err
		}
		if busy != nil {
			busy(time.Since(began))
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-tick.C:
		}
	}
}

// turn waits until nobody else changes anything, at most for patience, and keeps it
// so until release is called. Where the directory for locks is missing or not ours
// (a shell, another user) there is nobody to be kept out.
func (a *agent) turn(ctx context.Context, patience time.Duration) (release func(), err error) {
	f, err := awaitLock(ctx, a.runFile(runLock), patience, nil)
	if errors.Is(err, errBusy) {
		return func() {}, err
	}
	if err != nil {
		a.log.Debug("no lock", "error", err)
		return func() {}, nil
	}
	return func() { _ = f.Close() }, nil
}
