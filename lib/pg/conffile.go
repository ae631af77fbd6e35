package pg

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// FileOptions say how WriteFile makes a file that is not there yet.
type FileOptions struct {
	Mode     os.FileMode // permission bits; 0 means 0600
	UID, GID int         // owner; used by root only
	// Replace gives the file these even if it exists. Otherwise an existing
	// file keeps its owner and mode.
	Replace bool
}

// WriteFile replaces a file's content so that after any crash either the old or
// the new one is there: a temporary file beside it, fsync, rename, fsync of the
// directory. Symbolic links are followed, also to a file that does not exist
// yet. An SELinux label is kept.
func WriteFile(path string, data []byte, opts FileOptions) error {
	target, err := followLinks(path)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	mode, uid, gid := opts.Mode.Perm(), opts.UID, opts.GID
	if mode == 0 {
		mode = 0o600
	}
	var st unix.Stat_t
	switch err := unix.Stat(target, &st); {
	case err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("write %s: not a regular file", target)
	case err == nil && !opts.Replace:
		mode, uid, gid = os.FileMode(st.Mode&0o777), int(st.Uid), int(st.Gid)
	case err != nil && !errors.Is(err, unix.ENOENT):
		return fmt.Errorf("write %s: %w", target, err)
	}
	f, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".")
	if err != nil {
		return fmt.Errorf("write %s: %w", target, err)
	}
	temp := f.Name()
	err = fill(f, data, mode, uid, gid, target)
	if err == nil {
		err = os.Rename(temp, target)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", target, err), ignoreMissing(os.Remove(temp)))
	}
	return SyncDir(filepath.Dir(target))
}

func fill(f *os.File, data []byte, mode os.FileMode, uid, gid int, like string) error {
	defer f.Close() //nolint:errcheck // Sync has told
	// The owner first: changing it may take mode bits away.
	if os.Geteuid() == 0 {
		if err := f.Chown(uid, gid); err != nil {
			return err
		}
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	label := make([]byte, 512)
	if n, err := unix.Getxattr(like, "security.selinux", label); err == nil && n > 0 {
		// The label given by the directory does in most policies.
		_ = unix.Fsetxattr(int(f.Fd()), "security.selinux", label[:n], 0)
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// followLinks is the file that a path stands for. Unlike filepath.EvalSymlinks
// it accepts a link to a file that is yet to be made.
func followLinks(path string) (string, error) {
	for range 40 {
		dest, err := os.Readlink(path)
		if err != nil {
			if errors.Is(err, unix.EINVAL) || errors.Is(err, fs.ErrNotExist) {
				return path, nil
			}
			return "", err
		}
		if !filepath.IsAbs(dest) {
			dest = filepath.Join(filepath.Dir(path), dest)
		}
		path = dest
	}
	return "", fmt.Errorf("%s: %w", path, unix.ELOOP)
}

// SyncDir makes changes of names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("fsync directory: %w", err)
	}
	defer d.Close() //nolint:errcheck // nothing was written
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("fsync directory %s: %w", dir, err)
	}
	return nil
}

// RemoveFile removes a file durably; one that is not there is no error.
func RemoveFile(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// QuoteConf writes a value for postgresql.conf: in single quotes, with what its
// scanner (guc-file.l) would take for an escape doubled or named.
func QuoteConf(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`, "\n", `\n`, "\r", `\r`).Replace(value) + "'"
}

// ourMark and theirMark end the include lines that this suite and the reference
// agent have added to a configuration file.
const (
	ourMark   = "# added by pgrex"
	theirMark = "# added by pgsql RA"
)

// includeLines gives content with exactly one include_if_exists line of ours for
// each file, in order, at the end, and none of the reference agent's: a plain
// include of a file that is missing would make every reload fail. Content that
// is so already comes back unchanged even if lines of others follow ours, since
// an order an administrator chose is not ours to change; the settings read back
// tell who wins.
func includeLines(content []byte, files []string) []byte {
	var wanted []string
	for _, f := range files {
		wanted = append(wanted, "include_if_exists "+QuoteConf(f)+" "+ourMark)
	}
	var kept bytes.Buffer
	var have []string
	stale := false
	for line := range bytes.Lines(content) {
		text := strings.TrimRight(string(line), "\r\n")
		if isIncludeOf(text, ourMark) {
			have = append(have, text)
			continue
		}
		if isIncludeOf(text, theirMark) {
			stale = true
			continue
		}
		kept.Write(line)
	}
	if !stale && strings.Join(have, "\n") == strings.Join(wanted, "\n") {
		return content
	}
	if b := kept.Bytes(); len(b) > 0 && b[len(b)-1] != '\n' {
		kept.WriteByte('\n')
	}
	for _, w := range wanted {
		kept.WriteString(w + "\n")
	}
	return kept.Bytes()
}

// isIncludeOf says whether a line is an include directive with the given mark.
func isIncludeOf(line, mark string) bool {
	line = strings.TrimSpace(line)
	if !strings.HasSuffix(line, mark) {
		return false
	}
	word := strings.TrimLeft(line, "abcdefghijklmnopqrstuvwxyz_ABCDEFGHIJKLMNOPQRSTUVWXYZ")
	switch strings.ToLower(line[:len(line)-len(word)]) {
	case "include", "include_if_exists":
		return true
	}
	return false
}

// EnsureIncludes makes a configuration file include the given files, and removes
// the reference agent's include lines and our own old ones. It writes only when
// something is to be changed, and says so.
func EnsureIncludes(config string, files []string) (changed bool, err error) {
	content, err := os.ReadFile(config)
	if err != nil {
		return false, fmt.Errorf("include lines: %w", err)
	}
	next := includeLines(content, files)
	if bytes.Equal(content, next) {
		return false, nil
	}
	return true, WriteFile(config, next, FileOptions{})
}
