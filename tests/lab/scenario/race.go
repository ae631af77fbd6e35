package scenario

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pgrex/lib/life"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
)

// Race lets two living nodes lose each other, again and again. Each can reach the
// other one's power; one of them must die, and it must not be the primary.
type Race struct {
	// Rounds is how often.
	Rounds int
	// Azure plays it in the lab's Azure.
	Azure bool
	// Lenient counts what must not happen instead of failing, for showing that it
	// would be seen.
	Lenient bool

	// Log are the rounds that were played.
	Log []Round

	boots map[string]int // of each node, that the rounds so far explain
}

// Round is one cut.
type Round struct {
	// Primary and Standby are the roles before it, DC is the elected controller.
	Primary, Standby, DC string
	// Died are the nodes that lost their power.
	Died []string
	// Asked is when each node's fencer, after the cut, gave the order to its agent;
	// a node that died before that is missing.
	Asked map[string]time.Time
	// Lost is when each node's fencer was told by corosync that the other was lost.
	Lost map[string]time.Time
	// Cut and Gone are when the cut began and when the first node was off.
	Cut, Gone time.Time
}

// Lag is how much later the primary's side began to fence than the standby's,
// negative if sooner. Without an order of both there is none.
func (x Round) Lag() (time.Duration, bool) {
	p, s := x.Asked[x.Primary], x.Asked[x.Standby]
	return p.Sub(s), !p.IsZero() && !s.IsZero()
}

// Used is how much of the standby's delay was over when it lost its power: the time
// from its order to its end. It is 0 if it never came to an order.
func (x Round) Used() time.Duration {
	s := x.Asked[x.Standby]
	if s.IsZero() || x.Gone.Before(s) {
		return 0
	}
	return x.Gone.Sub(s)
}

// wrong says what must not have happened.
func (x Round) wrong() error {
	switch {
	case len(x.Died) > 1:
		return fmt.Errorf("both nodes died: %v", x.Died)
	case !slices.Contains(x.Died, x.Standby):
		return fmt.Errorf("the primary %s died, the standby %s lives", x.Primary, x.Standby)
	}
	return nil
}

// String is a line for people.
func (x Round) String() string {
	side := "primary's"
	if x.DC == x.Standby {
		side = "standby's"
	}
	lag := "-"
	if d, ok := x.Lag(); ok {
		lag = fmt.Sprintf("%dms", d.Milliseconds())
	}
	since := func(at map[string]time.Time, n string) string {
		if at[n].IsZero() {
			return "-"
		}
		return fmt.Sprintf("%.3fs", at[n].Sub(x.Cut).Seconds())
	}
	return fmt.Sprintf("DC on the %s side; died %s after %.3fs; the primary's side began %s after the standby's; %dms of the delay used"+
		"; contact lost after %s by the primary, %s by the standby; fencing asked for after %s and %s",
		side, strings.Join(x.Died, "+"), x.Gone.Sub(x.Cut).Seconds(), lag, x.Used().Milliseconds(),
		since(x.Lost, x.Primary), since(x.Lost, x.Standby), since(x.Asked, x.Primary), since(x.Asked, x.Standby))
}

// Scenario is the race as one.
func (x *Race) Scenario() Scenario {
	name, text := "fence-race", "the nodes lose each other and both can fence, several times, with the DC on either side: exactly one dies, never the primary, nothing is lost"
	if x.Azure {
		name = "azure-fence-race"
	}
	return Scenario{Name: name, Text: text, Azure: x.Azure, Play: x.play}
}

func (x *Race) play(ctx context.Context, r *Run) error {
	x.boots = nil // a matrix plays it on one cluster after the other
	for n := range x.Rounds {
		if n > 0 {
			if err := r.Heal(ctx, healLimit); err != nil {
				return fmt.Errorf("round %d does not heal: %w", n, err)
			}
		}
		// One that serves as the primary since a cut is the DC too; after a
		// switchover the standby is.
		if n%2 == 1 {
			if err := plannedSwitchover(ctx, r); err != nil {
				return fmt.Errorf("before round %d: %w", n+1, err)
			}
		}
		round, err := x.round(ctx, r, n)
		if err == nil && !x.Lenient {
			err = round.wrong()
		}
		r.Log("round %d: %s", n+1, round)
		x.Log = append(x.Log, round)
		if err != nil {
			return fmt.Errorf("round %d: %w", n+1, err)
		}
		if err := r.HealAll(ctx); err != nil {
			return err
		}
		if len(round.Died) > 1 {
			continue // and nobody is left to switch either on again
		}
		if err := r.WaitCommits(ctx, time.Minute); err != nil {
			return fmt.Errorf("round %d: %w", n+1, err)
		}
	}
	return nil
}

