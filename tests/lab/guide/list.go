package guide

import "slices"

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
	return slices.Concat(
		runs(newcomer, "install.md", "install-needs", "install-services", "install-packages", "install-check"),
		runs(azure, "install.md", "install-packages-azure"),
		[]Entry{
			{Page: "install.md", Tag: "install-needs-rhel", Reason: "the lab has no RHEL"},
			{Page: "install.md", Tag: "install-rpms", Reason: "the lab has no RHEL; tests/packages unpacks the rpms"},
			{Page: "install.md", Tag: "install-selinux", Reason: "the lab's kernel has no SELinux"},
		},
		runs(newcomer, "pgrex.md", "pgrex-settings", "pgrex-cluster", "pgrex-bmc",
			"pgrex-directories", "pgrex-password", "pgrex-first-server", "pgrex-copy", "pgrex-stop",
			"pgrex-start", "pgrex-configure", "pgrex-check",
			"pgrex-switchover", "pgrex-fence", "pgrex-return", "archive-cleanup"),
		[]Entry{
			{Page: "azure.md", Tag: "azure-machines", Reason: "it makes machines on real Azure; the lab's stand-in has them, and knows no az"},
			{Page: "azure.md", Tag: "azure-role", Reason: "it makes roles on real Azure; a test holds the lab's rights against this very JSON"},
		},
		runs(azure, "azure.md", "azure-settings", "azure-cluster", "azure-configure", "azure-check", "azure-cut", "azure-mend", "azure-return"),
		runs(operations, "operations.md", "switchover", "node-out", "node-back", "stop-both", "start-both",
			"maintenance-begin", "maintenance-restart", "maintenance-end", "upgrade-agents",
			"minor-standby", "minor-switchover", "minor-old-primary",
			"rebuild-begin", "rebuild-copy", "rebuild-end",
			"replace-forget", "replace-add", "replace-copy", "replace-end"),
	)
}

// runs says that a scenario runs the blocks of a page with these tags.
func runs(scenario, page string, tags ...string) []Entry {
	var list []Entry
	for _, t := range tags {
		list = append(list, Entry{Page: page, Tag: t, Scenario: scenario})
	}
	return list
}
