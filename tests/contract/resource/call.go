// Package resource calls resource agents as Pacemaker calls them: a program with
// an action as its argument, parameters in the environment, an exit code and a
// reason as the answer. It knows what the OCF resource agent API says of every
// agent, and checks that with each call; what one agent has to answer is for its
// own tests to say.
package resource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgrex/tests/contract/sandbox"
)

// Exit codes of a resource agent, OCF resource agent API 1.1, section 3.4.
const (
	OK             = 0
	Generic        = 1
	Unimplemented  = 3
	NoPermission   = 4
	NotInstalled   = 5
	NotConfigured  = 6
	NotRunning     = 7
	Promoted       = 8
	FailedPromoted = 9
)

// DefaultTimeout is that of a call without one.
const DefaultTimeout = 20 * time.Second

const (
	systemPath   = "/usr/sbin:/usr/bin:/sbin:/bin"
	reasonPrefix = "ocf-exit-reason:"
)

// Agent is an installed agent and the resource it is called for, whose name is
// the agent's.
type Agent struct {
	// Path is where it is installed: .../resource.d/PROVIDER/TYPE.
	Path string
	// Node is what the cluster calls the node that it runs on.
	Node string
	// Cluster are variables that Pacemaker sets for such a resource, besides
	// the feature set and the node's name.
	Cluster []string
	// Secrets are names of parameters whose values it may show nowhere.
	Secrets []string
}

// Name is the agent's type, as in ocf:PROVIDER:TYPE.
func (a Agent) Name() string { return filepath.Base(a.Path) }

func (a Agent) provider() string { return filepath.Base(filepath.Dir(a.Path)) }

// Action is a call for an action.
func (a Agent) Action(name string, p Params) Call { return Call{Agent: a, Action: name, Params: p} }

// Monitor is a monitor that repeats every 10 s.
func (a Agent) Monitor(p Params) Call {
	return Call{Agent: a, Action: "monitor", Params: p, Interval: "10000"}
}

// Probe is a monitor that asks once whether the resource is active.
func (a Agent) Probe(p Params) Call {
	return Call{Agent: a, Action: "monitor", Params: p, Interval: "0"}
}

// Params are parameters of a resource.
type Params map[string]string

// With returns a copy with other values for some.
func (p Params) With(other Params) Params {
	p = maps.Clone(p)
	maps.Copy(p, other)
	return p
}

// Call is one call of an agent.
type Call struct {
	Agent  Agent
	Action string
	Params Params
	// Args follow the action.
	Args []string
	// Interval is in milliseconds as Pacemaker gives it; "" leaves it out.
	Interval string
	// Timeout is that of the operation, 0 for DefaultTimeout.
	Timeout time.Duration
	// Clustered makes it look like a call by Pacemaker and not from a shell.
	Clustered bool
	// Env has further variables.
	Env []string
	// Path comes before the usual PATH.
	Path string
}

// InCluster makes it a call by Pacemaker.
func (c Call) InCluster() Call {
	c.Clustered = true
	return c
}

// Within sets the operation's timeout.
func (c Call) Within(d time.Duration) Call {
	c.Timeout = d
	return c
}

// Limit is the operation's timeout.
func (c Call) Limit() time.Duration {
	if c.Timeout == 0 {
		return DefaultTimeout
	}
	return c.Timeout
}

// Name is the action's name for messages: of monitors, a probe is told apart.
func (c Call) Name() string {
	if c.Action == "monitor" && c.Interval == "0" {
		return "probe"
	}
	return c.Action
}

// Environment is all that the agent sees of its surroundings.
func (c Call) Environment() []string {
	path := systemPath
	if c.Path != "" {
		path = c.Path + ":" + path
	}
	env := []string{
		"PATH=" + path, "LC_ALL=C",
		"OCF_ROOT=/usr/lib/ocf", "OCF_RA_VERSION_MAJOR=1", "OCF_RA_VERSION_MINOR=1",
		"OCF_RESOURCE_INSTANCE=" + c.Agent.Name(), "OCF_RESOURCE_TYPE=" + c.Agent.Name(), "OCF_RESOURCE_PROVIDER=" + c.Agent.provider(),
		"OCF_EXIT_REASON_PREFIX=" + reasonPrefix,
		"OCF_RESKEY_CRM_meta_timeout=" + strconv.Itoa(int(c.Limit().Milliseconds())),
		"OCF_RESKEY_CRM_meta_name=" + c.Action,
		// The machine's own log is no place for tests.
		"HA_LOGFACILITY=none",
	}
	// Pacemaker sends no interval with a probe, ocf-tester one of 0.
	if c.Interval != "" && !(c.Clustered && c.Interval == "0") {
		env = append(env, "OCF_RESKEY_CRM_meta_interval="+c.Interval)
	}
	if c.Clustered {
		env = append(env, "OCF_RESKEY_crm_feature_set=3.16.2", "OCF_RESKEY_CRM_meta_on_node="+c.Agent.Node, "OCF_RESKEY_CRM_meta_on_node_uuid=1")
		env = append(env, c.Agent.Cluster...)
	}
	for name, value := range c.Params {
		env = append(env, "OCF_RESKEY_"+name+"="+value)
	}
	return append(env, c.Env...)
}

