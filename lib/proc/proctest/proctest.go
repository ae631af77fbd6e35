// Package proctest is a stand-in for lib/proc's runner in the tests of other
// packages: it answers command lines instead of running them.
package proctest

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"pgrex/lib/proc"
)

// Reply is the answer to one command.
type Reply struct {
	// Stdout, Stderr and Exit are what the program leaves.
	Stdout, Stderr string
	Exit           int
	// Err is what Run returns: the program could not be started.
	Err error
	// Hang makes the program run until ctx ends.
	Hang bool
	// Do, when set, makes the answer in place of the fields above.
	Do func(ctx context.Context, cmd proc.Cmd) (proc.Result, error)
}

// Runner is a fake proc.Runner. Its zero value answers every command with an
// error that names it. It may be used by several goroutines.
type Runner struct {
	mu    sync.Mutex
	rules []rule
	calls []proc.Cmd
}

type rule struct {
	prefix  string
	replies []Reply
}

// On answers the commands whose line begins with prefix ("cibadmin --query")
// with the replies, in turn; the last one is repeated. Of several prefixes that
// fit the longest counts, of equal ones the newest.
func (r *Runner) On(prefix string, replies ...Reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(replies) == 0 {
		replies = []Reply{{}}
	}
	r.rules = append(r.rules, rule{prefix: prefix, replies: replies})
}

// Run answers cmd.
func (r *Runner) Run(ctx context.Context, cmd proc.Cmd) (proc.Result, error) {
	reply, ok := r.take(cmd)
	switch {
	case !ok:
		return proc.Result{}, fmt.Errorf("proctest: no answer for %q", cmd.String())
	case reply.Do != nil:
		return reply.Do(ctx, cmd)
	case reply.Err != nil:
		return proc.Result{}, reply.Err
	case reply.Hang:
		<-ctx.Done()
		return proc.Result{}, &proc.KilledError{Cmd: cmd.String(), Err: ctx.Err()}
	}
	return proc.Result{Stdout: []byte(reply.Stdout), Stderr: []byte(reply.Stderr), ExitCode: reply.Exit}, nil
}

func (r *Runner) take(cmd proc.Cmd) (Reply, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, cmd)
	line := strings.Join(append([]string{cmd.Path}, cmd.Args...), " ")
	best := -1
	for i, x := range r.rules {
		if strings.HasPrefix(line, x.prefix) && (best < 0 || len(x.prefix) >= len(r.rules[best].prefix)) {
			best = i
		}
	}
	if best < 0 {
		return Reply{}, false
	}
	replies := r.rules[best].replies
	if len(replies) > 1 {
		r.rules[best].replies = replies[1:]
	}
	return replies[0], true
}

// Calls are the commands asked so far, oldest first.
func (r *Runner) Calls() []proc.Cmd {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]proc.Cmd(nil), r.calls...)
}

// Lines are the commands asked so far as command lines, oldest first.
func (r *Runner) Lines() []string {
	var lines []string
	for _, c := range r.Calls() {
		lines = append(lines, c.String())
	}
	return lines
}
