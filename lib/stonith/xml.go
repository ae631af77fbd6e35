package stonith

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"pgrex/lib/meta"
)

type xmlAgent struct {
	XMLName    xml.Name       `xml:"resource-agent"`
	Name       string         `xml:"name,attr"`
	Short      string         `xml:"shortdesc,attr"`
	Long       string         `xml:"longdesc"`
	Vendor     string         `xml:"vendor-url"`
	Parameters []xmlParameter `xml:"parameters>parameter"`
	Actions    []xmlAction    `xml:"actions>action"`
}

type xmlParameter struct {
	Name       string     `xml:"name,attr"`
	Unique     string     `xml:"unique,attr"`
	Required   string     `xml:"required,attr"`
	Deprecated string     `xml:"deprecated,attr,omitempty"`
	Obsoletes  string     `xml:"obsoletes,attr,omitempty"`
	Getopt     xmlGetopt  `xml:"getopt"`
	Content    xmlContent `xml:"content"`
	Short      xmlText    `xml:"shortdesc"`
}

type xmlGetopt struct {
	Mixed string `xml:"mixed,attr"`
}

type xmlContent struct {
	Type    string      `xml:"type,attr"`
	Default string      `xml:"default,attr,omitempty"`
	Options []xmlOption `xml:"option"`
}

type xmlOption struct {
	Value string `xml:"value,attr"`
}

type xmlText struct {
	Lang string `xml:"lang,attr"`
	Text string `xml:",chardata"`
}

type xmlAction struct {
	Name      string `xml:"name,attr"`
	Automatic string `xml:"automatic,attr,omitempty"`
}

// WriteXML writes the meta-data in the dialect of fence agents, which is not that of resource
// agents: its schema is fence-agents' metadata.rng. name is that of the program, which differs
// from the agent's own if the program is called by another name.
func (a Agent) WriteXML(w io.Writer, name string) error {
	doc := xmlAgent{Name: name, Short: a.Short, Long: strings.TrimSpace(a.Long), Vendor: a.Vendor}
	for _, p := range a.parameters() {
		doc.Parameters = append(doc.Parameters, p.xml()...)
	}
	for _, name := range a.actions() {
		x := xmlAction{Name: name}
		if name == "on" {
			x.Automatic = "0" // on switches a machine on; it is no unfencing
		}
		doc.Actions = append(doc.Actions, x)
	}
	body, err := xml.MarshalIndent(doc, "", "\t")
	if err != nil {
		return fmt.Errorf("cannot encode the meta-data of %s: %w", name, err)
	}
	if _, err := fmt.Fprintf(w, "<?xml version=\"1.0\" ?>\n%s\n", body); err != nil {
		return fmt.Errorf("cannot write the meta-data of %s: %w", name, err)
	}
	return nil
}

// xml is a parameter and, before it, one like it for each of its old names: pcs hides those, and
// accepts them.
func (p Parameter) xml() []xmlParameter {
	x := xmlParameter{
		Name: p.Name, Unique: "0", Required: bit(p.Required),
		Getopt: xmlGetopt{p.mixed()}, Short: xmlText{"en", p.Short},
		Content: xmlContent{Type: p.contentType(), Default: p.Default},
	}
	if p.Type == meta.Select {
		for _, o := range p.Options {
			x.Content.Options = append(x.Content.Options, xmlOption{o})
		}
	}
	if p.Obsolete {
		x.Deprecated = "1"
	}
	// Pacemaker sets the action itself, and drops the demand again for those who configure it.
	if p.Name == "action" {
		x.Required = "1"
	}
	var all []xmlParameter
	for _, old := range p.Old {
		y := x
		y.Name, y.Deprecated, y.Obsoletes = old, "1", ""
		all = append(all, y)
	}
	if len(p.Old) > 0 {
		x.Obsoletes = p.Old[0]
	}
	return append(all, x)
}

// mixed is how the option is written on a command line.
func (p Parameter) mixed() string {
	s := "--" + p.flag()
	if p.Type != meta.Boolean {
		word := p.Word
		if word == "" {
			word = p.Name
		}
		s += "=[" + word + "]"
	}
	if p.Letter != "" {
		s = "-" + p.Letter + ", " + s
	}
	return s
}

func (p Parameter) contentType() string {
	if p.Type == meta.Seconds {
		return "second"
	}
	return string(p.Type)
}

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
