package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
	"pgrex/tests/lab/writer"
)

// ErrViolation says that something happened that must never happen.
var ErrViolation = errors.New("violation")

func violation(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrViolation, fmt.Sprintf(format, args...))
}

// ofViolation leaves out an error that only says that a check could not be made.
func ofViolation(err error) error {
	if errors.Is(err, ErrViolation) {
		return err
	}
	return nil
}

// safety checks what must hold at every moment, whatever state the cluster is in:
// one primary at a time, ended before the next one begins, one owner of the address.
func (r *Run) safety(since time.Time, first string) error {
	var errs []error
	for _, w := range checkEpochs(r.clients.history()) {
		errs = append(errs, violation("%s", w))
	}
	all, err := events(r.C, since)
	errs = append(errs, err)
	_, wrong := checkPromotions(all, first)
	for _, w := range wrong {
		errs = append(errs, violation("%s", w))
	}
	r.total.Answers = 0
	for _, a := range r.arp {
		n, wrong := a.found()
		r.total.Answers += n
		for _, w := range wrong {
			errs = append(errs, violation("two machines have the address: %s", w))
		}
	}
	return errors.Join(errs...)
}

// check looks at everything that must hold after a round; the errors of all checks
// are joined, because the first may be the lesser.
func (r *Run) check(ctx context.Context, round Round, since time.Time, first, oldTimeline string, key int) error {
	errs := []error{r.data(ctx), r.register(key), r.safety(since, first)}
	all, err := events(r.C, since)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	done, _ := checkPromotions(all, first)
	r.total.Promotions += done
	if limit := len(round.Steps) + spare; done > limit {
		errs = append(errs, violation("%d promotions in a round of %d faults: at most %d are expected", done, len(round.Steps), limit))
	}
	v, err := r.C.View(ctx)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	tl, wrong, err := r.timelines(ctx, v.Primary())
	errs = append(errs, err)
	for _, w := range wrong {
		errs = append(errs, violation("%s", w))
	}
	if tl != oldTimeline {
		r.total.Failovers++
	}
	return errors.Join(errs...)
}

// timelines is checkTimelines once all standbys stream the primary's timeline.
func (r *Run) timelines(ctx context.Context, primary string) (tl string, wrong []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	e := host.Poll(ctx, "one timeline on all nodes", 200*time.Millisecond, func() (bool, error) {
		tl, wrong, err = checkTimelines(ctx, r.C, primary)
		return err == nil && len(wrong) == 0, nil
	})
	if err != nil {
		return tl, nil, err
	}
	if e != nil && len(wrong) > 0 {
		return tl, wrong, nil
	}
	return tl, nil, e
}

// register checks the keys of a round.
func (r *Run) register(key int) error {
	ops := slices.DeleteFunc(r.clients.history(), func(o Op) bool { return o.Key < key })
	v := checkRegister(ops, registerPatience)
	r.total.Ops += v.Ops
	r.total.Undecided += len(v.Undecided)
	if len(v.Broken) > 0 {
		return violation("no single register can have answered like this: keys %v", v.Broken)
	}
	return nil
}

// data compares the rows of all clients with the table at the virtual address.
func (r *Run) data(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return r.compare(ctx, appTarget(r.C, network.VIPPrimary))
}

func (r *Run) compare(ctx context.Context, at writer.Target) error {
	rep, err := r.w.Check(ctx, at)
	if err != nil {
		return err
	}
	before := r.clients.rows()
	first, last := r.clients.first, r.clients.first+int64(clientsOfVIP+r.C.Nodes+1)<<32
	ids, err := writer.Rows(ctx, at, first, last)
	if err != nil {
		return err
	}
	own := writer.Compare(before, r.clients.rows(), ids)
	r.Log("data: %v; of the register's clients: %v", rep, own)
	r.total.Acknowledged = rep.Acknowledged + own.Acknowledged
	r.total.Lost = max(r.total.Lost, len(rep.Lost)+len(own.Lost))
	var errs []error
	for _, x := range []writer.Report{rep, own} {
		if err := x.Err(); err != nil {
			errs = append(errs, violation("%v", err))
		}
	}
	return errors.Join(errs...)
}

// standbys looks for the rows at every standby too, once it has replayed what the
// primary has.
func (r *Run) standbys(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	v, err := r.C.View(ctx)
	if err != nil {
		return err
	}
	p := v.Primary()
	for i, n := range r.C.NodeNames() {
		if n == p {
			continue
		}
		before, ops := r.w.History(), r.clients.rows()
		lsn, err := r.C.SQL(ctx, p, "select pg_current_wal_flush_lsn()")
		if err != nil {
			return err
		}
		err = host.Poll(ctx, n+" to replay "+lsn, 100*time.Millisecond, func() (bool, error) {
			out, err := r.C.SQL(ctx, n, "select pg_last_wal_replay_lsn() >= '"+lsn+"'::pg_lsn")
			return strings.TrimSpace(out) == "t", err
		})
		if err != nil {
			return err
		}
		at := appTarget(r.C, network.Address(network.Service, i+1))
		for _, h := range []*writer.History{before, ops} {
			first, last := h.Range()
			ids, err := writer.Rows(ctx, at, first, last)
			if err != nil {
				return fmt.Errorf("standby %s: %w", n, err)
			}
			if lost := writer.Compare(h, h, ids).Lost; len(lost) > 0 {
				r.total.Lost = max(r.total.Lost, len(lost))
				return violation("standby %s lacks %d acknowledged rows, the first: %d", n, len(lost), lost[0])
			}
		}
	}
	return nil
}
