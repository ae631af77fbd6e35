// Package sandbox is what the contract tests of every agent stand on: it puts a
// whole test program into namespaces of its own (mounts, network, processes),
// installs the built agents there as they are on a node, and runs programs as a
// caller of an agent would. Whatever a test leaves behind ends with it.
//
// It knows no agent: what one is asked and what is right is for the tests that
// use it. Nothing of the product is imported, so that a defect there cannot hide
// itself.
//
// A package of tests begins with
//
//	func TestMain(m *testing.M) { os.Exit(sandbox.Main(m, sandbox.Config{...})) }
package sandbox

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	// BinEnv names the directory of the built programs, absolute; bin/ of the project without it.
	BinEnv = "PGREX_BIN"
	// Work is an empty directory of the sandbox for everything that tests write.
	Work = "/run/pgrex-contract"

	// stage is where the agents were installed before they are laid over their directories.
	stage = Work + "/stage"

	// insideEnv tells the test program that it already is in the sandbox. Its
	// value is a word that no other run has.
	insideEnv = "PGREX_CONTRACT_INSIDE"
)

// Config is what a package of tests wants of its sandbox.
type Config struct {
	// Needs are programs by their names, and files by absolute path patterns,
	// that have to be installed. Without them the tests fail before they begin.
	Needs []string
	// Installed are the built agents under test: the path at which each is
	// found in the sandbox. In bin/ it has the same name.
	Installed []string
	// Scripts are programs of the tests' own that lie beside the agents, by path.
	Scripts map[string]string
	// Release is another release of Debian for Elsewhere (Debian13), "" for none.
	Release string
	// Helpers are names of built programs that are copied to Work/bin: what is
	// built anew during the tests must not change them.
	Helpers []string
	// Empty are the directories that a test may write to, besides Work.
	Empty []Dir
	// Furnish does the rest, inside, before any test. May be nil.
	Furnish func() error
	// Parallel is how many tests run at once, more than there are processors
	// where most of them wait; 0 leaves it to Go, as -parallel overrides it.
	Parallel int
	// Leave clears away, outside, what namespaces do not: for control groups.
	// It is given the word of Run. May be nil.
	Leave func(run string)
}

// Dir is a directory that is empty in the sandbox.
type Dir struct {
	Path string
	Mode uint32 // as in chmod
	// Owner is the user that owns it, with that user's group; "" for root.
	Owner string
}

// Run is a word that no other sandbox of this machine has. Inside only.
func Run() string { return os.Getenv(insideEnv) }

// Main runs the tests of a package in a sandbox and returns the exit code for
// TestMain. It starts the test program a second time; that one finds itself
// inside.
func Main(m *testing.M, c Config) int {
	step := c.enter
	if Run() != "" {
		step = func() (int, error) {
			if err := c.furnish(); err != nil {
				return 1, err
			}
			return m.Run(), nil
		}
	}
	code, err := step()
	if err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
	}
	return code
}

// enter runs the program again inside. Its first process there is a shell, which
// collects the dead: a killed daemon would otherwise stay a zombie for ever.
func (c Config) enter() (int, error) {
	if err := c.prerequisites(); err != nil {
		return 1, err
	}
	if err := c.findRoot(); err != nil {
		return 1, err
	}
	// If this program is killed the sandbox ends with it. The kernel watches the thread.
	runtime.LockOSThread()
	cmd := exec.Command("unshare", append(namespaces(), os.Args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	run := strconv.Itoa(os.Getpid())
	cmd.Env = append(os.Environ(), insideEnv+"="+run)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	if c.Leave != nil {
		c.Leave(run)
	}
	var status *exec.ExitError
	if errors.As(err, &status) {
		return max(status.ExitCode(), 1), nil // -1 after a signal
	}
	if err != nil {
		return 1, fmt.Errorf("cannot make the namespaces: %w", err)
	}
	return 0, nil
}

// namespaces are the arguments by which unshare runs a program in a sandbox.
func namespaces() []string {
	return []string{
		"--mount", "--net", "--ipc", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc", "--propagation", "private",
		// Two commands, or the shell would replace itself by the first.
		"sh", "-c", `"$@"; exit $?`, "sh",
	}
}

// prerequisites names everything that is missing, at once.
func (c Config) prerequisites() error {
	if os.Geteuid() != 0 {
		return errors.New("these tests need root: they make namespaces and run programs as other users")
	}
	var missing []error
	for _, need := range append([]string{"unshare", "ip", "sh", "make", "install", "getent"}, c.Needs...) {
		found, err := true, error(nil)
		if filepath.IsAbs(need) {
			files, _ := filepath.Glob(need)
			found = len(files) > 0
		} else {
			_, err = exec.LookPath(need)
		}
		if err != nil || !found {
			missing = append(missing, fmt.Errorf("%s is not installed: run make deps", need))
		}
	}
	bin, err := Bin()
	if err != nil {
		return err
	}
	for _, program := range append(c.Installed, c.Helpers...) {
		if _, err := os.Stat(filepath.Join(bin, filepath.Base(program))); err != nil {
			missing = append(missing, fmt.Errorf("%w: run make build, or set %s to the directory of the built programs", err, BinEnv))
		}
	}
	return errors.Join(missing...)
}

// Root is the project's directory: the one above the tests that has the go.mod.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("no go.mod in %s or above", dir)
		}
	}
}

