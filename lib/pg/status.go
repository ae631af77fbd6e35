package pg

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// Status is what one query says about the whole server. LSNs that do not apply
// (a primary's on a standby and the reverse) are 0.
type Status struct {
	SystemID   uint64 `json:"system_id,string"`
	Version    int    `json:"version"` // server_version_num, e.g. 150014
	InRecovery bool   `json:"in_recovery"`
	// Restricted: the role may not see everything. Walsenders may lack their
	// state, settings their source, and Files is empty.
	Restricted bool `json:"-"`

	// Timeline is the one being written on a primary, right from the moment of
	// its promotion. On a standby it is the newest the server itself knows by
	// SQL, which can lag; see Server.Position.
	Timeline   Timeline `json:"timeline"`
	InsertLSN  LSN      `json:"insert_lsn"` // primary: end of the WAL made so far
	FlushLSN   LSN      `json:"flush_lsn"`  // primary: end of the WAL on disk
	ReceiveLSN LSN      `json:"receive_lsn"`
	ReplayLSN  LSN      `json:"replay_lsn"`

	ReplayPaused bool `json:"replay_paused"`

	// Loaded is when the configuration was read last, by the server's clock: a word
	// that changes with every reload and every start. A session that has followed a
	// reload itself shows a moment of its own.
	Loaded string `json:"loaded"`

	Receiver   *Receiver `json:"receiver"`   // nil when no WAL receiver runs
	Walsenders []Sender  `json:"walsenders"` // rows of pg_stat_replication, by pid
	Slots      []Slot    `json:"slots"`

	Settings map[string]Setting `json:"settings"` // those of statusSettings
	Files    []FileError        `json:"files"`    // errors a reload would meet

	SyncWaiters    int    `json:"sync_waiters"` // backends waiting for a synchronous standby
	Clients        int    `json:"clients"`      // client backends, ours included
	CheckpointerID int    `json:"checkpointer"` // pid, 0 if not visible
	CheckpointWait string `json:"checkpointer_wait"`
	StartupWait    string `json:"startup_wait"` // what replay waits for, e.g. "Lock/relation"
}

// Receiver is the WAL receiver's row of pg_stat_wal_receiver.
type Receiver struct {
	PID        int      `json:"pid"`
	Status     string   `json:"status"` // "streaming", "waiting", "starting", ...
	Slot       string   `json:"slot_name"`
	SenderHost string   `json:"sender_host"`
	SenderPort int      `json:"sender_port"`
	Timeline   Timeline `json:"received_tli"`
	WrittenLSN LSN      `json:"written_lsn"`
	FlushedLSN LSN      `json:"flushed_lsn"`
	// SilentFor is the age in seconds of the last message from the primary, by
	// this server's clock alone; -1 when there was none.
	SilentFor float64 `json:"silent_for"`
}

// Sender is a row of pg_stat_replication.
type Sender struct {
	PID          int    `json:"pid"`
	Name         string `json:"application_name"`
	User         string `json:"usename"`
	Addr         string `json:"client_addr"`
	State        string `json:"state"`      // "startup", "catchup", "streaming", "backup", "stopping"
	SyncState    string `json:"sync_state"` // "async", "potential", "sync", "quorum"
	BackendStart string `json:"backend_start"`
	SentLSN      LSN    `json:"sent_lsn"`
	WriteLSN     LSN    `json:"write_lsn"`
	FlushLSN     LSN    `json:"flush_lsn"`
	ReplayLSN    LSN    `json:"replay_lsn"`
}

// Slot is a row of pg_replication_slots.
type Slot struct {
	Name       string `json:"slot_name"`
	Type       string `json:"slot_type"` // "physical" or "logical"
	Temporary  bool   `json:"temporary"`
	Active     bool   `json:"active"`
	ActivePID  int    `json:"active_pid"`
	RestartLSN LSN    `json:"restart_lsn"`
	WALStatus  string `json:"wal_status"` // "reserved", "extended", "unreserved", "lost"
}

