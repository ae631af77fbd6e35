// Package examples holds the documented configurations as files, so that tests
// run what the documentation says.
package examples

import "embed"

//go:embed pgrex.pcs postgresql.conf pg_hba.conf
var files embed.FS

// File gives one of the example files: pgrex.pcs, the cluster's configuration
// as pcs commands, or postgresql.conf and pg_hba.conf that belong to it.
func File(name string) ([]byte, error) { return files.ReadFile(name) }
