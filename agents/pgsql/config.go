package main

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/replication"
)

// config are the parameters in the form the actions use.
type config struct {
	resource string
	self     string // our node name, lower case as in node_list
	nodes    []string
	mode     string // none, async, sync, slave
	rejoin   replication.Rejoin

	rejoinUser, rejoinDirectory string
	rejoinKeep, rejoinRate      int
	rejoinWait                  time.Duration

	pgctl, data, configFile, dba, host, socketDir, logFile, libs string
	port                                                         int
	startOpt, ctlOpt                                             string
	database, monitorUser, monitorPassword, monitorSQL           string

	restoreCommand, archiveCleanup, recoveryEnd string
	primaryIP, replicationUser, conninfoOpt     string
	slotPrefix                                  string
	restartOnPromote, checkReceiver             bool
	external                                    []string
	syncStandbys                                int
	quorum                                      bool

	tmpdir                               string
	stopEscalate, stopEscalateUnpromoted time.Duration
	attrTimeout                          time.Duration
	watcher                              bool
}

// The values of rep_mode.
const (
	modeNone  = "none"
	modeAsync = "async"
	modeSync  = "sync"
	modeSlave = "slave"
)

func newConfig(c *ocf.Call) config {
	p := c.Params
	seconds := func(name string) time.Duration { return time.Duration(p.Int(name)) * time.Second }
	return config{
		resource: c.Resource,
		self:     strings.ToLower(c.Node),
		nodes:    strings.Fields(strings.ToLower(p.String("node_list"))),
		mode:     p.String("rep_mode"),
		rejoin:   replication.Rejoin(p.String("rejoin")),

		rejoinUser: p.String("rejoin_user"), rejoinDirectory: p.String("rejoin_directory"),
		rejoinKeep: max(p.Int("rejoin_keep"), 1), rejoinRate: p.Int("rejoin_rate"), rejoinWait: seconds("rejoin_wait"),

		pgctl: p.String("pgctl"), data: filepath.Clean(p.String("pgdata")), configFile: p.String("config"), dba: p.String("pgdba"),
		host: p.String("pghost"), socketDir: p.String("socketdir"), logFile: p.String("logfile"), libs: p.String("pglibs"),
		port:     p.Int("pgport"),
		startOpt: p.String("start_opt"), ctlOpt: p.String("ctl_opt"),
		database: p.String("pgdb"), monitorUser: p.String("monitor_user"),
		monitorPassword: p.String("monitor_password"), monitorSQL: p.String("monitor_sql"),

		restoreCommand: p.String("restore_command"), archiveCleanup: p.String("archive_cleanup_command"),
		recoveryEnd: p.String("recovery_end_command"),
		primaryIP:   p.String("master_ip"), replicationUser: p.String("repuser"), conninfoOpt: p.String("primary_conninfo_opt"),
		slotPrefix:       p.String("replication_slot_name"),
		restartOnPromote: p.Bool("restart_on_promote"), checkReceiver: p.Bool("check_wal_receiver"),
		external:     strings.Fields(p.String("external_standby_node_list")),
		syncStandbys: p.Int("sync_standbys"), quorum: p.Bool("sync_quorum"),

		tmpdir:       filepath.Clean(p.String("tmpdir")),
		stopEscalate: seconds("stop_escalate"), stopEscalateUnpromoted: seconds("stop_escalate_in_slave"),
		attrTimeout: max(seconds("crm_attr_timeout"), time.Second),
		watcher:     p.Bool("watcher"),
	}
}

// replicates reports whether the agent manages roles (async and sync).
func (c config) replicates() bool { return c.mode == modeAsync || c.mode == modeSync }

// standbyOnly is a server that follows a primary elsewhere and is never promoted.
func (c config) standbyOnly() bool { return c.mode == modeSlave }

// monitorApart reports whether monitors use a role of their own.
func (c config) monitorApart() bool { return c.monitorUser != "" && c.monitorUser != c.dba }

func (c config) recoveryFile() string { return filepath.Join(c.tmpdir, fileRecovery) }
func (c config) repModeFile() string  { return filepath.Join(c.tmpdir, fileRepMode) }
func (c config) lockFile() string     { return filepath.Join(c.tmpdir, fileLock) }
func (c config) signalFile() string   { return filepath.Join(c.data, "standby.signal") }

// endedFile names the configuration for which endOthers has done its work.
func (c config) endedFile() string { return filepath.Join(c.tmpdir, fileEnded) }

// recordFile lies beside the data directory: rebuilding a standby empties the
// directory, and must not empty what the node remembers.
func (c config) recordFile() string { return c.data + ".pgrex-record" }

// attr is the name of one of the resource's node attributes.
func (c config) attr(suffix string) string { return c.resource + suffix }

