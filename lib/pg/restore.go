package pg

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"pgrex/lib/proc"
)

// RestoreCommand gives a FetchSegment that runs a restore_command as the
// server's owner, as the server would, with files going to dir, which must be
// writable for that user. It brings nothing when the command fails, which is
// how such commands say that they have no such file; a command killed by a
// signal or by ctx is an error, as it is for the server.
func (s *Server) RestoreCommand(command, dir string) FetchSegment {
	return func(ctx context.Context, name string) (string, error) {
		if command == "" {
			return "", nil
		}
		path := filepath.Join(dir, name)
		ctl, err := s.Control()
		if err != nil {
			return "", err
		}
		res, err := s.runner().Run(ctx, proc.Cmd{
			Path: "/bin/sh", Args: []string{"-c", expandRestore(command, name, path, ctl)},
			Dir: s.Data, User: s.user(), Umask: 0o077,
		})
		if err != nil {
			return "", fmt.Errorf("restore_command: %w", err)
		}
		// 126 and 127 (cannot be run) are the shell's, above are signals.
		if res.ExitCode > 125 {
			return "", fmt.Errorf("restore_command ended with %d: %s", res.ExitCode, res.Message())
		}
		st, err := os.Stat(path)
		if res.ExitCode != 0 || err != nil || st.Size() != int64(ctl.WALSegSize) {
			return "", nil
		}
		return path, nil
	}
}

// expandRestore replaces %f, %p, %r and %% as PostgreSQL does.
func expandRestore(command, name, path string, ctl ControlData) string {
	var b strings.Builder
	for i := 0; i < len(command); i++ {
		if command[i] != '%' || i+1 == len(command) {
			b.WriteByte(command[i])
			continue
		}
		i++
		switch command[i] {
		case 'f':
			b.WriteString(name)
		case 'p':
			b.WriteString(path)
		case 'r':
			b.WriteString(SegmentName(ctl.Timeline, ctl.RedoLSN, ctl.WALSegSize))
		case '%':
			b.WriteByte('%')
		default:
			b.WriteString(command[i-1 : i+1])
		}
	}
	return b.String()
}
