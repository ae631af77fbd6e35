package main

import (
	"slices"
	"time"

	"pgrex/lib/meta"
)

// declaration says what the agent is called, takes and offers. Names, types and defaults of the
// parameters, and names and timing of the actions, are those of ocf:heartbeat:pgsql: an existing
// configuration must mean the same here. Only `rejoin` with what belongs to it and the action reload-agent are new.
func declaration() meta.Agent {
	return meta.Agent{
		Name:    "pgsql",
		Version: "1.0",
		Short:   "PostgreSQL, alone or as primary and standbys with streaming replication",
		Long: `Runs a PostgreSQL server (version 13 or newer) under Pacemaker. With rep_mode=none it is a plain
server on one node. With rep_mode=sync or async it is a promotable clone: one node is the primary, the
others are standbys that follow it by streaming replication, and a standby is promoted when the
primary is lost.

In synchronous mode a standby is promoted only if it provably holds every commit that was
acknowledged to a client. This needs fencing (stonith-enabled=true) and the clone's meta attribute
notify=true.

The parameters are those of ocf:heartbeat:pgsql and ocf:linuxhajp:pgsql, so an existing resource
moves over by a change of its provider. The state of each node can be read in its attributes
<resource>-status (PRI, HS:sync, HS:async, HS:alone, STOP, ...) and <resource>-data-status, for
example with "crm_mon -A1".`,
		Parameters: slices.Concat(serverParams(), monitorParams(), replicationParams(), rejoinParams()),
		Actions:    actions(),
	}
}

func actions() []meta.Action {
	const s = time.Second
	return []meta.Action{
		{Name: "start", Timeout: 120 * s},
		{Name: "stop", Timeout: 120 * s},
		{Name: "status", Timeout: 60 * s},
		{Name: "monitor", Timeout: 30 * s, Interval: 30 * s},
		// Pacemaker tells operations of one resource apart by their interval, so the monitor of the
		// primary must have another one.
		{Name: "monitor", Timeout: 30 * s, Interval: 29 * s, Role: meta.RolePromoted},
		{Name: "promote", Timeout: 120 * s},
		{Name: "demote", Timeout: 120 * s},
		{Name: "notify", Timeout: 90 * s},
		{Name: "reload-agent", Timeout: 60 * s},
		{Name: "meta-data", Timeout: 5 * s},
		{Name: "validate-all", Timeout: 5 * s},
		{Name: "methods", Timeout: 5 * s},
	}
}

// serverParams describe the server on this node: its programs, files and addresses.
func serverParams() []meta.Parameter {
	return []meta.Parameter{
		{
			Name: "pgctl", Type: meta.String, Default: "/usr/bin/pg_ctl",
			Short: "Path of pg_ctl",
			Long: `The pg_ctl that starts the server. It also tells which installation is used: the other programs
of PostgreSQL are looked for beside it. Debian keeps it in /usr/lib/postgresql/<version>/bin, the packages of
postgresql.org for RHEL in /usr/pgsql-<version>/bin.`,
		},
		{
			Name: "start_opt", Type: meta.String,
			Short: "Further options for the server",
			Long: `Options that are added to the command line of the postgres program, for example
"-c shared_buffers=8GB". What is set here wins over postgresql.conf, and a change of postgresql.conf then has no
effect on it. Leave it empty unless the setting must differ under the cluster.`,
		},
		{
			Name: "ctl_opt", Type: meta.String, Reloadable: true,
			Short: "Further options for pg_ctl",
			Long:  `Options that are added to the call of pg_ctl itself when it starts the server. Rarely needed.`,
		},
		{
			Name: "psql", Type: meta.String, Default: "/usr/bin/psql", Reloadable: true,
			Short: "Path of psql (accepted, not used)",
			Long: `Kept so that existing configurations stay valid. The agent speaks to the server directly and never
runs psql; the program need not be installed.`,
		},
		{
			Name: "pgdata", Type: meta.String, Default: "/var/lib/pgsql/data",
			Short: "Data directory",
			Long: `The data directory of the server. It must belong to the user in pgdba and must be on this node's own
disk: every node has its own copy. Debian's usual place is /var/lib/postgresql/<version>/main.`,
		},
		{
			Name: "pgdba", Type: meta.String, Default: "postgres",
			Short: "Operating system user that runs the server",
			Long: `The user that owns the data directory and runs the server. The agent itself has to be started by root
or by this user. Unless monitor_user is set, the agent also logs in to the database under this name, by peer
authentication on the local socket.`,
		},
		{
			Name: "pghost", Type: meta.String,
			Short: "Address the server listens on and is asked at",
			Long: `When set, the server listens on this host name or address and the agent connects to it by TCP. Leave
it empty (recommended): the server then follows listen_addresses of its configuration, and the agent uses the
local socket, which works without a password and cannot reach another server.`,
		},
		{
			Name: "pgport", Type: meta.Integer, Default: "5432", Min: number(1), Max: number(65535),
			Short: "Port of the server",
			Long: `The port the server listens on. Standbys use the same number to reach the primary at master_ip, so it has
to be the same on all nodes.`,
		},
		{
			Name: "pglibs", Type: meta.String, Default: "/usr/lib",
			Short: "Directory of further shared libraries",
			Long: `Added at the end of LD_LIBRARY_PATH for the server. Only needed for an installation outside the paths
that the system's loader knows.`,
		},
		{
			Name: "config", Type: meta.String, Default: "/var/lib/pgsql/data/postgresql.conf",
			Derived: func(v meta.Values) string { return v.String("pgdata") + "/postgresql.conf" },
			Short:   "Path of postgresql.conf",
			Long: `The configuration file of the server; unless set, postgresql.conf in the data directory. Debian keeps it
in /etc/postgresql/<version>/main, and then it has to be named here. With rep_mode=sync, async or slave the agent adds
include_if_exists lines for its own files in tmpdir at the end of it.`,
		},
		{
			Name: "logfile", Type: meta.String, Default: "/dev/null",
			Short: "File for the server's first messages",
			Long: `Where the standard output of the server goes until its own logging takes over (logging_collector,
log_destination). Worth setting when a server fails to start and its own log says nothing. It must be writable
for the user in pgdba.`,
		},
		{
			Name: "socketdir", Type: meta.String,
			Short: "Directory of the server's socket",
			Long: `The directory of the Unix-domain socket, created if it is missing. It must be set, to the same value, when
unix_socket_directories is set in the configuration file of the server; otherwise leave it empty.`,
		},
		{
			Name: "stop_escalate", Type: meta.Seconds, Default: "90", Min: number(0), Reloadable: true,
			Short: "Seconds of fast shutdown before immediate shutdown",
			Long: `How long a stop waits for a fast shutdown (which writes a checkpoint) before it turns to an immediate one.
0 means immediate at once. It never takes more than the timeout of the operation allows. An immediate shutdown loses
no commit but makes the next start go through crash recovery. A demote of a healthy primary always gets a fast
shutdown, because only that lets the old primary come back as a standby by itself.`,
		},
		{
			Name: "stop_escalate_in_slave", Type: meta.Seconds, Default: "90", Min: number(0), Reloadable: true,
			Short: "The same as stop_escalate, for a standby",
			Long: `How long the stop of a standby waits for a fast shutdown before it turns to an immediate one; 0 means
immediate at once.`,
		},
	}
}

