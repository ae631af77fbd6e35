package main

import (
	"io"
	"testing"

	"pgrex/lib/meta"
	"pgrex/lib/meta/metatest"
)

func TestGenerated(t *testing.T) {
	a := declaration()
	metatest.Generated(t, map[string]func(io.Writer) error{
		"../../metadata/pgsql.xml":         func(w io.Writer) error { return a.WriteXML(w, meta.Plain) },
		"../../metadata/pgsql.ocf-1.1.xml": func(w io.Writer) error { return a.WriteXML(w, meta.OCF11) },
		"../../docs/pgsql-parameters.md":   a.WriteMarkdown,
		"../../metadata/ocf_pgrex_pgsql.7": func(w io.Writer) error { return a.WriteManual(w, "pgrex") },
	})
}
