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
	b := new(strings.Builder)
	fmt.Fprintf(b, ".TH %s 8 \"\" \"pgrex %s\" \"Fence agents\"\n", strings.ToUpper(name), roff(meta.Version()))
	fmt.Fprintf(b, ".SH NAME\n%s \\- %s\n.SH DESCRIPTION\n%s\n", roff(name), roff(a.Short), roff(a.Long))
	fmt.Fprintf(b, ".PP\n%s reads name=value lines from standard input, or options from the command line.\n.SH PARAMETERS\n", roff(name))
	for _, p := range a.parameters() {
		fmt.Fprintf(b, ".TP\n.B %s\n%s. %s", roff(p.mixed()), roff(p.Short), roff(p.Long))
		names := p.Name
		if len(p.Old) > 0 {
			names += ", formerly " + strings.Join(p.Old, ", ")
		}
		fmt.Fprintf(b, " On standard input: %s.", roff(names))
		if p.Default != "" {
			fmt.Fprintf(b, " Default: %s.", roff(p.Default))
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(b, ".SH ACTIONS\n%s\n", roff(strings.Join(a.actions(), ", ")))
	fmt.Fprintf(b, ".SH \"EXIT STATUS\"\n0 for success, 1 for failure; 2 from status says that the machine is off.\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// roff keeps a text from being taken for requests.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(strings.TrimSpace(s))
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
		if l == "" {
			lines[i] = ".PP"
		}
	}
	return strings.Join(lines, "\n")
}

// WriteMarkdown writes the reference page of the agent for docs/.
func (a Agent) WriteMarkdown(w io.Writer) error {
	b := new(strings.Builder)
	fmt.Fprintf(b, "# %s: parameters and actions\n\n", a.Name)
	fmt.Fprintf(b, "Generated from the agent's declaration by `make metadata`; do not edit.\n\n%s\n\n## Parameters\n\n", markdown(a.Long))
	fmt.Fprintf(b, "| name | old name | option | type | default | |\n|---|---|---|---|---|---|\n")
	for _, p := range a.parameters() {
		fmt.Fprintf(b, "| [%s](#%s) | %s | `%s` | %s | %s | %s |\n", p.Name, p.Name, strings.Join(p.Old, ", "), p.mixed(), p.kind(), code(p.Default), markdown(p.Short))
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
