package stonith

import (
	"fmt"
	"io"
	"strings"

	"pgrex/lib/meta"
)

// WriteUsage writes the options for a person who calls the agent by hand.
func (a Agent) WriteUsage(w io.Writer, name string) error {
	b := new(strings.Builder)
	fmt.Fprintf(b, "Usage:\n\t%s [options]\nOptions:\n", name)
	for _, p := range a.parameters() {
		def := ""
		if p.Default != "" {
			def = " (default " + p.Default + ")"
		}
		fmt.Fprintf(b, "   %-36s %s%s\n", p.mixed(), p.Short, def)
	}
	fmt.Fprintf(b, "\nWithout options, name=value lines are read from standard input.\nActions: %s\n", strings.Join(a.actions(), " "))
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteManual writes a manual page, to be read with `man -l -`.
func (a Agent) WriteManual(w io.Writer, name string) error {
	m := meta.NewManual(name, 8, "Fence agents", a.Short)
	m.Section("SYNOPSIS")
	m.Text(name + " [OPTION]...")
	m.Section("DESCRIPTION")
	m.Text(strings.TrimSpace(a.Long) + "\n\nOptions are taken from the command line; without any, name=value lines are read from standard input.")
	m.Section("PARAMETERS")
	for _, p := range a.parameters() {
		names := p.Name
		if len(p.Old) > 0 {
			names += ", formerly " + strings.Join(p.Old, ", ")
		}
		facts := "On standard input: " + names + "."
		if p.Default != "" {
			facts += " Default: " + p.Default + "."
		}
		m.Item(p.mixed(), p.Short+".\n\n"+strings.TrimSpace(p.Long)+"\n\n"+facts)
	}
	m.Section("ACTIONS")
	m.Text(strings.Join(a.actions(), ", "))
	m.Section("EXIT STATUS")
	m.Text("0 for success, 1 for failure; 2 from status says that the machine is off.")
	m.Section("SEE ALSO")
	m.Text("The documentation is in /usr/share/doc/pgrex/docs.")
	_, err := m.WriteTo(w)
	return err
}

// WriteMarkdown writes the reference page of the agent for docs/.
func (a Agent) WriteMarkdown(w io.Writer) error {
	b := new(strings.Builder)
	fmt.Fprintf(b, "# %s: parameters and actions\n\n", a.Name)
	fmt.Fprintf(b, "Generated from the agent's declaration by `make metadata`; do not edit.\n\n%s\n\n## Parameters\n\n", markdown(a.Long))
	fmt.Fprintf(b, "| name | old name | option | type | default | |\n|---|---|---|---|---|---|\n")
	for _, p := range a.parameters() {
		fmt.Fprintf(b, "| [%s](#%s) | %s | `%s` | %s | %s | %s |\n", p.Name, strings.ToLower(p.Name), strings.Join(p.Old, ", "), p.mixed(), p.kind(), code(p.Default), markdown(p.Short))
	}
	for _, p := range a.parameters() {
		fmt.Fprintf(b, "\n### %s\n\n%s\n", p.Name, markdown(p.Long))
		if p.Secret {
			fmt.Fprintf(b, "\nNever written to a log.\n")
		}
	}
	fmt.Fprintf(b, "\n## Actions\n\n%s\n", strings.Join(a.actions(), ", "))
	_, err := io.WriteString(w, b.String())
	return err
}

func (p Parameter) kind() string {
	if p.Type == meta.Select {
		return strings.Join(p.Options, ", ")
	}
	return string(p.Type)
}

func markdown(s string) string {
	return strings.ReplaceAll(strings.TrimSpace(s), "<", `\<`)
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}
