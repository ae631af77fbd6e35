package main

import (
	"testing"

	"pgrex/tests/lab/scenario"
)

// TestList keeps anybody from dropping a scenario silently.
func TestList(t *testing.T) {
	l, err := scenario.ParseList(scenarioList)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Compare(scenario.All()); err != nil {
		t.Fatal(err)
	}
	if _, err := scenario.ParseBudget(scenarioList); err != nil {
		t.Fatal(err)
	}
}
