package crm

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// The elements of a CIB that are read. Everything else is passed over.
type (
	cibXML struct {
		XMLName    xml.Name   `xml:"cib"`
		FeatureSet string     `xml:"crm_feature_set,attr"`
		AdminEpoch string     `xml:"admin_epoch,attr"`
		Epoch      string     `xml:"epoch,attr"`
		NumUpdates string     `xml:"num_updates,attr"`
		HaveQuorum string     `xml:"have-quorum,attr"`
		DC         string     `xml:"dc-uuid,attr"`
		Config     *configXML `xml:"configuration"`
		Status     *statusXML `xml:"status"`
	}
	configXML struct {
		Properties []nvsetXML `xml:"crm_config>cluster_property_set"`
		Nodes      []nodeXML  `xml:"nodes>node"`
	}
	statusXML struct {
		States []stateXML `xml:"node_state"`
	}
	nvsetXML struct {
		ID    string      `xml:"id,attr"`
		Score string      `xml:"score,attr"`
		Pairs []nvpairXML `xml:"nvpair"`
	}
	nvpairXML struct {
		Name  string  `xml:"name,attr"`
		Value *string `xml:"value,attr"`
	}
	nodeXML struct {
		ID    string     `xml:"id,attr"`
		Uname string     `xml:"uname,attr"`
		Type  string     `xml:"type,attr"`
		Sets  []nvsetXML `xml:"instance_attributes"`
	}
	stateXML struct {
		ID        string       `xml:"id,attr"`
		Uname     string       `xml:"uname,attr"`
		Remote    string       `xml:"remote_node,attr"`
		InCCM     string       `xml:"in_ccm,attr"`
		Crmd      string       `xml:"crmd,attr"`
		Join      string       `xml:"join,attr"`
		Expected  string       `xml:"expected,attr"`
		Sets      []nvsetXML   `xml:"transient_attributes>instance_attributes"`
		Resources []historyXML `xml:"lrm>lrm_resources>lrm_resource"`
	}
	historyXML struct {
		ID  string  `xml:"id,attr"`
		Ops []opXML `xml:"lrm_rsc_op"`
	}
	opXML struct {
		Operation string `xml:"operation,attr"`
		CallID    string `xml:"call-id,attr"`
		RC        string `xml:"rc-code,attr"`
		Status    string `xml:"op-status,attr"`
	}
)

// Parse reads the XML of a CIB. Anything else is an error that wraps ErrNotCIB.
func Parse(text []byte) (Snapshot, error) {
	dec := xml.NewDecoder(bytes.NewReader(text))
	var cib cibXML
	if err := dec.Decode(&cib); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it is empty")
		}
		return Snapshot{}, fmt.Errorf("%w: %w", ErrNotCIB, err)
	}
	// A CIB cut short or stripped would show attributes as absent.
	if cib.Config == nil || cib.Status == nil {
		return Snapshot{}, fmt.Errorf("%w: it has no configuration or no status", ErrNotCIB)
	}
	s := Snapshot{
		FeatureSet: cib.FeatureSet,
		HaveQuorum: isTrue(cib.HaveQuorum),
		Nodes:      make(map[string]Node, len(cib.Config.Nodes)),
	}
	for _, v := range []struct {
		name, text string
		to         *int64
	}{
		{"admin_epoch", cib.AdminEpoch, &s.Version.AdminEpoch},
		{"epoch", cib.Epoch, &s.Version.Epoch},
		{"num_updates", cib.NumUpdates, &s.Version.NumUpdates},
	} {
		n, err := strconv.ParseInt(v.text, 10, 64)
		if err != nil {
			return Snapshot{}, fmt.Errorf("%w: %s is %q and not a number", ErrNotCIB, v.name, v.text)
		}
		*v.to = n
	}
	s.properties(cib.Config.Properties)

	names := map[string]string{} // by id
	for _, x := range cib.Config.Nodes {
		n := newNode(x.ID, x.Uname)
		n.Remote = x.Type == "remote"
		n.Forever = pairs(x.Sets)
		s.Nodes[n.Name], names[n.ID] = n, n.Name
	}
	for _, x := range cib.Status.States {
		name := x.Uname
		if known, ok := names[x.ID]; ok {
			name = known
		}
		n, ok := s.Nodes[name]
		if !ok {
			n = newNode(x.ID, name)
		}
		n.state(x)
		s.Nodes[n.Name], names[n.ID] = n, n.Name
	}
	for name, n := range s.Nodes {
		n.Standby = isTrue(cmp.Or(n.Transient["standby"], n.Forever["standby"]))
		n.Maintenance = isTrue(cmp.Or(n.Transient["maintenance"], n.Forever["maintenance"]))
		s.Nodes[name] = n
	}
	s.DC = names[cib.DC]
	return s, nil
}

