package main

import (
	"context"
	"strings"

	"pgrex/lib/ipmi"
	"pgrex/lib/stonith"
)

// device is the BMC of the machine to be fenced, or several for a machine of several.
type device struct {
	bmcs map[string]*ipmi.BMC
}

// configs are the BMCs of a call: one, or with port_as_ip one per plug.
func configs(c *stonith.Call) map[string]ipmi.Config {
	cfg := ipmi.Config{
		Host:      c.Values.String("ip"),
		Port:      c.Values.Int("ipport"),
		User:      c.Values.String("username"),
		Password:  c.Password,
		Auth:      c.Values.String("auth"),
		Privilege: c.Values.String("privlvl"),
		Log:       c.Log,
	}
	cfg.Suite = c.Values.Int("cipher")
	// A key that is none has been found wrong before this.
	cfg.Kg, _ = kg(c.Values.String("hexadecimal_kg"))
	cfg.Try, _ = try(c.Values.String("ipmitool_timeout"))
	if c.IsSet("lanplus") {
		cfg.Dialect = ipmi.IPMI15
		if c.Values.Bool("lanplus") {
			cfg.Dialect = ipmi.RMCPPlus
		}
	}
	all := map[string]ipmi.Config{}
	for _, plug := range c.Plugs {
		if plug != "" {
			cfg.Host = plug
		}
		all[plug] = cfg
	}
	return all
}

// open opens the sessions.
func open(ctx context.Context, c *stonith.Call) (stonith.Device, error) {
	d := &device{bmcs: map[string]*ipmi.BMC{}}
	if limit := c.Limit("login_timeout"); limit > 0 && c.IsSet("login_timeout") {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	for plug, cfg := range configs(c) {
		b, err := ipmi.Open(ctx, cfg)
		if err != nil {
			d.closeAll(ctx)
			return nil, unopened(err)
		}
		d.bmcs[plug] = b
		dialect, suite := b.Dialect()
		c.Log.Info("session opened", "bmc", cfg.Host, "dialect", dialect, "suite", suite)
	}
	return d, nil
}

// Status asks the BMC.
func (d *device) Status(ctx context.Context, plug string) (stonith.State, error) {
	on, err := d.bmcs[plug].On(ctx)
	switch {
	case err != nil:
		return stonith.Unknown, failed(err)
	case on:
		return stonith.On, nil
	}
	return stonith.Off, nil
}

// On orders on.
func (d *device) On(ctx context.Context, plug string) error {
	return failed(d.bmcs[plug].PowerOn(ctx))
}

// Off orders off, hard.
func (d *device) Off(ctx context.Context, plug string) error {
	return failed(d.bmcs[plug].PowerOff(ctx))
}

// Cycle orders a power cycle.
func (d *device) Cycle(ctx context.Context, plug string) error {
	return failed(d.bmcs[plug].PowerCycle(ctx))
}

// Diag orders a diagnostic interrupt.
func (d *device) Diag(ctx context.Context, plug string) error {
	return failed(d.bmcs[plug].Interrupt(ctx))
}

// Close ends the sessions.
func (d *device) Close(ctx context.Context) error {
	d.closeAll(ctx)
	return nil
}

func (d *device) closeAll(ctx context.Context) {
	for _, b := range d.bmcs {
		b.Close(ctx)
	}
}

// unopened is the error of a first login, which is not tried again.
func unopened(err error) error {
	class := stonith.Login
	switch ipmi.KindOf(err) {
	case ipmi.Silent:
		class = stonith.TimedOut
	case ipmi.Privilege:
		class = stonith.Privileges
	case ipmi.BadConfig:
		class = stonith.Usage
	case ipmi.Unsupported, ipmi.BadAnswer:
		class = stonith.Generic
	}
	return classed(class, err)
}

// failed is the error of a BMC that has let us in before. Then even a refused login is a fit of
// weakness: some BMCs know no user for a moment after they have switched a machine off.
func failed(err error) error {
	if err == nil {
		return nil
	}
	class := stonith.Lost
	switch ipmi.KindOf(err) {
	case ipmi.Privilege:
		class = stonith.Privileges
	case ipmi.Unsupported:
		class = stonith.Generic
	case ipmi.Busy:
		class = stonith.Busy
	case ipmi.BadAnswer:
		class = stonith.Status
	}
	return classed(class, err)
}

func classed(class stonith.Class, err error) error {
	reason := err.Error()
	if class != stonith.TimedOut {
		reason = neutral(reason)
	}
	return &stonith.Error{Class: class, Reason: reason, Err: err}
}

// neutral avoids the words by which Pacemaker recognises that an agent ran out of time, in the texts
// of errors that mean something else.
func neutral(s string) string {
	return strings.NewReplacer("timed out", "got no answer", "timeout", "time limit").Replace(s)
}
