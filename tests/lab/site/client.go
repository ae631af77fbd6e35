package site

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/lib/proc"
	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
)

// Site gives orders to the machine room of one lab. It holds no connection and
// may be used from several goroutines.
type Site struct{ State }

// Build starts the daemon for a plan and returns once it obeys. Leftovers of
// dead labs are cleaned away first. It is an error if the lab exists.
func Build(ctx context.Context, p Plan) (*Site, error) {
	if err := errors.Join(host.NeedRoot(), p.Check()); err != nil {
		return nil, err
	}
	var err error
	if p.Builder, err = thisProcess(); err != nil {
		return nil, err
	}
	lock, err := claim(ctx, p)
	if err != nil {
		return nil, err
	}
	// The daemon alone holds it afterwards.
	defer lock.Close()
	s, err := start(ctx, p, lock)
	if err != nil {
		return nil, errors.Join(err, removeOwn(ctx, p))
	}
	return s, nil
}

// start starts the daemon, which inherits the lock, and waits until it obeys.
func start(ctx context.Context, p Plan, lock *os.File) (*Site, error) {
	plan, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	logfile := filepath.Join(p.Dir(), "daemon.log")
	out, err := os.Create(logfile)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	d, err := host.Start(host.Program{
		Path: "/proc/self/exe", Args: []string{"lab", "_daemon", string(plan)},
		Clone: unix.CLONE_NEWNS, Files: []*os.File{nil, out, out, lock}, Session: true,
	})
	if err != nil {
		return nil, err
	}
	s := &Site{}
	err = host.Poll(ctx, "the lab's daemon", 5*time.Millisecond, func() (bool, error) {
		select {
		case <-d.Done:
			b, _ := os.ReadFile(logfile)
			return false, fmt.Errorf("it ended: %s", strings.TrimSpace(string(b)))
		default:
		}
		var err error
		s.State, err = Load(p.Name)
		if errors.Is(err, ErrNoLab) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		_ = unix.Kill(d.Pid, unix.SIGKILL)
		<-d.Done
		return nil, err
	}
	return s, nil
}

// Open finds a living lab.
func Open(name string) (*Site, error) {
	s, err := Load(name)
	if err != nil {
		return nil, err
	}
	if !s.Alive() {
		return nil, fmt.Errorf("lab %q is dead: its daemon ended; clean up with \"lab down --name=%s\"", name, name)
	}
	return &Site{s}, nil
}

// Demolish takes a lab down, also a dead one.
func Demolish(ctx context.Context, name string) error {
	s, err := Load(name)
	if errors.Is(err, ErrNoLab) {
		return removeDead(ctx, Plan{Name: name})
	}
	if err != nil {
		return err
	}
	if s.Alive() {
		site := &Site{s}
		if _, err := site.order(ctx, request{Op: opDown}); err != nil {
			_ = unix.Kill(s.Daemon, unix.SIGKILL)
		}
		err := host.Poll(ctx, "the lab's end", 10*time.Millisecond, func() (bool, error) { return !s.Alive(), nil })
		if err != nil {
			return err
		}
	}
	return removeDead(ctx, s.Plan)
}

func (s *Site) order(ctx context.Context, q request) (response, error) {
	var r response
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", s.socket())
	if err != nil {
		return r, fmt.Errorf("lab %s does not answer: %w", s.Name, err)
	}
	defer c.Close()
	if t, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(t)
	}
	if err := json.NewEncoder(c).Encode(q); err != nil {
		return r, err
	}
	if err := json.NewDecoder(c).Decode(&r); err != nil {
		return r, fmt.Errorf("lab %s: %s %s: no answer: %w", s.Name, q.Op, q.Node, err)
	}
	if r.Error != "" {
		return r, fmt.Errorf("lab %s: %s %s: %s", s.Name, q.Op, q.Node, r.Error)
	}
	return r, nil
}

// Keep says that the lab is complete: it no longer ends with the process that
// made it, unless that is its owner.
func (s *Site) Keep(ctx context.Context) error {
	_, err := s.order(ctx, request{Op: opKeep})
	return err
}

// Status asks for the state of all machines.
func (s *Site) Status(ctx context.Context) (Status, error) {
	r, err := s.order(ctx, request{Op: opStatus})
	if err != nil {
		return Status{}, err
	}
	return *r.Status, nil
}

// Node asks for the state of one machine.
func (s *Site) Node(ctx context.Context, name string) (NodeStatus, error) {
	st, err := s.Status(ctx)
	if err != nil {
		return NodeStatus{}, err
	}
	n, ok := st.Node(name)
	if !ok {
		return NodeStatus{}, fmt.Errorf("lab %s has no node %q (nodes: %s)", s.Name, name, strings.Join(s.NodeNames(), " "))
	}
	return n, nil
}

// Power switches a machine on or off.
func (s *Site) Power(ctx context.Context, node string, on bool) error {
	_, err := s.order(ctx, request{Op: opPower, Node: node, On: on})
	return err
}

// Freeze stops or continues a machine with everything on it.
func (s *Site) Freeze(ctx context.Context, node string, on bool) error {
	_, err := s.order(ctx, request{Op: opFreeze, Node: node, On: on})
	return err
}

// Hang makes a volume of a machine hang, see node.Hang.
func (s *Site) Hang(ctx context.Context, name, volume string) error {
	_, err := s.order(ctx, request{Op: opHang, Node: name, Volume: volume, On: true})
	return err
}

