package stonith

import (
	"log/slog"
	"time"

	"pgrex/lib/meta"
	"pgrex/lib/proc"
)

// Call is one call of an agent: which action, on which plugs, with which parameters.
type Call struct {
	// Program is the name under which the agent was called.
	Program string
	// Action is on, off, reboot, status, monitor, list, list-status, validate-all or diag.
	Action string
	// Values are the parameters under their new names, defaults included.
	Values meta.Values
	// Plugs are the plugs to act on; for an agent without plugs one empty string, or addresses if
	// port_as_ip is set.
	Plugs []string
	// Node is the node to be fenced as Pacemaker names it; "" from a command line.
	Node string
	// Password is what password, password_script or password_file gave; HasPassword tells an
	// empty password from none.
	Password    string
	HasPassword bool
	// Unlimited says that the caller limits the action itself (disable_timeout; the default when
	// Pacemaker is the caller): power_timeout and login_timeout mean nothing then.
	Unlimited bool
	// Verbose is the level of detail that was asked for, 0 for none.
	Verbose int
	Log     *slog.Logger
	// Run runs other programs.
	Run proc.Runner
	// Getenv returns a variable of the environment, "" if it is not set.
	Getenv func(string) string

	set map[string]bool
	// hide masks a secret in the logs from now on.
	hide func(...string)
}

// IsSet reports whether the caller gave the parameter a value, even that of the default.
func (c *Call) IsSet(name string) bool { return c.set[name] }

// Hide masks a secret in every line that is logged from now on: a token, a key read from a file.
// Values of parameters declared Secret are masked already.
func (c *Call) Hide(secrets ...string) {
	if c.hide != nil {
		c.hide(secrets...)
	}
}

// Limit is the value of a time limit (login_timeout, power_timeout), or 0 where the caller does the
// limiting or has set none. The context ends in any case.
func (c *Call) Limit(name string) time.Duration {
	if c.Unlimited {
		return 0
	}
	return c.Values.Duration(name)
}
