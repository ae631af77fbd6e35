package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/host"
)

func syncs() []Scenario {
	return []Scenario{
		{
			Name: "checkpointer-stopped",
			Text: "the primary's checkpointer hangs while the standby comes back: commits do not wait for the standby then, so it gets no right until they do",
			Play: checkpointerStopped,
		},
	}
}

func checkpointerStopped(ctx context.Context, r *Run) error {
	p, s, err := r.Pair(ctx)
	if err != nil {
		return err
	}
	r.Begin("node standby " + s)
	if err := r.Pcs(ctx, p, "node", "standby", s); err != nil {
		return err
	}
	// Commits go on while it has its server, and with it its right.
	if err := r.gone(ctx, s, fault.Postgres, time.Minute); err != nil {
		return err
	}
	if err := r.WaitCommits(ctx, time.Minute); err != nil {
		return err
	}
	checkpointer := fault.Child("checkpointer")
	if err := r.Must(fault.Signal(ctx, r.Site, p, "checkpointer", checkpointer, sigstop)); err != nil {
		return err
	}
	stopped := true
	defer func() {
		if stopped {
			_, _ = fault.Signal(context.WithoutCancel(ctx), r.Site, p, "checkpointer", checkpointer, sigcont)
		}
	}()
	if err := r.Pcs(ctx, p, "node", "unstandby", s); err != nil {
		return err
	}
	err = host.Poll(ctx, "the standby to stream", 200*time.Millisecond, func() (bool, error) {
		out, err := r.SQL(ctx, p, "select count(*) from pg_stat_replication where state = 'streaming'")
		return out == "1", err
	})
	if err != nil {
		return err
	}
	// The server may show it as synchronous all the same.
	err = r.Stays(ctx, "no right for "+s+" while the checkpointer hangs", 10*time.Second, func(v cluster.View) bool {
		return v.Score(s) != "100" && v.Score(s) != "1000"
	})
	if err != nil {
		out, _ := r.SQL(ctx, p, "select state, sync_state from pg_stat_replication")
		return fmt.Errorf("%w; the server shows %s", err, out)
	}
	ps, err := fault.Find(r.Site, p, checkpointer)
	if err != nil || len(ps) != 1 {
		return errors.Join(err, errors.New("the fault did not last: the checkpointer is gone"))
	}
	stopped = false
	if _, err := fault.Signal(ctx, r.Site, p, "checkpointer", checkpointer, sigcont); err != nil {
		return err
	}
	return r.WaitSync(ctx, s, time.Minute)
}