// Release lets a machine's volume that hangs go on as if nothing had been.
func (s *Site) Release(ctx context.Context, name string) error {
	_, err := s.order(ctx, request{Op: opHang, Node: name})
	return err
}

// Cut drops a machine's packets on LANs. BMCs are machines too, see bmc.MachineOf.
func (s *Site) Cut(ctx context.Context, machine string, d network.Direction, lans ...network.LAN) error {
	_, err := s.order(ctx, request{Op: opCut, Node: machine, Dir: d, LANs: lans})
	return err
}

// Heal takes cuts back.
func (s *Site) Heal(ctx context.Context, machine string, lans ...network.LAN) error {
	_, err := s.order(ctx, request{Op: opHeal, Node: machine, LANs: lans})
	return err
}

// HealAll takes all cuts back.
func (s *Site) HealAll(ctx context.Context) error {
	_, err := s.order(ctx, request{Op: opHealAll})
	return err
}

// BMC starts a node's management controller or lets it crash.
func (s *Site) BMC(ctx context.Context, node string, on bool) error {
	_, err := s.order(ctx, request{Op: opBMC, Node: node, On: on})
	return err
}

// Traffic reads the switch's counters for a machine.
func (s *Site) Traffic(ctx context.Context, machine string) (map[network.LAN]network.Traffic, error) {
	r, err := s.order(ctx, request{Op: opTraffic, Node: machine})
	return r.Traffic, err
}

// Upper is where files of a node lie, seen from here. Before its first boot,
// writing there is how a node is furnished.
func (s *Site) Upper(node string) string {
	return s.see(filepath.Join(s.nodeDir(node), "upper"))
}

// Logs is a node's /var/log, seen from here, whether it is on or off.
func (s *Site) Logs(node string) string { return s.see(filepath.Join(s.nodeDir(node), "log")) }

// see translates a path of the daemon's view.
func (s *Site) see(path string) string { return fmt.Sprintf("/proc/%d/root%s", s.Daemon, path) }

// Exec runs a program on a node, as root, and gives its output and exit status.
func (s *Site) Exec(ctx context.Context, node string, args ...string) (proc.Result, error) {
	return s.ExecInput(ctx, node, "", args...)
}

// ExecInput is Exec for a program that reads stdin.
func (s *Site) ExecInput(ctx context.Context, node, stdin string, args ...string) (proc.Result, error) {
	enter, err := s.Enter(ctx, node)
	if err != nil {
		return proc.Result{}, err
	}
	cmd := proc.Cmd{Path: enter[0], Args: append(enter[1:], args...), MaxOutput: 64 << 20, Env: []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root", "TERM=dumb", "OCF_ROOT=/usr/lib/ocf"}}
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	return proc.OS{}.Run(ctx, cmd)
}

// Must is Exec where another exit status than zero is an error. It returns the
// standard output.
func (s *Site) Must(ctx context.Context, node string, args ...string) (string, error) {
	res, err := s.Exec(ctx, node, args...)
	if err != nil {
		return "", err
	}
	if res.ExitCode != 0 {
		return string(res.Stdout), fmt.Errorf("on %s: %w", node,
			&host.ExitError{Cmd: strings.Join(args, " "), Code: res.ExitCode, Message: res.Message()})
	}
	return string(res.Stdout), nil
}

// Enter is the command line that puts a program into a node: into its
// namespaces, and before that into its control group, so that it is frozen and
// dies with the rest.
func (s *Site) Enter(ctx context.Context, node string) ([]string, error) {
	n, err := s.Node(ctx, node)
	if err != nil {
		return nil, err
	}
	if !n.On() {
		return nil, fmt.Errorf("node %s is powered off", node)
	}
	g, err := host.NewFreezer(s.nodeGroup(node))
	if err != nil {
		return nil, err
	}
	return []string{"/bin/sh", "-c", `echo 0 >"$0" && exec "$@"`, g.Procs(),
		"nsenter", fmt.Sprintf("--target=%d", n.Pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", "--"}, nil
}

// Netns is the network namespace of a machine that is on.
func (s *Site) Netns(ctx context.Context, node string) (string, error) {
	n, err := s.Node(ctx, node)
	if err != nil {
		return "", err
	}
	if !n.On() {
		return "", fmt.Errorf("node %s is powered off", node)
	}
	return fmt.Sprintf("/proc/%d/ns/net", n.Pid), nil
}

// PowerSwitch is one node's power as a management controller works it.
type PowerSwitch struct {
	Site *Site
	Node string
	Ctx  context.Context
}

// PowerState says whether the node is on.
func (p PowerSwitch) PowerState() (bool, error) {
	n, err := p.Site.Node(p.Ctx, p.Node)
	return n.On(), err
}

// SetPower returns once the node is on or off.
func (p PowerSwitch) SetPower(on bool) error { return p.Site.Power(p.Ctx, p.Node, on) }

// Logger writes the daemon's log, with milliseconds.
func Logger(f *os.File) *slog.Logger {
	return slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.String(slog.TimeKey, a.Value.Time().Format("15:04:05.000"))
		}
		return a
	}}))
}

// Pids lists all processes of a machine, as the host numbers them.
func (s *Site) Pids(node string) ([]int, error) {
	f, err := host.NewFreezer(s.nodeGroup(node))
	if err != nil {
		return nil, err
	}
	return f.Pids()
}
