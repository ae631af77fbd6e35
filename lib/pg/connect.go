package pg

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgpassfile"
	"github.com/jackc/pgx/v5/pgconn"
)

// Bounds of one local conversation, used when ctx leaves more.
const (
	connectTimeout   = 5 * time.Second
	statementTimeout = 10 * time.Second
	// closeTimeout bounds the farewell, which needs no answer.
	closeTimeout = 100 * time.Millisecond
)

// appName is the application_name of our sessions. It must not be a node's
// name: replication rows are matched by that.
const appName = "pgrex"

// Conn is one session with the server. It is for one goroutine.
type Conn struct {
	pg *pgconn.PgConn
}

// Address is where the server takes local connections: what its running
// postmaster wrote into postmaster.pid, else the parameters.
func (s *Server) Address() (host string, port int) {
	host, port = s.Host, s.port()
	pf, err := s.PidFile()
	live := err == nil && alive(pf.PID)
	if live && pf.Port != 0 {
		port = pf.Port
	}
	switch {
	case host != "":
	case s.SocketDir != "":
		host = s.SocketDir
	case live && pf.SocketDir != "":
		host = pf.SocketDir
	default:
		// The defaults of Red Hat's and Debian's packages and of the source.
		host = "/var/run/postgresql"
		if !isSocket(socketPath(host, port)) && isSocket(socketPath("/tmp", port)) {
			host = "/tmp"
		}
	}
	return host, port
}

// Connect opens a session with the server. Over a Unix socket peer
// authentication sees the server's owner. The session never waits for a
// standby, resolves names in pg_catalog alone and has a statement timeout of
// what ctx leaves, 10 s at most.
//
// Nothing of our own environment (PGHOST, PGPASSWORD, ...) is used. See the Is
// functions for what an error means.
func (s *Server) Connect(ctx context.Context) (*Conn, error) {
	settings := map[string]string{"search_path": "pg_catalog", "synchronous_commit": "local"}
	c, err := s.connect(ctx, settings)
	if err == nil || s.Barred == nil || !IsBarred(err) {
		return c, err
	}
	c, oerr := s.AsOwner().connect(ctx, settings)
	switch {
	case oerr == nil:
		s.Barred(err)
	case IsBarred(oerr) && !IsTooMany(oerr):
		return nil, fmt.Errorf("%w; %s is refused too: %s", err, s.User.Name, shorten(oerr))
	}
	// Another failure to answer its owner says more of the server than a role refused.
	return c, oerr
}

// AsOwner is the server as the owner of its processes reaches it.
func (s *Server) AsOwner() *Server {
	o := *s
	o.DBUser, o.Password, o.Barred = "", "", nil
	return &o
}

// Check runs an administrator's own SQL in a session of its own, in which names
// are resolved as that role and database are used to.
func (s *Server) Check(ctx context.Context, sql string) error {
	// A check that writes must not hang because a standby is away.
	c, err := s.connect(ctx, map[string]string{"synchronous_commit": "local"})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Exec(ctx, sql)
	return err
}

// connect opens a session with more settings than those of every session.
func (s *Server) connect(ctx context.Context, settings map[string]string) (*Conn, error) {
	host, port := s.Address()
	user := s.DBUser
	if user == "" {
		user = s.User.Name
	}
	if user == "" {
		user = "postgres"
	}
	db := s.Database
	if db == "" {
		db = "template1"
	}
	cfg, err := baseConfig()
	if err != nil {
		return nil, err
	}
	cfg.Host, cfg.Port, cfg.User, cfg.Database = host, uint16(port), user, db
	if isSocketDir(host) {
		cfg.Host = "/" // pgconn would look up an abstract one as a name; our dialer knows better
	}
	cfg.Password = s.Password
	if cfg.Password == "" {
		cfg.Password = s.passFile("", []string{host, "localhost"}, port, db, user)
	}
	timeout := statementTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, max(time.Millisecond, time.Until(deadline)))
	}
	cfg.RuntimeParams = map[string]string{
		"application_name":  appName,
		"client_encoding":   "UTF8",
		"DateStyle":         "ISO",
		"statement_timeout": strconv.FormatInt(max(1, timeout.Milliseconds()), 10),
		"lock_timeout":      "2000",
		"jit":               "off",
	}
	maps.Copy(cfg.RuntimeParams, settings)
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if isSocketDir(host) {
			return dialUnix(ctx, socketPath(host, port), s.user())
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	c, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL at %s port %d as %s: %w", host, port, user, shorten(err))
	}
	return &Conn{c}, nil
}

