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
	// unwritten: an attribute for people was not written, so the next monitor must
	// not take everything for done.
	unwritten bool
	// userErr is why pgdba could not be found; only what needs the user minds.
	userErr error
}

// handlers are the actions of the agent.
func handlers() map[string]func(context.Context, *ocf.Call) error {
	wrap := func(f func(*agent, context.Context) error) func(context.Context, *ocf.Call) error {
		return func(ctx context.Context, c *ocf.Call) error {
			return f(newAgent(ctx, c, proc.OS{}), ctx)
		}
	}
	return map[string]func(context.Context, *ocf.Call) error{
		"start":        wrap((*agent).start),
		"stop":         wrap((*agent).stop),
		"monitor":      wrap((*agent).monitor),
		"status":       wrap((*agent).monitor),
		"promote":      wrap((*agent).promote),
		"demote":       wrap((*agent).demote),
		"notify":       wrap((*agent).notify),
		"reload-agent": wrap((*agent).reload),
		"validate-all": wrap((*agent).validate),
	}
}

// nodeNameLimit bounds the look-ups before an action proper: who pgdba is and
// how this node is called. A directory service that hangs must not eat the action.
const nodeNameLimit = 5 * time.Second

func newAgent(ctx context.Context, c *ocf.Call, run proc.Runner) *agent {
	a := &agent{call: c, run: run, log: c.Log}
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
	return &pg.Server{
		Data: c.data, PgCtl: c.pgctl, Config: c.configFile,
		Host: c.host, Port: c.port, SocketDir: c.socketDir,
		User: user, DBUser: c.monitorUser, Password: c.monitorPassword, Database: c.database,
		StartOptions: c.startOpt, CtlOptions: c.ctlOpt, LogFile: c.logFile, Libs: c.libs,
		Limits: proc.LoginLimits(user), Run: a.run, Log: a.log,
	}
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
