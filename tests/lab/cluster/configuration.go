package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"pgrex/docs"
	"pgrex/tests/lab/bmc"
	"pgrex/tests/lab/network"
)

const (
	pcsFile = "/etc/lab/pgrex.pcs"
	pcsEnv  = "/etc/lab/pgrex.env"
	newCIB  = "/etc/lab/pgrex.xml"
)

// cache keeps configurations pcs has made, by what went in: pcs takes ten
// seconds for it.
const cache = "/var/cache/pgrex-lab"

// variables are those of docs/examples/pgrex.pcs for the lab.
func variables(o Options) map[string]string {
	v := map[string]string{
		"CIB":              newCIB,
		"NODES":            strings.Join(o.NodeNames(), " "),
		"GATEWAY":          network.Gateway,
		"SERVICE_NIC":      network.Service.Interface(),
		"REPLICATION_NIC":  network.Replication.Interface(),
		"VIP_PRIMARY":      network.VIPPrimary,
		"VIP_STANDBY":      network.VIPStandby,
		"VIP_REPLICATION":  network.VIPReplication,
		"DISKS":            "/dev/labdisk",
		"BMC_ADDRESS_OF":   "/etc/lab/bmc-address",
		"BMC_USER":         bmc.User,
		"BMC_PASSWORD":     bmc.Password,
		"BMC_OPTIONS":      "lanplus=1",
		"FENCE_AGENT":      "fence_ipmi",
		"IP_AGENT":         IPOurs,
		"PGCTL":            binDir(o.Lower) + "/pg_ctl",
		"PSQL":             binDir(o.Lower) + "/psql",
		"PGDATA":           DataDir,
		"ARCHIVE":          "/dbfp/pgarch/arc1",
		"PROVIDER":         o.Agents.Provider(),
		"REP_MODE":         modeSync,
		"FAILURE_TIMEOUT":  "60s",
		"PING_INTERVAL":    "10s",
		"MONITOR":          "2s",
		"MONITOR_PROMOTED": "1s",
		// By the rule of docs/fence_ipmi.md: token 1 s, and BMCs that switch at once.
		"FENCING_DELAY": "2s",
	}
	if o.Agents == Reference {
		v["MONITOR"], v["MONITOR_PROMOTED"] = "10s", "9s"
		v["IP_AGENT"] = IPReference
		// It takes the cipher suite it is told, and the simulator knows one.
		v["FENCE_AGENT"], v["BMC_OPTIONS"] = "fence_ipmilan", "lanplus=1 cipher=3 power_wait=1"
	}
	if o.Azure {
		addCloudVariables(v)
	}
	for k, x := range o.Variables {
		v[k] = x
	}
	return v
}

// prepareConfiguration makes the new configuration as a file on the first node.
// It does not need the cluster.
func (c *Cluster) prepareConfiguration(ctx context.Context) error {
	node := c.NodeNames()[0]
	script, err := docs.File(c.example)
	if err != nil {
		return err
	}
	env := shellVariables(c.vars)
	for path, content := range map[string]string{
		pcsFile:                string(script),
		pcsEnv:                 env,
		newCIB:                 c.seed(),
		"/etc/lab/bmc-address": "#!/bin/sh\n" + bmcAddresses(c.NodeNames()),
	} {
		if err := c.write(ctx, node, path, content); err != nil {
			return err
		}
	}
	key, err := c.cacheKey(ctx, node, string(script)+env)
	if err != nil {
		return err
	}
	cached := filepath.Join(cache, key+".xml")
	if b, err := os.ReadFile(cached); err == nil {
		return c.write(ctx, node, newCIB, string(b))
	}
	// pcs wants a configuration of today's schema to work on.
	if _, err := c.Must(ctx, node, "sh", "-c", fmt.Sprintf(
		"cibadmin --empty >%s && set -a && . %s && sh %s", newCIB, pcsEnv, pcsFile)); err != nil {
		return fmt.Errorf("cannot make the configuration: %w", err)
	}
	made, err := c.Must(ctx, node, "cat", newCIB)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	// Two labs may do this at once.
	tmp := fmt.Sprintf("%s.%d", cached, os.Getpid())
	if err := os.WriteFile(tmp, []byte(made), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, cached)
}

