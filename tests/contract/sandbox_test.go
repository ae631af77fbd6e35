package contract

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"pgrex/tests/contract/sandbox"
)

// TestMain furnishes the sandbox as a node on which PostgreSQL has never run.
func TestMain(m *testing.M) {
	os.Exit(sandbox.Main(m, sandbox.Config{
		Needs: []string{
			"mount", "su", "runuser", "strace", "xmllint", "ocf-tester", "ocft", "pcs", "crm", "crm_attribute", "cibadmin",
			"pg_createcluster", "pg_conftool", ocftConfig, sandbox.ResourceSchema, sandbox.ResourceDTD, sandbox.OCF11Schema, postgres,
		},
		Installed: []string{pgsql.Path},
		Helpers:   []string{"lab", "pgsql", "cloudip", "fence_ipmi"}, // the lab installs what is beside it
		Empty: []sandbox.Dir{
			{Path: "/run/resource-agents", Mode: 0o755},
			{Path: "/run/pgrex-lab", Mode: 0o755},
			{Path: "/var/lib/resource-agents", Mode: 0o755},
			{Path: "/var/lib/pgsql", Mode: 0o755},
			{Path: "/var/lib/postgresql", Mode: 0o755, Owner: dba},
			{Path: "/etc/postgresql", Mode: 0o755, Owner: dba},
			{Path: "/run/postgresql", Mode: 0o2775, Owner: dba},
			{Path: "/var/log/postgresql", Mode: 0o1775, Owner: dba},
			{Path: "/dev/shm", Mode: 0o1777},
		},
		Parallel: 6, // most of these tests wait for something
		Leave:    removeGroups,
	}))
}

// labName is the name of a lab of this run: control groups have no namespace
// here, and other runs have theirs.
func labName(run, purpose string) string { return "contract-" + purpose + "-" + run }

// removeGroups clears away after labs that came to a sudden end.
func removeGroups(run string) { sandbox.RemoveGroups(labName(run, "*")) }

// postgres is a pattern for the installed servers.
const postgres = "/usr/lib/postgresql/*/bin/postgres"

// findPostgres is the directory of the newest installed server's programs.
func findPostgres() (string, error) {
	found, _ := filepath.Glob(postgres)
	if len(found) == 0 {
		return "", errors.New("PostgreSQL is not installed: run make deps")
	}
	return filepath.Dir(found[len(found)-1]), nil
}
