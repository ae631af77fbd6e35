package azure

import (
	"testing"
)

func TestAcquireFromNobody(t *testing.T) {
	t.Parallel()
	cfg, i := usual(t)
	s := begin(t, cfg, i)
	s.must(t, s.on(t, "n1"))
	s.checkHolder(t, "n1")
	t.Log("\n" + s.trace(0))
}

func TestTakeOver(t *testing.T) {
	t.Parallel()
	cfg, i := usual(t)
	i.hold(&cfg, "n1", "10.0.1.50", nil)
	s := begin(t, cfg, i)
	s.must(t, s.on(t, "n2"))
	s.checkHolder(t, "n2")
	t.Log("\n" + s.trace(0))
}
