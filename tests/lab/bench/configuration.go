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

// FencingDelay is the delay in force, by the names of what says it: Pacemaker's
// priority-fencing-delay, or parameters of the fence agents; "none" if there is
// none.
func (c Configuration) FencingDelay() string {
	var out []string
	for _, l := range c {
		name, value, ok := strings.Cut(l, " value=")
		_, name, _ = strings.Cut(name, "name=")
		if !ok || !strings.Contains(name, "delay") || isNone(value) {
			continue
		}
		if d := name + "=" + value; !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, " ")
}

// isNone says whether a time is none.
func isNone(value string) bool { return strings.TrimRight(value, "ms") == "0" }

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
