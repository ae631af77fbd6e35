package stonith

import (
	"fmt"
	"slices"
	"strings"

	"pgrex/lib/meta"
)

// parseOptions reads a GNU-style command line: -o off, -ooff, -vvv, --action=off, --action off,
// unambiguous beginnings of long names, options and other words in any order, and "--".
//
// The reader is our own because urfave/cli, which the resource agents use, stands on the standard
// library's flag package: that one knows neither values joined to a letter nor anything behind the
// first word that is no option, takes -action for --action, and stops at a repeated -v.
func parseOptions(args []string, ps []Parameter) (*given, error) {
	g := &given{values: map[string]string{}}
	o := &options{given: g, params: ps}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		var err error
		switch {
		case arg == "--":
			o.words(args)
			args = nil
		case strings.HasPrefix(arg, "--"):
			args, err = o.long(arg[2:], args)
		case len(arg) > 1 && arg[0] == '-':
			args, err = o.short(arg[1:], args)
		default:
			o.words([]string{arg})
		}
		if err != nil {
			return nil, Errorf(Usage, "Parse error: %w", err)
		}
	}
	return g, nil
}

type options struct {
	*given
	params []Parameter
}

// words are what is no option. They are ignored as they always were; the text itself is not
// repeated, because it may be a password with a blank in it.
func (o *options) words(words []string) {
	if len(words) > 0 {
		o.warn("Parse error: Ignoring %d word(s) on the command line that are no option", len(words))
	}
}

func (o *options) long(arg string, rest []string) ([]string, error) {
	name, value, joined := strings.Cut(arg, "=")
	p, err := o.find(name)
	switch {
	case err != nil:
		return nil, err
	case p.Type == meta.Boolean && !joined:
		return rest, o.flag(p)
	case !joined && len(rest) == 0:
		return nil, fmt.Errorf("option --%s needs a value", name)
	case !joined:
		value, rest = rest[0], rest[1:]
	}
	o.take(p, value)
	return rest, nil
}

// find looks for a long option: by its whole name, or by a beginning that fits only one parameter.
func (o *options) find(name string) (Parameter, error) {
	var found []Parameter
	for _, p := range o.params {
		spellings := append([]string{p.flag(), p.Name}, p.Old...)
		if slices.ContainsFunc(spellings, func(s string) bool { return spelling(s) == spelling(name) }) {
			return p, nil
		}
		if strings.HasPrefix(p.flag(), name) {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return Parameter{}, fmt.Errorf("there is no option --%s", strings.Trim(printable(name), "'"))
	case 1:
		return found[0], nil
	}
	return Parameter{}, fmt.Errorf("option --%s is ambiguous", name)
}

// short reads a group of letters; the first that takes a value takes the rest of the group.
func (o *options) short(group string, rest []string) ([]string, error) {
	for i := range len(group) {
		letter := group[i : i+1]
		at := slices.IndexFunc(o.params, func(p Parameter) bool { return p.Letter == letter })
		if at < 0 {
			return nil, fmt.Errorf("there is no option -%s", strings.Trim(printable(letter), "'"))
		}
		p := o.params[at]
		if p.Type == meta.Boolean {
			if err := o.flag(p); err != nil {
				return nil, err
			}
			continue
		}
		value := group[i+1:]
		if value == "" {
			if len(rest) == 0 {
				return nil, fmt.Errorf("option -%s needs a value", letter)
			}
			value, rest = rest[0], rest[1:]
		}
		o.take(p, value)
		break
	}
	return rest, nil
}

func (o *options) flag(p Parameter) error {
	if p.Name == "verbose" {
		o.count++
	}
	o.take(p, "true")
	return nil
}

// flag is the name of a parameter's long option.
func (p Parameter) flag() string {
	if p.Flag != "" {
		return p.Flag
	}
	return strings.ReplaceAll(p.Name, "_", "-")
}