// shorten takes the server's own error or the failed system call out of pgconn's
// lines, which repeat what our own message says.
func shorten(err error) error {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op
	}
	return err
}

// baseConfig is a connection configuration in which nothing comes from the
// environment. pgconn insists on making it, and reads the environment for what
// the string does not name.
func baseConfig() (*pgconn.Config, error) {
	cfg, err := pgconn.ParseConfig("host=/ port=5432 user=x database=x password=x passfile=/dev/null sslmode=disable sslcertmode=allow " +
		"connect_timeout=0 target_session_attrs=any channel_binding=prefer min_protocol_version=3.0 max_protocol_version=3.0")
	if err != nil {
		return nil, fmt.Errorf("connection settings: %w", err)
	}
	cfg.RequireAuth = ""
	return cfg, nil
}

// passFile looks the password up for the first host that has one. file defaults
// to .pgpass of the server's owner, not to ours. PostgreSQL's rules say
// "localhost" for any socket in the default directory.
func (s *Server) passFile(file string, hosts []string, port int, db, user string) string {
	if file == "" {
		if s.User.Home == "" {
			return ""
		}
		file = filepath.Join(s.User.Home, ".pgpass")
	}
	pf, err := pgpassfile.ReadPassfile(file)
	if err != nil {
		return ""
	}
	for _, h := range hosts {
		if p := pf.FindPassword(h, strconv.Itoa(port), db, user); p != "" {
			return p
		}
	}
	return ""
}

// Close ends the session. It never hangs.
func (c *Conn) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = c.pg.Close(ctx) // the session ends with the socket in any case
}

// Become goes on with another session, which is not to be used by itself any more.
func (c *Conn) Become(other *Conn) {
	c.Close()
	c.pg = other.pg
}

// Exec runs SQL by the simple protocol and gives the rows of its last
// statement as text, NULL as "".
func (c *Conn) Exec(ctx context.Context, sql string) ([][]string, error) {
	results, err := c.pg.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(results) == 0 {
		return nil, nil
	}
	var rows [][]string
	for _, r := range results[len(results)-1].Rows {
		row := make([]string, len(r))
		for i, v := range r {
			row[i] = string(v)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// value runs a query for one value.
func (c *Conn) value(ctx context.Context, sql string) (string, error) {
	rows, err := c.Exec(ctx, sql)
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return "", fmt.Errorf("query gave %d rows, not one value: %s", len(rows), sql)
	}
	return rows[0][0], nil
}

// InRecovery says whether the server is a standby (or still recovering).
func (c *Conn) InRecovery(ctx context.Context) (bool, error) {
	v, err := c.value(ctx, "SELECT pg_is_in_recovery()")
	return v == "t", err
}

// Checkpoint performs a checkpoint, on a standby a restartpoint. ctx alone bounds
// it, and the server gives up with it: a statement that waits for a checkpointer
// that does not run would hold its session for good.
func (c *Conn) Checkpoint(ctx context.Context) error {
	limit := int64(0)
	if deadline, ok := ctx.Deadline(); ok {
		limit = max(1, time.Until(deadline).Milliseconds())
	}
	if _, err := c.Exec(ctx, "SET statement_timeout = "+strconv.FormatInt(limit, 10)); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if _, err := c.Exec(ctx, "CHECKPOINT"); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// QuoteLiteral makes an SQL string constant of s.
func QuoteLiteral(s string) string {
	q := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		// Right whatever standard_conforming_strings says.
		q = " E" + strings.ReplaceAll(q, `\`, `\\`)
	}
	return q
}
