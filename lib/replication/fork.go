package replication

import "fmt"

// Fork is the last place that two lines have in common: everything before it is the same for both.
// ok is false when they cannot be compared, or when they share nothing that is known. A timeline
// that each of them ends on may be two of the same number; apart says that they are, and then only
// what both came by counts.
func Fork(a, b Position, apart bool) (timeline uint32, at LSN, ok bool) {
	if !a.Known() || !b.Known() || a.System != b.System {
		return 0, 0, false
	}
	la, lb := a.line(), b.line()
	for i := 0; i < min(len(la), len(lb)) && la[i].Timeline == lb[i].Timeline; i++ {
		left := i < len(la)-1 && i < len(lb)-1
		if apart && !(left && la[i].End == lb[i].End) {
			break
		}
		timeline, at, ok = la[i].Timeline, min(la[i].End, lb[i].End), true
		if !left || la[i].End != lb[i].End {
			break
		}
	}
	return timeline, at, ok
}

// line is the whole way of a position, its own timeline up to where it is included.
func (p Position) line() []Switch {
	return append(append([]Switch{}, p.History...), Switch{Timeline: p.Timeline, End: p.LSN})
}

// MayBeAcknowledged says whether a client may have been told of commits that this node, a former
// primary or a standby that received them from one, holds beyond the fork, and why. They cannot be,
// in synchronous mode, if every promotion since was by right: a standby's right is gone, where it
// would be used, before a commit is acknowledged without it, so the one that was promoted was being
// waited for until the end.
func MayBeAcknowledged(o Observation) (maybe bool, why string) {
	const local = "only a transaction that asked not to wait (synchronous_commit = local or off) was acknowledged without it"
	switch {
	case o.Mode != Sync:
		return true, "rep_mode is not sync: commits were acknowledged without waiting for a standby"
	case o.NoFencing:
		return true, "stonith-enabled is false: a node can be promoted while another one serves"
	case !o.Wal.WasPrimary && !o.Record.Exists():
		return true, "no record is known here, so neither is who was waited for"
	case !o.Wal.WasPrimary && o.Record.Epoch >= acceptanceStep:
		return true, fmt.Sprintf("a loss was accepted, or a running primary adopted, at some time (epoch %d): perhaps after this node, a standby, had received them", o.Record.Epoch)
	case !o.Wal.WasPrimary:
		return false, fmt.Sprintf("this node was a standby, and commits waited for the one that was promoted (epoch %d); %s", o.Record.Epoch, local)
	case !o.Own.Exists() || o.Own.Primary != o.Self:
		return true, "the record that this node wrote as primary is not known"
	case o.Record.Epoch >= o.Own.Epoch+acceptanceStep:
		return true, fmt.Sprintf("an operator has accepted a loss since this node was primary (its record had epoch %d, the newest has %d)", o.Own.Epoch, o.Record.Epoch)
	}
	return false, fmt.Sprintf("commits waited for the standby that was promoted after this node (epoch %d, now %d); %s", o.Own.Epoch, o.Record.Epoch, local)
}
