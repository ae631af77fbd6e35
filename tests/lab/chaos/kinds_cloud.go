package chaos

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	fake "pgrex/tests/fakes/azure"
	"pgrex/tests/lab/fault"
)

// cloudKinds break what a node in Azure asks. The Resource Manager is the same
// for all nodes.
func cloudKinds() []Kind {
	inAzure := func(s Shape) bool { return s.Azure }
	return []Kind{
		{Name: "arm", Group: "cloud", Roles: onPrimary(), Longest: 20 * time.Second, Needs: inAzure,
			Args:   func(rng *rand.Rand) string { return armTroubles()[rng.IntN(len(armTroubles()))] },
			Inject: armTrouble,
			Heal:   func(ctx context.Context, t Target) error { return t.Cloud().ClearFaults(ctx) }},
		{Name: "arm-hidden", Group: "cloud", Roles: everybody(), Longest: 20 * time.Second, Needs: inAzure,
			Inject: func(ctx context.Context, t Target) (fault.Evidence, error) {
				return t.evidence("the router drops what goes to the Resource Manager"), t.Hide(ctx, t.Node, true)
			},
			Heal: func(ctx context.Context, t Target) error { return t.Hide(ctx, t.Node, false) }},
		{Name: "metadata-down", Group: "cloud", Roles: everybody(), Longest: 20 * time.Second, Needs: inAzure,
			Inject: func(ctx context.Context, t Target) (fault.Evidence, error) {
				return t.evidence("its instance metadata service refuses connections"), t.Metadata(ctx, t.Node, false)
			},
			Heal: func(ctx context.Context, t Target) error {
				n, err := t.Site.Node(ctx, t.Node)
				if err != nil || !n.On() {
					return err
				}
				return t.Metadata(ctx, t.Node, true)
			}},
	}
}

// armTroubles are what the Resource Manager does instead of its work: the first
// word says what, the second which requests.
func armTroubles() []string {
	return []string{
		"throttles /networkInterfaces/", "throttles /virtualMachines/", "fails /networkInterfaces/", "fails /virtualMachines/",
		"hangs /networkInterfaces/", "drops /networkInterfaces/", "drops-after-doing /networkInterfaces/",
		"drops-after-doing /virtualMachines/", "slow /networkInterfaces/", "slow /virtualMachines/", "throttles /", "fails /",
	}
}

func armTrouble(ctx context.Context, t Target) (fault.Evidence, error) {
	what, path, _ := strings.Cut(t.Args, " ")
	f := fake.Fault{Service: fake.ARM, Path: path, Times: -1}
	switch what {
	case "throttles":
		f.Status, f.Code, f.RetryAfter = 429, "TooManyRequests", "3"
	case "fails":
		f.Status, f.Code = 500, "InternalServerError"
	case "hangs":
		f.Hang = true
	case "drops":
		f.Drop = true
	case "drops-after-doing":
		f.Drop, f.Effect = true, true
	case "slow":
		f.Delay = fake.Duration(2500 * time.Millisecond)
	default:
		return fault.Evidence{}, errors.New("no such trouble: " + what)
	}
	return t.evidence("the Resource Manager was told to"), t.Cloud().Script(ctx, f)
}
