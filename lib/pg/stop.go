package pg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// StopMode is how a server is asked to stop.
type StopMode int

// The modes of pg_ctl that an agent needs.
const (
	// Fast ends the sessions and writes a shutdown checkpoint; a primary waits
	// until its streaming standbys have received it.
	Fast StopMode = iota
	// Immediate ends all at once, like a crash: recovery runs at the next start.
	Immediate
)

// ErrStillRunning: something of the cluster was alive when the time was over.
var ErrStillRunning = errors.New("server still running")

// errUnkillable: SIGKILL was sent and does not end what waits for storage.
var errUnkillable = errors.New("SIGKILL does not end a process that waits for storage which gives no answer; only the power of this node does")

// StopOptions tells Stop how to go about it.
type StopOptions struct {
	Mode StopMode
	// Escalate is how long a fast stop may take before it becomes an
	// immediate one. It is cut so that the latter still fits in ctx.
	Escalate time.Duration
}

// StopResult says what a stop took.
type StopResult struct {
	// WasRunning: there was a process to stop.
	WasRunning bool
	// Clean: the control data says that the last server shut down in order.
	Clean bool
	// Escalated: a fast stop took too long and was made an immediate one.
	Escalated bool
	// Killed counts processes ended by SIGKILL.
	Killed int
}

const (
	// PostgreSQL itself kills the children that ignore an immediate stop
	// after 5 s (SIGKILL_CHILDREN_AFTER_SECS), so later it is our turn.
	immediatePatience = 5500 * time.Millisecond
	// orphanPatience is what a child that lost its postmaster gets between
	// SIGQUIT, which every child obeys at once, and SIGKILL. There is nothing
	// left that a longer wait could save.
	orphanPatience = 200 * time.Millisecond
	// unkillablePatience is what a process that was killed gets to come back from
	// its storage.
	unkillablePatience = 5 * time.Second
	// killReserve is the part of ctx's time kept for SIGKILL.
	killReserve = time.Second
)

// Stop ends every process of the cluster and returns nil only when none is
// left. It needs neither pg_ctl nor the configuration nor the OS user. A stale
// postmaster.pid is removed. Without a server it returns at once.
//
// The order is SIGINT (fast), SIGQUIT (immediate), SIGKILL; children without a
// postmaster start at SIGQUIT. One that waits for its storage for StallLimit is not
// asked any longer, and what still waits for it 5 s after SIGKILL is an error, however
// much time is left. When ctx ends first the error wraps ErrStillRunning and ctx's
// error and names the processes.
func (s *Server) Stop(ctx context.Context, opts StopOptions) (StopResult, error) {
	var res StopResult
	stop := stopper{mode: opts.Mode, began: time.Now()}
	stop.plan(ctx, opts)
	var last Processes
	err := every(ctx, poll, "stop", func() (bool, error) {
		ps, err := s.Processes()
		if err != nil {
			return false, err
		}
		last = ps
		if !ps.Running() {
			// A second look: pg_ctl forks what becomes the postmaster and ends, and
			// one pass over the processes may come too early for the one and too
			// late for the other. The child forks nothing before it is seen.
			if last, err = s.Processes(); err != nil || !last.Running() {
				return err == nil, err
			}
			ps = last
		}
		res.WasRunning = true
		stop.stalls.look(ps.Waiting, stop.watch.now())
		if stop.unkillable(ps) {
			return false, errUnkillable
		}
		s.step(&stop, ps)
		return false, nil
	})
	res.Escalated, res.Killed = stop.escalated, len(stop.killed)
	if c, cerr := s.Control(); cerr == nil {
		res.Clean = c.State == StateShutDown || c.State == StateShutDownInRecovery
	}
	if err != nil {
		return res, fmt.Errorf("%w after %v (%v): %w", ErrStillRunning, time.Since(stop.began).Round(time.Millisecond), last, err)
	}
	s.removeStale(last)
	return res, nil
}

// stopper is the state of one Stop.
type stopper struct {
	mode        StopMode
	began       time.Time
	escalate    time.Duration // since began: fast becomes immediate
	kill        time.Duration // since began: SIGKILL, at the latest
	interrupted int           // postmaster that got SIGINT
	quit        int           // postmaster that got SIGQUIT
	quitAt      time.Duration
	orphanedAt  time.Duration
	orphans     map[int]bool          // got SIGQUIT
	killed      map[int]time.Duration // since began: the first SIGKILL
	escalated   bool
	stalls      stalls
	watch       watch
}

// plan fits the steps into the time there is: an action killed half-way has
// stopped nothing and proved nothing.
func (p *stopper) plan(ctx context.Context, opts StopOptions) {
	p.orphans, p.killed, p.stalls = map[int]bool{}, map[int]time.Duration{}, stalls{}
	p.watch.last = p.began
	p.escalate = opts.Escalate
	p.kill = 1<<62 - 1
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		reserve := min(killReserve, left/4)
		p.kill = left - reserve
		p.escalate = min(p.escalate, max(p.kill-immediatePatience, left/2))
	}
	if p.mode == Immediate {
		p.escalate = 0
	}
}

