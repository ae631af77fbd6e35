package cluster

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"pgrex/tests/lab/site"
)

// Names in the documented configuration.
const (
	ResourcePgsql = "pgsql"
	ClonePgsql    = "pgsql-clone"
	IPPrimary     = "ipaddr-primary"
	IPReplication = "ipaddr-replication"
	IPStandby     = "ipaddr-standby"
)

// The values of rep_mode that the lab knows.
const (
	modeSync  = "sync"
	modeAsync = "async"
)

// View is what one node's Pacemaker says about the cluster.
type View struct {
	// Mode is pgsql's rep_mode: it says what a standby that may be promoted is
	// called.
	Mode string
	// From is the node that was asked.
	From string
	// DC is the name of the elected controller, empty when there is none.
	DC      string
	Quorate bool
	// Maintenance is true in maintenance mode.
	Maintenance bool
	Nodes       []NodeView
	// Resources are all instances, also those that do not run.
	Resources []ResourceView
	// Attributes are the node attributes, transient and permanent.
	Attributes map[string]map[string]string
	// Failures are the failed actions it remembers.
	Failures []string
	// Fencing is the history of fencing, newest first.
	Fencing []FenceView
}

// NodeView is a cluster member.
type NodeView struct {
	Name    string
	Online  bool
	Standby bool
	Unclean bool
	Pending bool
}

// ResourceView is an instance of a resource.
type ResourceView struct {
	ID     string
	Agent  string
	Role   string
	Nodes  []string
	Failed bool
	// Blocked and Managed as Pacemaker has them.
	Blocked, Managed bool
	// Pending is an action in flight.
	Pending string
}

// FenceView is one fencing.
type FenceView struct {
	Target, Action, Status, Client, Completed string
}

// Online lists the nodes that are online.
func (v View) Online() []string {
	var out []string
	for _, n := range v.Nodes {
		if n.Online && !n.Pending && !n.Unclean {
			out = append(out, n.Name)
		}
	}
	return out
}

// On lists the nodes a resource runs on in a role; an empty role is any.
func (v View) On(id, role string) []string {
	var out []string
	for _, r := range v.Resources {
		if r.ID == id && (role == "" && r.Role != "Stopped" || r.Role == role) {
			out = append(out, r.Nodes...)
		}
	}
	sort.Strings(out)
	return out
}

// Primary is the node where pgsql is promoted, empty when there is none.
func (v View) Primary() string {
	if p := v.On(ResourcePgsql, "Promoted"); len(p) == 1 {
		return p[0]
	}
	return ""
}

// Attribute is a node attribute, empty when it is not set.
func (v View) Attribute(node, name string) string { return v.Attributes[node][name] }

// Status is the agent's word for a node: PRI, HS:sync, HS:async, ...
func (v View) Status(node string) string { return v.Attribute(node, ResourcePgsql+"-status") }

// Score is a node's promotion score.
func (v View) Score(node string) string { return v.Attribute(node, "master-"+ResourcePgsql) }

// Sync lists the nodes with a standby that may be promoted, or that votes on who
// is; with rep_mode=sync it is a synchronous one.
func (v View) Sync() []string {
	var out []string
	for n := range v.Attributes {
		if v.Status(n) == "HS:"+v.Mode && v.Score(n) == "100" || v.Status(n) == "HS:quorum" {
			out = append(out, n)
		}
	}
	sort.Strings(out)
	return out
}

// Healthy says whether everything runs: a primary with both addresses, all
// other nodes as standbys, one of which may be promoted and has the address
// for reading. Where standbys vote the primary may have that: by the rules of
// docs/examples/pgrex.pcs it is for a standby that holds every commit.
func (v View) Healthy(nodes []string) bool {
	p := v.Primary()
	if p == "" || v.Maintenance || len(v.Online()) != len(nodes) || len(v.On(ResourcePgsql, "Unpromoted")) != len(nodes)-1 {
		return false
	}
	if len(nodes) > 1 && len(v.Sync()) == 0 {
		return false
	}
	for _, id := range []string{IPPrimary, IPReplication} {
		if on := v.On(id, "Started"); len(on) != 1 || on[0] != p {
			return false
		}
	}
	votes := func(n string) bool { return v.Status(n) == "HS:quorum" }
	on := v.On(IPStandby, "Started")
	return len(on) == 1 && (len(nodes) == 1 || on[0] != p || slices.ContainsFunc(nodes, votes)) && v.Status(p) == "PRI"
}

// Line is the view in one line for logs.
func (v View) Line() string {
	var b strings.Builder
	if v.From == "" {
		return "nothing"
	}
	fmt.Fprintf(&b, "dc=%s quorate=%v online=%s", v.DC, v.Quorate, strings.Join(v.Online(), ","))
	names := make([]string, 0, len(v.Attributes))
	for n := range v.Attributes {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		fmt.Fprintf(&b, " %s=%s/%s", n, v.Status(n), v.Score(n))
	}
	for _, r := range v.Resources {
		if r.Role != "Stopped" || r.Failed {
			fmt.Fprintf(&b, " %s:%s@%s", r.ID, r.Role, strings.Join(r.Nodes, ","))
			if r.Failed {
				b.WriteString("(failed)")
			}
		}
	}
	if len(v.Failures) > 0 {
		fmt.Fprintf(&b, " failures=[%s]", strings.Join(v.Failures, "; "))
	}
	return b.String()
}