// Bin is the directory of the built programs.
func Bin() (string, error) {
	if dir := os.Getenv(BinEnv); dir != "" {
		return dir, nil
	}
	root, err := Root()
	return filepath.Join(root, "bin"), err
}

func (c Config) furnish() error {
	install := c.install
	if IsElsewhere() {
		install = func() error { return nil } // done with the root
		if err := c.changeRoot(); err != nil {
			return err
		}
	}
	for _, d := range append(c.Empty, Dir{Path: Work, Mode: 0o755}) {
		if err := d.mount(); err != nil {
			return err
		}
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("ip link set lo up: %w: %s", err, out)
	}
	if err := install(); err != nil {
		return err
	}
	if c.Parallel > 0 {
		if err := flag.Set("test.parallel", strconv.Itoa(c.Parallel)); err != nil {
			return err
		}
	}
	if c.Furnish == nil {
		return nil
	}
	return c.Furnish()
}

func (d Dir) mount() error {
	if err := os.MkdirAll(d.Path, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("sandbox", d.Path, "tmpfs", 0, fmt.Sprintf("mode=%o", d.Mode)); err != nil {
		return fmt.Errorf("cannot mount a tmpfs on %s: %w", d.Path, err)
	}
	if d.Owner == "" {
		return nil
	}
	return GiveTo(d.Owner, d.Path)
}

// install runs the project's own installation and lays its result over the
// directories of the agents, for all to see in this mount namespace and nowhere
// else. The programs are taken as they are: bin may change while the tests run.
func (c Config) install() error {
	root, err := Root()
	if err != nil {
		return err
	}
	bin, err := Bin()
	if err != nil {
		return err
	}
	// The programs were built before; here there is no network to fetch modules from.
	steps := [][]string{{"make", "-s", "-C", root, "-o", "agents", "install", "DESTDIR=" + stage}}
	if os.Getenv(BinEnv) != "" { // programs that were built elsewhere
		steps = nil
		for _, path := range c.Installed {
			steps = append(steps, []string{"install", "-D", "-m", "755", filepath.Join(bin, filepath.Base(path)), stage + path})
		}
	}
	for _, name := range c.Helpers {
		steps = append(steps, []string{"install", "-D", "-m", "755", filepath.Join(bin, name), Work + "/bin/" + name})
	}
	for _, step := range steps {
		if out, err := exec.Command(step[0], step[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(step, " "), err, out)
		}
	}
	for path, text := range c.Scripts {
		if err := os.MkdirAll(filepath.Dir(stage+path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(stage+path, []byte(text), 0o755); err != nil {
			return err
		}
	}
	laid := map[string]bool{}
	for _, path := range c.Installed {
		dir := filepath.Dir(path)
		for !exists(dir) { // Pacemaker's directory is there, ours in it may not be
			dir = filepath.Dir(dir)
		}
		if laid[dir] {
			continue
		}
		laid[dir] = true
		if err := unix.Mount("sandbox", dir, "overlay", 0, "lowerdir="+stage+dir+":"+dir); err != nil {
			return fmt.Errorf("cannot install the agents into the sandbox: overlay on %s: %w", dir, err)
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
