package guide

// The scenarios that follow a page.
const (
	newcomer   = "newcomer"
	azure      = "guide-azure"
	operations = "guide-operations"
)

// Pages are those whose every block is in the list.
func Pages() []string { return []string{"install.md", "pgrex.md", "azure.md", "operations.md"} }

// Covered is the list.
func Covered() []Entry {
	return []Entry{
		{Page: "install.md", Tag: "install-needs", Scenario: newcomer},
		{Page: "install.md", Tag: "install-services", Scenario: newcomer},
		{Page: "install.md", Tag: "install-packages", Scenario: newcomer},
		{Page: "install.md", Tag: "install-check", Scenario: newcomer},
		{Page: "install.md", Tag: "install-packages-azure", Scenario: azure},
		{Page: "install.md", Tag: "install-rpms", Reason: "the lab has no RHEL; tests/packages unpacks the rpms"},
		{Page: "install.md", Tag: "install-selinux", Reason: "the lab's kernel has no SELinux"},

		{Page: "pgrex.md", Tag: "pgrex-settings", Scenario: newcomer},
		{Page: "pgrex.md", Tag: "pgrex-cluster", Scenario: newcomer},
		{Page: "pgrex.md", Tag: "pgrex-bmc", Scenario: newcomer},
		{Page: "pgrex.md", Tag: "pgrex-directories", Scenario: newcomer},
		{Page: "pgrex.md", Tag: "pgrex-password", Scenario: newcomer},
		{Page: "pgrex.md", Tag: "pgrex-first-server", Scenario: newcomer},
		{Page: "pgrex.md", Tag: "pgrex-copy", Scenario: newcomer},
		{Page: "pgrex.md", Tag: "pgrex-stop", Scenario: newcomer},
		{Page: "pgrex.md", Tag: "pgrex-start", Scenario: newcomer},
		{Page: "pgrex.md", Tag: "pgrex-configure", Scenario: newcomer},
		{Page: "pgrex.md", Tag: "pgrex-check", Scenario: newcomer},
		{Page: "pgrex.md", Tag: "pgrex-switchover", Scenario: newcomer},
		{Page: "pgrex.md", Tag: "pgrex-fence", Scenario: newcomer},
		{Page: "pgrex.md", Tag: "pgrex-return", Scenario: newcomer},
		{Page: "pgrex.md", Tag: "archive-cleanup", Scenario: newcomer},

		{Page: "azure.md", Tag: "azure-machines", Reason: "it makes machines on real Azure; the lab's stand-in has them, and knows no az"},
		{Page: "azure.md", Tag: "azure-role", Reason: "it makes a role on real Azure; the lab's nodes have the rights of this very JSON"},
		{Page: "azure.md", Tag: "azure-settings", Scenario: azure},
		{Page: "azure.md", Tag: "azure-cluster", Scenario: azure},
		{Page: "azure.md", Tag: "azure-configure", Scenario: azure},
		{Page: "azure.md", Tag: "azure-check", Scenario: azure},
		{Page: "azure.md", Tag: "azure-cut", Scenario: azure},
		{Page: "azure.md", Tag: "azure-mend", Scenario: azure},
		{Page: "azure.md", Tag: "azure-return", Scenario: azure},

		{Page: "operations.md", Tag: "switchover", Scenario: operations},
		{Page: "operations.md", Tag: "node-out", Scenario: operations},
		{Page: "operations.md", Tag: "node-back", Scenario: operations},
		{Page: "operations.md", Tag: "stop-both", Scenario: operations},
		{Page: "operations.md", Tag: "start-both", Scenario: operations},
		{Page: "operations.md", Tag: "maintenance-begin", Scenario: operations},
		{Page: "operations.md", Tag: "maintenance-restart", Scenario: operations},
		{Page: "operations.md", Tag: "maintenance-end", Scenario: operations},
		{Page: "operations.md", Tag: "upgrade-agents", Scenario: operations},
		{Page: "operations.md", Tag: "minor-standby", Scenario: operations},
		{Page: "operations.md", Tag: "minor-switchover", Scenario: operations},
		{Page: "operations.md", Tag: "minor-old-primary", Scenario: operations},
		{Page: "operations.md", Tag: "rebuild-begin", Scenario: operations},
		{Page: "operations.md", Tag: "rebuild-copy", Scenario: operations},
		{Page: "operations.md", Tag: "rebuild-end", Scenario: operations},
		{Page: "operations.md", Tag: "replace-forget", Scenario: operations},
		{Page: "operations.md", Tag: "replace-add", Scenario: operations},
		{Page: "operations.md", Tag: "replace-copy", Scenario: operations},
		{Page: "operations.md", Tag: "replace-end", Scenario: operations},
	}
}
