package replication

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a byte position in the write-ahead log, compared as a number (never as
// text: "0/9000000" is older than "0/10000000").
type LSN uint64

// String gives PostgreSQL's own form, for example "0/3000148".
func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) }

// ParseLSN reads PostgreSQL's "X/Y" form.
func ParseLSN(s string) (LSN, error) {
	hi, lo, ok := strings.Cut(s, "/")
	if !ok {
		return 0, fmt.Errorf("LSN %q: want the form X/Y in hexadecimal", s)
	}
	h, err := strconv.ParseUint(hi, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("LSN %q: want the form X/Y in hexadecimal", s)
	}
	l, err := strconv.ParseUint(lo, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("LSN %q: want the form X/Y in hexadecimal", s)
	}
	return LSN(h<<32 | l), nil
}

// Switch says where a timeline was left: everything on Timeline up to End
// belongs to the line, nothing after it does.
type Switch struct {
	Timeline uint32
	End      LSN
}

// Position is how far the WAL of one server reaches, with the line of timelines
// it came by. Two positions can only be compared through that line: the same
// LSN on two timelines may be two different histories.
type Position struct {
	System   uint64   // database system identifier; 0 = not known
	Timeline uint32   // timeline of the newest WAL
	LSN      LSN      // newest of received, flushed and replayed
	History  []Switch // ancestors of Timeline, oldest first
}

// Known reports whether the position says anything.
func (p Position) Known() bool { return p.Timeline != 0 }

// Contains reports whether all WAL up to other is part of this server's line:
// the same system, and either the same timeline and not further, or an ancestor
// left at or after that point. Two servers that were promoted without knowing of
// each other carry the same timeline number; they are told apart by where they
// left the older ones.
func (p Position) Contains(other Position) bool {
	if !p.Known() || !other.Known() || p.System != other.System || !p.sameLine(other) {
		return false
	}
	if p.Timeline == other.Timeline {
		return other.LSN <= p.LSN
	}
	for _, s := range p.History {
		if s.Timeline == other.Timeline {
			return other.LSN <= s.End
		}
	}
	return false
}

// sameLine reports whether p and other left each ancestor that both list at the
// same point.
func (p Position) sameLine(other Position) bool {
	for _, a := range p.History {
		for _, b := range other.History {
			if a.Timeline == b.Timeline && a.End != b.End {
				return false
			}
		}
	}
	return true
}

// String names the position the way operators read it: "timeline 2 at 0/3000148".
func (p Position) String() string {
	if !p.Known() {
		return "unknown position"
	}
	return fmt.Sprintf("timeline %d at %s", p.Timeline, p.LSN)
}

// maxPublishedSwitches bounds the history that is published as a node
// attribute. Nodes that are further apart than this many promotions cannot be
// compared from memory, which is answered by waiting, never by guessing.
const maxPublishedSwitches = 16

// Published is a Position as one node tells it to the others, stamped with the
// epoch of the newest record the node knew. The stamp makes a position that was
// left over from before the last promotion or change of rights void.
type Published struct {
	Epoch uint64
	Position
}

// String is the value of the node attribute "<resource>-position".
func (p Published) String() string {
	h := p.History
	if len(h) > maxPublishedSwitches {
		h = h[len(h)-maxPublishedSwitches:]
	}
	parts := make([]string, len(h))
	for i, s := range h {
		parts[i] = fmt.Sprintf("%d@%s", s.Timeline, s.End)
	}
	return fmt.Sprintf("epoch=%d system=%d timeline=%d lsn=%s history=%s",
		p.Epoch, p.System, p.Timeline, p.LSN, strings.Join(parts, ","))
}

// ParsePublished reads what Published.String wrote. Unknown keys are passed
// over, so that a newer version's value can be read by an older agent during a
// rolling upgrade.
func ParsePublished(s string) (Published, error) {
	var p Published
	err := eachField(s, func(key, value string) (err error) {
		switch key {
		case "epoch":
			p.Epoch, err = strconv.ParseUint(value, 10, 64)
		case "system":
			p.System, err = strconv.ParseUint(value, 10, 64)
		case "timeline":
			p.Timeline, err = parseTimeline(value)
		case "lsn":
			p.LSN, err = ParseLSN(value)
		case "history":
			p.History, err = parseSwitches(value)
		}
		return err
	})
	if err != nil {
		return Published{}, fmt.Errorf("position %q: %w", s, err)
	}
	if p.Timeline == 0 {
		return Published{}, fmt.Errorf("position %q: no timeline", s)
	}
	return p, nil
}

func parseSwitches(s string) ([]Switch, error) {
	var out []Switch
	for _, part := range splitList(s) {
		tl, end, ok := strings.Cut(part, "@")
		if !ok {
			return nil, fmt.Errorf("history entry %q: want timeline@LSN", part)
		}
		t, err := parseTimeline(tl)
		if err != nil {
			return nil, err
		}
		l, err := ParseLSN(end)
		if err != nil {
			return nil, err
		}
		out = append(out, Switch{Timeline: t, End: l})
	}
	return out, nil
}

func parseTimeline(s string) (uint32, error) {
	v, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("timeline %q: want a number", s)
	}
	return uint32(v), nil
}

// eachField walks the "key=value" words of an attribute's value.
func eachField(s string, f func(key, value string) error) error {
	for _, word := range strings.Fields(s) {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			return fmt.Errorf("%q: want key=value", word)
		}
		if err := f(key, value); err != nil {
			return err
		}
	}
	return nil
}

func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
}
