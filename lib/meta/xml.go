package meta

import (
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Dialect chooses between the two meta-data documents that the outside world demands. Both follow
// OCF 1.1 in everything the older checkers can bear: <version>, role names, reload-agent.
//
// No single document can satisfy everyone. Pacemaker learns only from the attribute `reloadable`
// that a change needs no restart, and pcs shows the words of a `select`; but resource-agents'
// metadata.rng refuses the first, and its ra-api-1.dtd (which ocf-tester validates with) allows a
// <content> element no children and so refuses the second.
type Dialect int

const (
	// Plain is valid under metadata.rng and ra-api-1.dtd. It is what a caller gets who does not say
	// that it speaks OCF 1.1: a shell, ocf-tester, a build that checks meta-data.
	Plain Dialect = iota
	// OCF11 adds reloadable, unique-group, deprecated and select. It is what Pacemaker, pcs and
	// crmsh get; lib/ocf recognises them by OCF_RA_VERSION_MAJOR and _MINOR, by which a resource
	// manager announces the version of the API it uses.
	OCF11
)

// doctypes widen the DTD's list of actions, which predates reload-agent: a declaration in the
// internal subset is read first and wins over the one in the external file. Without any DOCTYPE
// ocf-tester's validation fails altogether.
var doctypes = map[Dialect]string{
	Plain: `<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd" [
<!ATTLIST action name CDATA #REQUIRED>
]>
`,
	OCF11: `<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
`,
}

type xmlAgent struct {
	XMLName    xml.Name       `xml:"resource-agent"`
	Name       string         `xml:"name,attr"`
	Version    string         `xml:"version,attr"`
	OCF        string         `xml:"version"`
	Long       xmlText        `xml:"longdesc"`
	Short      xmlText        `xml:"shortdesc"`
	Parameters []xmlParameter `xml:"parameters>parameter"`
	Actions    []xmlAction    `xml:"actions>action"`
}

type xmlText struct {
	Lang string `xml:"lang,attr"`
	Text string `xml:",chardata"`
}

type xmlParameter struct {
	Name        string         `xml:"name,attr"`
	Unique      string         `xml:"unique,attr,omitempty"`
	UniqueGroup string         `xml:"unique-group,attr,omitempty"`
	Required    string         `xml:"required,attr"`
	Reloadable  string         `xml:"reloadable,attr,omitempty"`
	Deprecated  *xmlDeprecated `xml:"deprecated"`
	Long        xmlText        `xml:"longdesc"`
	Short       xmlText        `xml:"shortdesc"`
	Content     xmlContent     `xml:"content"`
}

type xmlDeprecated struct {
	ReplacedWith []xmlName `xml:"replaced-with"`
	Desc         *xmlText  `xml:"desc"`
}

type xmlName struct {
	Name string `xml:"name,attr"`
}

type xmlContent struct {
	Type    string      `xml:"type,attr"`
	Default *string     `xml:"default,attr"`
	Options []xmlOption `xml:"option"`
}

type xmlOption struct {
	Value string `xml:"value,attr"`
}

type xmlAction struct {
	Name       string `xml:"name,attr"`
	Timeout    string `xml:"timeout,attr"`
	Interval   string `xml:"interval,attr,omitempty"`
	StartDelay string `xml:"start-delay,attr,omitempty"`
	Role       string `xml:"role,attr,omitempty"`
	Depth      string `xml:"depth,attr,omitempty"`
}

// WriteXML writes the meta-data document of the agent in the given dialect. The same declaration
// gives the same bytes always.
func (a Agent) WriteXML(w io.Writer, d Dialect) error {
	// Pacemaker calls reload-agent only on agents that claim OCF 1.1 or newer here.
	doc := xmlAgent{Name: a.Name, Version: a.Version, OCF: "1.1", Long: english(a.Long), Short: english(a.Short)}
	for _, p := range a.Parameters {
		doc.Parameters = append(doc.Parameters, p.xml(d))
	}
	for _, act := range a.Actions {
		doc.Actions = append(doc.Actions, act.xml())
	}
	body, err := xml.MarshalIndent(doc, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot encode the meta-data of %s: %w", a.Name, err)
	}
	// xml.Header names an encoding, and crmsh cannot parse a document that does; UTF-8 is implied.
	if _, err := fmt.Fprintf(w, "<?xml version=\"1.0\"?>\n%s%s\n", doctypes[d], body); err != nil {
		return fmt.Errorf("cannot write the meta-data of %s: %w", a.Name, err)
	}
	return nil
}

func (p Parameter) xml(d Dialect) xmlParameter {
	x := xmlParameter{
		Name: p.Name, Required: bit(p.Required), Long: english(p.Long), Short: english(p.Short),
		Content: xmlContent{Type: p.contentType()},
	}
	// metadata.rng and pcs take any default, but a required parameter has none to show.
	if !p.Required {
		x.Content.Default = &p.Default
	}
	if d == Plain {
		x.Unique = bit(p.Unique)
		return x
	}
	if p.Unique {
		x.UniqueGroup = p.Name
	}
	x.Reloadable = bit(p.Reloadable)
	if p.Type == Select {
		x.Content.Type = string(Select)
		for _, o := range p.Options {
			x.Content.Options = append(x.Content.Options, xmlOption{o})
		}
	}
	if dep := p.Deprecated; dep != nil {
		x.Deprecated = &xmlDeprecated{}
		for _, n := range dep.ReplacedWith {
			x.Deprecated.ReplacedWith = append(x.Deprecated.ReplacedWith, xmlName{n})
		}
		if dep.Why != "" {
			t := english(dep.Why)
			x.Deprecated.Desc = &t
		}
	}
	return x
}

// contentType is the type every checker knows. A length of time is called `time` by the DTD and by
// pcs, `second` by metadata.rng; each refuses the other's word, so it is announced as the integer
// it has always been in the reference agents.
func (p Parameter) contentType() string {
	switch p.Type {
	case Integer, Seconds:
		return "integer"
	case Boolean:
		return "boolean"
	}
	return "string"
}

func (act Action) xml() xmlAction {
	x := xmlAction{Name: act.Name, Timeout: seconds(act.Timeout), Role: act.Role}
	if act.Interval > 0 {
		x.Interval = seconds(act.Interval)
	}
	if act.StartDelay > 0 {
		x.StartDelay = seconds(act.StartDelay)
	}
	if act.Name == "monitor" {
		x.Depth = strconv.Itoa(act.Depth)
	}
	return x
}

func english(s string) xmlText { return xmlText{Lang: "en", Text: strings.TrimSpace(s)} }

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func seconds(d time.Duration) string {
	if d%time.Second != 0 {
		return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}