func (x *Race) round(ctx context.Context, r *Run, n int) (Round, error) {
	was, err := r.before(ctx)
	if err != nil {
		return Round{}, err
	}
	// A node that was fenced again when it came back has booted once more.
	if x.boots != nil && !maps.Equal(x.boots, was.boots) {
		return Round{}, fmt.Errorf("after the cut before this one the nodes have booted %v times, want %v: one was fenced without need", was.boots, x.boots)
	}
	v, err := r.View(ctx)
	if err != nil {
		return Round{}, err
	}
	round := Round{Primary: was.primary, Standby: was.standby, DC: v.DC, Asked: map[string]time.Time{}, Lost: map[string]time.Time{}}
	lans := []network.LAN{network.Interconnect, network.Replication}
	if n%4 >= 2 {
		lans = lans[:1]
	}
	if err := r.WaitCommits(ctx, 10*time.Second); err != nil {
		return round, err
	}
	cut, err := fault.CutOff(ctx, r.Site, was.standby, lans...)
	if err := r.Must(cut, err); err != nil {
		return round, err
	}
	round.Cut = cut.At
	died := func() ([]string, error) {
		st, err := r.Room(ctx)
		var out []string
		for _, node := range st.Nodes {
			if !node.On() || node.Boots != was.boots[node.Name] {
				out = append(out, node.Name)
			}
		}
		return out, err
	}
	err = host.Poll(ctx, "one node to be fenced", 5*time.Millisecond, func() (bool, error) {
		d, err := died()
		return len(d) > 0, err
	})
	round.Gone = time.Now()
	if err != nil {
		return round, err
	}
	if len(lans) > 1 {
		if err := r.silentBetween(cut.InForce, round.Gone); err != nil {
			return round, err
		}
	}
	// Nobody can be told any more to fence the survivor, but an order may be on its way.
	if err := life.Pause(ctx, time.Second); err != nil {
		return round, err
	}
	if round.Died, err = died(); err != nil {
		return round, err
	}
	x.boots = maps.Clone(was.boots)
	for _, node := range round.Died {
		x.boots[node]++
	}
	return round, x.asked(r, &round)
}

// asked reads from the logs when each side's agent was given its order.
func (x *Race) asked(r *Run, round *Round) error {
	for _, n := range r.NodeNames() {
		lines, err := r.LogSince(n, round.Cut)
		if err != nil {
			return err
		}
		for what, at := range map[string]map[string]time.Time{"Requesting that " + n + " perform": round.Asked, " state is now lost": round.Lost} {
			i := slices.IndexFunc(lines, func(l cluster.LogLine) bool {
				return l.Daemon == "pacemaker-fenced" && strings.Contains(l.Text, what)
			})
			if i >= 0 {
				at[n] = lines[i].At
			}
		}
	}
	return nil
}

// Summary says what came of all rounds.
func (x *Race) Summary() string {
	var (
		b                      strings.Builder
		standby, primary, both int
		lags                   = map[bool][]time.Duration{} // by whether the DC was on the primary's side
		used                   []time.Duration
	)
	for _, k := range x.Log {
		switch {
		case len(k.Died) > 1:
			both++
		case slices.Contains(k.Died, k.Primary):
			primary++
		default:
			standby++
		}
		if d, ok := k.Lag(); ok {
			lags[k.DC == k.Primary] = append(lags[k.DC == k.Primary], d)
		}
		used = append(used, k.Used())
	}
	fmt.Fprintf(&b, "%d cuts: %d times the standby died, %d times the primary, %d times both\n", len(x.Log), standby, primary, both)
	fmt.Fprintf(&b, "order on the primary's side after that on the standby's, DC there: %s\n", spread(lags[true]))
	fmt.Fprintf(&b, "order on the primary's side after that on the standby's, DC with the standby: %s\n", spread(lags[false]))
	fmt.Fprintf(&b, "from the standby's order to its end: %s\n", spread(used))
	return b.String()
}

// spread is the smallest, the middle and the largest of times.
func spread(d []time.Duration) string {
	if len(d) == 0 {
		return "none was seen"
	}
	slices.Sort(d)
	return fmt.Sprintf("min %d, median %d, max %d ms, of %d", d[0].Milliseconds(), d[len(d)/2].Milliseconds(), d[len(d)-1].Milliseconds(), len(d))
}
