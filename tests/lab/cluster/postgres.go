package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"pgrex/docs"
	"pgrex/tests/lab/network"
)

// DataDir is where PostgreSQL's data is on the nodes.
const DataDir = "/dbfp/pgdata/data"

// BinDir is where PostgreSQL's programs are on the nodes.
func (c *Cluster) BinDir() string { return binDir(c.Lower) }

// binDir finds the newest PostgreSQL below a root file system, where Debian
// puts it. Without one it names a version for the error that follows.
func binDir(lower string) string {
	best, dir := 0, "/usr/lib/postgresql/15/bin"
	found, _ := filepath.Glob(filepath.Join(lower, "usr/lib/postgresql/*/bin/postgres")) // fails on a bad pattern only
	for _, f := range found {
		version := filepath.Base(filepath.Dir(filepath.Dir(f)))
		if n, err := strconv.Atoi(version); err == nil && n > best {
			best, dir = n, "/usr/lib/postgresql/"+version+"/bin"
		}
	}
	return dir
}

// The role and database clients use.
const (
	AppUser     = "app"
	AppPassword = "app-lab"
	AppDB       = "app"
)

const repPassword = "rep-lab"

// initPrimary makes the data directory on the first node and starts the server
// once, reachable from the replication LAN only, to make roles and be copied.
const initPrimary = `set -e
export PATH=%[1]s:$PATH
cd /
echo "*:5432:replication:repuser:%[4]s" >~postgres/.pgpass
chown postgres: ~postgres/.pgpass; chmod 600 ~postgres/.pgpass
pg() { runuser -u postgres -- "$@"; }
pg initdb --pgdata=%[2]s --waldir=/dbfp/pgwal/pg_wal --encoding=UTF8 --locale=C --data-checksums >/var/log/postgresql/initdb.log
cat /etc/lab/postgresql.conf >>%[2]s/postgresql.conf
cat /etc/lab/pg_hba.conf >%[2]s/pg_hba.conf
pg pg_ctl start -w -D %[2]s -l /var/log/postgresql/first.log -o "-c listen_addresses=%[3]s" >/dev/null
pg psql -qd postgres <<SQL
create role repuser replication login password '%[4]s';
create role %[5]s login password '%[6]s';
create database %[7]s owner %[5]s;
SQL
`

const stopPrimary = `set -e
runuser -u postgres -- %[1]s/pg_ctl stop -w -m fast -D %[2]s >/dev/null
`

// copyStandby makes a standby by the documented line.
const copyStandby = `set -e
cd /
echo "*:5432:replication:repuser:%[4]s" >~postgres/.pgpass
chown postgres: ~postgres/.pgpass; chmod 600 ~postgres/.pgpass
rm -rf %[2]s /dbfp/pgwal/pg_wal
runuser -u postgres -- env PATH=%[1]s:$PATH PRIMARY=%[3]s sh -e <<'DOCUMENTED'
%[5]sDOCUMENTED
`

// labSettings keep a small machine small; the rest is the documented file.
const labSettings = `
# the lab: small, and with times that can be compared
shared_buffers = 32MB
wal_keep_size = 64MB
max_wal_size = 128MB
log_line_prefix = '%m [%p] %q%a '
log_connections = off
log_checkpoints = on
log_replication_commands = on
logging_collector = on
log_directory = '/var/log/postgresql'
log_filename = 'postgresql.log'
log_file_mode = 0644
log_timezone = 'UTC'
`

func (c *Cluster) preparePostgres(ctx context.Context) error {
	conf, err := docs.File("examples/postgresql.conf")
	if err != nil {
		return err
	}
	hba, err := docs.File("examples/pg_hba.conf")
	if err != nil {
		return err
	}
	first := c.NodeNames()[0]
	if err := c.write(ctx, first, "/etc/lab/postgresql.conf", string(conf)+labSettings); err != nil {
		return err
	}
	if err := c.write(ctx, first, "/etc/lab/pg_hba.conf", string(hba)); err != nil {
		return err
	}
	from := network.Address(network.Replication, 1)
	run := func(node, script string) error {
		_, err := c.Must(ctx, node, "sh", "-c", fmt.Sprintf(script, c.BinDir(), DataDir, from, repPassword, AppUser, AppPassword, AppDB))
		return err
	}
	if err := run(first, initPrimary); err != nil {
		return fmt.Errorf("cannot initialise PostgreSQL: %w", err)
	}
	err = c.each(func(n string) error {
		if n == first {
			return nil
		}
		return c.copyFrom(ctx, n, from)
	})
	if err != nil {
		return fmt.Errorf("cannot copy a standby: %w", err)
	}
	return run(first, stopPrimary)
}

// CopyStandby makes a node's data directory anew from the primary, the
// documented way. The cluster must not run PostgreSQL there.
func (c *Cluster) CopyStandby(ctx context.Context, node string) error {
	return c.copyFrom(ctx, node, c.replicationVIP())
}

// copyFrom runs the documented line on a node.
func (c *Cluster) copyFrom(ctx context.Context, node, primary string) error {
	lines, err := docs.Commands("pgsql.md", "first-standby")
	if err != nil {
		return err
	}
	script := fmt.Sprintf(copyStandby, c.BinDir(), DataDir, primary, repPassword, strings.Join(lines, ""))
	_, err = c.Must(ctx, node, "sh", "-c", script)
	return err
}

// SQL runs a statement on a node's own server as its superuser and returns the
// unaligned answer.
func (c *Cluster) SQL(ctx context.Context, node, query string) (string, error) {
	out, err := c.Must(ctx, node, "runuser", "-u", "postgres", "--", c.BinDir()+"/psql", "-XAtqd", "postgres", "-c", query)
	if len(out) > 0 && out[len(out)-1] == '\n' {
		out = out[:len(out)-1]
	}
	return out, err
}
