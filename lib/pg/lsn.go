package pg

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// LSN is a position in the write-ahead log, in bytes from its beginning. Two
// LSNs may be compared with < only on the same timeline; see Position.
type LSN uint64

// Timeline is PostgreSQL's timeline id. It is 1 after initdb and rises with
// every promotion; 0 means unknown.
type Timeline uint32

// ErrBadLSN is returned when a text is not an LSN.
var ErrBadLSN = errors.New("not an LSN")

// ParseLSN reads PostgreSQL's own form, two hexadecimal numbers of up to eight
// digits with a slash between ("16/B374D848").
func ParseLSN(s string) (LSN, error) {
	hi, lo, ok := strings.Cut(s, "/")
	if !ok || !isHex(hi, 8) || !isHex(lo, 8) {
		return 0, fmt.Errorf("%w: %q", ErrBadLSN, s)
	}
	h, _ := strconv.ParseUint(hi, 16, 32)
	l, _ := strconv.ParseUint(lo, 16, 32)
	return LSN(h<<32 | l), nil
}

// isHex says whether s is one to max hexadecimal digits. strconv alone would
// also take signs and underscores.
func isHex(s string, max int) bool {
	if len(s) == 0 || len(s) > max {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
			return false
		}
	}
	return true
}

// String gives PostgreSQL's form.
func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) }

// Hex gives sixteen zero-padded upper-case digits, the form of the xlog-loc and
// baseline node attributes.
func (l LSN) Hex() string { return fmt.Sprintf("%016X", uint64(l)) }

// UnmarshalText reads PostgreSQL's form, so that an LSN can stand in decoded JSON.
func (l *LSN) UnmarshalText(b []byte) error {
	v, err := ParseLSN(string(b))
	if err == nil {
		*l = v
	}
	return err
}

// MarshalText writes PostgreSQL's form.
func (l LSN) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Position is a place in the log's tree of timelines. Positions of different
// timelines are compared through a History, never by their LSNs alone.
type Position struct {
	Timeline Timeline
	LSN      LSN
}

// String gives "timeline 2, 0/5000060".
func (p Position) String() string { return fmt.Sprintf("timeline %d, %s", p.Timeline, p.LSN) }

// SegmentName is the name of the file in pg_wal that holds the byte at lsn on
// timeline tli, for segments of segSize bytes.
func SegmentName(tli Timeline, lsn LSN, segSize uint32) string {
	segno := uint64(lsn) / uint64(segSize)
	per := uint64(0x100000000) / uint64(segSize)
	return fmt.Sprintf("%08X%08X%08X", uint32(tli), uint32(segno/per), uint32(segno%per))
}

// ParseSegmentName is the inverse of SegmentName: the timeline and the LSN of
// the segment's first byte. ok is false for every other file of pg_wal.
func ParseSegmentName(name string, segSize uint32) (tli Timeline, start LSN, ok bool) {
	if len(name) != 24 || !isHex(name, 24) || segSize == 0 {
		return 0, 0, false
	}
	t, _ := strconv.ParseUint(name[:8], 16, 32)
	hi, _ := strconv.ParseUint(name[8:16], 16, 32)
	lo, _ := strconv.ParseUint(name[16:], 16, 32)
	per := uint64(0x100000000) / uint64(segSize)
	if t == 0 || lo >= per {
		return 0, 0, false
	}
	return Timeline(t), LSN((hi*per + lo) * uint64(segSize)), true
}
