package fence

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	// insideEnv tells the test program that it already is in the sandbox.
	insideEnv = "PGREX_FENCE_INSIDE"
	// binEnv names the directory of the built programs; ../../../bin without it.
	binEnv = "PGREX_BIN"

	// work is where the sandbox keeps its files.
	work = "/run/pgrex-fence"

	agent    = "/usr/sbin/fence_ipmi"
	original = "/usr/sbin/fence_ipmilan"
	schema   = "/usr/share/cluster/relaxng/metadata.rng"
	fenced   = "/usr/lib/pacemaker/pacemaker-fenced"
)

// TestMain puts the whole test program into a sandbox, whose first process is a shell that collects
// the dead.
func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		if err := furnish(); err != nil {
			fmt.Fprintln(os.Stderr, "fence:", err)
			os.Exit(1)
		}
		// Most of these tests wait for the original.
		if err := flag.Set("test.parallel", "8"); err != nil {
			fmt.Fprintln(os.Stderr, "fence:", err)
		}
		os.Exit(m.Run())
	}
	if err := prerequisites(); err != nil {
		fmt.Fprintln(os.Stderr, "fence:", err)
		os.Exit(1)
	}
	args := []string{
		"--mount", "--net", "--ipc", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc", "--propagation", "private",
		"sh", "-c", `"$@"; exit $?`, "sh",
	}
	// If this program is killed the sandbox ends with it. The kernel watches the thread.
	runtime.LockOSThread()
	cmd := exec.Command("unshare", append(args, os.Args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var status *exec.ExitError
	switch {
	case errors.As(err, &status):
		os.Exit(max(status.ExitCode(), 1))
	case err != nil:
		fmt.Fprintln(os.Stderr, "fence: cannot make the sandbox:", err)
		os.Exit(1)
	}
}

// bin is the directory of the built programs.
func bin() string {
	if dir := os.Getenv(binEnv); dir != "" {
		return dir
	}
	dir, err := filepath.Abs("../../../bin")
	if err != nil {
		return "../../../bin"
	}
	return dir
}

// prerequisites names everything that is missing, at once.
func prerequisites() error {
	if os.Getuid() != 0 {
		return errors.New("these tests need root: they make namespaces and run Pacemaker's fencer")
	}
	var missing []error
	for _, tool := range []string{"unshare", "ip", "sh", "make", "xmllint", "pcs", "crm", "stonith_admin", "ipmi_sim", "ipmitool", "strace", original, fenced} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, fmt.Errorf("%s is not installed: run make deps", tool))
		}
	}
	if _, err := os.Stat(schema); err != nil {
		missing = append(missing, fmt.Errorf("%w: run make deps", err))
	}
	if _, err := os.Stat(filepath.Join(bin(), "fence_ipmi")); err != nil {
		missing = append(missing, fmt.Errorf("%w: run make build, or set %s to the directory of the built programs", err, binEnv))
	}
	return errors.Join(missing...)
}

// furnish makes the sandbox ready: empty places for what a test and Pacemaker write, and our agents
// among the installed ones.
func furnish() error {
	for _, dir := range []string{"/run", "/var/lib/pacemaker", "/var/log/pacemaker", "/dev/shm"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("fence", dir, "tmpfs", 0, "mode=1755"); err != nil {
			return fmt.Errorf("cannot mount a tmpfs on %s: %w", dir, err)
		}
	}
	if err := unix.Chmod("/dev/shm", 0o1777); err != nil {
		return err
	}
	for _, dir := range []string{work, "/run/crm"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if u, err := user.Lookup("hacluster"); err == nil {
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		for _, dir := range []string{"/run/crm", "/var/lib/pacemaker"} {
			if err := os.Chown(dir, uid, gid); err != nil {
				return err
			}
		}
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("ip link set lo up: %w: %s", err, out)
	}
	return installAgents()
}

// installAgents runs the project's own installation and lays its result over the directory of the
// fence agents. The programs are taken as they are: bin may change while the tests run.
func installAgents() error {
	root, err := filepath.Abs("../../..")
	if err != nil {
		return err
	}
	stage := work + "/stage"
	// The programs were built before; here there is no network to fetch modules from.
	step := []string{"make", "-s", "-C", root, "-o", "agents", "install", "DESTDIR=" + stage}
	if os.Getenv(binEnv) != "" { // programs that were built elsewhere
		step = []string{"install", "-D", "-m", "755", filepath.Join(bin(), "fence_ipmi"), stage + agent}
	}
	if out, err := exec.Command(step[0], step[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(step, " "), err, out)
	}
	dir := filepath.Dir(agent)
	if err := unix.Mount("fence", dir, "overlay", 0, "lowerdir="+stage+dir+":"+dir); err != nil {
		return fmt.Errorf("cannot install the agents into the sandbox: %w", err)
	}
	return nil
}
