package crm

import (
	"bytes"
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
type Cache struct {
	// Client tells which daemons run.
	Client *Client
	// Path is the file, in a directory that a boot empties
	// (/run/resource-agents), one per resource instance. See CachePath.
	Path string
	// MaxAge bounds what is believed; 0 means DefaultCacheAge.
	MaxAge time.Duration
	// Uptime is the clock; nil means CLOCK_BOOTTIME.
	Uptime func() (time.Duration, error)
}

// CachePath is the cache's file for a resource instance under the directory for
// temporary files of resource agents (HA_RSCTMP).
func CachePath(rsctmp, instance string) string {
	return filepath.Join(rsctmp, "pgrex-"+filepath.Base(instance)+".cache")
}

// cached is the file's content.
type cached struct {
	Attrd string        `json:"attrd"`
	At    time.Duration `json:"at"`
	Data  []byte        `json:"data"`
}

// Load gives what Store has kept, false if there is nothing to be believed.
func (c *Cache) Load() ([]byte, bool) {
	if c == nil {
		return nil, false
	}
	f, err := os.OpenFile(c.Path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, false
	}
	defer f.Close() //nolint:errcheck // only read
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() || fi.Mode().Perm()&0o022 != 0 {
		return nil, false
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() {
		return nil, false
	}
	text, err := io.ReadAll(io.LimitReader(f, maxCache+1))
	if err != nil || len(text) > maxCache {
		return nil, false
	}
	var x cached
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&x); err != nil {
		return nil, false
	}
	now, err := c.uptime()
	if err != nil || now < x.At || now-x.At > c.maxAge() || !c.Client.SameAttrd(x.Attrd) {
		return nil, false
	}
	return x.Data, true
}

// Store keeps data in place of what was kept before. It fails, and leaves
// nothing, if the daemons cannot be named or the file not be written. id is what
// AttrdID gave before the data was read or written, so that a restart in between
// is noticed; empty means now.
func (c *Cache) Store(data []byte, id string) error {
	if c == nil {
		return errors.New("keep what was written: there is no cache")
	}
	err := c.store(data, id)
	if err != nil {
		c.Drop()
		return fmt.Errorf("keep what was written: %w", err)
	}
	return nil
}

func (c *Cache) store(data []byte, id string) error {
	if id == "" {
		var err error
		if id, err = c.Client.AttrdID(); err != nil {
			return err
		}
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
	f, err := os.CreateTemp(filepath.Dir(c.Path), filepath.Base(c.Path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), c.Path)
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
	if err := os.Remove(c.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
		_ = os.Truncate(c.Path, 0)
	}
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
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("read the boot time clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}
