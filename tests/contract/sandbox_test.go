package contract

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
	// insideEnv tells the test program that it already is in the sandbox. Its value is a word that
	// no other run has.
	insideEnv = "PGREX_CONTRACT_INSIDE"
	// binEnv names the directory of the built programs; ../../bin without it.
	binEnv = "PGREX_BIN"

	// work is where the sandbox keeps all its files: a tmpfs of its own.
	work = "/run/pgrex-contract"
	// agentDir is where Pacemaker looks for our agents.
	agentDir = "/usr/lib/ocf/resource.d/pgrex"
	// agent is the built agent as it is installed in the sandbox.
	agent = agentDir + "/pgsql"
)

// TestMain puts the whole test program into a sandbox. Its first process there
// is a shell, which collects the dead: a killed postmaster would otherwise stay a
// zombie for ever.
func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		if err := furnish(); err != nil {
			fmt.Fprintln(os.Stderr, "contract:", err)
			os.Exit(1)
		}
		// Most of these tests wait for something. The command line still has the last word.
		if err := flag.Set("test.parallel", "6"); err != nil {
			fmt.Fprintln(os.Stderr, "contract:", err)
		}
		os.Exit(m.Run())
	}
	if err := prerequisites(); err != nil {
		fmt.Fprintln(os.Stderr, "contract:", err)
		os.Exit(1)
	}
	args := []string{
		"--mount", "--net", "--ipc", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc", "--propagation", "private",
		// Two commands, or the shell would replace itself by the first.
		"sh", "-c", `"$@"; exit $?`, "sh",
	}
	// If this program is killed the sandbox ends with it. The kernel watches the thread.
	runtime.LockOSThread()
	cmd := exec.Command("unshare", append(args, os.Args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	run := strconv.Itoa(os.Getpid())
	cmd.Env = append(os.Environ(), insideEnv+"="+run)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	removeGroups(run)
	var status *exec.ExitError
	switch {
	case errors.As(err, &status):
		os.Exit(max(status.ExitCode(), 1))
	case err != nil:
		fmt.Fprintln(os.Stderr, "contract: cannot make the sandbox:", err)
		os.Exit(1)
	}
}

// labName is the name of a lab of this run: control groups have no namespace
// here, and other runs have theirs.
func labName(run, purpose string) string { return "contract-" + purpose + "-" + run }

// removeGroups removes the control groups of labs that came to a sudden end. All
// their processes are gone with the sandbox.
func removeGroups(run string) {
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/freezer"} {
		left, _ := filepath.Glob(root + "/pgrex-lab/" + labName(run, "*"))
		for _, group := range left {
			nodes, _ := filepath.Glob(group + "/*/")
			for _, dir := range append(nodes, group) {
				_ = os.Remove(dir)
			}
		}
	}
}

// bin is the directory of the built programs.
func bin() string {
	if dir := os.Getenv(binEnv); dir != "" {
		return dir
	}
	dir, err := filepath.Abs("../../bin")
	if err != nil {
		return "../../bin"
	}
	return dir
}

// prerequisites names everything that is missing, at once.
func prerequisites() error {
	if os.Getuid() != 0 {
		return errors.New("these tests need root: they make namespaces and run a server as another user")
	}
	var missing []error
	for _, tool := range []string{
		"unshare", "mount", "ip", "sh", "make", "install", "su", "runuser", "strace", "xmllint", "ocf-tester", "ocft", "pcs", "crm",
		"crm_attribute", "cibadmin", "pg_createcluster", "pg_conftool",
	} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, fmt.Errorf("%s is not installed: run make deps", tool))
		}
	}
	for _, file := range []string{ocftConfig, metadataSchema, ocfTesterDTD} {
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, fmt.Errorf("%w: run make deps", err))
		}
	}
	for _, program := range []string{"pgsql", "lab"} {
		if _, err := os.Stat(filepath.Join(bin(), program)); err != nil {
			missing = append(missing, fmt.Errorf("%w: run make build, or set %s to the directory of the built programs", err, binEnv))
		}
	}
	if _, err := findPostgres(); err != nil {
		missing = append(missing, err)
	}
	return errors.Join(missing...)
}

// furnish makes the sandbox ready: an empty place for everything that a test may
// write, and the agents installed as on a node.
func furnish() error {
	for _, m := range []struct {
		dir  string
		mode os.FileMode
	}{
		{work, 0o755},
		{"/run/resource-agents", 0o755},
		{"/run/pgrex-lab", 0o755},
		{"/var/lib/resource-agents", 0o755},
		{"/var/lib/pgsql", 0o755},
		{"/var/lib/postgresql", 0o755},
		{"/etc/postgresql", 0o755},
		{"/run/postgresql", 0o2775},
		{"/var/log/postgresql", 0o1775},
		{"/dev/shm", 0o1777},
	} {
		if err := os.MkdirAll(m.dir, m.mode); err != nil {
			return err
		}
		if err := unix.Mount("contract", m.dir, "tmpfs", 0, fmt.Sprintf("mode=%o", m.mode)); err != nil {
			return fmt.Errorf("cannot mount a tmpfs on %s: %w", m.dir, err)
		}
	}
	postgres, err := lookupUser("postgres")
	if err != nil {
		return err
	}
	for _, dir := range []string{"/var/lib/postgresql", "/etc/postgresql", "/run/postgresql", "/var/log/postgresql"} {
		if err := os.Chown(dir, postgres.uid, postgres.gid); err != nil {
			return err
		}
	}
	for _, dir := range []string{work + "/stage", work + "/bin"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("ip link set lo up: %w: %s", err, out)
	}
	return installAgents()
}

// installAgents runs the project's own installation and lays its result over the
// directory of the agents. The programs are taken as they are: bin may change
// while the tests run.
func installAgents() error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	stage := work + "/stage"
	// The programs were built before; here there is no network to fetch modules from.
	steps := [][]string{{"make", "-s", "-C", root, "-o", "build", "install", "DESTDIR=" + stage}}
	if os.Getenv(binEnv) != "" { // programs that were built elsewhere
		steps = [][]string{{"install", "-D", "-m", "755", filepath.Join(bin(), "pgsql"), stage + agent}}
	}
	for _, program := range []string{"pgsql", "lab"} {
		steps = append(steps, []string{"install", "-m", "755", filepath.Join(bin(), program), work + "/bin/" + program})
	}
	for _, step := range steps {
		if out, err := exec.Command(step[0], step[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(step, " "), err, out)
		}
	}
	dir := filepath.Dir(agentDir)
	if err := unix.Mount("contract", dir, "overlay", 0, "lowerdir="+stage+dir+":"+dir); err != nil {
		return fmt.Errorf("cannot install the agents into the sandbox: %w", err)
	}
	return nil
}

// findPostgres is the directory of the newest installed server's programs.
func findPostgres() (string, error) {
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/postgres", "/usr/pgsql-*/bin/postgres"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return filepath.Dir(found[len(found)-1]), nil
		}
	}
	return "", errors.New("PostgreSQL is not installed: run make deps")
}

type account struct{ uid, gid int }

// lookupUser asks the system's own tool.
func lookupUser(name string) (account, error) {
	var a account
	out, err := exec.Command("getent", "passwd", name).Output()
	if err != nil {
		return a, fmt.Errorf("there is no user %s: install PostgreSQL (make deps)", name)
	}
	fields := strings.Split(strings.TrimSpace(string(out)), ":")
	if len(fields) < 4 {
		return a, fmt.Errorf("getent passwd %s: %q", name, out)
	}
	_, err = fmt.Sscan(fields[2]+" "+fields[3], &a.uid, &a.gid)
	return a, err
}
