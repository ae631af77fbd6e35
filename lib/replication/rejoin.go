package replication

// rebuild decides how a node returns whose data cannot go on as it is. why says what is wrong with
// it, without what to do; rewindable says that its WAL is a branch of the primary's line, so that
// pg_rewind finds the fork.
//
// Overwriting is allowed only by the primary that the newest record names, and never to a node that
// this record entitles: such a node may hold what nobody else has.
func (o Observation) rebuild(up Upstream, rewindable bool, why string) Decision {
	if o.Rejoin != Rewind && o.Rejoin != Clone {
		return no("rebuild it with pg_basebackup: %s", why)
	}
	switch {
	case !o.Record.Exists() || o.Record.Primary != up.Node || up.Timeline < o.Record.Position.Timeline:
		return no("check which node is right, by the record (epoch %d) %s is the primary and not who answers at the replication address: nothing is overwritten; %s",
			o.Record.Epoch, list(set(nonEmpty(o.Record.Primary))), why)
	case o.Record.Entitles(o.Self):
		return no("check its data: by the record (epoch %d) this node holds every commit, so nothing of it is overwritten; %s", o.Record.Epoch, why)
	}
	bar := o.NoRewind
	if !rewindable {
		bar = "pg_rewind does not find the point where it left the line of " + up.Node
	}
	if bar == "" {
		return Decision{Verdict: Again, Steps: []Step{{Kind: RewindData, Node: up.Node}}, Reason: why}
	}
	if o.Rejoin == Rewind {
		return no("rebuild it with pg_basebackup, or set rejoin=clone: %s; %s", bar, why)
	}
	if o.NoClone != "" {
		return no("rebuild it with pg_basebackup: it cannot be cloned, %s; %s; %s", o.NoClone, bar, why)
	}
	return Decision{Verdict: Again, Steps: []Step{{Kind: CloneData, Node: up.Node}}, Reason: why + "; " + bar}
}

// startBroken is Start for a data directory that is no server's any more.
func (o Observation) startBroken() Decision {
	if o.Upstream == nil {
		return no("start %s first: the data directory is unusable (%s), and no primary answers that it could be copied from",
			list(o.others()), o.Broken)
	}
	o.NoRewind = o.Broken
	return o.rebuild(*o.Upstream, true, "the data directory is unusable after "+o.Broken)
}

// nonEmpty is a list of the names that are one.
func nonEmpty(names ...string) []string { return minus(names, "") }
