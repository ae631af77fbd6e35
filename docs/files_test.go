package docs

import (
	"strings"
	"testing"
)

func TestCommands(t *testing.T) {
	const page = "moving-from-heartbeat.md"
	there, err := Commands(page, "drop-in")
	if err != nil {
		t.Fatal(err)
	}
	back, err := Commands(page, "drop-in-back")
	if err != nil {
		t.Fatal(err)
	}
	for name, blocks := range map[string][]string{"there": there, "back": back} {
		all := strings.Join(blocks, "")
		for _, want := range []string{"maintenance-mode=true", "provider=", "crm_resource --refresh", "maintenance-mode=false"} {
			if !strings.Contains(all, want) {
				t.Errorf("%s: no %q in the commands:\n%s", name, want, all)
			}
		}
		if strings.Contains(all, "```") {
			t.Errorf("%s: a fence is in the commands", name)
		}
	}
	for tag, want := range map[string]string{"drop-in-ip": `type=\"cloudip\"`, "drop-in-ip-back": `type=\"IPaddr2\"`} {
		blocks, err := Commands("cloudip.md", tag)
		if err != nil {
			t.Error(err)
		}
		if all := strings.Join(blocks, ""); !strings.Contains(all, want) {
			t.Errorf("%s: no %q in the commands:\n%s", tag, want, all)
		}
	}
	for tag, want := range map[string]string{"replace": `type="fence_ipmi"`, "replace-back": `type="fence_ipmilan"`, "second-level": "stonith level add 2"} {
		blocks, err := Commands("fence_ipmi.md", tag)
		if err != nil {
			t.Error(err)
		}
		if all := strings.Join(blocks, ""); !strings.Contains(all, want) {
			t.Errorf("%s: no %q in the commands:\n%s", tag, want, all)
		}
	}
	for page, tags := range map[string]map[string]string{
		"azure.md": {
			"azure-configure": "pgrex-azure.pcs", "azure-check": "validate-all", "azure-cut": "table inet cut", "azure-mend": "delete table",
		},
		"pgrex.md": {
			"pgrex-configure": "pgrex.pcs", "pgrex-check": "crm_mon", "pgrex-switchover": "--promoted", "pgrex-fence": "stonith fence",
			"archive-cleanup": "pg_archivecleanup",
		},
	} {
		for tag, want := range tags {
			blocks, err := Commands(page, tag)
			if err != nil {
				t.Error(err)
			}
			if all := strings.Join(blocks, ""); !strings.Contains(all, want) {
				t.Errorf("%s: no %q in the commands:\n%s", tag, want, all)
			}
		}
	}
	if _, err := Commands(page, "no-such-tag"); err == nil {
		t.Error("a tag that is not there is no error")
	}
}
