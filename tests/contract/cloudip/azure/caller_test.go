package azure

import (
	"encoding/binary"
	"net"
	"strings"
	"sync"
	"time"

	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
)

// caller talks to the address all the time.
type caller struct {
	w    *world
	conn *net.UDPConn
	stop chan struct{}
	done sync.WaitGroup

	mu     sync.Mutex
	began  time.Time
	heard  []answer
	sent   int
	paused bool
}

// answer is one of them: which machine, when it was asked and when it answered.
type answer struct {
	from      string
	asked, at time.Duration
}

// pace is the time between two questions.
const pace = 4 * time.Millisecond

// calls begins to talk to the address until the test ends.
func (w *world) calls() *caller {
	w.t.Helper()
	c := &caller{w: w, stop: make(chan struct{}), began: time.Now()}
	err := host.InNetns(w.client.Path(), func() error {
		var err error
		c.conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(network.Client)})
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	c.done.Go(c.ask)
	c.done.Go(c.listen)
	w.t.Cleanup(func() {
		close(c.stop)
		_ = c.conn.Close()
		c.done.Wait()
	})
	return c
}

func (c *caller) ask() {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	to := &net.UDPAddr{IP: vip.AsSlice(), Port: echoPort}
	for {
		select {
		case <-c.stop:
			return
		case <-tick.C:
		}
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], uint64(time.Since(c.began)))
		_, _ = c.conn.WriteToUDP(b[:], to) // no answer is what is looked for, too
		c.mu.Lock()
		c.sent++
		c.mu.Unlock()
	}
}

func (c *caller) listen() {
	b := make([]byte, 64)
	for {
		k, from, err := c.conn.ReadFromUDP(b)
		if err != nil {
			select {
			case <-c.stop:
				return
			default:
				continue // an ICMP error of an earlier question
			}
		}
		if k <= 8 || !from.IP.Equal(vip.AsSlice()) {
			continue
		}
		c.mu.Lock()
		c.heard = append(c.heard, answer{string(b[8:k]), time.Duration(binary.BigEndian.Uint64(b)), time.Since(c.began)})
		c.mu.Unlock()
	}
}

// who are the machines that answered, in order of the questions, each once for as
// long as no other did.
func (c *caller) who() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for _, a := range c.heard {
		if len(names) == 0 || names[len(names)-1] != a.from {
			names = append(names, a.from)
		}
	}
	return strings.Join(names, " ")
}

// gap is the longest time without an answer between two different machines.
func (c *caller) gap() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	var longest time.Duration
	for i := 1; i < len(c.heard); i++ {
		longest = max(longest, c.heard[i].at-c.heard[i-1].at)
	}
	return longest
}

// from waits until a machine answers a question that is asked from now on.
func (c *caller) from(machine string, within time.Duration) {
	c.w.t.Helper()
	now := time.Since(c.began)
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(pace) {
		c.mu.Lock()
		n := len(c.heard)
		ok := n > 0 && c.heard[n-1].asked > now && c.heard[n-1].from == machine
		c.mu.Unlock()
		if ok {
			return
		}
	}
	c.w.t.Fatalf("%s does not answer within %v; there answered: %s", machine, within, c.who())
}

// silent checks that nobody answers for a while.
func (c *caller) silent(d time.Duration) {
	c.w.t.Helper()
	now := time.Since(c.began)
	time.Sleep(d)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.heard {
		if a.asked > now {
			c.w.t.Errorf("%s answers", a.from)
			return
		}
	}
}

// never more than one at a time: the machines answered in this order, and none of
// them again after the next had begun.
func (c *caller) order(want string) {
	c.w.t.Helper()
	if got := c.who(); got != want {
		c.w.t.Errorf("there answered %q, want %q", got, want)
	}
	c.w.t.Logf("answered: %s; longest silence %v of a client that asks every %v", c.who(), c.gap().Round(time.Millisecond), pace)
}
