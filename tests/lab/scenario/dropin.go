package scenario

func dropIns() []Scenario { return nil }
