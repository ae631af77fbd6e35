package guide

// The scenarios that follow a page.
const (
	newcomer   = "newcomer"
	azure      = "guide-azure"
	operations = "guide-operations"
)

// Pages are those whose every block is in the list.
func Pages() []string { return []string{"install.md", "pgrex.md"} }

// Covered is the list.
func Covered() []Entry {
	return []Entry{
		{Page: "install.md", Tag: "install-needs", Scenario: newcomer},
		{Page: "install.md", Tag: "install-services", Scenario: newcomer},
		{Page: "install.md", Tag: "install-packages", Scenario: newcomer},
		{Page: "install.md", Tag: "install-check", Scenario: newcomer},
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
	}
}
