// Package layout holds the tests of the repository's own shape: which package may import which, and
// which packages each binary links. It has no code of its own.
package layout
