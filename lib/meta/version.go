package meta

import "runtime/debug"

// version and commit are set by the linker (Makefile: -X pgrex/lib/meta.version=...).
var version, commit string

// Version returns the version of the suite and the commit it was built from, for --version.
// A build without the Makefile falls back to what the Go tool recorded.
func Version() string {
	v, c := version, commit
	if v == "" {
		v = "devel"
	}
	if c == "" {
		c = "unknown"
		if info, ok := debug.ReadBuildInfo(); ok {
			for _, s := range info.Settings {
				if s.Key == "vcs.revision" {
					c = s.Value
				}
			}
		}
	}
	return v + " (commit " + c + ")"
}