// Outcome is what came of a call.
type Outcome struct{ sandbox.Outcome }

// Reason is the last exit reason, "" if none was given.
func (o Outcome) Reason() string {
	i := strings.LastIndex("\n"+o.Stderr, "\n"+reasonPrefix)
	if i < 0 {
		return ""
	}
	line, _, _ := strings.Cut(o.Stderr[i+len(reasonPrefix):], "\n")
	return strings.TrimSpace(line)
}

// Run calls the agent and checks what is true of every call: it ends in time,
// closes its output, explains each failure in one line, and gives away no secret.
func (c Call) Run(t *testing.T) Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), c.Limit())
	defer cancel()
	args := c.Args
	if c.Action != "" {
		args = append([]string{c.Action}, args...)
	}
	cmd := exec.CommandContext(ctx, c.Agent.Path, args...)
	cmd.Env = c.Environment()
	cmd.Dir = "/"
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// Pacemaker kills the whole process group.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	begin := time.Now()
	err := cmd.Run()
	o := Outcome{sandbox.Outcome{Stdout: stdout.String(), Stderr: stderr.String(), Took: time.Since(begin)}}
	var status *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrWaitDelay):
		t.Fatalf("%s: the agent ended but something it started still holds its output\n%v", c.Name(), o)
	case err == nil:
	case errors.As(err, &status) && status.Exited():
		o.Code = status.ExitCode()
	case ctx.Err() != nil:
		t.Fatalf("%s: did not end within the operation's timeout of %v\n%v", c.Name(), c.Limit(), o)
	default:
		t.Fatalf("%s: %v\n%v", c.Name(), err, o)
	}
	c.checkManners(t, o)
	return o
}

func (c Call) checkManners(t *testing.T, o Outcome) {
	t.Helper()
	switch o.Code {
	case OK, NotRunning, Promoted:
	case Unimplemented:
		// Pacemaker shows it as such; a reason is welcome, not needed.
	default:
		if o.Reason() == "" && c.Action != "" {
			t.Errorf("%s: failed with %d without an exit reason\n%v", c.Name(), o.Code, o)
		}
	}
	said := o.Stdout + o.Stderr
	for _, trace := range []string{"goroutine ", "panic:", "defect in the agent", "<nil>", "%!"} {
		if strings.Contains(said, trace) {
			t.Errorf("%s: %q in its output\n%v", c.Name(), trace, o)
		}
	}
	for _, name := range c.Agent.Secrets {
		if secret := c.Params[name]; secret != "" && strings.Contains(said, secret) {
			t.Errorf("%s: the value of %s is in its output\n%v", c.Name(), name, o)
		}
	}
}

// Want calls the agent and fails the test unless it answers one of the codes.
func (c Call) Want(t *testing.T, codes ...int) Outcome {
	t.Helper()
	o := c.Run(t)
	if !slices.Contains(codes, o.Code) {
		t.Errorf("%s: want code %v, got %v", c.Name(), codes, o)
	}
	return o
}

// Must is Want for what the rest of a test stands on.
func (c Call) Must(t *testing.T, code int) Outcome {
	t.Helper()
	o := c.Run(t)
	if o.Code != code {
		t.Fatalf("%s: want code %d, got %v", c.Name(), code, o)
	}
	return o
}

// Tester are the arguments with which ocf-tester tests the agent with these
// parameters.
func (a Agent) Tester(p Params) []string {
	args := []string{"-v", "-n", a.Name()}
	for _, name := range slices.Sorted(maps.Keys(p)) {
		args = append(args, "-o", name+"="+p[name])
	}
	return append(args, a.Path)
}

// RunTester runs ocf-tester as from a shell.
func (a Agent) RunTester(t *testing.T, p Params) (report string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ocf-tester", a.Tester(p)...)
	cmd.Env = []string{"PATH=" + systemPath, "LC_ALL=C", "HA_LOGFACILITY=none"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("ocf-tester: %w", err)
	}
	return string(out), err
}
