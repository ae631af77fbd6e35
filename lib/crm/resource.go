package crm

import (
	"context"
	"encoding/xml"
	"fmt"
	"strings"

	"pgrex/lib/proc"
)

// Instance is what the cluster makes of a resource on one node: not what the
// configuration says, but what the scheduler concludes from it, rules, defaults,
// parents and maintenance mode included.
type Instance struct {
	// Agent is the agent's name, such as ocf:pgrex:pgsql.
	Agent string
	// Active is whether the cluster has the resource running on the node.
	Active bool
	// Promoted is whether it has it as promoted there.
	Promoted bool
	// Managed is whether the cluster may start and stop it: false too in
	// maintenance mode of the cluster, the node or the resource.
	Managed bool
	// Failed is whether a failure of it on the node is known and not dealt with.
	Failed bool
	// Blocked is whether the cluster will not touch it because of a failure.
	Blocked bool
	// Pending is the action of the cluster that is at work on it there, as
	// Starting, Stopping, Promoting, Demoting or Migrating, "" for none, and for
	// a monitor or a notification.
	Pending string
	// TargetRole is what the configuration wants it to be, "" for no word.
	TargetRole string
	// Threshold is migration-threshold: after so many failures the resource may not
	// run on the node any more. 0 and Infinity mean never.
	Threshold int
}

// monXML is what is read of crm_mon's output. Resources may be nested in groups,
// clones and bundles.
type monXML struct {
	XMLName   xml.Name      `xml:"pacemaker-result"`
	Resources *monResources `xml:"resources"`
	History   []monHistory  `xml:"node_history>node"`
}

type monHistory struct {
	Name      string `xml:"name,attr"`
	Resources []struct {
		ID        string `xml:"id,attr"`
		Threshold string `xml:"migration-threshold,attr"`
	} `xml:"resource_history"`
}

// threshold is a resource's migration-threshold on a node.
func (m *monXML) threshold(resource, node string) int {
	for _, h := range m.History {
		for _, r := range h.Resources {
			id, _, _ := strings.Cut(r.ID, ":")
			if n, ok := ParseScore(r.Threshold); ok && id == resource && strings.EqualFold(h.Name, node) {
				return n
			}
		}
	}
	return 0
}

type monResources struct {
	Resources []monResource  `xml:"resource"`
	Clones    []monResources `xml:"clone"`
	Groups    []monResources `xml:"group"`
	Bundles   []monResources `xml:"bundle>replica"`
}

type monResource struct {
	ID       string `xml:"id,attr"`
	Agent    string `xml:"resource_agent,attr"`
	Role     string `xml:"role,attr"`
	Pending  string `xml:"pending,attr"`
	Target   string `xml:"target_role,attr"`
	Active   bool   `xml:"active,attr"`
	Blocked  bool   `xml:"blocked,attr"`
	Managed  bool   `xml:"managed,attr"`
	Maint    bool   `xml:"maintenance,attr"`
	Failed   bool   `xml:"failed,attr"`
	Nodes    []monN `xml:"node"`
	Orphaned bool   `xml:"orphaned,attr"`
}

// pending finds the action at work. Some versions put its word in place of the
// role, some beside it.
func (x monResource) pending() string {
	for _, word := range []string{x.Pending, x.Role} {
		switch word {
		case "Starting", "Stopping", "Promoting", "Demoting", "Migrating":
			return word
		}
	}
	return ""
}

type monN struct {
	Name string `xml:"name,attr"`
}

func (r *monResources) each(f func(monResource)) {
	if r == nil {
		return
	}
	for _, x := range r.Resources {
		f(x)
	}
	for _, nested := range [][]monResources{r.Clones, r.Groups, r.Bundles} {
		for i := range nested {
			nested[i].each(f)
		}
	}
}

// Instance asks what the cluster makes of a resource on a node, by this node's own
// daemons. A resource that does not run there, or that the cluster does not know,
// is the zero Instance. It takes about 20 ms.
func (c *Client) Instance(ctx context.Context, resource, node string) (Instance, error) {
	res, err := c.tool(ctx, proc.Cmd{Path: "crm_mon", Args: []string{"--one-shot", "--output-as=xml", "--resource=" + resource}, MaxOutput: maxCIB})
	if err != nil {
		return Instance{}, fmt.Errorf("ask for the state of %s: %w", resource, err)
	}
	in, err := parseInstance(res.Stdout, resource, node)
	if err != nil {
		return Instance{}, fmt.Errorf("ask for the state of %s: %w", resource, err)
	}
	return in, nil
}

// TargetRole asks what the configuration wants a resource to be, "" for no word,
// also of one that runs nowhere.
func (c *Client) TargetRole(ctx context.Context, resource string) (string, error) {
	res, err := c.tool(ctx, proc.Cmd{Path: "crm_mon", Args: []string{"--one-shot", "--output-as=xml", "--inactive", "--resource=" + resource}, MaxOutput: maxCIB})
	if err != nil {
		return "", fmt.Errorf("ask for the target role of %s: %w", resource, err)
	}
	role, err := parseTarget(res.Stdout, resource)
	if err != nil {
		return "", fmt.Errorf("ask for the target role of %s: %w", resource, err)
	}
	return role, nil
}

