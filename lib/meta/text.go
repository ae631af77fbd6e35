package meta

import (
	"fmt"
	"io"
	"strings"
)

// WriteUsage writes a text for a person who calls the agent by hand: the actions, the parameters
// with their defaults, and how values are handed in.
func (a Agent) WriteUsage(w io.Writer) error {
	b := new(strings.Builder)
	fmt.Fprintf(b, "%s - %s\n\n", a.Name, a.Short)
	fmt.Fprintf(b, "usage: %s ACTION\n\nactions: %s\n\n", a.Name, strings.Join(a.ActionNames(), " "))
	fmt.Fprintf(b, "Parameters are taken from the environment, as OCF_RESKEY_<name>:\n\n")
	for _, p := range a.Parameters {
		def := ""
		if p.Default != "" {
			def = fmt.Sprintf(" (default %s)", p.Default)
		}
		fmt.Fprintf(b, "  %-28s %s%s\n", p.Name, p.Short, def)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// ActionNames lists the actions, each once, in the order of the declaration.
func (a Agent) ActionNames() []string {
	var names []string
	seen := map[string]bool{}
	for _, act := range a.Actions {
		if !seen[act.Name] {
			names = append(names, act.Name)
		}
		seen[act.Name] = true
	}
	return names
}

// WriteMarkdown writes the reference page of the agent for docs/.
func (a Agent) WriteMarkdown(w io.Writer) error {
	b := new(strings.Builder)
	fmt.Fprintf(b, "# %s: parameters and actions\n\n", a.Name)
	fmt.Fprintf(b, "Generated from the agent's declaration by `make metadata`; do not edit.\n\n%s\n\n## Parameters\n\n", markdown(a.Long))
	fmt.Fprintf(b, "| name | type | default | |\n|---|---|---|---|\n")
	for _, p := range a.Parameters {
		fmt.Fprintf(b, "| [%s](#%s) | %s | %s | %s |\n", p.Name, strings.ToLower(p.Name), p.kindText(), code(p.Default), markdown(p.Short))
	}
	for _, p := range a.Parameters {
		fmt.Fprintf(b, "\n### %s\n\n%s\n\n%s\n", p.Name, markdown(p.Long), p.facts(code))
	}
	fmt.Fprintf(b, "\n## Actions\n\n| action | timeout | interval | role |\n|---|---|---|---|\n")
	for _, act := range a.Actions {
		interval := ""
		if act.Interval > 0 {
			interval = seconds(act.Interval)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", act.Name, seconds(act.Timeout), interval, act.Role)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// markdown keeps "<node>" from being taken for a tag of HTML.
func markdown(s string) string {
	return strings.ReplaceAll(strings.TrimSpace(s), "<", `\<`)
}

func (p Parameter) kindText() string {
	if p.Type == Select {
		return strings.Join(p.Options, ", ")
	}
	return string(p.Type)
}

// facts is the line under a parameter's text that says what the type and the flags mean for it. code
// sets off a value from the words around it.
func (p Parameter) facts(code func(string) string) string {
	f := []string{"Type: " + p.kindText()}
	if p.Default != "" {
		f = append(f, "default: "+code(p.Default))
	}
	if p.Min != nil {
		f = append(f, fmt.Sprintf("at least %d", *p.Min))
	}
	if p.Max != nil {
		f = append(f, fmt.Sprintf("at most %d", *p.Max))
	}
	if p.Required {
		f = append(f, "required")
	}
	if p.Reloadable {
		f = append(f, "a change needs no restart")
	} else {
		f = append(f, "a change restarts the resource")
	}
	if p.Secret {
		f = append(f, "never written to a log")
	}
	if p.Deprecated != nil {
		f = append(f, "deprecated: "+p.Deprecated.Why)
	}
	return strings.Join(f, "; ") + "."
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}
