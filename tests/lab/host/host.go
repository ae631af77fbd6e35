// Package host is what the lab needs of the machine it runs on: running
// programs, entering network namespaces, cloning itself into new namespaces,
// freezing process groups, loop devices, and waiting.
//
// It knows nothing of clusters. Everything here needs root.
package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"pgrex/lib/proc"
)

// Output runs a program on the host and returns its standard output. A
// non-zero exit status is an error that carries the program's last words.
func Output(ctx context.Context, name string, args ...string) (string, error) {
	return Input(ctx, "", name, args...)
}

// Input is Output for a program that reads stdin.
func Input(ctx context.Context, stdin, name string, args ...string) (string, error) {
	cmd := proc.Cmd{Path: name, Args: args, Env: environ()}
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	res, err := proc.OS{}.Run(ctx, cmd)
	if err != nil {
		return string(res.Stdout), err
	}
	if res.ExitCode != 0 {
		return string(res.Stdout), &ExitError{Cmd: cmd.String(), Code: res.ExitCode, Message: words(res)}
	}
	return string(res.Stdout), nil
}

// words is what a program said on its standard error, or else last on its
// standard output. Many tools put the reason before their last line.
func words(res proc.Result) string {
	s := strings.TrimSpace(string(res.Stderr))
	if s == "" || len(s) > 2000 {
		return res.Message()
	}
	return strings.ReplaceAll(s, "\n", "; ")
}

// environ is a small fixed environment: what the lab builds must not depend on
// the shell it was called from.
func environ() []string {
	return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root", "TERM=dumb"}
}

// ExitError says that a program ended with a status other than zero.
type ExitError struct {
	// Cmd is the command line.
	Cmd string
	// Code is the exit status.
	Code int
	// Message is the last line the program wrote.
	Message string
}

// Error says which program failed and how.
func (e *ExitError) Error() string {
	return fmt.Sprintf("%s: exit status %d: %s", e.Cmd, e.Code, e.Message)
}

// NeedRoot is an error unless the process may build namespaces.
func NeedRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("the lab needs root: it builds namespaces, mounts and loop devices; run it with sudo")
	}
	return nil
}

// Poll calls cond every interval until it returns true or an error, or until
// ctx ends. The error then says what was waited for.
func Poll(ctx context.Context, what string, every time.Duration, cond func() (bool, error)) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		ok, err := cond()
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-t.C:
		}
	}
}