func parseTarget(text []byte, resource string) (role string, err error) {
	var mon monXML
	if err := xml.Unmarshal(text, &mon); err != nil {
		return "", fmt.Errorf("crm_mon's answer cannot be read: %w", err)
	}
	mon.Resources.each(func(x monResource) {
		if id, _, _ := strings.Cut(x.ID, ":"); id == resource && !x.Orphaned && x.Target != "" {
			role = x.Target
		}
	})
	return role, nil
}

func parseInstance(text []byte, resource, node string) (Instance, error) {
	var mon monXML
	if err := xml.Unmarshal(text, &mon); err != nil {
		return Instance{}, fmt.Errorf("crm_mon's answer cannot be read: %w", err)
	}
	var found Instance
	mon.Resources.each(func(x monResource) {
		id, _, _ := strings.Cut(x.ID, ":")
		if id != resource || x.Orphaned {
			return
		}
		for _, n := range x.Nodes {
			if strings.EqualFold(n.Name, node) {
				found = Instance{
					Agent: strings.ReplaceAll(x.Agent, "::", ":"), Active: x.Active, Promoted: x.Role == "Promoted" || x.Role == "Master",
					Managed: x.Managed && !x.Maint, Failed: x.Failed, Blocked: x.Blocked, TargetRole: x.Target,
					Pending: x.pending(), Threshold: mon.threshold(resource, node),
				}
			}
		}
	})
	return found, nil
}

// LocalMonitors is Local, and reports from the same copy whether every recurring
// monitor of a resource asks for the ordinary recovery. A failure that is reported
// from outside gets that one, whatever the monitors' on-fail says. It says no where
// that cannot be told from the copy without Pacemaker's own rules: operations that
// are given by reference, and defaults of on-fail.
func (c *Client) LocalMonitors(ctx context.Context, resource string) (snap Snapshot, restart bool, err error) {
	text, err := c.text(ctx, proc.Cmd{Path: "cibadmin", Args: []string{"--query"}})
	if err != nil {
		return Snapshot{}, false, err
	}
	if snap, err = Parse(text); err != nil {
		return Snapshot{}, false, err
	}
	restart, err = monitorsRestart(text, resource)
	return snap, restart, err
}

// element is any element of the configuration.
type element struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Inner   []element  `xml:",any"`
}

func (e element) attr(name string) string {
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// each calls f for the elements of a name, at any depth.
func (e element) each(name string, f func(element)) {
	for _, x := range e.Inner {
		if x.XMLName.Local == name {
			f(x)
		}
		x.each(name, f)
	}
}

func monitorsRestart(text []byte, resource string) (bool, error) {
	var cib struct {
		Config element `xml:"configuration"`
	}
	if err := xml.Unmarshal(text, &cib); err != nil {
		return false, fmt.Errorf("the operations of %s cannot be read: %w", resource, err)
	}
	restart := true
	other := func(e element) {
		e.each("nvpair", func(p element) {
			if v := p.attr("value"); p.attr("id-ref") != "" || p.attr("name") == "on-fail" && v != "restart" {
				restart = false
			}
		})
	}
	cib.Config.each("op_defaults", other)
	operations := func(of element) {
		of.each("operations", func(ops element) {
			restart = restart && ops.attr("id-ref") == ""
			ops.each("op", func(op element) {
				if op.attr("id-ref") != "" {
					restart = false
				}
				if op.attr("name") != "monitor" {
					return
				}
				if v := op.attr("on-fail"); v != "" && v != "restart" {
					restart = false
				}
				op.each("meta_attributes", func(m element) { restart = restart && m.attr("id-ref") == "" })
				other(op)
			})
		})
	}
	cib.Config.each("primitive", func(x element) {
		if x.attr("id") != resource {
			return
		}
		operations(x)
		if of := x.attr("template"); of != "" {
			cib.Config.each("template", func(t element) {
				if t.attr("id") == of {
					operations(t)
				}
			})
		}
	})
	return restart, nil
}

// ReportedFailures is the name of the transient node attribute in which the cluster
// counts the failures that Fail has reported.
func ReportedFailures(resource string) string { return "fail-count-" + resource + "#asyncmon_0" }

// Fail tells the cluster that a resource on a node has failed, as a monitor would.
// When it returns nil the node's controller has taken it; after ErrTimeout it may
// have.
//
// The controller puts the failure into two entries of the history, and the
// designated controller counts each, unless the two meet in the attribute manager:
// one report counts as one failure or two. Pacemaker 2.1.5 does both. A failure of
// a monitor always counts as one. See ReportedFailures.
func (c *Client) Fail(ctx context.Context, resource, node string) error {
	if _, err := c.tool(ctx, proc.Cmd{Path: "crm_resource", Args: []string{"--fail", "--resource=" + resource, "--node=" + node}}); err != nil {
		return fmt.Errorf("report the failure of %s: %w", resource, err)
	}
	return nil
}
