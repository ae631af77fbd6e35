package ocf

import (
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"pgrex/lib/journal"
	"pgrex/lib/meta"
)

// Call is one call of the agent by the resource manager: which action, on what resource, with
// which parameters.
type Call struct {
	Action string
	// Params are the values in force, defaults included.
	Params meta.Values
	// ParamErr says what is wrong with the parameters (ErrConfigured), nil if nothing. Whether it
	// matters is the handler's decision: stop and monitor have to find their way without it.
	ParamErr error
	// Instance is the name of the instance ("pgsql:0" for a clone), Resource its part before the
	// colon, which names the attributes and the promotion score.
	Instance, Resource string
	// Node is this node's name as the cluster knows it, "" when the manager did not say.
	Node string
	// Probe is a monitor by which the cluster asks whether the resource runs where it knows of
	// nothing. Pacemaker 2.1 sends the node's name with it and no interval at all; ocf-tester sends an
	// interval of 0. crm_resource --force-check sends neither: it is a person who looks, and no probe.
	Probe bool
	// Interval of a recurring action; zero for all others.
	Interval time.Duration
	// Timeout is how long the manager waits before it kills the agent. The context that comes with
	// the call ends a little earlier.
	Timeout time.Duration
	// CheckLevel is OCF_CHECK_LEVEL: 0, 10 or 20.
	CheckLevel int
	// InCluster is false where no cluster manager is behind the call: a shell, ocf-tester.
	InCluster  bool
	FeatureSet string
	// Promotable, NotifyOn and PromotedMax repeat the clone's meta attributes.
	Promotable, NotifyOn bool
	PromotedMax          int
	Notify               Notify
	Log                  *slog.Logger
	// Hide masks a secret in every line that is logged from now on: a token, a key read from a file.
	Hide func(...string)
	// Getenv returns a variable of the agent's environment, "" if it is not set.
	Getenv func(string) string
}

const (
	paramPrefix = "OCF_RESKEY_"
	metaPrefix  = "OCF_RESKEY_CRM_meta_"
)

// defaultTimeout stands in where neither the manager nor the declaration names a timeout; it is
// Pacemaker's own default for operations.
const defaultTimeout = 20 * time.Second

// NewCall reads the environment of one action. It never fails: what is wrong with the parameters is
// in ParamErr, and a malformed variable of the manager counts as absent.
func NewCall(a meta.Agent, action string, lookup func(string) (string, bool), log *slog.Logger) *Call {
	get := func(name string) string {
		s, _ := lookup(name)
		return s
	}
	metaInt := func(names ...string) int {
		for _, name := range names {
			// Milliseconds have 32 bits in Pacemaker; more would not fit into a Duration.
			if n, err := strconv.ParseUint(strings.TrimSpace(get(metaPrefix+name)), 10, 32); err == nil {
				return int(n)
			}
		}
		return 0
	}
	metaBool := func(name string) bool {
		b, _ := meta.ParseBool(get(metaPrefix + name))
		return b
	}
	c := &Call{
		Action:      action,
		Instance:    get("OCF_RESOURCE_INSTANCE"),
		Node:        get(metaPrefix + "on_node"),
		Interval:    time.Duration(metaInt("interval")) * time.Millisecond,
		Timeout:     time.Duration(metaInt("timeout")) * time.Millisecond,
		FeatureSet:  get(paramPrefix + "crm_feature_set"),
		Promotable:  metaBool("promotable"),
		NotifyOn:    metaBool("notify"),
		PromotedMax: metaInt("promoted_max", "master_max"),
		Notify:      readNotify(lookup),
		Log:         log,
		Hide:        func(...string) {},
		Getenv:      get,
	}
	c.InCluster = c.FeatureSet != ""
	c.CheckLevel, _ = strconv.Atoi(strings.TrimSpace(get("OCF_CHECK_LEVEL")))
	interval := strings.TrimSpace(get(metaPrefix + "interval"))
	c.Probe = action == "monitor" && (interval == "0" || interval == "" && c.InCluster && c.Node != "")
	if c.Instance == "" {
		c.Instance = a.Name
	}
	c.Resource, _, _ = strings.Cut(c.Instance, ":")
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
		if act, ok := a.Action(action); ok {
			c.Timeout = act.Timeout
		}
	}
	values, errs := a.Parse(func(name string) (string, bool) { return lookup(paramPrefix + name) })
	c.Params = values
	if err := errors.Join(errs...); err != nil {
		c.ParamErr = &Error{Code: ErrConfigured, Reason: journal.OneLine(err.Error()), Err: err}
	}
	return c
}

// margin is how long before the manager's own limit the context of the action ends: enough to put
// down what was reached and to say why, small beside the action itself.
func margin(timeout time.Duration) time.Duration {
	return min(timeout/10, time.Second)
}
