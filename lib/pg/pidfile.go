package pg

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrBadPidFile is returned for a postmaster.pid that cannot be understood,
// among them the empty one a crash of the machine may leave.
var ErrBadPidFile = errors.New("bad postmaster.pid")

// PidFile is what postmaster.pid says (src/include/utils/pidfile.h). A stale
// file says what was: only Processes tells whether PID is the server.
type PidFile struct {
	PID        int  // of the postmaster or the standalone backend
	Standalone bool // written by "postgres --single"; the file has a negative pid then
	Data       string
	Start      int64  // seconds since 1970, the server's wall clock
	Port       int    // 0 until known
	SocketDir  string // first of unix_socket_directories; empty for none
	ListenAddr string // first of listen_addresses, "*" included; empty for none
	ShmKey     uint64 // System V shared memory of the cluster; 0 until known
	ShmID      int
	Status     PidStatus
}

// PidStatus is the postmaster's own word about itself.
type PidStatus string

// The words postmaster.pid knows. A hot standby is ready like a primary once it
// is consistent; standby means recovery without connections (hot_standby=off).
const (
	PidStarting PidStatus = "starting"
	PidStopping PidStatus = "stopping"
	PidReady    PidStatus = "ready"
	PidStandby  PidStatus = "standby"
)

// ParsePidFile decodes postmaster.pid. Later lines may be missing: the server
// adds them while it starts.
func ParsePidFile(content []byte) (PidFile, error) {
	lines := strings.Split(string(content), "\n")
	pid, err := strconv.ParseInt(strings.TrimSpace(lines[0]), 10, 32)
	if err != nil || pid == 0 {
		return PidFile{}, fmt.Errorf("%w: first line is %.20q", ErrBadPidFile, lines[0])
	}
	p := PidFile{PID: int(pid)}
	if pid < 0 {
		p.PID, p.Standalone = int(-pid), true
	}
	line := func(n int) string {
		if n < len(lines) {
			return lines[n]
		}
		return ""
	}
	p.Data = line(1)
	p.Start, _ = strconv.ParseInt(strings.TrimSpace(line(2)), 10, 64)
	if port, err := strconv.Atoi(strings.TrimSpace(line(3))); err == nil && port > 0 && port < 1<<16 {
		p.Port = port
	}
	p.SocketDir = line(4)
	p.ListenAddr = line(5)
	if f := strings.Fields(line(6)); len(f) == 2 {
		key, kerr := strconv.ParseUint(f[0], 10, 64)
		id, ierr := strconv.Atoi(f[1])
		if kerr == nil && ierr == nil {
			p.ShmKey, p.ShmID = key, id
		}
	}
	p.Status = PidStatus(strings.TrimSpace(line(7)))
	return p, nil
}

// PidFile reads postmaster.pid; a missing one is an fs.ErrNotExist.
func (s *Server) PidFile() (PidFile, error) {
	path := filepath.Join(s.Data, "postmaster.pid")
	b, err := os.ReadFile(path)
	if err != nil {
		return PidFile{}, err
	}
	p, err := ParsePidFile(b)
	if err != nil {
		return PidFile{}, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}
