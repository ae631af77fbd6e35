package stonith

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pgrex/lib/meta"
)

// fencer is the value of PCMK_service by which Pacemaker's fencer shows itself to its agents.
const fencer = "pacemaker-fenced"

// newCall turns what was given into a Call. The errors are mistakes in the parameters; the call is
// usable for metadata, help and version even then.
func (a Agent) newCall(g *given, program string, fromStdin bool, lookup func(string) (string, bool)) (*Call, []error) {
	ps := a.parameters()
	for _, p := range ps {
		g.normalize(p)
	}
	getenv := func(name string) string {
		s, _ := lookup(name)
		return s
	}
	c := &Call{Program: program, Node: g.node, Verbose: g.verbosity(), Getenv: getenv, set: map[string]bool{}}
	for name, v := range g.values {
		c.set[name] = strings.TrimSpace(v) != ""
	}
	// Required parameters depend on the action, so that is checked below.
	decl := meta.Agent{Parameters: make([]meta.Parameter, len(ps))}
	for i, p := range ps {
		decl.Parameters[i] = p.Parameter
		decl.Parameters[i].Required = false
	}
	values, errs := decl.Parse(func(name string) (string, bool) {
		s, ok := g.values[name]
		return s, ok
	})
	c.Values = values
	c.Action = strings.ToLower(strings.TrimSpace(values.String("action")))
	if c.Action == "meta-data" {
		c.Action = "metadata"
	}
	c.Unlimited = getenv("PCMK_service") == fencer
	if c.IsSet("disable_timeout") {
		c.Unlimited, _ = meta.ParseBool(values.String("disable_timeout"))
	}
	c.Password, c.HasPassword = g.values["password"]
	return c, append(errs, a.plugs(c, fromStdin)...)
}

// plugs settles what to act on.
func (a Agent) plugs(c *Call, fromStdin bool) []error {
	named := c.Values.String("plug")
	sep := c.Values.String("plug_separator")
	switch {
	case a.Plugs && named != "":
		c.Plugs = strings.Split(named, sep)
	case a.Plugs:
		c.Plugs = nil
	case c.Values.Bool("port_as_ip") && named != "":
		c.Plugs = strings.Split(named, sep)
		// The first stands for all where only one address can be shown.
		c.Values["ip"], c.set["ip"] = c.Plugs[0], true
	default:
		c.Plugs = []string{""}
		if named != "" && !fromStdin {
			// Pacemaker sends plug always, a person means something by it.
			return []error{errors.New("plug means nothing here without port_as_ip")}
		}
	}
	if slices.Contains(c.Plugs, "") && named != "" && (a.Plugs || c.Values.Bool("port_as_ip")) {
		return []error{fmt.Errorf("plug=%s names an empty plug", strconv.Quote(named))}
	}
	return nil
}

// normalize brings a value into the spelling of the declaration, and drops what was always dropped.
func (g *given) normalize(p Parameter) {
	v, ok := g.values[p.Name]
	if !ok {
		return
	}
	if p.Type == meta.Select {
		for _, o := range p.Options {
			if strings.EqualFold(strings.TrimSpace(v), o) {
				g.values[p.Name] = o
			}
		}
	}
	if p.Name == "verbose_level" {
		if n, err := strconv.Atoi(strings.TrimSpace(v)); err != nil || n < 0 {
			g.warn("Parse error: Option 'verbose_level' must be an integer greater than or equal to 0. Setting verbose_level to 0.")
			g.values[p.Name] = "0"
		}
	}
}

// verbosity is the level of detail that verbose and verbose_level amount to.
func (g *given) verbosity() int {
	v, ok := g.values["verbose_level"]
	if !ok || strings.TrimSpace(v) == "" {
		return g.count
	}
	n, _ := strconv.Atoi(strings.TrimSpace(v))
	if n == 0 && g.count > 0 {
		g.warn("Parse error: Ignoring option 'verbose' because it conflicts with verbose_level=0")
	}
	return n
}

// check says what is missing for the action, in the words that have always been used for it.
func (a Agent) check(c *Call) error {
	if !slices.Contains(a.accepted(), c.Action) {
		return Errorf(Usage, "Failed: Unrecognised action '%s'", strings.Trim(printable(c.Action), "'"))
	}
	if a.Address && c.Values.String("ip") == "" && !c.IsSet("target") {
		return Errorf(Usage, "Failed: You have to enter fence address")
	}
	plugless := []string{"list", "list-status", "monitor"}
	if a.Plugs && len(c.Plugs) == 0 && !slices.Contains(plugless, c.Action) {
		return Errorf(Usage, "Failed: You have to enter plug number or machine identification")
	}
	if a.Check != nil {
		return a.Check(c)
	}
	return nil
}

// actions are those that the meta-data offer.
func (a Agent) actions() []string {
	names := []string{"on", "off", "reboot", "status"}
	if a.Plugs {
		names = append(names, "list", "list-status")
	}
	names = append(names, "monitor", "metadata", "manpage", "validate-all")
	if a.Diag {
		names = append(names, "diag")
	}
	return names
}

// accepted are the actions that are carried out; list has always been, plugs or not.
func (a Agent) accepted() []string { return append(a.actions(), "list", "list-status") }
