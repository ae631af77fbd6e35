// Package packages holds the tests of what `make packages` makes: that the same
// commit gives the same bytes, that rpm and deb have the same files, what each
// program in them links, and that a clean Debian bears their installation,
// upgrade and removal.
//
// The tests need root and the packages that `make deps` installs. The root file
// systems are those of tests/debian; PGREX_RELEASES names the releases, all
// without it.
package packages
