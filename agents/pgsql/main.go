// Command pgsql is ocf:pgrex:pgsql, the promotable resource agent for
// PostgreSQL with synchronous streaming replication.
//
// It owns the order of things: one file per action, each of which goes
// environment, observe, decide, act, one exit code and one reason. What may be
// decided is in lib/replication, how a server is handled in lib/pg, how the
// cluster's memory is read and written in lib/crm.
package main

import "pgrex/lib/ocf"

func main() {
	ocf.Main(ocf.Agent{Meta: declaration(), Handlers: handlers(), Hidden: hidden()})
}
