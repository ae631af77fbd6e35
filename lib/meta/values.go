package meta

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrBadValue is the cause of every error that Parse returns.
var ErrBadValue = errors.New("bad parameter")

// Values are the values in force, defaults included, in their normal form: "true" or "false" for a
// Boolean, decimal digits for an Integer, a Go duration for Seconds. Only Parse makes them, so a
// getter that finds something else there (a name nobody declared) returns the zero value.
type Values map[string]string

// String returns the value of a parameter as it stands.
func (v Values) String(name string) string { return v[name] }

// Int returns the value of an Integer parameter, or a Seconds parameter in whole seconds.
func (v Values) Int(name string) int {
	n, err := strconv.Atoi(v[name])
	if err != nil {
		return int(v.Duration(name) / time.Second)
	}
	return n
}

// Bool returns the value of a Boolean parameter.
func (v Values) Bool(name string) bool { return v[name] == "true" }

// Duration returns the value of a Seconds parameter.
func (v Values) Duration(name string) time.Duration {
	d, _ := parseSeconds(v[name])
	return d
}

// Parse reads every declared parameter through get, which reports whether the parameter is set.
// An empty value counts as not set, because no tool can tell the two apart in a CIB.
//
// A value that is wrong in type or range is replaced by the default, so that the actions that must
// go on with a broken configuration (stop above all) have something usable; one that only fails its
// Check is kept as it is. Either way it is reported. All errors are reported together, each
// wraps ErrBadValue and says which parameter, what is wrong, and what would be right. The value of
// a secret is never repeated.
func (a Agent) Parse(get func(name string) (string, bool)) (Values, []error) {
	v := make(Values, len(a.Parameters))
	var errs []error
	for _, p := range a.Parameters {
		raw, _ := get(p.Name)
		if strings.TrimSpace(raw) == "" {
			v[p.Name] = p.fallback(v)
			if p.Required {
				errs = append(errs, fmt.Errorf("%w: %s is required and not set", ErrBadValue, p.Name))
			}
			continue
		}
		norm, err := p.normal(raw)
		if err != nil {
			v[p.Name] = p.fallback(v)
			errs = append(errs, p.bad(raw, err))
			continue
		}
		v[p.Name] = norm
		if p.Check != nil {
			if err := p.Check(norm); err != nil {
				errs = append(errs, p.bad(raw, err))
			}
		}
	}
	return v, errs
}

// bad says what is wrong with a value. strconv.Quote keeps control characters out of the logs.
func (p Parameter) bad(raw string, err error) error {
	if p.Secret {
		return fmt.Errorf("%w: %s: %w", ErrBadValue, p.Name, err)
	}
	return fmt.Errorf("%w: %s=%s: %w", ErrBadValue, p.Name, strconv.Quote(raw), err)
}

func (p Parameter) fallback(v Values) string {
	if p.Derived != nil {
		return p.Derived(v)
	}
	// A default that does not parse is caught by Agent.Check; here the text itself will do.
	norm, err := p.normal(p.Default)
	if err != nil {
		return p.Default
	}
	return norm
}

// normal brings a value into the form that the getters read.
func (p Parameter) normal(raw string) (string, error) {
	if strings.ContainsRune(raw, 0) {
		return "", errors.New("contains a zero byte")
	}
	switch p.Type {
	case Integer:
		n, err := strconv.Atoi(strings.TrimSpace(raw))
		if err != nil {
			return "", errors.New("is not a whole number")
		}
		return strconv.Itoa(n), p.inRange(n)
	case Boolean:
		b, err := ParseBool(raw)
		return strconv.FormatBool(b), err
	case Select:
		word := strings.TrimSpace(raw)
		if !slices.Contains(p.Options, word) {
			return "", fmt.Errorf("is none of %s", strings.Join(p.Options, ", "))
		}
		return word, nil
	case Seconds:
		d, err := parseSeconds(raw)
		if err != nil {
			return "", err
		}
		return d.String(), p.inRange(int(d / time.Second))
	default:
		return raw, nil
	}
}

func (p Parameter) inRange(n int) error {
	if p.Min != nil && n < *p.Min {
		return fmt.Errorf("is less than %d", *p.Min)
	}
	if p.Max != nil && n > *p.Max {
		return fmt.Errorf("is more than %d", *p.Max)
	}
	return nil
}

// ParseBool reads a truth value in the spellings that resource agents have always accepted, plus
// the negative of each.
func ParseBool(s string) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "yes", "true", "1", "ja", "on", "y", "t":
		return true, nil
	case "no", "false", "0", "nein", "off", "n", "f":
		return false, nil
	}
	return false, errors.New("is neither true nor false")
}

// parseSeconds reads a length of time the way Pacemaker does: digits and a unit, seconds if none.
func parseSeconds(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		// What Duration.String wrote ("1m30s") has to be read back by the getter.
		if d, derr := time.ParseDuration(s); derr == nil && d >= 0 {
			return d, nil
		}
		return 0, errors.New("is not a length of time such as 90 or 90s")
	}
	var unit time.Duration
	switch strings.ToLower(strings.TrimSpace(s[len(digits):])) {
	case "", "s", "sec":
		unit = time.Second
	case "ms", "msec":
		unit = time.Millisecond
	case "m", "min":
		unit = time.Minute
	case "h", "hr":
		unit = time.Hour
	default:
		return 0, errors.New("has an unknown unit; use ms, s, m or h")
	}
	if n < 0 {
		return 0, errors.New("is negative")
	}
	if n > int64((1<<63-1)/unit) {
		return 0, errors.New("is too long")
	}
	return time.Duration(n) * unit, nil
}
