package crm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// DefaultCacheAge is how long what a Cache holds is believed.
	DefaultCacheAge = 60 * time.Second
	// defaultCacheDir is what resource-agents are built with as HA_RSCTMP.
	defaultCacheDir = "/run/resource-agents"
	// maxCache is the size of a cache file that is read, in bytes.
	maxCache = 1 << 20
)

// Cache remembers between two actions what was last written to the cluster's
// memory, so that a monitor that finds nothing new need not ask. It is a
// convenience: what it holds is never ground for releasing a commit or for a
// promotion, and anything odd about it means that there is nothing.
//
// It is believed only as long as the daemons that keep the attributes are the
// same starts, and for MaxAge at most, by the clock that runs on through a
// suspend. Every action, notification and change of peers drops it.
//
// A Cache belongs to one action, and one goroutine uses it.
type Cache struct {
	// Name is the name of the file, one per resource instance.
	Name string
	// Dir is a directory that a boot empties; empty means the one for
	// temporary files of resource agents (HA_RSCTMP).
	Dir string
	// MaxAge bounds what is believed; 0 means DefaultCacheAge.
	MaxAge time.Duration
	// Client tells which daemons run; nil means those in /proc.
	Client *Client
	// Uptime is the clock; nil means CLOCK_BOOTTIME.
	Uptime func() (time.Duration, error)

	// began are the daemons that ran when the action first looked. What it
	// wrote before one of them restarted is gone.
	began string
}

// cached is the file's content.
type cached struct {
	Attrd string        `json:"attrd"`
	At    time.Duration `json:"at"`
	Data  string        `json:"data"`
}

// Load gives what Store has kept, false if there is nothing to be believed.
func (c *Cache) Load() (string, bool) {
	if c == nil {
		return "", false
	}
	x, ok := c.load()
	if !ok {
		c.begin()
		return "", false
	}
	c.began = x.Attrd
	return x.Data, true
}

func (c *Cache) load() (x cached, ok bool) {
	f, err := os.OpenFile(c.path(), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return x, false
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() || fi.Mode().Perm()&0o022 != 0 {
		return x, false
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() {
		return x, false
	}
	text, err := io.ReadAll(io.LimitReader(f, maxCache+1))
	if err != nil || len(text) > maxCache {
		return x, false
	}
	if err := json.Unmarshal(text, &x); err != nil {
		return x, false
	}
	now, err := c.uptime()
	if err != nil || now < x.At || now-x.At > c.maxAge() {
		return x, false
	}
	return x, c.client().SameAttrd(x.Attrd)
}

// Store keeps data in place of what was kept before. It fails, and leaves
// nothing, if the file cannot be written, if the daemons do not run, or if one of
// them was started again since Load or Drop of this Cache.
func (c *Cache) Store(data string) error {
	if c == nil {
		return errors.New("keep what was written: there is no cache")
	}
	if err := c.store(data); err != nil {
		c.Drop()
		return fmt.Errorf("keep what was written: %w", err)
	}
	return nil
}

func (c *Cache) store(data string) error {
	id, err := c.client().AttrdID()
	if err != nil {
		return err
	}
	if c.began != "" && c.began != id {
		return errors.New("the daemons that keep it have been restarted meanwhile")
	}
	now, err := c.uptime()
	if err != nil {
		return err
	}
	text, err := json.Marshal(cached{Attrd: id, At: now, Data: data})
	if err != nil {
		return err
	}
	if len(text) > maxCache {
		return fmt.Errorf("%d bytes are too much", len(text))
	}
	f, err := os.CreateTemp(filepath.Dir(c.path()), filepath.Base(c.path())+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), c.path())
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// Drop forgets what is kept. What cannot be removed is believed until it is too
// old, which is why nothing that must not be wrong may rest on it.
func (c *Cache) Drop() {
	if c == nil {
		return
	}
	c.begin()
	if err := os.Remove(c.path()); err != nil && !errors.Is(err, os.ErrNotExist) {
		_ = os.Truncate(c.path(), 0)
	}
}

// begin notes which daemons run, once.
func (c *Cache) begin() {
	if c.began == "" {
		// None is an answer too: Store fails then as long as there is none.
		c.began, _ = c.client().AttrdID()
	}
}

func (c *Cache) client() *Client {
	if c.Client == nil {
		return &Client{}
	}
	return c.Client
}

// path is the file. A name cannot lead out of the directory.
func (c *Cache) path() string {
	dir := c.Dir
	if dir == "" {
		dir = defaultCacheDir
	}
	return filepath.Join(dir, filepath.Base(c.Name)+".cache")
}

func (c *Cache) maxAge() time.Duration {
	if c.MaxAge == 0 {
		return DefaultCacheAge
	}
	return c.MaxAge
}

func (c *Cache) uptime() (time.Duration, error) {
	if c.Uptime != nil {
		return c.Uptime()
	}
	return Uptime()
}

// Uptime is the time since this machine's boot, suspends included: a clock that
// nobody sets.
func Uptime() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("read the boot time clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}
