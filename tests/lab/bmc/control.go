package bmc

import (
	"errors"
	"fmt"
	"strings"
)

// Power is the switch the controller works.
type Power interface {
	// PowerState says whether the node is on.
	PowerState() (bool, error)
	// SetPower returns once the node is on or off.
	SetPower(on bool) error
}

// ErrUnsupported is the answer to orders this controller does not know, such as
// a soft shutdown.
var ErrUnsupported = errors.New("unsupported chassis control")

// Control carries out one call of the simulator's control program, of the form
// "get power" or "set power 1", and returns what the program has to print.
func Control(p Power, args []string) (string, error) {
	call := strings.Join(args, " ")
	switch call {
	case "get power":
		on, err := p.PowerState()
		if err != nil {
			return "", err
		}
		if on {
			return "power:1", nil
		}
		return "power:0", nil
	case "set power 0", "set power 1":
		return "", p.SetPower(call == "set power 1")
	case "set reset 1":
		if err := p.SetPower(false); err != nil {
			return "", err
		}
		return "", p.SetPower(true)
	}
	return "", fmt.Errorf("%w: %q", ErrUnsupported, call)
}