// slot is the replication slot of a node, by the reference's rule; "" without
// slots. A name that PostgreSQL does not take is found by check.
func (c config) slot(node string) string {
	name, err := pg.SlotName(c.slotPrefix, node)
	if err != nil {
		return ""
	}
	return name
}

// shared are directories that belong to everybody.
var shared = []string{"/", "/tmp", "/var/tmp", "/run", "/var/run", "/var", "/etc", "/home", "/root"}

// check finds what the declaration of the parameters cannot: rules between
// parameters. The answers are ErrConfigured, which stops the resource everywhere
// until someone mends the configuration. That node_list lacks this node is true of
// this node alone: ErrInstalled keeps the resource off it, and off no other. A probe
// is not answered by it, because Pacemaker takes that code for "does not run here".
func (c config) check(call *ocf.Call) error {
	if call.ParamErr != nil {
		return call.ParamErr
	}
	bad := func(format string, a ...any) error { return ocf.Errorf(ocf.ErrConfigured, format, a...) }
	switch {
	case !filepath.IsAbs(c.data):
		return bad("pgdata=%s is not an absolute path", c.data)
	case c.mode != modeNone && (!filepath.IsAbs(c.tmpdir) || slices.Contains(shared, c.tmpdir) || c.tmpdir == c.data):
		return bad("tmpdir=%s must be an absolute path to a directory for this resource alone: it will be owned by %s with mode 700", c.tmpdir, c.dba)
	case c.rejoinDirectory != "" && (!filepath.IsAbs(c.rejoinDirectory) || slices.Contains(shared, filepath.Clean(c.rejoinDirectory)) || within(c.rejoinDirectory, c.data)):
		return bad("rejoin_directory=%s must be an absolute path to a directory for this resource alone, outside of pgdata", c.rejoinDirectory)
	case slices.Contains(c.external, "*"):
		return bad("external_standby_node_list must not contain *, which means any standby: name the application names")
	case c.monitorPassword != "" && c.monitorUser == "":
		return bad("monitor_password is set but monitor_user is not: set both or none")
	case len(c.external) > 0 && c.mode != modeSync:
		return bad("external_standby_node_list needs rep_mode=sync (it is %s)", c.mode)
	case c.syncStandbys > 1 && c.mode != modeSync:
		return bad("sync_standbys=%d needs rep_mode=sync (it is %s)", c.syncStandbys, c.mode)
	case c.syncStandbys > max(len(c.nodes)-1, 1):
		return bad("sync_standbys=%d: node_list names only %d other nodes", c.syncStandbys, len(c.nodes)-1)
	case c.quorum && (c.mode != modeSync || len(c.external) > 0):
		return bad("sync_quorum needs rep_mode=sync (it is %s) and no external_standby_node_list", c.mode)
	case c.slotPrefix != "" && c.badSlot() != nil:
		return bad("replication_slot_name=%q: %w", c.slotPrefix, c.badSlot())
	case c.mode == modeNone:
		return nil
	case c.primaryIP == "":
		return bad("master_ip is empty: with rep_mode=%s it must be the address at which standbys reach the primary", c.mode)
	case c.standbyOnly():
		if call.Promotable {
			return bad("rep_mode=slave is for a plain resource, not a promotable clone: nothing here is ever promoted")
		}
		return nil
	case len(c.nodes) == 0:
		return bad("node_list is empty: with rep_mode=%s it must name all nodes of the cluster that run this resource", c.mode)
	// Tools that validate a resource before it is created cannot say what it
	// will be.
	case call.InCluster && call.PromotedMax == 0 && !call.Promotable && call.Action != "validate-all":
		return bad("rep_mode=%s needs a promotable clone (pcs resource create ... promotable notify=true)", c.mode)
	case call.InCluster && !c.listed(c.self) && !call.Probe:
		return ocf.Errorf(ocf.ErrInstalled, "node_list (%s) does not name this node, %s", strings.Join(c.nodes, " "), c.self)
	}
	return nil
}

// listed says whether node_list names a node.
func (c config) listed(node string) bool { return slices.Contains(c.nodes, node) }

// within says whether a path is a directory or lies below it.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// badSlot is what PostgreSQL would have against a node's slot name, if anything.
func (c config) badSlot() error {
	for _, n := range append([]string{"x"}, c.nodes...) {
		if _, err := pg.SlotName(c.slotPrefix, n); err != nil {
			return err
		}
	}
	return nil
}

// conninfo is the primary_conninfo of this node's standby.
func (c config) conninfo() string {
	words := []string{
		pg.QuoteConninfo("host", c.primaryIP), pg.QuoteConninfo("port", strconv.Itoa(c.port)),
		pg.QuoteConninfo("user", c.replicationUser), pg.QuoteConninfo("application_name", c.self),
	}
	if opt := strings.TrimSpace(c.conninfoOpt); opt != "" {
		words = append(words, opt)
	}
	return strings.Join(words, " ")
}