// Setting is one setting in force and where it came from.
type Setting struct {
	Value          string `json:"setting"`
	Source         string `json:"source"` // "configuration file", "command line", "default", ...
	File           string `json:"sourcefile"`
	Line           int    `json:"sourceline"`
	PendingRestart bool   `json:"pending_restart"`
}

// From says in words where the setting comes from.
func (s Setting) From() string {
	if s.File == "" {
		return s.Source
	}
	return fmt.Sprintf("%s line %d", s.File, s.Line)
}

// FileError is an entry of the configuration files that cannot be applied
// (pg_file_settings). One of them makes a reload change nothing at all, except
// for those that say a restart is needed.
type FileError struct {
	File  string `json:"sourcefile"`
	Line  int    `json:"sourceline"`
	Name  string `json:"name"`
	Error string `json:"error"`
}

// Sender finds the walsender of a standby by its application name, which
// PostgreSQL compares without regard to case. A streaming one is preferred: a
// standby that has just come back may still have its old row.
func (st *Status) Sender(name string) (Sender, bool) {
	var found Sender
	ok := false
	for _, w := range st.Walsenders {
		if strings.EqualFold(w.Name, name) && (!ok || found.State != "streaming") {
			found, ok = w, true
		}
	}
	return found, ok
}

// Blind says that the role lacks what pg_monitor brings: the state of standbys and of
// the WAL receiver, primary_conninfo.
func (st *Status) Blind() bool {
	_, settings := st.Settings["primary_conninfo"]
	return st.Restricted && (!settings || st.CheckpointerID == 0)
}

// Setting is a setting of statusSettings; unknown ones are the zero Setting.
func (st *Status) Setting(name string) Setting { return st.Settings[name] }

// statusSettings are the settings every Status brings along.
const statusSettings = `'synchronous_standby_names','synchronous_commit','primary_conninfo','primary_slot_name',
'hot_standby','wal_level','max_wal_senders','max_replication_slots','restore_command','archive_mode',
'recovery_target_timeline','wal_receiver_timeout','wal_sender_timeout','fsync','full_page_writes','wal_log_hints',
'max_slot_wal_keep_size','cluster_name'`

