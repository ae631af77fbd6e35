package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"time"

	"pgrex/lib/crm"
	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/proc"
)

// agent is one action on one resource instance: the parameters, the server on
// this node, and the cluster's memory.
type agent struct {
	call   *ocf.Call
	conf   config
	server *pg.Server
	// cluster is nil where no cluster is behind the call (a shell, ocf-tester):
	// then there is no memory, nothing is written, and promotion is allowed only
	// where it cannot hurt.
	cluster *crm.Client
	cache   *crm.Cache
	run     proc.Runner
	log     *slog.Logger
	memory  memory
	// owed are writes that are due with the next ones of stop and demote, ahead the
	// copy of the cluster's memory by which they are judged.
	owed  []crm.Write
	ahead func() (crm.Snapshot, error)
	// lived: the server that stop or demote ends was alive when it began.
	lived bool
	// spawn starts a process that outlives this one; nil where no watcher is to be
	// started.
	spawn func(proc.Cmd) (pid int, err error)
	// unwritten: an attribute for people was not written, so the next monitor must
	// not take everything for done.
	unwritten bool
	// began is when this action started a worker that replaces the data directory.
	began time.Time
	// barred: the server has not let the monitor's role in.
	barred bool
	// exhausted tells what the volume of a path has run out of, see pg.Exhausted.
	exhausted func(path string) (string, error)
	// userErr is why pgdba could not be found; only what needs the user minds.
	userErr error
}

// action is the signature of a handler.
type action = func(context.Context, *ocf.Call) error

func run(f func(*agent, context.Context) error) action {
	return func(ctx context.Context, c *ocf.Call) error {
		a := newAgent(ctx, c, proc.OS{})
		a.spawn = proc.OS{}.Detach
		return f(a, ctx)
	}
}

// works are what the actions do, each with its dealings with the watcher.
func works() map[string]func(*agent, context.Context) error {
	return map[string]func(*agent, context.Context) error{
		"start":        quietly((*agent).start),
		"stop":         quietly((*agent).stop),
		"monitor":      watched((*agent).monitor),
		"status":       (*agent).monitor,
		"promote":      quietly((*agent).promote),
		"demote":       quietly((*agent).demote),
		"notify":       (*agent).notify,
		"reload-agent": inTurn((*agent).reload),
		"validate-all": (*agent).validate,
	}
}

// handlers are the actions of the agent.
func handlers() map[string]action {
	all := map[string]action{}
	for name, f := range works() {
		all[name] = run(f)
	}
	return all
}

// hidden are the commands that no cluster manager calls.
func hidden() map[string]action {
	return map[string]action{watchCommand: run((*agent).watch), rejoinCommand: run((*agent).rejoin)}
}

// nodeNameLimit bounds the look-ups before an action proper: who pgdba is and
// how this node is called. A directory service that hangs must not eat the action.
const nodeNameLimit = 5 * time.Second

func newAgent(ctx context.Context, c *ocf.Call, run proc.Runner) *agent {
	a := &agent{call: c, run: run, log: c.Log, exhausted: pg.Exhausted}
	if c.InCluster {
		a.cluster = &crm.Client{Run: run}
	}
	a.conf = newConfig(c)
	lookup, cancel := context.WithTimeout(ctx, nodeNameLimit)
	defer cancel()
	if a.conf.self == "" && a.cluster != nil && a.conf.replicates() {
		if name, err := a.cluster.Name(lookup); err == nil {
			a.conf.self = strings.ToLower(name)
		}
	}
	if a.conf.self == "" {
		// Without a cluster the host's name is the best there is; standbys are told
		// apart by it.
		if name, err := os.Hostname(); err == nil {
			a.conf.self = strings.ToLower(name)
		}
	}
	user, err := proc.LookupUser(lookup, a.conf.dba)
	a.userErr = err
	a.server = a.newServer(user)
	if a.cluster != nil {
		a.cache = a.newCache()
	}
	return a
}

func (a *agent) newServer(user proc.User) *pg.Server {
	c := a.conf
	s := &pg.Server{
		Data: c.data, PgCtl: c.pgctl, Config: c.configFile,
		Host: c.host, Port: c.port, SocketDir: c.socketDir,
		User: user, DBUser: c.monitorUser, Password: c.monitorPassword, Database: c.database,
		StartOptions: c.startOpt, CtlOptions: c.ctlOpt, LogFile: c.logFile, Libs: c.libs,
		Limits: proc.LoginLimits(user), Run: a.run, Log: a.log,
	}
	if c.monitorApart() {
		s.Barred = a.roleBarred
	}
	return s
}

// clustered reports whether roles are managed with a cluster's memory behind.
func (a *agent) clustered() bool { return a.cluster != nil && a.conf.replicates() }

// reserve gives a context that leaves d of the action's time for what follows.
func reserve(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, end.Add(-d))
	}
	return context.WithCancel(ctx)
}

// outOfTime reports whether err is only the end of a wait.
func outOfTime(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
