package pg

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrConninfo is returned for a connection string that libpq would not take.
var ErrConninfo = errors.New("bad connection string")

// ParseConninfo reads libpq's keyword/value form: name=value pairs, values with
// blanks in single quotes, backslash before a quote or backslash. A later value
// wins.
func ParseConninfo(text string) (map[string]string, error) {
	out := map[string]string{}
	rest := strings.TrimLeft(text, " \t\r\n")
	for rest != "" {
		eq := strings.IndexByte(rest, '=')
		if eq <= 0 {
			return nil, fmt.Errorf("%w: no '=' after %.20q", ErrConninfo, rest)
		}
		name := strings.TrimSpace(rest[:eq])
		if name == "" || strings.ContainsAny(name, " \t\r\n'\\") {
			return nil, fmt.Errorf("%w: no '=' after %.20q", ErrConninfo, name)
		}
		var value string
		var err error
		value, rest, err = conninfoValue(strings.TrimLeft(rest[eq+1:], " \t\r\n"))
		if err != nil {
			return nil, fmt.Errorf("%w of %s", err, name)
		}
		out[name] = value
		rest = strings.TrimLeft(rest, " \t\r\n")
	}
	return out, nil
}

// conninfoValue takes one value off the front of s. Its errors do not quote it,
// since it may be a password.
func conninfoValue(s string) (value, rest string, err error) {
	var b strings.Builder
	quoted := strings.HasPrefix(s, "'")
	i := 0
	if quoted {
		i = 1
	}
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		case quoted && c == '\'':
			return b.String(), s[i+1:], nil
		case !quoted && (c == ' ' || c == '\t' || c == '\r' || c == '\n'):
			return b.String(), s[i:], nil
		default:
			b.WriteByte(c)
		}
	}
	if quoted {
		return "", "", fmt.Errorf("%w: unterminated quote in the value", ErrConninfo)
	}
	return b.String(), "", nil
}

// QuoteConninfo writes one name=value pair of a connection string.
func QuoteConninfo(name, value string) string {
	return name + "='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// upstreamKeys are the keywords of libpq that our client knows as well. The
// others are about sockets and credentials of libpq alone (keepalives_*,
// tcp_user_timeout, gssencmode, ...); sent on, the server would take them for
// its own settings and refuse.
var upstreamKeys = [...]string{"sslmode", "sslcert", "sslkey", "sslrootcert", "sslpassword", "sslsni", "sslnegotiation",
	"channel_binding", "require_auth", "krbsrvname"}

// Upstream is a replication connection to another server, such as the one a
// standby is to follow.
type Upstream struct {
	pg *pgconn.PgConn
}

// Identity is the answer to IDENTIFY_SYSTEM.
type Identity struct {
	SystemID uint64
	Timeline Timeline
	LSN      LSN // flushed by a primary, replayed by a standby
}

// DialUpstream opens a physical replication connection by the connection string
// a standby would use (primary_conninfo). The password may come from it, from
// its passfile, or from .pgpass of the server's owner, where the database is
// called "replication". Our application_name is never a standby's.
func (s *Server) DialUpstream(ctx context.Context, conninfo string) (*Upstream, error) {
	c, err := s.dialRemote(ctx, Source{Conninfo: conninfo}, "replication", map[string]string{"replication": "true"})
	if err != nil {
		return nil, err
	}
	return &Upstream{c}, nil
}

// dialRemote opens a connection to another server by a standby's connection
// string, but to a database.
func (s *Server) dialRemote(ctx context.Context, source Source, database string, params map[string]string) (*pgconn.PgConn, error) {
	in, err := ParseConninfo(source.Conninfo)
	if err != nil {
		return nil, err
	}
	host := in["host"]
	if in["hostaddr"] != "" {
		host = in["hostaddr"]
	}
	if host == "" {
		return nil, fmt.Errorf("%w: it names no host", ErrConninfo)
	}
	port := 5432
	if in["port"] != "" {
		if port, err = strconv.Atoi(in["port"]); err != nil || port < 1 || port > 65535 {
			return nil, fmt.Errorf("%w: port %q", ErrConninfo, in["port"])
		}
	}
	user, password := in["user"], in["password"]
	if source.User != "" && source.User != user {
		user, password = source.User, ""
	}
	if user == "" {
		user = s.User.Name
	}
	if password == "" {
		password = s.passFile(in["passfile"], slices.Compact([]string{in["host"], host}), port, database, user)
	}
	cfg, err := upstreamConfig(in, host, port)
	if err != nil {
		return nil, err
	}
	cfg.User, cfg.Database, cfg.Password = user, database, password
	cfg.RuntimeParams = map[string]string{"application_name": appName + "-probe"}
	maps.Copy(cfg.RuntimeParams, params)
	if timeout, ok := conninfoSeconds(in["connect_timeout"]); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	c, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to %s port %d as %s (database %s): %w", host, port, user, database, shorten(err))
	}
	return c, nil
}

