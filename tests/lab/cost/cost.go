// Package cost measures what the PostgreSQL agent costs: one monitor on a running
// pair (processes created, programs executed, milliseconds), and many servers on
// one node in steady state (processes, processor time and memory in a minute).
//
// A monitor is run as Pacemaker would, with the parameters of the cluster's own
// configuration, on a healthy primary and a healthy standby. The package does not
// own the cluster it measures on.
package cost

import (
	"context"
	"encoding/xml"
	"fmt"

	"slices"
	"strings"
	"time"

	"pgrex/tests/lab/cluster"
)

// Row is one line of the table.
type Row struct {
	Agent, Role     string
	Code            int           // exit code of the monitor
	Processes       int           // created, the agent's own among them
	Execs           int           // programs executed
	Median, Minimum time.Duration // of Runs runs, without the tracer
}

// Runs is how often a monitor is timed.
const Runs = 15

// Measure measures a monitor of the primary and of one standby.
func Measure(ctx context.Context, c *cluster.Cluster) ([]Row, error) {
	v, err := c.View(ctx)
	if err != nil {
		return nil, err
	}
	primary := v.Primary()
	standby := ""
	for _, n := range v.Online() {
		if n != primary {
			standby = n
		}
	}
	if primary == "" || standby == "" {
		return nil, fmt.Errorf("no primary and standby to measure on: %s", v.Line())
	}
	var rows []Row
	for _, m := range []struct{ node, role, interval string }{{primary, "primary", "1000"}, {standby, "standby", "2000"}} {
		env, err := environment(ctx, c, cluster.ResourcePgsql, m.node, m.interval)
		if err != nil {
			return nil, err
		}
		row, err := measure(ctx, c, m.node, env)
		if err != nil {
			return nil, fmt.Errorf("monitor of the %s on %s: %w", m.role, m.node, err)
		}
		row.Role = m.role
		rows = append(rows, row)
	}
	return rows, nil
}

// primitive is the resource as the CIB has it.
type primitive struct {
	Provider   string `xml:"provider,attr"`
	Attributes []struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	} `xml:"instance_attributes>nvpair"`
}

// environment is the command line that runs the agent as Pacemaker would.
func environment(ctx context.Context, c *cluster.Cluster, resource, node, interval string) ([]string, error) {
	out, err := c.Must(ctx, node, "cibadmin", "--query", "--xpath", "//primitive[@id='"+resource+"']")
	if err != nil {
		return nil, err
	}
	var p primitive
	if err := xml.Unmarshal([]byte(out), &p); err != nil {
		return nil, fmt.Errorf("the resource's definition: %w", err)
	}
	env := []string{"env", "OCF_ROOT=/usr/lib/ocf", "OCF_RA_VERSION_MAJOR=1", "OCF_RA_VERSION_MINOR=1",
		"OCF_RESOURCE_INSTANCE=" + resource, "OCF_RESOURCE_TYPE=pgsql", "OCF_RESOURCE_PROVIDER=" + p.Provider,
		"OCF_RESKEY_crm_feature_set=3.16.1"}
	for name, value := range map[string]string{"on_node": node, "interval": interval, "timeout": "60000", "promotable": "true",
		"promoted_max": "1", "master_max": "1", "clone_max": "2", "notify": "true"} {
		env = append(env, "OCF_RESKEY_CRM_meta_"+name+"="+value)
	}
	for _, a := range p.Attributes {
		env = append(env, "OCF_RESKEY_"+a.Name+"="+a.Value)
	}
	return append(env, "/usr/lib/ocf/resource.d/"+p.Provider+"/pgsql", "monitor"), nil
}

func measure(ctx context.Context, c *cluster.Cluster, node string, command []string) (Row, error) {
	row := Row{Agent: command[len(command)-2]}
	row.Agent = "ocf:" + strings.Join(strings.Split(row.Agent, "/")[5:], ":")
	// Once to warm up: the cluster's own last monitor may have been long ago.
	if _, err := c.Exec(ctx, node, command...); err != nil {
		return row, err
	}
	var times []time.Duration
	for range Runs {
		begin := time.Now()
		res, err := c.Exec(ctx, node, command...)
		if err != nil {
			return row, err
		}
		times = append(times, time.Since(begin))
		row.Code = res.ExitCode
	}
	base, err := entryCost(ctx, c, node)
	if err != nil {
		return row, err
	}
	slices.Sort(times)
	row.Median, row.Minimum = times[len(times)/2]-base, times[0]-base
	trace := "/tmp/monitor.trace"
	args := append([]string{"strace", "-f", "-qq", "-e", "trace=clone,clone3,fork,vfork,execve", "-o", trace}, command...)
	if _, err := c.Exec(ctx, node, args...); err != nil {
		return row, err
	}
	text, err := c.Must(ctx, node, "cat", trace)
	if err != nil {
		return row, err
	}
	row.Processes, row.Execs = count(text)
	return row, nil
}
