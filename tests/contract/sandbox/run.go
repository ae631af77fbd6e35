package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every program that is run here.
const patience = time.Minute

// Outcome is what a caller of a program sees.
type Outcome struct {
	Code           int
	Stdout, Stderr string
	Took           time.Duration
}

// String shows all of it.
func (o Outcome) String() string {
	return fmt.Sprintf("code %d after %v\n%s%s", o.Code, o.Took.Round(time.Millisecond), o.Stdout, o.Stderr)
}

// Call runs a program with a text on its standard input and returns whatever
// comes of it. The test fails only if the program cannot be run, or takes longer
// than a minute.
func Call(t testing.TB, stdin, program string, args ...string) Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begin := time.Now()
	err := cmd.Run()
	var status *exec.ExitError
	if err != nil && (ctx.Err() != nil || !errors.As(err, &status)) {
		t.Fatalf("%s %s: %v", program, strings.Join(args, " "), err)
	}
	return Outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String(), time.Since(begin)}
}

// Processes counts the programs that a call of a program runs, itself included, by
// strace: threads are not counted. The program must succeed or say 2, which is off.
func Processes(t testing.TB, stdin, program string, args ...string) int {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	o := Call(t, stdin, "strace", append([]string{"-f", "-qq", "-o", trace, "-e", "trace=execve", program}, args...)...)
	if o.Code != 0 && o.Code != 2 {
		t.Fatalf("strace %s: %v", program, o)
	}
	n := 0
	for line := range strings.Lines(ReadFile(t, trace)) {
		if strings.Contains(line, "execve(") && strings.HasSuffix(strings.TrimSpace(line), "= 0") {
			n++
		}
	}
	return n
}

// Terminate runs a program like Call and sends it SIGTERM after a while; the
// outcome tells how long it took to end after that.
func Terminate(t testing.TB, after time.Duration, stdin, program string, args ...string) Outcome {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	begin := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("%s had ended before: %v: %s", program, err, stderr.String())
	}
	kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	_ = cmd.Wait()
	return Outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String(), time.Since(begin)}
}

// Command runs a tool of the test itself, which must succeed, and returns both of
// its outputs.
func Command(t testing.TB, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Eventually waits for a condition and fails the test without it.
func Eventually(t testing.TB, what string, within time.Duration, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		if cond() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain for: %s", within, what)
		}
	}
}

// TempDir is a directory for one test that every user may look into, as
// t.TempDir is not.
func TempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(Work, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// ReadFile returns a file that has to be there.
func ReadFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// WriteFile writes a file with exactly this mode.
func WriteFile(t testing.TB, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// LookupUser returns a user's number and that of its group.
func LookupUser(name string) (uid, gid int, err error) {
	// The system's own tool: it knows users that no file has.
	out, err := exec.Command("getent", "passwd", name).Output()
	if err != nil {
		return 0, 0, fmt.Errorf("there is no user %s: run make deps", name)
	}
	fields := strings.Split(strings.TrimSpace(string(out)), ":")
	if len(fields) < 4 {
		return 0, 0, fmt.Errorf("getent passwd %s: %q", name, out)
	}
	_, err = fmt.Sscan(fields[2]+" "+fields[3], &uid, &gid)
	return uid, gid, err
}

// GiveTo makes a path belong to a user and that user's group.
func GiveTo(user, path string) error {
	uid, gid, err := LookupUser(user)
	if err != nil {
		return err
	}
	return os.Chown(path, uid, gid)
}

// HasWord reports whether a line of a text begins with a word, as in the lists
// that pcs, crmsh and agents print.
func HasWord(text, word string) bool {
	for line := range strings.Lines(text) {
		fields := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\n:*(", r) })
		if len(fields) > 0 && fields[0] == word {
			return true
		}
	}
	return false
}

// Schemas of meta-data: of resource agents (with its DTD, whose directory
// ocf-tester judges in) and of fence agents.
const (
	ResourceSchema = "/usr/share/resource-agents/metadata.rng"
	ResourceDTD    = "/usr/share/resource-agents/ra-api-1.dtd"
	FenceSchema    = "/usr/share/cluster/relaxng/metadata.rng"
)

// OCF11Schema is a pattern for where pcs keeps its schema of OCF 1.1; the place
// differs between distributions.
const OCF11Schema = "/usr/*/pcs/data/ocf-1.1.rng"

// XMLLint judges a document by xmllint with some of its options ("--relaxng",
// a schema; "--valid"), as ocf-tester has it done: from its standard input, in
// the directory of the DTD. A schema may be a pattern.
func XMLLint(document string, options ...string) error {
	args := []string{"--noout", "--nonet"}
	for _, o := range options {
		if found, _ := filepath.Glob(o); filepath.IsAbs(o) && len(found) > 0 {
			o = found[0]
		}
		args = append(args, o)
	}
	cmd := exec.Command("xmllint", append(args, "-")...)
	cmd.Dir = filepath.Dir(ResourceDTD)
	cmd.Stdin = strings.NewReader(document)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("xmllint %s: %w\n%s", strings.Join(options, " "), err, out)
	}
	return nil
}

// RemoveGroups removes the control groups of labs, by a pattern for their names, that
// came to a sudden end. All their processes are gone with the sandbox. For Leave.
func RemoveGroups(labs string) {
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/freezer"} {
		left, _ := filepath.Glob(root + "/pgrex-lab/" + labs)
		for _, group := range left {
			nodes, _ := filepath.Glob(group + "/*/")
			for _, dir := range append(nodes, group) {
				_ = os.Remove(dir)
			}
		}
	}
}
