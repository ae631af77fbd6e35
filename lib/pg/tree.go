package pg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// WALFile is a file of pg_wal.
type WALFile struct {
	Name string
	Size int64
}

// WALSince lists what pg_wal holds of the log since a place: the segments of that
// timeline and later ones from there on, and all histories. Segments that are
// there in advance, empty, are among them only up to end.
func (s *Server) WALSince(from, end Position) ([]WALFile, error) {
	c, err := s.Control()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(s.WALDir())
	if err != nil {
		return nil, fmt.Errorf("list the WAL: %w", err)
	}
	first := from.LSN - from.LSN%LSN(c.WALSegSize)
	var out []WALFile
	for _, e := range entries {
		tli, start, ok := ParseSegmentName(strings.TrimSuffix(e.Name(), ".partial"), c.WALSegSize)
		history := strings.HasSuffix(e.Name(), ".history")
		if !history && (!ok || tli < from.Timeline || tli > end.Timeline || start < first || start > end.LSN) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("list the WAL: %w", err)
		}
		if info.Mode().IsRegular() {
			out = append(out, WALFile{e.Name(), info.Size()})
		}
	}
	return out, nil
}

// CopyDurably copies a file, with its owner, mode and times left to the new one's
// maker, and syncs it. The directory is for the caller to sync.
func CopyDurably(ctx context.Context, from, to string, opts FileOptions) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // nothing was written
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if os.Geteuid() == 0 {
		if err := out.Chown(opts.UID, opts.GID); err != nil {
			return err
		}
	}
	if opts.Mode != 0 {
		if err := out.Chmod(opts.Mode.Perm()); err != nil {
			return err
		}
	}
	if _, err := io.Copy(out, contextReader{ctx, in}); err != nil {
		return err
	}
	return out.Sync()
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// TreeSize is how much the files below a directory take, in bytes; what goes away
// meanwhile does not count. Links are not followed.
func TreeSize(dir string) (int64, error) {
	var size int64
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			size += st.Blocks * 512
		}
		return nil
	})
	return size, err
}

// FreeSpace is how much may still be written to the file system of a path by
// whoever is not root, in bytes.
func FreeSpace(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", path, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// fullBelow is the room with which a file system is full for a server: that of the
// 64 pages by which PostgreSQL 16 makes a table longer at once.
const fullBelow = 64 * 8192

// Exhausted says what the file system of a path has run out of for whoever is not
// root, as statfs has it: "blocks", "inodes", or "" if there is room.
func Exhausted(path string) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return "", fmt.Errorf("room of %s: %w", path, err)
	}
	return exhausted(st), nil
}

// exhausted is Exhausted of what statfs says. What a file system does not count it
// gives as none of none.
func exhausted(st unix.Statfs_t) string {
	switch {
	case st.Blocks > 0 && int64(st.Bavail)*st.Bsize < fullBelow:
		return "blocks"
	case st.Files > 0 && st.Ffree == 0:
		return "inodes"
	}
	return ""
}

// IsMountPoint says whether a directory is one, so that it cannot be renamed.
func IsMountPoint(dir string) (bool, error) {
	var own, parent unix.Stat_t
	if err := errors.Join(unix.Stat(dir, &own), unix.Stat(filepath.Dir(dir), &parent)); err != nil {
		return false, fmt.Errorf("look at %s: %w", dir, err)
	}
	if own.Dev != parent.Dev {
		return true, nil
	}
	// A bind mount within one file system has the same device.
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && unescapeMount(f[4]) == filepath.Clean(dir) {
			return true, nil
		}
	}
	return false, nil
}

// unescapeMount undoes the kernel's \040 for blanks.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
