package contract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Exit codes of a resource agent, OCF resource agent API 1.1, section 3.4.
const (
	ok             = 0
	generic        = 1
	unimplemented  = 3
	noPermission   = 4
	notInstalled   = 5
	notConfigured  = 6
	notRunning     = 7
	promoted       = 8
	failedPromoted = 9
)

// node is what the cluster calls the node that the agent runs on.
const node = "n1"

// params are parameters of a resource.
type params map[string]string

// with returns a copy with other values for some.
func (p params) with(other params) params {
	p = maps.Clone(p)
	maps.Copy(p, other)
	return p
}

// call is one call of the agent as Pacemaker makes it.
type call struct {
	action string
	params params
	// args follow the action.
	args []string
	// interval in milliseconds as Pacemaker gives it; "" leaves it out.
	interval string
	// timeout is that of the operation, 20 s if not set.
	timeout time.Duration
	// clustered makes it look like a call by Pacemaker for a promotable clone.
	clustered bool
	// env has further variables.
	env []string
	// path comes before the usual PATH.
	path string
	// program is the agent's path, if not the installed one.
	program string
}

// outcome is what came of a call.
type outcome struct {
	code           int
	stdout, stderr string
	took           time.Duration
}

func (o outcome) String() string {
	return fmt.Sprintf("code %d after %v\n%s%s", o.code, o.took.Round(time.Millisecond), o.stdout, o.stderr)
}

// reason is the last exit reason, "" if none was given.
func (o outcome) reason() string {
	_, after, found := strings.Cut("\n"+o.stderr, "\n"+reasonPrefix)
	for found {
		var rest string
		if _, rest, found = strings.Cut(after, "\n"+reasonPrefix); found {
			after = rest
		}
	}
	line, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(line)
}

const reasonPrefix = "ocf-exit-reason:"

const defaultTimeout = 20 * time.Second

func (c call) environment() []string {
	path := "/usr/sbin:/usr/bin:/sbin:/bin"
	if c.path != "" {
		path = c.path + ":" + path
	}
	env := []string{
		"PATH=" + path, "LC_ALL=C",
		"OCF_ROOT=/usr/lib/ocf", "OCF_RA_VERSION_MAJOR=1", "OCF_RA_VERSION_MINOR=1",
		"OCF_RESOURCE_INSTANCE=pgsql", "OCF_RESOURCE_TYPE=pgsql", "OCF_RESOURCE_PROVIDER=pgrex", "OCF_EXIT_REASON_PREFIX=" + reasonPrefix,
		"OCF_RESKEY_CRM_meta_timeout=" + strconv.Itoa(int(c.timeout.Milliseconds())),
		"OCF_RESKEY_CRM_meta_name=" + c.action,
		// The machine's own log is no place for tests.
		"HA_LOGFACILITY=none",
	}
	if c.interval != "" {
		env = append(env, "OCF_RESKEY_CRM_meta_interval="+c.interval)
	}
	if c.clustered {
		env = append(env,
			"OCF_RESKEY_crm_feature_set=3.16.2", "OCF_RESKEY_CRM_meta_on_node="+node, "OCF_RESKEY_CRM_meta_on_node_uuid=1",
			"OCF_RESKEY_CRM_meta_promotable=true", "OCF_RESKEY_CRM_meta_promoted_max=1", "OCF_RESKEY_CRM_meta_master_max=1",
			"OCF_RESKEY_CRM_meta_clone=0", "OCF_RESKEY_CRM_meta_clone_max=1", "OCF_RESKEY_CRM_meta_clone_node_max=1",
			"OCF_RESKEY_CRM_meta_notify=true", "OCF_RESKEY_CRM_meta_globally_unique=false")
	}
	for name, value := range c.params {
		env = append(env, "OCF_RESKEY_"+name+"="+value)
	}
	return append(env, c.env...)
}

// run calls the agent and checks what is true of every call: it ends in time,
// closes its output, explains each failure in one line, and gives away no secret.
func (c call) run(t *testing.T) outcome {
	t.Helper()
	if c.timeout == 0 {
		c.timeout = defaultTimeout
	}
	if c.program == "" {
		c.program = agent
	}
	ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
	defer cancel()
	args := c.args
	if c.action != "" {
		args = append([]string{c.action}, args...)
	}
	cmd := exec.CommandContext(ctx, c.program, args...)
	cmd.Env = c.environment()
	cmd.Dir = "/"
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// Pacemaker kills the whole process group.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	begin := time.Now()
	err := cmd.Run()
	o := outcome{stdout: stdout.String(), stderr: stderr.String(), took: time.Since(begin)}
	var status *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrWaitDelay):
		t.Fatalf("%s: the agent ended but something it started still holds its output\n%v", c.action, o)
	case err == nil:
	case errors.As(err, &status) && status.Exited():
		o.code = status.ExitCode()
	case ctx.Err() != nil:
		t.Fatalf("%s: did not end within the operation's timeout of %v\n%v", c.action, c.timeout, o)
	default:
		t.Fatalf("%s: %v\n%v", c.action, err, o)
	}
	c.checkManners(t, o)
	return o
}

func (c call) checkManners(t *testing.T, o outcome) {
	t.Helper()
	switch o.code {
	case ok, notRunning, promoted:
	case unimplemented:
		// Pacemaker shows it as such; a reason is welcome, not needed.
	default:
		if o.reason() == "" && c.action != "" {
			t.Errorf("%s: failed with %d without an exit reason\n%v", c.action, o.code, o)
		}
	}
	for _, trace := range []string{"goroutine ", "panic:", "defect in the agent", "<nil>", "%!"} {
		if strings.Contains(o.stdout+o.stderr, trace) {
			t.Errorf("%s: %q in its output\n%v", c.action, trace, o)
		}
	}
	if secret := c.params["monitor_password"]; secret != "" && strings.Contains(o.stdout+o.stderr, secret) {
		t.Errorf("%s: the password is in its output\n%v", c.action, o)
	}
}

// want calls the agent and fails the test unless it answers one of the codes.
func (c call) want(t *testing.T, codes ...int) outcome {
	t.Helper()
	o := c.run(t)
	for _, code := range codes {
		if o.code == code {
			return o
		}
	}
	t.Errorf("%s: want code %v, got %v", c.name(), codes, o)
	return o
}

// must is want for what the rest of a test stands on.
func (c call) must(t *testing.T, code int) outcome {
	t.Helper()
	o := c.run(t)
	if o.code != code {
		t.Fatalf("%s: want code %d, got %v", c.name(), code, o)
	}
	return o
}

func (c call) name() string {
	if c.action == "monitor" && c.interval == "0" {
		return "probe"
	}
	return c.action
}

// The usual calls with some parameters.
func action(name string, p params) call { return call{action: name, params: p} }
func monitor(p params) call             { return call{action: "monitor", params: p, interval: "10000"} }
func probe(p params) call               { return call{action: "monitor", params: p, interval: "0"} }

// inCluster makes it a call by Pacemaker for a promotable clone.
func (c call) inCluster() call {
	c.clustered = true
	return c
}

// within sets the operation's timeout.
func (c call) within(d time.Duration) call {
	c.timeout = d
	return c
}