// View asks a living node, preferring the DC. A node cut off has its own view:
// see ViewFrom.
func (c *Cluster) View(ctx context.Context) (View, error) {
	st, err := c.Site.Status(ctx)
	if err != nil {
		return View{}, err
	}
	var best View
	err = errors.New("no node is on")
	dc := c.lastDC()
	// The one that was DC last is asked first, and mostly nobody else: looking
	// takes processor time from what is looked at.
	slices.SortStableFunc(st.Nodes, func(a, b site.NodeStatus) int {
		switch {
		case a.Name == dc && b.Name != dc:
			return -1
		case b.Name == dc && a.Name != dc:
			return 1
		}
		return 0
	})
	for _, n := range st.Nodes {
		if !n.On() || n.Frozen {
			continue
		}
		v, e := c.ViewFrom(ctx, n.Name)
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		if v.Quorate && v.DC == n.Name {
			c.dc.Store(&v.DC)
			return v, nil
		}
		if best.From == "" || (v.Quorate && !best.Quorate) {
			best = v
		}
	}
	if best.From != "" {
		return best, nil
	}
	return View{}, err
}

func (c *Cluster) lastDC() string {
	if p := c.dc.Load(); p != nil {
		return *p
	}
	return ""
}

// ViewFrom asks one node.
func (c *Cluster) ViewFrom(ctx context.Context, node string) (View, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	out, err := c.Must(ctx, node, "crm_mon", "--one-shot", "--inactive", "--output-as=xml")
	if err != nil {
		return View{}, err
	}
	v, err := parseView(node, []byte(out))
	v.Mode = c.mode
	return v, err
}

type monXML struct {
	Summary struct {
		DC struct {
			Present string `xml:"present,attr"`
			Name    string `xml:"name,attr"`
			Quorum  string `xml:"with_quorum,attr"`
		} `xml:"current_dc"`
		Options struct {
			Maintenance string `xml:"maintenance-mode,attr"`
		} `xml:"cluster_options"`
	} `xml:"summary"`
	Nodes []struct {
		Name    string `xml:"name,attr"`
		Online  bool   `xml:"online,attr"`
		Standby bool   `xml:"standby,attr"`
		Unclean bool   `xml:"unclean,attr"`
		Pending bool   `xml:"pending,attr"`
	} `xml:"nodes>node"`
	Resources  resourcesXML `xml:"resources"`
	Attributes []struct {
		Name string `xml:"name,attr"`
		List []struct {
			Name  string `xml:"name,attr"`
			Value string `xml:"value,attr"`
		} `xml:"attribute"`
	} `xml:"node_attributes>node"`
	Failures []struct {
		Op     string `xml:"op_key,attr"`
		Node   string `xml:"node,attr"`
		Status string `xml:"exitstatus,attr"`
		Reason string `xml:"exitreason,attr"`
	} `xml:"failures>failure"`
	Fencing []struct {
		Target    string `xml:"target,attr"`
		Action    string `xml:"action,attr"`
		Status    string `xml:"status,attr"`
		Client    string `xml:"client,attr"`
		Completed string `xml:"completed,attr"`
	} `xml:"fence_history>fence_event"`
}

type resourcesXML struct {
	Resources []resourceXML  `xml:"resource"`
	Clones    []resourcesXML `xml:"clone"`
	Groups    []resourcesXML `xml:"group"`
}

type resourceXML struct {
	ID      string `xml:"id,attr"`
	Agent   string `xml:"resource_agent,attr"`
	Role    string `xml:"role,attr"`
	Failed  bool   `xml:"failed,attr"`
	Blocked bool   `xml:"blocked,attr"`
	Managed bool   `xml:"managed,attr"`
	Pending string `xml:"pending,attr"`
	Nodes   []struct {
		Name string `xml:"name,attr"`
	} `xml:"node"`
}

func parseView(from string, b []byte) (View, error) {
	var m monXML
	if err := xml.Unmarshal(b, &m); err != nil {
		return View{}, fmt.Errorf("cannot read crm_mon's answer: %w", err)
	}
	v := View{
		Mode: modeSync, From: from, DC: m.Summary.DC.Name, Quorate: m.Summary.DC.Quorum == "true",
		Maintenance: m.Summary.Options.Maintenance == "true", Attributes: map[string]map[string]string{},
	}
	for _, n := range m.Nodes {
		v.Nodes = append(v.Nodes, NodeView(n))
	}
	v.addResources(m.Resources)
	for _, n := range m.Attributes {
		v.Attributes[n.Name] = map[string]string{}
		for _, a := range n.List {
			v.Attributes[n.Name][a.Name] = a.Value
		}
	}
	for _, f := range m.Failures {
		v.Failures = append(v.Failures, fmt.Sprintf("%s on %s: %s %s", f.Op, f.Node, f.Status, f.Reason))
	}
	for _, f := range m.Fencing {
		v.Fencing = append(v.Fencing, FenceView(f))
	}
	return v, nil
}

func (v *View) addResources(x resourcesXML) {
	for _, r := range x.Resources {
		id, _, _ := strings.Cut(r.ID, ":")
		rv := ResourceView{ID: id, Agent: r.Agent, Role: r.Role, Failed: r.Failed, Blocked: r.Blocked, Managed: r.Managed, Pending: r.Pending}
		for _, n := range r.Nodes {
			rv.Nodes = append(rv.Nodes, n.Name)
		}
		v.Resources = append(v.Resources, rv)
	}
	for _, c := range append(x.Clones, x.Groups...) {
		v.addResources(c)
	}
}

// Room is the state of the machines under the cluster.
func (c *Cluster) Room(ctx context.Context) (site.Status, error) { return c.Site.Status(ctx) }
