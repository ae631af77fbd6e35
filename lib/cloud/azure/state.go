package azure

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// record is what is remembered of an address between one action and the next. Nothing in it is a secret, and
// nothing in it is believed where ARM can be asked.
type record struct {
	// Boot is the boot it was written in: ours may be another machine by the next.
	Boot string
	// Self is this machine; valid for the boot only.
	Self *self `json:",omitempty"`
	// Peer is the NIC, other than ours, that was seen with the address last.
	Peer string `json:",omitempty"`
	// Template is the ipConfiguration as it was before it was removed, Number that of its tags.
	Template config `json:",omitempty"`
	Number   int    `json:",omitempty"`
	// Flight is a change that was sent and not seen to end.
	Flight *flight `json:",omitempty"`
}

// flight is a change that may be under way.
type flight struct {
	// URL tells how it goes; "" if the answer was not seen.
	URL string
}

// store keeps records in files for root alone.
type store struct{ dir, root string }

func (s store) path(address netip.Addr) string {
	return filepath.Join(s.dir, "azure-"+strings.NewReplacer(".", "-", ":", "-").Replace(address.String())+".json")
}

// read is what is remembered; nothing, if it cannot be read.
func (s store) read(address netip.Addr) record {
	var r record
	data, err := os.ReadFile(s.path(address))
	if err != nil || json.Unmarshal(data, &r) != nil {
		return record{}
	}
	if r.Boot != s.boot() {
		r.Self, r.Flight = nil, nil
	}
	return r
}

// edit changes what is remembered.
func (s store) edit(address netip.Addr, change func(*record)) error {
	r := s.read(address)
	change(&r)
	r.Boot = s.boot()
	return s.write(s.path(address), r)
}

// boot is the id of this boot.
func (s store) boot() string {
	b, err := os.ReadFile(filepath.Join("/", s.root, "proc/sys/kernel/random/boot_id"))
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

// write replaces a file so that it is there whole or not at all, also after a crash.
func (s store) write(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.dir, ".azure-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// refusedFor is how long a refusal of moveIpConfigurations is believed.
const refusedFor = 24 * time.Hour

// refusal is a remembered refusal of moveIpConfigurations.
type refusal struct {
	Boot string
	// Until is a time since the boot.
	Until time.Duration
}

func (s store) refusalPath() string { return filepath.Join(s.dir, "azure-no-move.json") }

// moveRefused reports whether moveIpConfigurations was refused not long ago.
func (s store) moveRefused() bool {
	var r refusal
	data, err := os.ReadFile(s.refusalPath())
	if err != nil || json.Unmarshal(data, &r) != nil {
		return false
	}
	now := sinceBoot()
	return r.Boot == s.boot() && now < r.Until && r.Until <= now+refusedFor
}

// refuseMove remembers that it was refused.
func (s store) refuseMove() error {
	return s.write(s.refusalPath(), refusal{s.boot(), sinceBoot() + refusedFor})
}

// sinceBoot counts the time asleep as well, and nobody sets it.
func sinceBoot() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