func newNode(id, name string) Node {
	return Node{
		ID: id, Name: cmp.Or(name, id),
		Transient: map[string]string{}, Forever: map[string]string{}, Roles: map[string]Role{}, Probed: map[string]bool{},
	}
}

// properties reads the cluster's options. The set that tools write goes first.
func (s *Snapshot) properties(sets []nvsetXML) {
	sets = slices.Clone(sets)
	slices.SortStableFunc(sets, func(a, b nvsetXML) int {
		const bootstrap = "cib-bootstrap-options"
		switch {
		case a.ID == bootstrap && b.ID != bootstrap:
			return -1
		case a.ID != bootstrap && b.ID == bootstrap:
			return 1
		}
		return 0
	})
	p := pairs(sets)
	s.StonithEnabled = true
	// The first name is what Pacemaker is about to call it.
	if v := cmp.Or(p["fencing-enabled"], p["stonith-enabled"]); v != "" {
		s.StonithEnabled = isTrue(v)
	}
	s.Maintenance = isTrue(p["maintenance-mode"])
	s.NoQuorumPolicy = cmp.Or(p["no-quorum-policy"], "stop")
	s.ClusterName = p["cluster-name"]
}

// pairs joins sets of name and value: the highest score first, then as written,
// and the first value of a name counts.
func pairs(sets []nvsetXML) map[string]string {
	if len(sets) > 1 {
		sets = slices.Clone(sets)
		slices.SortStableFunc(sets, func(a, b nvsetXML) int {
			x, _ := ParseScore(a.Score)
			y, _ := ParseScore(b.Score)
			return cmp.Compare(y, x)
		})
	}
	m := map[string]string{}
	for _, set := range sets {
		for _, p := range set.Pairs {
			if _, seen := m[p.Name]; !seen && p.Name != "" && p.Value != nil {
				m[p.Name] = *p.Value
			}
		}
	}
	return m
}

// state takes over what the status section says of the node.
func (n *Node) state(x stateXML) {
	n.Remote = n.Remote || isTrue(x.Remote)
	n.InMembership = since(x.InCCM, "")
	n.CrmdOnline = since(x.Crmd, "online")
	n.crmdOffline = x.Crmd == "offline" || x.Crmd == "0"
	n.Joined = x.Join == "member"
	n.ExpectedMember = x.Expected == "member"
	n.ExpectedDown = x.Expected == "down"
	n.Transient = pairs(x.Sets)
	if v := n.Transient["shutdown"]; v != "" && v != "0" {
		n.ShuttingDown = true
	}
	alive := n.InMembership && n.CrmdOnline
	n.Online = alive && n.Joined
	n.Pending = alive && !n.Joined
	n.Unclean = !alive && n.ExpectedMember
	if n.Remote {
		// No controller runs there; the membership flag is the connection.
		n.Online, n.Pending, n.Unclean = n.InMembership, false, false
	}
	n.Roles, n.Probed = roles(x.Resources), probed(x.Resources)
	n.Promoted = slices.ContainsFunc(x.Resources, func(r historyXML) bool { return promoted(r.Ops) })
}

// since reads a flag that is a word or a boolean up to Pacemaker 2.1.6, and
// since then the time in seconds since when it is true, 0 for false.
func since(s, word string) bool {
	if word != "" && s == word {
		return true
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n > 0
	}
	return isTrue(s)
}

// isTrue reads a boolean as Pacemaker does.
func isTrue(s string) bool {
	switch strings.ToLower(s) {
	case "true", "on", "yes", "y", "1":
		return true
	}
	return false
}
