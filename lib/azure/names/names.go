// Package names says what can be said of the text of Azure's parameters without asking
// Azure. It links no SDK, so that an agent without the driver refuses the same values.
package names

import (
	"errors"
	"strings"
)

// The names of the clouds.
const (
	Public = "public"
	USGov  = "usgov"
	China  = "china"
	Stack  = "stack"
)

// KnownCloud says whether a name, in any case, is that of a cloud. The error is the end of a sentence
// that begins with the name.
func KnownCloud(name string) error {
	switch strings.ToLower(name) {
	case Public, USGov, China, Stack:
		return nil
	case "germany":
		return errors.New("was closed in 2021; use public for the German regions of today")
	}
	return errors.New("is none of public, usgov, china, stack")
}

// HTTPS says whether a URL is one that a token may travel to.
func HTTPS(url string) error {
	if !strings.HasPrefix(strings.ToLower(url), "https://") {
		return errors.New("does not begin with https://, and no token may travel otherwise")
	}
	return nil
}
