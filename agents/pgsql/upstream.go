package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"pgrex/lib/pg"
	"pgrex/lib/replication"
)

const (
	// upstreamTimeout bounds one question to the primary.
	upstreamTimeout = 3 * time.Second
	// upstreamGlance bounds that of a monitor soon after the server's start. The cluster
	// waits for each action that it has begun before it acts on what it has learned since: a
	// monitor that waits for the primary's address may be what keeps it from being started.
	upstreamGlance = 500 * time.Millisecond
)

// upstream asks the primary at master_ip, for a time, who it is and by which line it came.
func (a *agent) upstream(ctx context.Context, limit time.Duration) (replication.Upstream, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := a.server.DialUpstream(ctx, a.conf.conninfo())
	if err != nil {
		return replication.Upstream{}, err
	}
	defer conn.Close()
	id, err := conn.Identify(ctx)
	if err != nil {
		return replication.Upstream{}, err
	}
	history, err := conn.History(ctx, id.Timeline)
	if err != nil {
		return replication.Upstream{}, err
	}
	return replication.Upstream{
		Node: a.promoted(),
		Position: replication.Position{
			System: id.SystemID, Timeline: uint32(id.Timeline), LSN: replication.LSN(id.LSN), History: switches(history),
		},
	}, nil
}

// awaitUpstream gives a primary that the cluster says is there a moment to answer.
func (a *agent) awaitUpstream(ctx context.Context) (replication.Upstream, error) {
	ctx, cancel := context.WithTimeout(ctx, upstreamPatience)
	defer cancel()
	tick := time.NewTicker(waitPoll)
	defer tick.Stop()
	for {
		up, err := a.upstream(ctx, upstreamTimeout)
		if err == nil {
			return up, nil
		}
		// These do not mend themselves.
		if pg.IsAuth(err) || pg.IsDenied(err) || errors.Is(err, pg.ErrConninfo) {
			return replication.Upstream{}, err
		}
		select {
		case <-ctx.Done():
			return replication.Upstream{}, err
		case <-tick.C:
		}
	}
}

// pointUpstream makes a standby whose primary_conninfo does not match follow
// master_ip, once that is not an address of this node.
func (a *agent) pointUpstream(ctx context.Context, conn *pg.Conn, st pg.Status) error {
	local, err := localAddress(ctx, a.conf.primaryIP)
	if err != nil || local {
		return err
	}
	want := a.conf.conninfo()
	if st.Setting("primary_conninfo").Value == want {
		return nil
	}
	if err := a.writeFile(a.conf.recoveryFile(), a.conf.recoveryConf(true)); err != nil {
		return err
	}
	if err := a.server.Reload(); err != nil {
		return err
	}
	if err := a.awaitConninfo(ctx, conn, want); err != nil {
		return err
	}
	a.log.Info("the standby follows", "master_ip", a.conf.primaryIP)
	return nil
}

// awaitConninfo waits until primary_conninfo is in force. Its value is not for
// the log: it may hold a password.
func (a *agent) awaitConninfo(ctx context.Context, conn *pg.Conn, want string) error {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	set, err := conn.WaitSetting(ctx, "primary_conninfo", want)
	if err != nil {
		return fmt.Errorf("primary_conninfo after a reload is still that of %s: remove it there, the agent sets it in %s", set.From(), a.conf.recoveryFile())
	}
	return nil
}

// lookupLimit bounds the look-up of a master_ip that is a name.
const lookupLimit = time.Second

// localAddress reports whether host is an address of this node. A name that
// cannot be looked up counts as remote.
func localAddress(ctx context.Context, host string) (bool, error) {
	ips := []net.IP{net.ParseIP(host)}
	if ips[0] == nil {
		ctx, cancel := context.WithTimeout(ctx, lookupLimit)
		defer cancel()
		var err error
		if ips, err = net.DefaultResolver.LookupIP(ctx, "ip", host); err != nil {
			return false, nil
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false, fmt.Errorf("list this node's addresses: %w", err)
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if ok && slices.ContainsFunc(ips, n.IP.Equal) {
			return true, nil
		}
	}
	return false, nil
}