// unkillable says whether all that is left was killed and waits for storage since.
func (p *stopper) unkillable(ps Processes) bool {
	stuck, now := p.stalls.longer(unkillablePatience, p.watch.seen), time.Since(p.began)
	for _, pid := range ps.All() {
		at, killed := p.killed[pid]
		if !killed || now-at < unkillablePatience || !slices.Contains(stuck, pid) {
			return false
		}
	}
	return len(stuck) > 0
}

// step looks at what lives and sends what is due. Every signal of a kind is
// sent once to a process, SIGKILL again and again. What cannot be signalled has
// ended, or is still seen by the next step.
func (s *Server) step(p *stopper, ps Processes) {
	now := time.Since(p.began)
	killAll := now >= p.kill || len(p.stalls.longer(StallLimit, p.watch.seen)) > 0
	// Someone else's half-done start would become a server after our proof.
	for _, pid := range ps.Launching {
		s.kill(p, pid)
	}
	if pm := ps.Postmaster; pm != 0 {
		switch {
		case killAll || p.quit == pm && now-p.quitAt >= immediatePatience:
			killAll = true
			s.kill(p, pm)
		case now >= p.escalate && p.quit != pm:
			if p.interrupted == pm {
				p.escalated = true
				s.log().Warn("fast stop took too long, stopping immediately", "postmaster", pm, "after", now.Round(time.Millisecond))
			}
			p.quit, p.quitAt = pm, now
			_ = s.signal(pm, unix.SIGQUIT)
			// A stopped (SIGSTOP) postmaster acts on nothing before this.
			_ = s.signal(pm, unix.SIGCONT)
			// Nor do its children, and it waits for them for seconds.
			for _, pid := range ps.Children {
				_ = s.signal(pid, unix.SIGCONT)
			}
		case now < p.escalate && p.interrupted != pm:
			p.interrupted = pm
			_ = s.signal(pm, unix.SIGINT)
		}
		if !killAll {
			return
		}
	} else if p.orphanedAt == 0 {
		p.orphanedAt = max(now, 1)
	}
	if ps.Postmaster == 0 && now-p.orphanedAt >= orphanPatience {
		killAll = true
	}
	for _, pid := range ps.Children {
		switch {
		case killAll:
			s.kill(p, pid)
		case !p.orphans[pid]:
			p.orphans[pid] = true
			_ = s.signal(pid, unix.SIGQUIT)
		}
	}
}

func (s *Server) kill(p *stopper, pid int) {
	if _, before := p.killed[pid]; s.signal(pid, unix.SIGKILL) == nil && !before {
		p.killed[pid] = time.Since(p.began)
		s.log().Warn("killed process", "pid", pid, "data", s.Data)
	}
}

// signal sends sig to a process of this cluster and to no other: the pid is
// held by a descriptor while it is looked at once more, so that it cannot have
// been given to someone else in between.
func (s *Server) signal(pid int, sig unix.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		if !s.owns(pid) {
			return errGone
		}
		return unix.Kill(pid, sig)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	if !s.owns(pid) {
		return errGone
	}
	err = unix.PidfdSendSignal(fd, sig, nil, 0)
	if err != nil && !errors.Is(err, errGone) {
		s.log().Warn("cannot signal process", "pid", pid, "signal", unix.SignalName(sig), "err", err)
	}
	return err
}

// owns says whether pid is a process of this cluster now.
func (s *Server) owns(pid int) bool {
	name, dir := strconv.Itoa(pid), s.dataDir()
	if isPostgres(name) {
		if dir.isCwdOf(name) || dir.opensData(cmdline(name)) {
			return true
		}
		pf, err := s.PidFile()
		return err == nil && pf.ShmKey != 0 && mapsSegment(name, pf.ShmKey, pf.ShmID)
	}
	return dir.launches(cmdline(name))
}

// removeStale removes what a dead server leaves behind once nothing of it lives:
// postmaster.pid and the lock files of its sockets. Should a pid in there be taken
// by an unrelated process of the same user, or the dead postmaster not be reaped,
// PostgreSQL would refuse to start.
func (s *Server) removeStale(ps Processes) {
	if ps.Running() || s.Data == "" {
		return
	}
	dirs, port := []string{s.SocketDir, "/var/run/postgresql", "/tmp"}, s.port()
	if pf := ps.PidFile; pf != nil && pf.Port != 0 {
		dirs, port = append(dirs, pf.SocketDir), pf.Port
	}
	for _, dir := range dirs {
		if !strings.HasPrefix(dir, "/") {
			continue
		}
		socket := socketPath(dir, port)
		b, err := os.ReadFile(socket + ".lock")
		if err != nil {
			continue
		}
		// A lock file has the same first lines; the second says whose it is.
		if lock, err := ParsePidFile(b); err == nil && s.dataDir().named(lock.Data) {
			s.remove(socket)
			s.remove(socket + ".lock")
		}
	}
	s.remove(filepath.Join(s.Data, "postmaster.pid"))
}

func (s *Server) remove(path string) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log().Warn("cannot remove stale file", "err", err)
	}
}
