package pg

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// sqlState is the SQLSTATE of a server's error, or empty.
func sqlState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// IsStarting says that the server is there but does not take connections yet,
// or no longer (57P03: starting up, shutting down, recovering).
func IsStarting(err error) bool { return sqlState(err) == "57P03" }

// IsTooMany says that the server has no connection to spare (53300). It runs.
func IsTooMany(err error) bool { return sqlState(err) == "53300" }

// IsAuth says that the server refused us: pg_hba.conf, password, role or
// database (classes 28 and 3D). It runs.
func IsAuth(err error) bool {
	s := sqlState(err)
	return len(s) == 5 && (s[:2] == "28" || s[:2] == "3D")
}

// IsBarred says that the server does not let this role in, and may let another in:
// IsAuth, the right to connect to the database (42501), connections left for those
// who are no superusers (53300). It is for errors of Connect.
func IsBarred(err error) bool { return IsAuth(err) || IsDenied(err) || IsTooMany(err) }

// IsNoDatabase says that the database does not exist (3D000). It runs.
func IsNoDatabase(err error) bool { return sqlState(err) == "3D000" }

// IsRefused says that nobody listens: no socket or connection refused. That is
// no proof that nothing runs; Processes is.
func IsRefused(err error) bool {
	return sqlState(err) == "" && (errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist))
}

// IsTimeout says that time ran out: ours, or the server cancelled a statement
// at statement_timeout or lock_timeout (57014, 55P03).
func IsTimeout(err error) bool {
	switch sqlState(err) {
	case "57014", "55P03":
		return true
	}
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err) || errors.As(err, &n) && n.Timeout()
}

// IsDenied says that the role may not do or see something (42501).
func IsDenied(err error) bool { return sqlState(err) == "42501" }
