package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pgrex/docs"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
)

// movingPage is the procedure an operator follows.
const movingPage = "moving-from-heartbeat.md"

func dropIns() []Scenario {
	return []Scenario{
		{
			Name:      "drop-in",
			Text:      "a running cluster of the reference agent moves to ours and back by the documented commands: no server restarted, no role changed",
			Reference: true,
			Play:      dropIn,
		},
		{
			Name:      "drop-in-failover",
			Text:      "the same, and then the primary's postmaster is killed: our agent does the failover of servers it did not start",
			Reference: true,
			Play:      dropInFailover,
		},
		{
			Name:      "drop-in-careless",
			Text:      "the provider is changed without maintenance mode: service is interrupted, nothing is lost and nobody is stranded",
			Reference: true,
			Play:      dropInCareless,
		},
	}
}

// picture is what must not change.
type picture struct {
	pids  map[string]int
	words map[string]string
}

func (r *Run) picture(ctx context.Context) (picture, error) {
	p := picture{pids: map[string]int{}, words: map[string]string{}}
	v, err := r.View(ctx)
	if err != nil {
		return p, err
	}
	for _, n := range r.NodeNames() {
		ps, err := fault.Find(r.Site, n, fault.Postmaster)
		if err != nil || len(ps) != 1 {
			return p, errors.Join(err, fmt.Errorf("want one postmaster on %s: %v", n, ps))
		}
		p.pids[n] = ps[0].Pid
		for _, a := range []string{"pgsql-status", "pgsql-data-status", "master-pgsql"} {
			p.words[n+" "+a] = v.Attribute(n, a)
		}
	}
	return p, nil
}

// differs says what is not as before.
func (p picture) differs(now picture) error {
	var bad []string
	for n, pid := range p.pids {
		if now.pids[n] != pid {
			bad = append(bad, fmt.Sprintf("the server on %s was restarted (%d, then %d)", n, pid, now.pids[n]))
		}
	}
	for k, w := range p.words {
		if now.words[k] != w {
			bad = append(bad, fmt.Sprintf("%s was %q and is %q", k, w, now.words[k]))
		}
	}
	if len(bad) > 0 {
		return errors.New(strings.Join(bad, "; "))
	}
	return nil
}

// follow runs the commands of a page with a tag. settings are what the operator
// has to put in, as assignments of the shell.
func (r *Run) follow(ctx context.Context, node, page, tag, settings string) error {
	blocks, err := docs.Commands(page, tag)
	if err != nil {
		return err
	}
	for i, b := range blocks {
		if _, err := r.Sh(ctx, node, "set -e\n"+settings+"\n"+b); err != nil {
			return fmt.Errorf("%s, %s, step %d: %w", page, tag, i+1, err)
		}
	}
	return nil
}

// provider is whose pgsql agent runs.
func provider(v cluster.View) string {
	for _, x := range v.Resources {
		if x.ID == cluster.ResourcePgsql {
			return strings.TrimSuffix(strings.TrimPrefix(x.Agent, "ocf:"), ":pgsql")
		}
	}
	return ""
}

// change follows the page one way and shows that nothing else changed. After
// it, another monitor of each node has to agree.
func (r *Run) change(ctx context.Context, tag, to string) error {
	before, err := r.picture(ctx)
	if err != nil {
		return err
	}
	v, err := r.View(ctx)
	if err != nil {
		return err
	}
	r.Begin(tag)
	if err := r.follow(ctx, v.From, movingPage, tag, ""); err != nil {
		return err
	}
	err = r.Stays(ctx, "roles as before", 12*time.Second, func(now cluster.View) bool {
		return now.Primary() == v.Primary() && provider(now) == to && !now.Maintenance
	})
	if err != nil {
		return err
	}
	after, err := r.picture(ctx)
	if err != nil {
		return err
	}
	if err := before.differs(after); err != nil {
		return fmt.Errorf("moving to %s: %w", to, err)
	}
	r.Log("%s is in charge; postmasters %v and all attributes are as before", to, after.pids)
	return nil
}

func dropIn(ctx context.Context, r *Run) error {
	if err := r.change(ctx, "drop-in", "pgrex"); err != nil {
		return err
	}
	p, _, err := r.Roles(ctx)
	if err != nil {
		return err
	}
	if _, err := r.Sh(ctx, p, "! test -e /var/lib/pgsql/tmp/PGSQL.lock"); err != nil {
		return fmt.Errorf("the former agent's lock is still there: %w", err)
	}
	v, err := r.View(ctx)
	if err != nil {
		return err
	}
	if v.Attribute(p, "pgsql-record") == "" {
		return errors.New("the primary was adopted without a record")
	}
	return r.change(ctx, "drop-in-back", "heartbeat")
}

func dropInFailover(ctx context.Context, r *Run) error {
	if err := r.change(ctx, "drop-in", "pgrex"); err != nil {
		return err
	}
	return postmasterKilled(ctx, r)
}

func dropInCareless(ctx context.Context, r *Run) error {
	v, err := r.View(ctx)
	if err != nil {
		return err
	}
	before, err := r.picture(ctx)
	if err != nil {
		return err
	}
	r.Begin("provider changed without maintenance mode")
	_, err = r.Sh(ctx, v.From, `cibadmin --modify --xml-text '<primitive id="pgsql" class="ocf" provider="pgrex" type="pgsql"/>'`)
	if err != nil {
		return err
	}
	// Pacemaker restarts what changed: new servers say that it is over.
	err = r.Wait(ctx, "our agent in charge of restarted servers", 2*time.Minute, func(v cluster.View) bool {
		now, err := r.picture(ctx)
		if err != nil {
			return false
		}
		for n, pid := range before.pids {
			if now.pids[n] == pid {
				return false
			}
		}
		return provider(v) == "pgrex" && v.Healthy(r.NodeNames())
	})
	if err != nil {
		return err
	}
	return r.WaitCommits(ctx, 30*time.Second)
}
