package main

import (
	"io"
	"testing"

	"pgrex/lib/meta/metatest"
)

func TestGenerated(t *testing.T) {
	a := declaration()
	metatest.Generated(t, map[string]func(io.Writer) error{
		"../../metadata/fence_ipmi.xml":       func(w io.Writer) error { return a.WriteXML(w, a.Name) },
		"../../docs/fence_ipmi-parameters.md": a.WriteMarkdown,
		"../../metadata/fence_ipmi.8":         func(w io.Writer) error { return a.WriteManual(w, a.Name) },
	})
}
