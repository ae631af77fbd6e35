package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/lib/journal"
	"pgrex/lib/netif"
	"pgrex/lib/proc"
)

// announceCommand is the hidden action that sends announcements in the background.
const announceCommand = "announce"

// task is what a process in the background announces; it is handed over on its command line.
type task struct {
	namespace string
	index     int
	hardware  net.HardwareAddr
	ip        netip.Addr
	count     int
	interval  time.Duration
	request   bool
	reply     bool
	router    bool
}

func (t task) args() []string {
	return []string{
		announceCommand, t.namespace, strconv.Itoa(t.index), t.hardware.String(), t.ip.String(), strconv.Itoa(t.count),
		t.interval.String(), strconv.FormatBool(t.request), strconv.FormatBool(t.reply), strconv.FormatBool(t.router),
	}
}

func parseTask(args []string) (task, error) {
	if len(args) != 9 {
		return task{}, fmt.Errorf("%s takes 9 arguments and is called by the agent itself only", announceCommand)
	}
	t := task{namespace: args[0]}
	var errs [8]error
	t.index, errs[0] = strconv.Atoi(args[1])
	t.hardware, errs[1] = net.ParseMAC(args[2])
	t.ip, errs[2] = netip.ParseAddr(args[3])
	t.count, errs[3] = strconv.Atoi(args[4])
	t.interval, errs[4] = time.ParseDuration(args[5])
	t.request, errs[5] = strconv.ParseBool(args[6])
	t.reply, errs[6] = strconv.ParseBool(args[7])
	t.router, errs[7] = strconv.ParseBool(args[8])
	return t, errors.Join(errs[:]...)
}

func (t task) herald(p netif.Packets) netif.Herald {
	return netif.Herald{Packets: p, IP: t.ip, Hardware: t.hardware, Request: t.request, Reply: t.reply, Router: t.router}
}

// task describes the announcements on a link.
func (a *agent) task(l netif.Link, count int) task {
	t := task{
		namespace: a.conf.namespace, index: l.Index, hardware: l.Hardware, ip: a.conf.ip, count: count,
		interval: a.conf.interval, request: a.conf.request, reply: a.conf.reply,
	}
	if a.conf.ip.Is6() {
		forwarding, err := a.net.Setting("ipv6/conf/" + l.Name + "/forwarding")
		t.router = err == nil && forwarding == "1"
	}
	return t
}

// announce announces the address at once, count times.
func (a *agent) announce(l line, count int) error {
	herald := a.task(l.link, count).herald(l.packets)
	for range count {
		if err := herald.Announce(); err != nil {
			return err
		}
	}
	return nil
}

// tell announces the address at start: the first time at once, the others in the background.
func (a *agent) tell(ctx context.Context, l line) error {
	if a.conf.count == 0 || l.packets == nil {
		return nil
	}
	if err := a.announce(l, 1); err != nil || a.conf.count == 1 {
		return err
	}
	t := a.task(l.link, a.conf.count-1)
	if a.conf.background {
		return a.herald.begin(t)
	}
	return t.run(ctx, a.net, a.log)
}

// run sends the announcements, each after its pause. Between them it listens for others that claim the
// address. An address that is no longer there is no longer announced.
func (t task) run(ctx context.Context, n network, log *slog.Logger) error {
	links, err := n.Links()
	if err != nil {
		return err
	}
	var link netif.Link
	for _, l := range links {
		if l.Index == t.index {
			link = l
		}
	}
	p, err := n.Open(link, netif.Family(t.ip))
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }()
	question := netif.Question{Packets: p, IP: t.ip, Hardware: t.hardware, Own: netif.Own(links)}
	warned := false
	for range t.count {
		wait, cancel := context.WithTimeout(ctx, t.interval)
		who, err := question.Answer(wait, false)
		if who != nil && !warned {
			log.Warn(fmt.Sprintf("another machine on %s, with the hardware address %s, claims %s", link.Name, who, t.ip))
			warned = true
		}
		if err == nil {
			<-wait.Done()
		}
		cancel()
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		addrs, err := n.Addresses(netif.Family(t.ip))
		if err != nil {
			return err
		}
		there := false
		for _, addr := range addrs {
			there = there || addr.Index == t.index && addr.IP() == t.ip
		}
		if !there {
			return nil
		}
		if err := t.herald(p).Announce(); err != nil {
			return err
		}
	}
	return nil
}

// announceSlack is what the announcements may take beside their pauses.
const announceSlack = 10 * time.Second

// bounded runs the task with an end: a process that nobody waits for must not live on because a socket hangs.
func (t task) bounded(n network, slack time.Duration, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(t.count)*t.interval+slack)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- t.run(ctx, n, log) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err() // what does not hear the context ends with the process
	}
}

// announceMain is the process in the background. It logs to the system log only: nobody reads its
// output.
func announceMain(args []string) int {
	j := journal.New(journal.Config{
		Tag: "cloudip(" + announceCommand + ")", PID: os.Getpid(), Syslog: "/dev/log", Level: slog.LevelInfo,
		LookupEnv: os.LookupEnv, Now: time.Now,
	})
	defer j.Close()
	log := j.Logger()
	t, err := parseTask(args)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 2
	}
	n, err := netif.Open(t.namespace)
	if err == nil {
		defer func() { _ = n.Close() }()
		err = t.bounded(n, announceSlack, log)
	}
	if err != nil {
		log.Warn("the address cannot be announced", "ip", t.ip, "error", err)
		return 1
	}
	return 0
}

// launchSelf starts this program again, detached.
func launchSelf(args []string) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	return proc.OS{}.Detach(proc.Cmd{Path: self, Args: args})
}

// background knows the process that announces an address, by its id and start time: an id alone may
// be somebody else's by now.
type background struct {
	state  state
	launch func(args []string) (pid int, err error)
}

const heraldFile = "announcing"

// begin starts the process, after ending one that still runs.
func (b background) begin(t task) error {
	if err := b.end(); err != nil {
		return err
	}
	pid, err := b.launch(t.args())
	if err != nil {
		return err
	}
	started, err := startTime(pid)
	if err != nil {
		return nil //nolint:nilerr // it has come to its end already, and is no child to be awaited
	}
	return b.state.write(heraldFile, fmt.Sprintf("%d %s", pid, started))
}

// endPatience is how long a killed process may take to go. It holds no lock and no disk.
const endPatience = time.Second

// end kills the process if it still runs and waits until it is gone: an announcement after the
// address has left would bring clients here.
func (b background) end() error {
	text, err := os.ReadFile(b.state.path(heraldFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer b.state.remove(heraldFile)
	pidText, started, _ := strings.Cut(string(text), " ")
	pid, err := strconv.Atoi(pidText)
	if err != nil || pid <= 1 {
		return nil //nolint:nilerr // nothing that a write of ours leaves
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil //nolint:nilerr // there is no such process
	}
	defer func() { _ = unix.Close(fd) }()
	// Looked at after the process is pinned: now it cannot be replaced by another.
	if now, err := startTime(pid); err != nil || now != started {
		return nil //nolint:nilerr // the same
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("cannot end process %d, which announces the address: %w", pid, err)
	}
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll, int(endPatience.Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return fmt.Errorf("process %d, which announces the address, does not end", pid)
		}
		return nil
	}
}

// startTime is when a process started, in the kernel's own count.
func startTime(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field is the program's name in parentheses and may hold anything.
	_, rest, _ := strings.Cut(string(b[max(strings.LastIndexByte(string(b), ')'), 0):]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat is not as expected", pid)
	}
	return fields[19], nil
}
