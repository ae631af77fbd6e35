// Package layout holds the tests of the repository as such: which package may import which, which
// packages each binary links, and what `make deps` says where it cannot install anything. It has no
// code of its own.
package layout
