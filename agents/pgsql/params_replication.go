package main

import "pgrex/lib/meta"

// replicationParams describe the roles, the way standbys follow, and what may return.
func replicationParams() []meta.Parameter {
	return []meta.Parameter{
		{
			Name: "rep_mode", Type: meta.Select, Default: "none", Options: []string{"none", "async", "sync", "slave"},
			Short: "How the server is replicated: none, async, sync or slave",
			Long: `none: a single server without roles.

sync: primary and standbys; a commit is acknowledged only when a standby holds it, as long as a standby is connected,
and only a standby that holds every acknowledged commit is promoted. Choose this where losing data is not acceptable.

async: primary and standbys; commits never wait, and a failover can lose the last of them.

slave: this cluster runs a single standby that follows a primary elsewhere, at master_ip, and is never promoted.`,
		},
		{
			Name: "node_list", Type: meta.String, Reloadable: true,
			Short: "All nodes that run the resource, separated by blanks",
			Long: `The cluster's names of all nodes that may be primary or standby (compared without regard to case). Required
with rep_mode=sync and async. A node that is missing here is never a synchronous standby and never promoted; no server
is started there, one that runs is stopped, and the other nodes go on. The rules that protect acknowledged commits
count on the list being complete: name a node before it is to run the resource, and take it out when it no longer does.`,
		},
		{
			Name: "master_ip", Type: meta.String, Reloadable: true,
			Short: "Address at which standbys reach the primary",
			Long: `A virtual address that is always on the node of the primary; it becomes the host in primary_conninfo. Required
with rep_mode=sync, async and slave. Use an address on the replication network, run by an address resource that is
colocated with the promoted instance and ordered after promote.`,
		},
		{
			Name: "repuser", Type: meta.String, Default: "postgres", Reloadable: true,
			Short: "Database user for replication",
			Long: `The user under which standbys log in to the primary. It needs the attribute REPLICATION, an entry in pg_hba.conf
for every node, and, unless that entry needs none, a password in the .pgpass file of the user in pgdba on every node.`,
		},
		{
			Name: "primary_conninfo_opt", Type: meta.String, Reloadable: true,
			Short: "Further options for primary_conninfo",
			Long: `Added at the end of primary_conninfo, in the form "keyword=value keyword=value", for example
"keepalives_idle=60 keepalives_interval=5 keepalives_count=5". Passwords do not belong here: the file is in clear
text and so is the cluster's configuration.`,
		},
		{
			Name: "restore_command", Type: meta.String, Reloadable: true,
			Short: "Command that fetches a WAL file from the archive",
			Long: `Written to the server's restore_command: %f is the name of the file and %p where to put it, as in
"cp /archive/%f %p". It lets a standby catch up that was away for longer than the primary keeps its WAL. It must fail
when the file does not exist. PostgreSQL 13 takes a change over with its next start only.`,
		},
		{
			Name: "archive_cleanup_command", Type: meta.String, Reloadable: true,
			Short: "Command that removes WAL files a standby no longer needs",
			Long:  `Written to the server's archive_cleanup_command when not empty, for example "pg_archivecleanup /archive %r".`,
		},
		{
			Name: "recovery_end_command", Type: meta.String, Reloadable: true,
			Short: "Command that runs once when recovery ends",
			Long: `Written to the server's recovery_end_command when not empty. A promotion waits for it, so it adds its own time to
every failover.`,
		},
		{
			Name: "restart_on_promote", Type: meta.Boolean, Default: "false", Reloadable: true,
			Short: "Promote by a restart instead of a promotion",
			Long: `When true, a standby becomes primary by being stopped and started without its standby marker. The timeline then
stays the same, but promoting takes a restart, cuts off the readers on the standby, and other standbys cannot tell the
two histories apart. It is done only when every other node in node_list has shown, as a standby of nobody, that it
holds no more WAL than the one promoted, as in a cold start or a switchover; otherwise, as after a crash, the server is
promoted to a new timeline all the same, and the log says so. Leave it false unless something outside depends on a
timeline that never changes.`,
		},
		{
			Name: "replication_slot_name", Type: meta.String,
			Short: "Prefix for replication slots; empty for none",
			Long: `When set, the primary keeps one physical replication slot per other node, named <prefix>_<node>, so that it holds
back the WAL that a standby still needs. Only lower-case letters, digits and _ are allowed. A standby that stays away
makes the WAL of the primary grow: set max_slot_wal_keep_size too.`,
		},
		{
			Name: "tmpdir", Type: meta.String, Default: "/var/lib/pgsql/tmp",
			Short: "Directory of the agent's own files",
			Long: `Holds the settings that the agent writes for the server (rep_mode.conf, recovery.conf) and a PGSQL.lock that
ocf:heartbeat:pgsql may have left. Created if it is missing, owned by the user in pgdba. Despite its name it must
survive a restart of the machine, so it must not be on a tmpfs.`,
		},
		{
			Name: "xlog_check_count", Type: meta.Integer, Default: "3", Min: number(0), Reloadable: true,
			Short: "Rounds of comparing WAL positions (accepted, not used)",
			Long: `Kept so that existing configurations stay valid. ocf:heartbeat:pgsql repeats its comparison of positions this many
times before it elects a primary where none lives. This agent compares the exact positions of all nodes once they are
there and needs no repetition.`,
		},
		{
			Name: "external_standby_node_list", Type: meta.String, Reloadable: true,
			Short: "Standbys outside the cluster that commits should wait for too",
			Long: `Names (application_name in their primary_conninfo) of standbys that the cluster does not run but that belong into
synchronous_standby_names, separated by blanks, as written there. They are waited for while they stream, and never
promoted. Needs rep_mode=sync.`,
		},
		{
			Name: "sync_standbys", Type: meta.Integer, Default: "1", Min: number(1), Reloadable: true,
			Short: "How many standbys of node_list a commit waits for",
			Long: `With more than two nodes and rep_mode=sync: a commit is acknowledged when this many standbys hold it, as long as
as many stream, and each of them may then be promoted. With 2, the primary and one of the two can be lost at the same
instant and the other one serves with everything that was acknowledged. A commit waits for the slowest of them. With
fewer standbys left it waits for those that are there; a standby that is lost holds commits up until it is fenced, as
always. With external_standby_node_list set all standbys are waited for.`,
		},
		{
			Name: "sync_quorum", Type: meta.Boolean, Default: "false", Reloadable: true,
			Short: "Commits wait for any of the standbys rather than for certain ones",
			Long: `When true, a commit waits for any sync_standbys of all standbys that stream (ANY in synchronous_standby_names), so
that one that is slow or lost holds nothing up as long as enough others answer. No standby then holds every commit by itself:
when the primary is gone, the standbys compare how far they got, and the newest of as many as cannot all have missed a commit
is promoted. With n standbys and sync_standbys=k that takes n-k+1 of them, and about one monitor interval more than a
failover without a quorum. They have the status HS:quorum and no promotion score meanwhile. It needs three nodes and more;
with no more than sync_standbys standbys left it is as without it.`,
		},
	}
}

