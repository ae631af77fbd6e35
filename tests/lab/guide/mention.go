package guide

import (
	"regexp"
	"strings"
)

// span is code inside of a line of prose.
var span = regexp.MustCompile("`([^`\n]+)`")

// typedWords begin what a reader may type on a machine of a cluster.
var typedWords = regexp.MustCompile(`^(?:pcs|crm_[a-z]+|cibadmin|stonith_admin|az|nft|kill|echo|apt-get|dnf|systemctl|passwd|time|SELECT|pg_[a-z]+|corosync-[a-z]+) \S`)

// Mentioned lists the commands that a page names in its prose.
func Mentioned(text string) []string {
	var all []string
	for _, line := range outside(text) {
		for _, m := range span.FindAllStringSubmatch(line, -1) {
			if typedWords.MatchString(m[1]) {
				all = append(all, m[1])
			}
		}
	}
	return all
}

// outside gives the lines of a page that are in no block.
func outside(text string) []string {
	var lines []string
	in := false
	for _, line := range strings.Split(text, "\n") {
		if fence.MatchString(line) {
			in = !in
			continue
		}
		if !in {
			lines = append(lines, line)
		}
	}
	return lines
}

// Unrun says why the lab does not run commands that the guides mention in prose.
func Unrun() map[string]string {
	return map[string]string{
		"pcs quorum unblock":                                      "what a tool does by itself; a reader is told to wait instead",
		"SELECT pg_drop_replication_slot('pgrex_n2')":             "the example has no slots",
		"az vm stop -g pgrex -n n1 --skip-shutdown":               "for real Azure; azure-primary-power-loss takes the power of the lab's machine",
		"echo c >/proc/sysrq-trigger":                             "the lab's machines have no kernel of their own; azure-primary-power-loss",
		"kill -9 $(head -1 PGDATA/postmaster.pid)":                "azure-postmaster-killed sends that signal, and shows that the process is gone",
		"kill -STOP $(pidof corosync)":                            "comes near, on real machines, to what azure-primary-frozen does to the whole machine",
		"nft add rule inet cut out tcp dport 443 drop":            "azure-unreachable takes the way at the router",
		"nft add rule inet cut out ip daddr 169.254.169.254 drop": "azure-metadata-down stops the service itself",
		"crm_mon -A":                "crm_mon -1 -A is run; without -1 it does not end",
		"pg_archivecleanup -n":      "the command is run without that option, which is only to look",
		"pcs cluster enable":        "what not to do",
		"pcs stonith confirm NODE":  "NODE is a placeholder; azure-fence-fails",
		"time pcs stonith fence n2": "measures real Azure; newcomer fences by the same command",
	}
}
