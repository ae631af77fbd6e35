// Package runner drives fence agents by the scenario runner of the fence-agents project: their program,
// their scenarios, our agents. `make deps` brings it, from Debian's source package; nothing of it is
// committed.
//
// The runner calls an agent as each of its three kinds of users does: with lines on standard input, with
// short options and with long ones, and judges the exit codes. Another state of affairs than an exit
// code is not its subject; the tests that call it look at the device themselves.
package runner

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	// Dir is where the source of fence-agents is expected.
	Dir = "/var/cache/pgrex/fence-agents"
	// python is the system's, for which the package of configobj is.
	python = "/usr/bin/python3"
)

// Methods are the runner's names for the three ways to call an agent.
var Methods = []string{"stdin", "getopt", "longopt"}

// Option is a parameter of a device in the runner's terms.
type Option struct {
	// Name is that on standard input; Long and Short are options with their dashes, Short may be "".
	Name, Value, Long, Short string
}

// Device is an agent with parameters.
type Device struct {
	Agent   string
	Options []Option
}

// Scenarios are the files of the runner's own scenarios for an agent: all but the one that only sleeps.
func Scenarios(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, name := range []string{"power-on-off", "status", "list"} {
		path := filepath.Join(Dir, "tests", "actions.d", name+".cfg")
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("%v: run make deps", err)
		}
		found[name] = path
	}
	return found
}

// Step is an action and a regular expression for the exit codes that are right.
type Step struct{ Action, Codes string }

// Write makes a scenario for the runner.
func Write(t *testing.T, steps ...Step) string {
	t.Helper()
	var s strings.Builder
	for _, step := range steps {
		fmt.Fprintf(&s, "{ \"command\" : %q, \"return_code\" : %q }, ", step.Action, step.Codes)
	}
	path := filepath.Join(t.TempDir(), "scenario.cfg")
	write(t, path, fmt.Sprintf("name = \"own\"\nactions = [ %s]\n", s.String()))
	return path
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// program calls the runner. Its silent mode needs a shell that understands "&>"; under Debian's sh
// every command would succeed, and the test with it.
const program = `import sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
from fence_testing import test_action
test_action(sys.argv[2], sys.argv[3], sys.argv[4], True)
`

// Run takes a device through a scenario, and returns the runner's output and verdict. The error is not
// nil if the runner did not come to one.
func Run(t *testing.T, d Device, scenario, method string, env ...string) (output string, passed bool, err error) {
	t.Helper()
	var config strings.Builder
	fmt.Fprintf(&config, "name = \"device\"\nagent = %q\n[options]\n", d.Agent)
	for _, o := range d.Options {
		fmt.Fprintf(&config, "\t%s = [ %q, %q", o.Name, o.Value, o.Long)
		if o.Short != "" {
			fmt.Fprintf(&config, ", %q", o.Short)
		}
		config.WriteString(" ]\n")
	}
	device := filepath.Join(t.TempDir(), "device.cfg")
	write(t, device, config.String())
	cmd := exec.CommandContext(t.Context(), python, "-W", "ignore", "-c", program, filepath.Join(Dir, "tests"), device, scenario, method)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	output = string(out)
	passed = strings.Contains(output, "TEST PASSED")
	if err == nil && passed == strings.Contains(output, "TEST FAILED") {
		err = fmt.Errorf("no verdict")
	}
	return output, passed, err
}