// rejoinParams describe what a node may do that comes back.
func rejoinParams() []meta.Parameter {
	return []meta.Parameter{
		{
			Name: "rejoin", Type: meta.Select, Default: "follow", Options: []string{"refuse", "follow", "rewind", "clone"}, Reloadable: true,
			Short: "What a returning former primary may do: refuse, follow, rewind or clone",
			Long: `Each value allows all before it.

refuse: a node that was primary and was not stopped as the last one is never started by itself; an operator decides.

follow: a node whose data is provably a part of the new primary's history comes back as a standby by itself; one that
holds WAL which the new primary does not have is refused, with the reason.

rewind: such a node is rewound to the new primary by pg_rewind, after the WAL that would be lost was kept, with a report
of what it holds (rejoin_directory). It needs data checksums or wal_log_hints=on, and rejoin_user.

clone: where it cannot be rewound, the data directory is replaced by a new copy of the primary's (pg_basebackup).

Both are done by a process in the background, so that they hold up nothing else: a start that would wait too long for it
(rejoin_wait) fails, and a later one finds its work done. That later start comes with failure-timeout, or after a
cleanup. The state is shown in the node attribute <resource>-rejoin.`,
		},
		{
			Name: "rejoin_user", Type: meta.String, Reloadable: true,
			Short: "Database user of pg_rewind on the primary",
			Long: `Unless set, repuser. With rejoin=rewind and clone it must be a superuser, or may execute pg_ls_dir(text,
boolean, boolean), pg_stat_file(text, boolean), pg_read_binary_file(text) and pg_read_binary_file(text, bigint, bigint,
boolean). It connects to the database postgres (or pgdb, if that is no template) at master_ip: pg_hba.conf must allow that, and a password belongs into the
.pgpass file of the user in pgdba, for that database. A clone uses repuser alone.`,
		},
		{
			Name: "rejoin_directory", Type: meta.String, Reloadable: true,
			Short: "Where WAL is kept that a rewind or a clone removes",
			Long: `Unless set, <pgdata>.pgrex-diverged, beside the data directory. For each return that replaced data it gets a
directory with the WAL files beyond the point where this node left the primary's line, and a report.txt: how many
transactions were committed there, which, when, and whether clients may have been told so. There must be room for it,
or nothing is replaced.`,
		},
		{
			Name: "rejoin_keep", Type: meta.Integer, Default: "5", Min: number(1), Reloadable: true,
			Short: "How many pieces of diverged WAL are kept",
			Long: `When so many are there, the oldest makes room whose commits clients were surely not told of. If there is none,
nothing is replaced any more until somebody has looked at them and removed one.`,
		},
		{
			Name: "rejoin_wait", Type: meta.Seconds, Default: "10", Min: number(0), Reloadable: true,
			Short: "Seconds that a start waits for a rewind or a clone",
			Long: `While a start is under way, the cluster begins nothing else, not even a failover. If the rewind or clone takes
longer than this, the start fails and a later one brings the node back. Crash recovery before a rewind does not count.`,
		},
		{
			Name: "rejoin_rate", Type: meta.Integer, Default: "0", Min: number(0), Reloadable: true,
			Short: "Kilobytes a second that a clone may transfer; 0 for no limit",
			Long:  `Given to pg_basebackup as --max-rate, which takes 32 to 1048576.`,
		},
	}
}