// monitorParams describe how the agent looks at the server.
func monitorParams() []meta.Parameter {
	return []meta.Parameter{
		{
			Name: "watcher", Type: meta.Boolean, Default: "true", Reloadable: true,
			Short: "Watch the server between monitors",
			Long: `When true, a small process beside the server tells the cluster at once when the server ends without an order, and
makes a primary look after its standbys at once when one is lost or returns. Without it both wait for the next monitor.
Nothing else depends on it.`,
		},
		{
			Name: "monitor_user", Type: meta.String, Reloadable: true,
			Short: "Database user of the agent",
			Long: `The database user for the agent's queries; unless set, the user in pgdba. It needs the role
pg_monitor to see the state of replication. Together with monitor_password, or with an entry in the .pgpass file of
the user in pgdba.`,
		},
		{
			Name: "monitor_password", Type: meta.String, Secret: true, Reloadable: true,
			Short: "Password of monitor_user",
			Long: `Stands readable in the cluster's configuration. A .pgpass file in the home of the user in pgdba,
or peer authentication (leave both empty), keeps it out of there. Setting it without monitor_user is an error.`,
		},
		{
			Name: "monitor_sql", Type: meta.String, Default: "select now();", Reloadable: true,
			Short: "Query that proves the server healthy",
			Long: `Run by monitor in addition to the agent's own query when it differs from the default; a failure makes
the monitor fail. In a replicated setup it runs on the primary only. It should be quick and must not write: its time
adds to every monitor, and a primary that waits for its standby would make a writing query hang. Names are looked up
by the search_path of the role and the database: write them with their schema where others may create objects.`,
		},
		{
			Name: "pgdb", Type: meta.String, Default: "template1", Reloadable: true,
			Short: "Database the agent connects to",
			Long: `Any database does for the agent's own queries. Another one than template1 has the advantage that CREATE
DATABASE is never held up by the agent's connection.`,
		},
		{
			Name: "check_wal_receiver", Type: meta.Boolean, Default: "false", Reloadable: true,
			Short: "Show the state of the WAL receiver",
			Long: `When true, a monitor publishes in the node attribute <resource>-receiver-status whether the WAL receiver of
a standby works: "normal", "normal (master)" on the primary, or "ERROR".`,
		},
		{
			Name: "crm_attr_timeout", Type: meta.Seconds, Default: "5", Min: number(0), Reloadable: true,
			Short: "Seconds allowed for one write of a permanent node attribute",
			Long: `After this time the write is given up. A promotion tries that of its record again, as long as the timeout of
the operation allows; whatever else was not written is left to the next monitor.
Raise it only if the logs tell of such writes that were given up.`,
		},
	}
}

func number(n int) *int { return &n }
