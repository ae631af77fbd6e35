// Package meta holds the declaration of an agent: its parameters, its actions and the texts that
// explain them. A parameter is declared once; from that one declaration come the meta-data XML
// (xml.go), the parsing and checking of values (values.go), the usage text and the reference page
// in docs/ (text.go).
//
// It owns no behaviour of any agent, reads no environment and runs nothing: callers hand in a
// lookup function and a writer. It imports the standard library only, so that every other package
// may import it.
package meta
