package main

// The node attributes, by the part after the resource's name. All but the last
// six are the reference agent's, values included: other resources' rules,
// operation tools and people's eyes read them.
const (
	attrStatus   = "-status"          // reboot: STOP, HS:..., PRI, UNKNOWN
	attrData     = "-data-status"     // forever: LATEST, STREAMING|SYNC, ..., DISCONNECT
	attrLocation = "-xlog-loc"        // reboot: 16 hexadecimal digits
	attrBaseline = "-master-baseline" // reboot: 16 hexadecimal digits
	attrReceiver = "-receiver-status" // reboot: normal, normal (master), ERROR
	attrRecord   = "-record"          // forever: the record, see lib/replication
	attrPosition = "-position"        // reboot: how far this node's WAL reaches, and on which line
	attrRejoin   = "-rejoin"          // reboot: how far the replacement of this node's data is, or what became of it
	attrVoter    = "-voter"           // reboot: the epoch of the record by which this node votes
	attrFull     = "-full"            // reboot: what the volume of this node's data has run out of
	attrAccept   = "-accept-loss"     // reboot: an operator's explicit act, the epoch it is for
)

// Values of attrStatus.
const (
	statusStop      = "STOP"
	statusUnknown   = "UNKNOWN"
	statusAlone     = "HS:alone"
	statusConnected = "HS:connected"
	statusAsync     = "HS:async"
	statusPotential = "HS:potential"
	statusSync      = "HS:sync"
	statusQuorum    = "HS:quorum"
	statusPrimary   = "PRI"
)

// Values of attrData and attrReceiver.
const (
	dataLatest       = "LATEST"
	dataDisconnect   = "DISCONNECT"
	receiverNormal   = "normal"
	receiverPromoted = "normal (master)"
	receiverError    = "ERROR"
)

// Files in tmpdir, the first three under the reference agent's names: a running
// cluster moves over with them in use.
const (
	fileRecovery = "recovery.conf"
	fileRepMode  = "rep_mode.conf"
	fileLock     = "PGSQL.lock"
	fileEnded    = "pgrex-ended"
)
