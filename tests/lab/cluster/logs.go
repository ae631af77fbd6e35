package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"pgrex/tests/lab/host"
)

// LogsDir is where logs are kept: $LAB_LOGS, or a directory among the temporary
// ones.
func LogsDir() string {
	if base := os.Getenv("LAB_LOGS"); base != "" {
		return base
	}
	return filepath.Join(os.TempDir(), "pgrex-lab-logs")
}

// KeepLogs copies the logs of all nodes, BMCs and the daemon to a new directory
// and names it.
func (c *Cluster) KeepLogs(label string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	dir := filepath.Join(LogsDir(), fmt.Sprintf("%s-%s", time.Now().Format("20060102-150405"), label))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for _, n := range c.NodeNames() {
		if _, err := host.Output(ctx, "cp", "-a", c.Logs(n), filepath.Join(dir, n)); err != nil {
			return dir, err
		}
		st, err := c.Site.Node(ctx, n)
		if err != nil || !st.On() || st.Frozen {
			continue
		}
		for name, args := range map[string][]string{
			"cib.xml":     {"cibadmin", "--query", "--local"},
			"crm_mon.txt": {"crm_mon", "-1rfA", "-m", "3"},
			"ps.txt":      {"ps", "axfww", "-o", "pid,ppid,stat,lstart,args"},
			"ip.txt":      {"ip", "address"},
		} {
			short, cancel := context.WithTimeout(ctx, 3*time.Second)
			res, err := c.Exec(short, n, args...)
			cancel()
			if err == nil {
				_ = os.WriteFile(filepath.Join(dir, n, name), res.Stdout, 0o644)
			}
		}
	}
	_, err := host.Output(ctx, "cp", filepath.Join(c.Dir(), "daemon.log"), dir)
	return dir, err
}
