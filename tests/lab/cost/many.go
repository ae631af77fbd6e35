package cost

import (
	"context"
	"fmt"
	"strings"
	"time"

	"pgrex/tests/lab/cluster"
)

// Many is a node with several servers, each a resource of its own.
type Many struct {
	Cluster *cluster.Cluster
	// Count is how many there are, Interval that of their monitors in seconds.
	Count, Interval int

	node string
}

// template is a small server, made once and copied for each resource. No client
// uses it: what it does by itself is as little as can be set.
const template = `set -e
export PATH=%[1]s:$PATH
install -d -o postgres -g postgres -m 700 /dbfp/many
cd /dbfp/many
runuser -u postgres -- initdb --pgdata=template --wal-segsize=1 --encoding=UTF8 --locale=C >/dev/null
cat >>template/postgresql.conf <<X
listen_addresses = ''
shared_buffers = 1MB
max_connections = 20
min_wal_size = 2MB
max_wal_size = 8MB
autovacuum = off
restart_after_crash = off
logging_collector = off
X
# A standby wants no fewer connections than the primary that wrote its WAL had.
runuser -u postgres -- pg_ctl start -w -D template -o "-p 6000" >/dev/null
runuser -u postgres -- pg_ctl stop -w -D template >/dev/null
i=1
while [ $i -le %[2]d ]; do
	runuser -u postgres -- cp -a template $i
	i=$((i + 1))
done
`

// firstPort is that of the first server; the others follow.
const firstPort = 6001

// Start makes the servers and their resources in a bare cluster of one node and
// waits until all are promoted.
func (m *Many) Start(ctx context.Context) error {
	m.node = m.Cluster.NodeNames()[0]
	if _, err := m.Cluster.Must(ctx, m.node, "sh", "-c", fmt.Sprintf(template, m.Cluster.BinDir(), m.Count)); err != nil {
		return fmt.Errorf("cannot make %d servers: %w", m.Count, err)
	}
	// The seed has the oldest schema every Pacemaker takes.
	if _, err := m.Cluster.Must(ctx, m.node, "cibadmin", "--upgrade", "--force"); err != nil {
		return err
	}
	// One node has nobody to fence.
	if _, err := m.Cluster.Must(ctx, m.node, "crm_attribute", "--name", "stonith-enabled", "--update", "false"); err != nil {
		return err
	}
	res, err := m.Cluster.ExecInput(ctx, m.node, m.resources(), "cibadmin", "--replace", "--scope", "resources", "--xml-pipe")
	if err == nil && res.ExitCode != 0 {
		err = fmt.Errorf("cannot create %d resources: %s", m.Count, res.Message())
	}
	if err != nil {
		return err
	}
	var failed []string
	// Pacemaker does two actions for each processor at once, and the reference's take seconds.
	within := 2*time.Minute + time.Duration(m.Count)*10*time.Second
	err = m.Cluster.Wait(ctx, fmt.Sprintf("%d servers to be promoted", m.Count), within, func(v cluster.View) bool {
		failed = v.Failures
		n := 0
		for _, r := range v.Resources {
			if r.Role == "Promoted" && !r.Failed {
				n++
			}
		}
		return n == m.Count || len(failed) > 0
	})
	if err == nil && len(failed) > 0 {
		err = fmt.Errorf("a server failed before all were promoted: %s", failed[0])
	}
	return err
}

// resources are the clones, with the parameters and operations of the documented
// configuration.
func (m *Many) resources() string {
	var b strings.Builder
	b.WriteString("<resources>\n")
	for i := 1; i <= m.Count; i++ {
		m.resource(&b, i)
	}
	b.WriteString("</resources>\n")
	return b.String()
}

func (m *Many) resource(b *strings.Builder, i int) {
	name := fmt.Sprintf("pg%d", i)
	fmt.Fprintf(b, `<clone id="%[1]s-clone"><meta_attributes id="%[1]s-m">`, name)
	for k, v := range map[string]string{"promotable": "true", "notify": "true", "clone-max": "1"} {
		fmt.Fprintf(b, `<nvpair id="%s-m-%s" name="%s" value="%s"/>`, name, k, k, v)
	}
	fmt.Fprintf(b, `</meta_attributes><primitive id="%s" class="ocf" provider="%s" type="pgsql"><instance_attributes id="%s-i">`,
		name, m.Cluster.Agents.Provider(), name)
	for k, v := range map[string]string{
		"pgctl": m.Cluster.BinDir() + "/pg_ctl", "psql": m.Cluster.BinDir() + "/psql",
		"pgdata": fmt.Sprintf("/dbfp/many/%d", i), "pgport": fmt.Sprint(firstPort + i - 1),
		"tmpdir": fmt.Sprintf("/var/lib/pgsql/tmp%d", i), "rep_mode": "sync", "node_list": m.node,
		"master_ip": "192.0.2.1", "repuser": "postgres", "restore_command": "/bin/false",
		"stop_escalate": "0", "xlog_check_count": "0",
	} {
		fmt.Fprintf(b, `<nvpair id="%s-i-%s" name="%s" value="%s"/>`, name, k, k, v)
	}
	b.WriteString(`</instance_attributes><operations>`)
	fmt.Fprintf(b, `<op id="%s-u" name="monitor" interval="%ds" timeout="60s"/>`, name, m.Interval+1)
	fmt.Fprintf(b, `<op id="%s-p" name="monitor" interval="%ds" timeout="60s" role="Promoted"/>`, name, m.Interval)
	for _, op := range []string{"start", "stop", "promote", "demote", "notify"} {
		fmt.Fprintf(b, `<op id="%s-%s" name="%s" interval="0s" timeout="300s"/>`, name, op, op)
	}
	b.WriteString("</operations></primitive></clone>\n")
}