// conninfoSeconds reads connect_timeout as libpq does: at least 2 s, and none for
// zero or less.
func conninfoSeconds(text string) (time.Duration, bool) {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || n <= 0 {
		return 0, false
	}
	return time.Duration(max(n, 2)) * time.Second, true
}

// upstreamConfig lets pgconn make the TLS settings, with everything the
// environment could add named.
func upstreamConfig(in map[string]string, host string, port int) (*pgconn.Config, error) {
	set := map[string]string{
		"host": host, "port": strconv.Itoa(port), "user": "x", "database": "x", "password": "x", "passfile": "/dev/null",
		"sslmode": "prefer", "sslcertmode": "allow", "connect_timeout": "0", "target_session_attrs": "any",
		"min_protocol_version": "3.0", "max_protocol_version": "3.0",
	}
	for _, k := range upstreamKeys {
		if v := in[k]; v != "" {
			set[k] = v
		}
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(set)) {
		parts = append(parts, QuoteConninfo(k, set[k]))
	}
	cfg, err := pgconn.ParseConfig(strings.Join(parts, " "))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConninfo, errors.Unwrap(err))
	}
	return cfg, nil
}

// Close ends the connection. It never hangs.
func (u *Upstream) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = u.pg.Close(ctx)
}

// Identify asks who the server is and where its log ends.
func (u *Upstream) Identify(ctx context.Context) (Identity, error) {
	row, err := u.row(ctx, "IDENTIFY_SYSTEM", 3)
	if err != nil {
		return Identity{}, fmt.Errorf("identify upstream server: %w", err)
	}
	id, err1 := strconv.ParseUint(string(row[0]), 10, 64)
	tli, err2 := strconv.ParseUint(string(row[1]), 10, 32)
	lsn, err3 := ParseLSN(string(row[2]))
	if err := errors.Join(err1, err2, err3); err != nil {
		return Identity{}, fmt.Errorf("identify upstream server: %w", err)
	}
	return Identity{id, Timeline(tli), lsn}, nil
}

// History asks for the history of one of the server's timelines.
func (u *Upstream) History(ctx context.Context, tli Timeline) (History, error) {
	if tli == 1 {
		return History{Timeline: 1}, nil // has no file
	}
	row, err := u.row(ctx, fmt.Sprintf("TIMELINE_HISTORY %d", tli), 2)
	if err != nil {
		return History{}, fmt.Errorf("history of upstream timeline %d: %w", tli, err)
	}
	return ParseHistory(tli, row[1])
}

// row runs a replication command that answers with one row.
func (u *Upstream) row(ctx context.Context, command string, columns int) ([][]byte, error) {
	results, err := u.pg.Exec(ctx, command).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) < columns {
		return nil, fmt.Errorf("unexpected answer to %s", command)
	}
	return results[0].Rows[0], nil
}
