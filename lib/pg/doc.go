// Package pg is one PostgreSQL server (13 to 18) on this node: its control
// data, processes, files, write-ahead log, and what it says over SQL.
//
// It owns reading global/pg_control and pg_wal, finding and signalling the
// processes of a data directory, editing configuration files durably, and the
// local and replication connections. It owns no rule: who may be promoted, when
// a commit may be released and what to do about a diverged log is decided in
// lib/replication from the facts this package gathers. It knows nothing of
// Pacemaker.
//
// Three habits run through it. A fact that cannot be had is an error, never a
// guess: "cannot connect" is not "not running". Every wait ends with its
// context. What stops a server needs nothing but the kernel: no pg_ctl, no
// configuration file, no OS user.
package pg
