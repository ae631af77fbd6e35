package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"pgrex/lib/pg"
)

// phase is how far a rewind or a clone has come.
type phase string

// The phases. What makes the data directory unusable is written before it begins.
const (
	phaseNone        phase = ""
	phaseBegun       phase = "begun"       // the worker is at it; nothing is overwritten yet
	phaseOverwriting phase = "overwriting" // pg_rewind changes the data directory
	phaseRewound     phase = "rewound"     // it has; this node's own files are to be put back
	phaseCopied      phase = "copied"      // a copy lies beside the data directory, complete
	phaseSwapping    phase = "swapping"    // the two change places
	phaseDone        phase = "done"        // the data directory is the primary's past again
	phaseFailed      phase = "failed"      // nothing was overwritten; reason says why
)

// mark is what stands beside the data directory while it is replaced, so that
// whoever comes next knows, also after a loss of power.
type mark struct {
	phase  phase
	method string // methodRewind or methodClone
	then   string // what the rules say if that is in vain, "" for nothing
	node   string // the primary it is replaced from
	reason string
	// broken says what has made the data directory unusable, "" while it is a server's.
	broken string
	// fork is where this node left the primary's line, end where its own ended when it
	// was kept, found where it ends now: a recovery of ours makes it longer.
	fork, end, found pg.Position
	// timeline is the primary's, next the one that it went to at fork.
	timeline, next pg.Timeline
	// acknowledged says whether clients may have been told of commits beyond fork.
	acknowledged string
	// kept is the directory of the WAL beyond fork, and summary a line about it.
	kept, summary string
}

const (
	methodRewind = "rewind"
	methodClone  = "clone"
)

// unusable says why no server may be started over the data directory, "" if one may.
func (m mark) unusable() string {
	switch {
	case m.phase == phaseDone:
		return ""
	case m.phase == phaseRewound, m.phase == phaseSwapping:
		return "a " + m.method + " that is not finished"
	}
	return m.broken
}

func (m mark) String() string {
	var b strings.Builder
	b.WriteString("# Written by ocf:pgrex:pgsql while the data directory is replaced. See docs/rejoin.md before you touch it.\n")
	for _, f := range m.fields() {
		if v := f.get(); v != "" {
			fmt.Fprintf(&b, "%s: %s\n", f.name, strings.Join(strings.Fields(v), " "))
		}
	}
	return b.String()
}

type markField struct {
	name string
	get  func() string
	set  func(string) error
}

func (m *mark) fields() []markField {
	text := func(name string, p *string) markField {
		return markField{name, func() string { return *p }, func(s string) error { *p = s; return nil }}
	}
	place := func(name string, p *pg.Position) markField {
		return markField{name, func() string {
			if p.Timeline == 0 {
				return ""
			}
			return fmt.Sprintf("%d@%s", p.Timeline, p.LSN)
		}, func(s string) error {
			tli, lsn, _ := strings.Cut(s, "@")
			if _, err := fmt.Sscan(tli, &p.Timeline); err != nil {
				return err
			}
			at, err := pg.ParseLSN(lsn)
			p.LSN = at
			return err
		}}
	}
	timeline := func(name string, p *pg.Timeline) markField {
		return markField{name, func() string { return strconv.FormatUint(uint64(*p), 10) }, func(s string) error {
			_, err := fmt.Sscan(s, p)
			return err
		}}
	}
	return []markField{
		timeline("timeline", &m.timeline), timeline("next", &m.next),
		text("phase", (*string)(&m.phase)), text("method", &m.method), text("then", &m.then), text("primary", &m.node), text("reason", &m.reason), text("broken", &m.broken),
		place("fork", &m.fork), place("end", &m.end), place("found", &m.found),
		text("acknowledged", &m.acknowledged), text("kept", &m.kept), text("summary", &m.summary),
	}
}

// parseMark reads what String wrote. Unknown fields are passed over.
func parseMark(content string) (mark, error) {
	var m mark
	fields := m.fields()
	for line := range strings.Lines(content) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		for _, f := range fields {
			if f.name != name {
				continue
			}
			if err := f.set(value); err != nil {
				return mark{}, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	switch m.phase {
	case phaseBegun, phaseOverwriting, phaseRewound, phaseCopied, phaseSwapping, phaseDone, phaseFailed:
		return m, nil
	}
	return mark{}, fmt.Errorf("phase %q is none", m.phase)
}

func (c config) markFile() string { return c.data + ".pgrex-rejoin" }

// readMark reads the mark; without a file its phase is phaseNone.
func (a *agent) readMark() (mark, error) {
	b, err := os.ReadFile(a.conf.markFile())
	if errors.Is(err, fs.ErrNotExist) {
		return mark{}, nil
	}
	if err != nil {
		return mark{}, fmt.Errorf("read how far the rejoin came: %w", err)
	}
	m, err := parseMark(string(b))
	if err != nil {
		return mark{}, fmt.Errorf("%s cannot be understood (%w): rebuild the data directory with pg_basebackup and remove that file", a.conf.markFile(), err)
	}
	return m, nil
}

func (a *agent) writeMark(m mark) error {
	if err := pg.WriteFile(a.conf.markFile(), []byte(m.String()), pg.FileOptions{Mode: 0o600, Replace: true}); err != nil {
		return fmt.Errorf("write how far the rejoin came: %w", err)
	}
	return nil
}

// places are the directories beside the data directory in which it is replaced.
type places struct {
	data, clone, old, aside     string
	wal, cloneWAL, oldWAL, link string // wal is "" while pg_wal lies in data
}

// places finds them. The data directory may be a link, and may be missing for the
// moment in which it changes places.
func (a *agent) places() (places, error) {
	data := a.conf.data
	for range 40 {
		to, err := os.Readlink(data)
		if err != nil {
			break
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(data), to)
		}
		data = filepath.Clean(to)
	}
	p := places{data: data, clone: data + ".pgrex-clone", old: data + ".pgrex-old", aside: data + ".pgrex-aside"}
	for _, dir := range []string{p.data, p.old} {
		link, err := os.Readlink(filepath.Join(dir, "pg_wal"))
		if err != nil {
			continue
		}
		if !filepath.IsAbs(link) {
			return p, fmt.Errorf("%s/pg_wal is a link to the relative path %s: make it absolute", dir, link)
		}
		p.link, p.wal = link, filepath.Clean(link)
		if real, err := filepath.EvalSymlinks(link); err == nil {
			p.wal = real
		}
		p.cloneWAL, p.oldWAL = p.wal+".pgrex-clone", p.wal+".pgrex-old"
		break
	}
	return p, nil
}