func (c *Cluster) cacheKey(ctx context.Context, node, input string) (string, error) {
	out, err := c.Must(ctx, node, "sh", "-c",
		"dpkg-query -W pcs pacemaker resource-agents fence-agents 2>/dev/null; for a in /usr/lib/ocf/resource.d/pgrex/*; do $a meta-data | cksum; done 2>/dev/null; for a in fence_ipmi fence_azure; do $a -o metadata 2>/dev/null | cksum; done; true")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(input + out))
	return hex.EncodeToString(sum[:12]), nil
}

// pushConfiguration puts the new resources, constraints and properties in
// force, everything in one step.
func (c *Cluster) pushConfiguration(ctx context.Context) error {
	node := c.NodeNames()[0]
	// The seed has the oldest schema every Pacemaker takes.
	if _, err := c.Must(ctx, node, "cibadmin", "--upgrade", "--force"); err != nil {
		return err
	}
	// The properties the daemons keep there themselves stay.
	made, err := c.Must(ctx, node, "cat", newCIB)
	if err != nil {
		return err
	}
	now, err := c.Must(ctx, node, "cibadmin", "--query", "--scope", "configuration")
	if err != nil {
		return err
	}
	merged, err := mergeConfiguration(now, made)
	if err != nil {
		return err
	}
	if err := c.write(ctx, node, newCIB, merged); err != nil {
		return err
	}
	if _, err := c.Must(ctx, node, "cibadmin", "--replace", "--scope", "configuration", "--xml-file", newCIB); err != nil {
		return fmt.Errorf("cannot put the configuration in force: %w", err)
	}
	return nil
}

// mergeConfiguration takes the nodes and existing properties of the living
// configuration and everything else from the one that was made.
func mergeConfiguration(now, made string) (string, error) {
	nodes, err := element(now, "nodes")
	if err != nil {
		return "", err
	}
	oldProps, err := inner(now, "cluster_property_set")
	if err != nil {
		return "", err
	}
	conf, err := element(made, "configuration")
	if err != nil {
		return "", err
	}
	conf = strings.Replace(conf, "<nodes/>", nodes, 1)
	i := strings.Index(conf, "</cluster_property_set>")
	if i < 0 || !strings.Contains(conf, nodes) {
		return "", errors.New("the configuration made has no properties or nodes")
	}
	return conf[:i] + oldProps + conf[i:], nil
}

// element cuts the first element of a name out of XML written by cibadmin.
func element(xml, name string) (string, error) {
	i := strings.Index(xml, "<"+name)
	end := "</" + name + ">"
	j := strings.Index(xml, end)
	if i < 0 || j < i {
		return "", fmt.Errorf("no element %s in the configuration", name)
	}
	return xml[i : j+len(end)], nil
}

// inner is what is inside the first element of a name.
func inner(xml, name string) (string, error) {
	e, err := element(xml, name)
	if err != nil {
		return "", err
	}
	return e[strings.IndexByte(e, '>')+1 : strings.LastIndex(e, "</")], nil
}

func bmcAddresses(nodes []string) string {
	var b strings.Builder
	b.WriteString("case $1 in\n")
	for i, n := range nodes {
		fmt.Fprintf(&b, "%s) echo %s ;;\n", n, network.BMCAddress(i+1))
	}
	b.WriteString("*) exit 1 ;;\nesac\n")
	return b.String()
}

func shellVariables(v map[string]string) string {
	keys := make([]string, 0, len(v))
	for k := range v {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, "%s='%s'\n", k, strings.ReplaceAll(v[k], "'", `'\''`))
	}
	return b.String()
}

// write puts a file onto a running node.
func (c *Cluster) write(ctx context.Context, node, path, content string) error {
	res, err := c.ExecInput(ctx, node, content, "sh", "-c", `cat >"$0" && chmod 755 "$0"`, path)
	if err == nil && res.ExitCode != 0 {
		err = errors.New(res.Message())
	}
	if err != nil {
		return fmt.Errorf("cannot write %s on %s: %w", path, node, err)
	}
	return nil
}
