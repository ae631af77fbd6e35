package bench

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
)

// Configuration is what a cluster was told to do: a line for each element of its
// CIB that has an id, without what the daemons write there themselves.
type Configuration []string

// fencingDelay is the property that says how long the weaker side of a cut waits.
const fencingDelay = "priority-fencing-delay"

// ReadConfiguration reads what cibadmin --query --scope configuration says.
func ReadConfiguration(text string) (Configuration, error) {
	var c Configuration
	d := xml.NewDecoder(strings.NewReader(text))
	skip := false // the nodes' own numbers and attributes say nothing of the agents
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the configuration: %w", err)
		}
		switch e := t.(type) {
		case xml.StartElement:
			skip = skip || e.Name.Local == "nodes"
			if l := line(e); l != "" && !skip {
				c = append(c, l)
			}
		case xml.EndElement:
			skip = skip && e.Name.Local != "nodes"
		}
	}
	if len(c) == 0 {
		return nil, errors.New("the configuration is empty")
	}
	slices.Sort(c)
	return c, nil
}

// line is an element in words, "" if it has no id or is not of people's making.
func line(e xml.StartElement) string {
	var rest []string
	id := ""
	for _, a := range e.Attr {
		switch {
		case a.Name.Local == "id":
			id = a.Value
		case a.Name.Local == "name" && (a.Value == "last-lrm-refresh" || a.Value == "cluster-name"):
			return ""
		default:
			rest = append(rest, a.Name.Local+"="+a.Value)
		}
	}
	if id == "" {
		return ""
	}
	sort.Strings(rest)
	return e.Name.Local + " " + id + ": " + strings.Join(rest, " ")
}

// FencingDelay is the delay in force, "none" if there is none.
func (c Configuration) FencingDelay() string {
	for _, l := range c {
		if _, v, ok := strings.Cut(l, "name="+fencingDelay+" value="); ok {
			return v
		}
	}
	return "none"
}

// Except are the lines that are not in another configuration.
func (c Configuration) Except(other Configuration) []string {
	var out []string
	for _, l := range c {
		if !slices.Contains(other, l) {
			out = append(out, l)
		}
	}
	return out
}
