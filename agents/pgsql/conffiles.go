package main

import (
	"fmt"
	"strconv"
	"strings"

	"pgrex/lib/pg"
)

// recoveryConf is the content of recovery.conf: how this node's server follows
// the primary. withUpstream is false while master_ip is an address of this node,
// because a standby would then stream from itself.
func (c config) recoveryConf(withUpstream bool) string {
	var b strings.Builder
	b.WriteString("# Written by ocf:pgrex:pgsql at each start; edit the resource's parameters instead.\n")
	set := func(name, value string) { fmt.Fprintf(&b, "%s = %s\n", name, pg.QuoteConf(value)) }
	upstream := ""
	if withUpstream {
		upstream = c.conninfo()
	}
	set("primary_conninfo", upstream)
	set("restore_command", c.restoreCommand)
	set("recovery_target_timeline", "latest")
	if c.archiveCleanup != "" {
		set("archive_cleanup_command", c.archiveCleanup)
	}
	if c.recoveryEnd != "" {
		set("recovery_end_command", c.recoveryEnd)
	}
	if c.slotPrefix != "" {
		set("primary_slot_name", c.slot(c.self))
	}
	return b.String()
}

// repModeConf is the content of rep_mode.conf: whom commits wait for.
func repModeConf(value string) string {
	return "synchronous_standby_names = " + pg.QuoteConf(value) + "\n"
}

// standbyNames writes the value of synchronous_standby_names by which commits wait
// for count of names. One name stands alone, as the reference agent writes it.
func standbyNames(names []string, count int) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = `"` + strings.ReplaceAll(n, `"`, `""`) + `"`
	}
	switch len(quoted) {
	case 0:
		return ""
	case 1:
		return quoted[0]
	}
	method := "FIRST"
	if count < len(quoted) {
		method = "ANY"
	}
	return fmt.Sprintf("%s %d (%s)", method, count, strings.Join(quoted, ", "))
}

// parseStandbyNames reads what standbyNames wrote. ok is false for a value of
// another form, which somebody else wrote: a bare list, for one, means that only
// the first of it is waited for.
func parseStandbyNames(value string) (names []string, count int, ok bool) {
	v := strings.TrimSpace(value)
	if v == "" {
		return nil, 0, true
	}
	rest, all := strings.CutPrefix(v, "FIRST ")
	rest, anyOf := strings.CutPrefix(rest, "ANY ")
	if !all && !anyOf {
		name, rest, ok := quotedName(v)
		if !ok || rest != "" {
			return nil, 0, false
		}
		return []string{name}, 1, true
	}
	number, inner, open := strings.Cut(rest, "(")
	inner, closed := strings.CutSuffix(strings.TrimSpace(inner), ")")
	count, err := strconv.Atoi(strings.TrimSpace(number))
	if !open || !closed || err != nil {
		return nil, 0, false
	}
	for more := true; more; {
		name, rest, ok := quotedName(strings.TrimSpace(inner))
		if !ok {
			return nil, 0, false
		}
		names = append(names, name)
		inner, more = strings.CutPrefix(strings.TrimSpace(rest), ",")
		if !more && inner != "" {
			return nil, 0, false
		}
	}
	if all && count != len(names) || anyOf && (count < 1 || count >= len(names)) || all && anyOf {
		return nil, 0, false
	}
	return names, count, true
}

// quotedName takes one double-quoted name off the front of s.
func quotedName(s string) (name, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return "", "", false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '"' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '"' {
			b.WriteByte('"')
			i++
			continue
		}
		return b.String(), s[i+1:], b.Len() > 0
	}
	return "", "", false
}
