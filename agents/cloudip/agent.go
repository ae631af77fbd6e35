package main

import (
	"context"

	"pgrex/lib/ocf"
)

// announceCommand is the hidden action that sends announcements in the background.
const announceCommand = "announce"

func announceMain([]string) int { return 0 }

// handlers are the actions of the agent.
func handlers() map[string]func(context.Context, *ocf.Call) error {
	todo := func(_ context.Context, c *ocf.Call) error {
		if c.ParamErr != nil {
			return c.ParamErr
		}
		return ocf.Errorf(ocf.ErrGeneric, "not implemented yet")
	}
	return map[string]func(context.Context, *ocf.Call) error{
		"start": todo, "stop": todo, "monitor": todo, "status": todo, "validate-all": todo, "reload-agent": todo,
	}
}
