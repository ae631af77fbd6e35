package fence

// deviation is a case in which fence_ipmi does not do or say what fence_ipmilan does. The reason
// stands in docs/fence_ipmi.md for those who replace one by the other.
type deviation struct {
	// name is that of the case in the comparison.
	name string
	why  string
}

// deviations are all that are known. A case that is not here and differs is an error; so is one that
// is here and does not differ.
var deviations = []deviation{
	{"reboot, cycle, off", "fence_ipmilan asks a machine that is off to cycle, which BMCs refuse, and fails for ever; fence_ipmi switches it on, and reports it fenced"},
	{"reboot, slow machine", "fence_ipmi sends on again each second while the BMC still says off, for up to 4 s, because BMCs swallow an early one; fence_ipmilan sends it once and waits 2 s"},
	{"cipher 2", "suites without encryption are refused at once; fence_ipmilan passes any number on"},
}
