package fault

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"pgrex/tests/lab/host"
	"pgrex/tests/lab/site"
)

// filler takes the room of a volume.
const filler = "lab-filler"

// Fill takes all room of a volume of a node that a user has, node.DataVolume or
// node.WALVolume.
func Fill(ctx context.Context, s *site.Site, node, volume string) (Evidence, error) {
	e := Evidence{At: time.Now(), Fault: volume + " of " + node + " full"}
	out, err := s.Must(ctx, node, "sh", "-c", filling(volume))
	e.InForce = time.Now()
	if err != nil {
		return e, err
	}
	e.Detail = "bytes left: " + strings.TrimSpace(out)
	if left, err := strconv.Atoi(strings.TrimSpace(out)); err != nil || left >= roomLeft {
		return e, fmt.Errorf("%s of %s was filled and is not full: %q bytes left", volume, node, out)
	}
	return e, nil
}

// roomLeft is less than what a server asks for at once.
const roomLeft = 128 << 10

// filling is the script of Fill. ext4 gives the room of what was removed back when its journal
// is written, up to 5 s later: that is waited for, or some room would come by itself.
func filling(volume string) string {
	return fmt.Sprintf(`sync -f %[1]s; fallocate -l $(df --output=avail -B1 %[1]s | tail -1) %[1]s/%[2]s >&2; df --output=avail -B1 %[1]s | tail -1`,
		volume, filler)
}

// Emptying is a script that takes back what Fill did to volumes, and does no harm to those
// that were not filled or are not there.
func Emptying(volumes ...string) string {
	script := "rm -f"
	for _, v := range volumes {
		script += " " + v + "/" + filler
	}
	return script
}

// ReadOnly does to a volume of a node what ext4 does by itself when it finds an error.
func ReadOnly(ctx context.Context, s *site.Site, node, volume string) (Evidence, error) {
	e := Evidence{At: time.Now(), Fault: volume + " of " + node + " read-only"}
	out, err := s.Must(ctx, node, "sh", "-c", fmt.Sprintf("mount -o remount,abort %[1]s; touch %[1]s/probe 2>&1; true", volume))
	e.InForce = time.Now()
	e.Detail = strings.TrimSpace(out)
	if err == nil && !strings.Contains(out, "Read-only") {
		err = fmt.Errorf("it takes writes: %q", out)
	}
	return e, err
}

// Hang makes a volume of a node hang, node.DataVolume or node.WALVolume, and shows that
// its server has stopped over it: one of its processes waits and nothing wakes it.
func Hang(volume string) func(context.Context, *site.Site, string) (Evidence, error) {
	return func(ctx context.Context, s *site.Site, node string) (Evidence, error) {
		e := Evidence{At: time.Now(), Fault: volume + " of " + node + " hangs"}
		if err := s.Hang(ctx, node, volume); err != nil {
			return e, err
		}
		e.InForce = time.Now()
		err := host.Poll(ctx, "a process that waits for the volume", 50*time.Millisecond, func() (bool, error) {
			ps, err := Find(s, node, Postgres)
			if err != nil {
				return false, err
			}
			for _, p := range ps {
				if state(p.Pid) == "D" && time.Since(e.InForce) > time.Second {
					e.Detail = fmt.Sprintf("the file system takes no writes, process %s waits in the kernel", p)
					return true, nil
				}
			}
			return false, nil
		})
		return e, err
	}
}
