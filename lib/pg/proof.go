package pg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Proof names how it was shown that commits wait.
type Proof string

// The proofs of ConfirmCommitsWait.
const (
	// ProofAsleep: the checkpointer was seen to read the configuration.
	ProofAsleep Proof = "the checkpointer has read the configuration"
	// ProofCheckpoint: checkpoints asked for after the reload are complete.
	ProofCheckpoint Proof = "a checkpoint begun after the reload is complete"
)

// checkpointAfter is how long ConfirmCommitsWait looks before it asks for a
// checkpoint, whose writes a busy server feels.
const checkpointAfter = 250 * time.Millisecond

// ConfirmCommitsWait proves, after a Reload that made synchronous_standby_names
// non-empty, that every commit from now on waits for a standby. That the setting
// is in force in every session is no proof: commits wait by a flag in shared
// memory that the checkpointer sets when it reads the configuration
// (SyncRepUpdateSyncStandbysDefined), and a busy one does so late. A backend seen
// waiting is none either: it may wait by the flag of an earlier setting that the
// checkpointer is just about to take back.
//
// Two things are proof: to see the checkpointer read the configuration (see
// reading), or two checkpoints asked for one after the other, since between them
// it reads it. The second begins after a while without the first. ctx ends the
// attempt; the error then says what the checkpointer was doing.
func (s *Server) ConfirmCommitsWait(ctx context.Context) (Proof, error) {
	return s.confirm(ctx, "prove that commits wait", true)
}

// AwaitReload waits until the checkpointer has read the configuration, without
// asking for a checkpoint. It is for the way back: commits go on waiting after
// synchronous_standby_names has become empty until the checkpointer has seen it.
func (s *Server) AwaitReload(ctx context.Context) error {
	_, err := s.confirm(ctx, "wait for the checkpointer to reload", false)
	return err
}

func (s *Server) confirm(ctx context.Context, what string, checkpoint bool) (Proof, error) {
	c, err := s.Connect(ctx)
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	defer c.Close()
	pid, err := c.checkpointer(ctx)
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	checkpointed := make(chan error, 1)
	var asked sync.WaitGroup // its goroutine ends with ctx; leave no session behind
	defer asked.Wait()
	defer cancel()
	ask := sync.OnceFunc(func() {
		asked.Go(func() { checkpointed <- s.checkpointTwice(ctx) })
	})
	began := time.Now()
	look := reading{server: s, conn: c, pid: pid}
	proof := ProofAsleep
	err = every(ctx, poll, what, func() (bool, error) {
		ok, err := look.step(ctx)
		if ok {
			return true, nil
		}
		if err != nil && !IsTimeout(err) {
			return false, err
		}
		if checkpoint && time.Since(began) >= checkpointAfter {
			ask()
		}
		select {
		case err := <-checkpointed:
			if err == nil {
				proof = ProofCheckpoint
				return true, nil
			}
			s.log().Warn("cannot prove by a checkpoint that commits wait", "err", err)
		default:
		}
		return false, nil
	})
	if err != nil {
		return "", fmt.Errorf("%w (checkpointer %d: %s)", err, pid, look.seen)
	}
	return proof, nil
}

// checkpointTwice: a first checkpoint may be begun by a pass of the main loop
// that looked for a reload before the signal came. The second is not.
func (s *Server) checkpointTwice(ctx context.Context) error {
	c, err := s.Connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Checkpoint(ctx); err != nil {
		return err
	}
	return c.Checkpoint(ctx)
}

// checkpointer is the pid of the running checkpointer.
func (c *Conn) checkpointer(ctx context.Context) (int, error) {
	v, err := c.value(ctx, "SELECT coalesce(max(pid), 0) FROM pg_stat_get_activity(NULL) WHERE backend_type = 'checkpointer'")
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(v)
	if err != nil || pid == 0 {
		return 0, errors.New("no checkpointer to be seen")
	}
	return pid, nil
}

// reading watches the checkpointer read the configuration.
//
// It sends SIGHUP and waits until the signal has been taken and the process has
// gone to sleep in one of its two places of rest: the main loop's wait, or the
// pause between the writes of a spread checkpoint. A process that takes a signal
// is awake until it sleeps anew, and the handler sets the latch, with which set
// neither place sleeps.
//
// Pausing anew means to have read: every pause begins with a look for the reload.
// Sleeping in the main loop means it too, because the loop clears the latch right
// before it looks. One exception is possible where the main loop does not look
// once more after a checkpoint: a signal during its last pause has its latch
// cleared by that pause, and the main loop then sleeps without having looked, for
// minutes perhaps. A checkpoint moves its place in the control file after its
// pauses, so when that has not moved since before the signal, there was no such
// pause. Otherwise another signal wakes the main loop.
type reading struct {
	server *Server
	conn   *Conn
	pid    int

	signalled bool
	before    LSN    // the control file's checkpoint before the signal
	seen      string // for the error
}

func (r *reading) step(ctx context.Context) (bool, error) {
	if !r.signalled {
		ctl, err := r.server.Control()
		if err != nil {
			return false, err
		}
		r.before = ctl.CheckpointLSN
		if err := r.server.signal(r.pid, unix.SIGHUP); err != nil {
			return false, fmt.Errorf("signal checkpointer %d: %w", r.pid, err)
		}
		r.signalled = true
	}
	place, err := r.rests(ctx)
	if err != nil {
		return false, err
	}
	switch {
	case strings.EqualFold(place, "CheckpointWriteDelay"):
		return true, nil
	case strings.EqualFold(place, "CheckpointerMain"):
		ctl, err := r.server.Control()
		if err != nil {
			return false, err
		}
		r.signalled = ctl.CheckpointLSN == r.before
		return r.signalled, nil
	}
	return false, nil
}

// rests says in which wait event the process sleeps after it took the signal,
// empty if it does not. One sleep is seen from both sides of the query, by the
// count of context switches.
func (r *reading) rests(ctx context.Context) (string, error) {
	before, err := lookAtSleep(r.pid)
	r.seen = before.state
	if err != nil || before.pending || !before.asleep {
		return "", err
	}
	place, err := r.conn.value(ctx, "SELECT coalesce(max(wait_event), '') FROM pg_stat_get_activity("+strconv.Itoa(r.pid)+") WHERE backend_type = 'checkpointer'")
	if err != nil {
		return "", err
	}
	after, err := lookAtSleep(r.pid)
	r.seen = after.state + " in " + place
	if err != nil || !after.asleep || after.switches != before.switches {
		return "", err
	}
	return place, nil
}

// sleep is one look at a process in /proc/PID/status.
type sleep struct {
	asleep   bool
	pending  bool   // SIGHUP has not been taken yet
	switches string // counters of its context switches
	state    string
}

func lookAtSleep(pid int) (sleep, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return sleep{state: "gone"}, fmt.Errorf("the checkpointer has ended: %w", err)
	}
	return parseSleep(string(b)), nil
}

func parseSleep(text string) sleep {
	l := sleep{pending: true}
	masks := 0
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch name {
		case "State":
			l.state, l.asleep = value, strings.HasPrefix(value, "S")
		case "SigPnd", "ShdPnd":
			mask, err := strconv.ParseUint(value, 16, 64)
			if err == nil && mask&(1<<(unix.SIGHUP-1)) == 0 {
				masks++
			}
		case "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches":
			l.switches += value + " "
		}
	}
	l.pending = masks != 2
	return l
}
