// Package ipmi is the power switch of a machine with a baseboard management controller (BMC): read
// the state, on, off, cycle, diagnostic interrupt, over one IPMI session that serves them all.
//
// Messages and cryptography are go-ipmi's. This package owns what a fence agent needs around them:
// finding out which dialect a BMC speaks (session.go), telling the ways apart in which a BMC does
// not do what it was asked (errors.go), sessions that survive a BMC's hiccups (bmc.go), and a guard
// on the wire (wire.go) that lets nothing reach go-ipmi which a BMC we share a secret with cannot
// have sent: an answer "off" that anybody could forge proves nothing.
//
// It decides nothing about fencing; waiting for a state is lib/stonith's.
package ipmi
