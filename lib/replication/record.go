package replication

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Record is what the cluster must not forget: who was primary last, and who may
// succeed it. It is kept as the forever node attribute "<resource>-record" and
// as a durable file beside the data directory of every node that learns it.
// The newest epoch wins.
type Record struct {
	// Epoch orders the records; 0 means that there is no record. Each write adds
	// one to the newest known epoch, a promotion adds promotionStep, an operator's
	// acceptance of loss adds acceptanceStep.
	Epoch uint64
	// Primary is the node that was promoted last, or is about to be.
	Primary string
	// Entitled are the nodes that hold every acknowledged commit, Primary among
	// them. Sorted.
	Entitled []string
	// Leaving are the nodes whose right was taken away but which are not yet
	// proven to know it: they may still act on the older right. Sorted.
	Leaving []string
	// Quorum, when not 0, says that the Entitled but for Primary are voters: each
	// acknowledged commit is held by Primary and by any Quorum of them. Then none of
	// them may succeed alone; see quorum.go.
	Quorum int
	// Position is how far the primary's WAL reached when this was written. It is
	// for people and for logs; no rule reads it.
	Position Position
}

// The steps by which epochs grow. A primary that was cut off may still write a
// few changes (it withdraws rights, but cannot grant any) that its successor
// never sees; the successor's record must be newer than all of them, or the
// cluster would believe the deposed primary when both return. In the same way
// whoever an operator chose must outrank all that the missing nodes wrote.
const (
	changeStep     = 1
	promotionStep  = 1000
	acceptanceStep = 1000000
)

// Exists reports whether there is a record at all.
func (r Record) Exists() bool { return r.Epoch != 0 }

// Entitles reports whether node may succeed by this record.
func (r Record) Entitles(node string) bool { return slices.Contains(r.Entitled, node) }

// entitlesAlone reports whether node holds every acknowledged commit by itself.
func (r Record) entitlesAlone(node string) bool {
	return r.Entitles(node) && (r.Quorum == 0 || node == r.Primary)
}

// Concerned are the nodes that may hold acknowledged commits nobody else has,
// as far as this record can tell: the last primary, everybody entitled, and
// everybody whose right is not yet proven gone.
func (r Record) Concerned() []string {
	all := append([]string{}, r.Entitled...)
	all = append(all, r.Leaving...)
	if r.Primary != "" {
		all = append(all, r.Primary)
	}
	return set(all)
}

// Newer reports whether r is to be believed over other. Equal epochs with
// different content come from claims and withdrawals that were cut short before
// anybody served by them; the longer WAL and then the name decide, so that all
// nodes choose alike.
func (r Record) Newer(other Record) bool {
	if r.Epoch != other.Epoch {
		return r.Epoch > other.Epoch
	}
	if r.Position.Timeline != other.Position.Timeline {
		return r.Position.Timeline > other.Position.Timeline
	}
	if r.Position.LSN != other.Position.LSN {
		return r.Position.LSN > other.Position.LSN
	}
	return r.Primary > other.Primary
}

// Newest gives the record to be believed among several.
func Newest(records ...Record) Record {
	var best Record
	for _, r := range records {
		if r.Newer(best) {
			best = r
		}
	}
	return best
}

// Equal compares all that is written down.
func (r Record) Equal(other Record) bool { return r.String() == other.String() }

// String is the value of the node attribute and the line in the file.
func (r Record) String() string {
	if !r.Exists() {
		return ""
	}
	quorum := ""
	if r.Quorum > 0 {
		quorum = fmt.Sprintf(" quorum=%d", r.Quorum)
	}
	return fmt.Sprintf("epoch=%d primary=%s entitled=%s leaving=%s%s system=%d timeline=%d lsn=%s",
		r.Epoch, r.Primary, strings.Join(r.Entitled, ","), strings.Join(r.Leaving, ","), quorum,
		r.Position.System, r.Position.Timeline, r.Position.LSN)
}

// ParseRecord reads what Record.String wrote. The empty string is no record and
// no error. Unknown keys are passed over for the sake of rolling upgrades; a
// record without epoch or primary is an error, because reading it as "nobody is
// entitled" would be a guess.
func ParseRecord(s string) (Record, error) {
	var r Record
	if strings.TrimSpace(s) == "" {
		return r, nil
	}
	err := eachField(s, func(key, value string) (err error) {
		switch key {
		case "epoch":
			r.Epoch, err = strconv.ParseUint(value, 10, 64)
		case "primary":
			r.Primary = value
		case "entitled":
			r.Entitled = set(splitList(value))
		case "leaving":
			r.Leaving = set(splitList(value))
		case "quorum":
			r.Quorum, err = strconv.Atoi(value)
		case "system":
			r.Position.System, err = strconv.ParseUint(value, 10, 64)
		case "timeline":
			r.Position.Timeline, err = parseTimeline(value)
		case "lsn":
			r.Position.LSN, err = ParseLSN(value)
		}
		return err
	})
	if err != nil {
		return Record{}, fmt.Errorf("record %q: %w", s, err)
	}
	if r.Epoch == 0 || r.Primary == "" {
		return Record{}, fmt.Errorf("record %q: epoch or primary is missing", s)
	}
	return r, nil
}

// next starts the write that follows r, step epochs later.
func (r Record) next(step uint64, primary string, entitled, leaving []string, at Position) Record {
	return Record{
		Epoch:    r.Epoch + step,
		Primary:  primary,
		Entitled: set(entitled),
		Leaving:  minus(set(leaving), entitled...),
		Position: Position{System: at.System, Timeline: at.Timeline, LSN: at.LSN},
	}
}

// set sorts and removes doubles.
func set(names []string) []string {
	out := slices.Clone(names)
	slices.Sort(out)
	return slices.Compact(out)
}

// minus gives the names that are not among those taken away.
func minus(names []string, away ...string) []string {
	var out []string
	for _, n := range names {
		if !slices.Contains(away, n) {
			out = append(out, n)
		}
	}
	return out
}

// with gives the names and those added, as a set.
func with(names []string, add ...string) []string {
	return set(append(slices.Clone(names), add...))
}
