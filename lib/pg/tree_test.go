package pg

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestExhausted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		st   unix.Statfs_t
		want string
	}{
		{"room", unix.Statfs_t{Bsize: 4096, Blocks: 1 << 20, Bfree: 1 << 10, Bavail: 1 << 10, Files: 100, Ffree: 1}, ""},
		{"nothing left", unix.Statfs_t{Bsize: 4096, Blocks: 1 << 20, Files: 100, Ffree: 1}, "blocks"},
		{"what is left is root's", unix.Statfs_t{Bsize: 4096, Blocks: 1 << 20, Bfree: 1 << 10, Bavail: 0, Files: 100, Ffree: 1}, "blocks"},
		{"less than is asked for at once", unix.Statfs_t{Bsize: 4096, Blocks: 1 << 20, Bavail: 127}, "blocks"},
		{"as much as is asked for at once", unix.Statfs_t{Bsize: 4096, Blocks: 1 << 20, Bavail: 128}, ""},
		{"no inode", unix.Statfs_t{Bsize: 4096, Blocks: 1 << 20, Bavail: 1 << 10, Files: 100}, "inodes"},
		{"inodes are not counted", unix.Statfs_t{Bsize: 4096, Blocks: 1 << 20, Bavail: 1 << 10}, ""},
		{"blocks are not counted", unix.Statfs_t{Bsize: 4096}, ""},
	} {
		if got := exhausted(tt.st); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if what, err := Exhausted(t.TempDir()); what != "" || err != nil {
		t.Errorf("a directory for tests: %q, %v", what, err)
	}
	if _, err := Exhausted("/nowhere/at/all"); err == nil {
		t.Error("no error of a path that is not there")
	}
}