// The pieces of the one query. Functions that only a primary or only a standby
// may call stand in branches of a CASE; all of them are volatile, so the planner
// evaluates none ahead. Underlying functions are used instead of views where the
// views join catalogs. pg_settings is kept to one scan.
const (
	statusHead = `SELECT json_build_object(
'system_id', (SELECT system_identifier::text FROM pg_control_system()),
'version', current_setting('server_version_num')::int,
'in_recovery', rec,
'loaded', pg_conf_load_time(),
'timeline', CASE WHEN rec THEN (SELECT greatest(r.received_tli, c.timeline_id, m.min_recovery_end_timeline)
    FROM pg_control_checkpoint() c, pg_control_recovery() m LEFT JOIN pg_stat_get_wal_receiver() r ON r.pid IS NOT NULL)
  ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint END,
'insert_lsn', CASE WHEN NOT rec THEN pg_current_wal_insert_lsn() END,
'flush_lsn', CASE WHEN NOT rec THEN pg_current_wal_flush_lsn() END,
'receive_lsn', CASE WHEN rec THEN pg_last_wal_receive_lsn() END,
'replay_lsn', CASE WHEN rec THEN pg_last_wal_replay_lsn() END,
'replay_paused', CASE WHEN rec THEN pg_is_wal_replay_paused() END,
'receiver', (SELECT json_build_object('pid', r.pid, 'status', r.status, 'slot_name', r.slot_name,
    'sender_host', r.sender_host, 'sender_port', r.sender_port, 'received_tli', r.received_tli,
    'written_lsn', r.written_lsn, 'flushed_lsn', r.flushed_lsn,
    'silent_for', coalesce(extract(epoch FROM clock_timestamp() - r.last_msg_receipt_time), -1))
  FROM pg_stat_get_wal_receiver() r WHERE r.pid IS NOT NULL),
'walsenders', (SELECT json_agg(json_build_object('pid', w.pid, 'application_name', a.application_name,
    'usename', pg_get_userbyid(a.usesysid), 'client_addr', host(a.client_addr),
    'backend_start', a.backend_start, 'state', w.state, 'sync_state', w.sync_state, 'sent_lsn', w.sent_lsn,
    'write_lsn', w.write_lsn, 'flush_lsn', w.flush_lsn, 'replay_lsn', w.replay_lsn) ORDER BY w.pid)
  FROM pg_stat_get_wal_senders() w JOIN act a ON a.pid = w.pid),
'slots', (SELECT json_agg(json_build_object('slot_name', s.slot_name, 'slot_type', s.slot_type, 'temporary', s.temporary,
    'active', s.active, 'active_pid', s.active_pid, 'restart_lsn', s.restart_lsn, 'wal_status', s.wal_status))
  FROM pg_get_replication_slots() s),
'settings', (SELECT json_object_agg(s.name, json_build_object('setting', s.setting, 'source', s.source,
    'sourcefile', s.sourcefile, 'sourceline', s.sourceline, 'pending_restart', s.pending_restart))
  FROM pg_show_all_settings() s WHERE s.name IN (` + statusSettings + `)),
'sync_waiters', (SELECT count(*) FROM act WHERE wait_event = 'SyncRep'),
'clients', (SELECT count(*) FROM act WHERE backend_type = 'client backend'),
'checkpointer', (SELECT max(pid) FROM act WHERE backend_type = 'checkpointer'),
'checkpointer_wait', (SELECT max(wait_event) FROM act WHERE backend_type = 'checkpointer'),
'startup_wait', (SELECT max(wait_event_type || '/' || wait_event) FROM act WHERE backend_type = 'startup')`
	statusFiles = `,
'files', (SELECT json_agg(json_build_object('sourcefile', f.sourcefile, 'sourceline', f.sourceline, 'name', f.name, 'error', f.error))
  FROM pg_show_all_file_settings() f WHERE f.error IS NOT NULL)`
	statusTail = `)
FROM (SELECT pg_is_in_recovery() AS rec OFFSET 0) q`
	statusWith = `WITH act AS MATERIALIZED (SELECT * FROM pg_stat_get_activity(NULL)) `
)

// Status asks the server about itself in one query, which is valid on primaries
// and standbys of every supported version. A role that is no superuser may not
// read the configuration files; asking for them would leave an error in the
// server's log each time, so it is not asked and the answer is Restricted.
func (c *Conn) Status(ctx context.Context) (Status, error) {
	query, restricted := statusWith+statusHead+statusFiles+statusTail, c.pg.ParameterStatus("is_superuser") != "on"
	if restricted {
		query = statusWith + statusHead + statusTail
	}
	text, err := c.value(ctx, query)
	if err != nil {
		return Status{}, fmt.Errorf("server status: %w", err)
	}
	st, err := parseStatus(text)
	st.Restricted = restricted
	return st, err
}

// Standbys is one word for who streams from this server and how, empty for a
// standby: a change of it is a reason to look at Status.
func (c *Conn) Standbys(ctx context.Context) (string, error) {
	v, err := c.value(ctx, `SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE coalesce((SELECT string_agg(w.pid || ' ' || w.state || ' ' || w.sync_state, ',' ORDER BY w.pid)
FROM pg_stat_get_wal_senders() w), 'none') END`)
	if err != nil {
		return "", fmt.Errorf("standbys: %w", err)
	}
	return v, nil
}

func parseStatus(text string) (Status, error) {
	var st Status
	if err := json.Unmarshal([]byte(text), &st); err != nil {
		return Status{}, fmt.Errorf("server status: cannot decode the answer: %w", err)
	}
	return st, nil
}
