package bench

import (
	"slices"
	"testing"
)

const made = `<configuration>
  <crm_config><cluster_property_set id="cib-bootstrap-options">
    <nvpair id="cib-bootstrap-options-priority-fencing-delay" name="priority-fencing-delay" value="2s"/>
    <nvpair id="cib-bootstrap-options-last-lrm-refresh" name="last-lrm-refresh" value="1700000000"/>
  </cluster_property_set></crm_config>
  <nodes><node id="1" uname="n1"><instance_attributes id="nodes-1"/></node></nodes>
  <resources><primitive id="pgsql" class="ocf" provider="pgrex" type="pgsql"><operations>
    <op name="monitor" timeout="60s" interval="1s" id="pgsql-monitor-interval-1s"/>
  </operations></primitive></resources>
</configuration>`

func TestReadConfiguration(t *testing.T) {
	c, err := ReadConfiguration(made)
	if err != nil {
		t.Fatal(err)
	}
	want := Configuration{
		"cluster_property_set cib-bootstrap-options: ",
		"nvpair cib-bootstrap-options-priority-fencing-delay: name=priority-fencing-delay value=2s",
		"op pgsql-monitor-interval-1s: interval=1s name=monitor timeout=60s",
		"primitive pgsql: class=ocf provider=pgrex type=pgsql",
	}
	if !slices.Equal(c, want) {
		t.Errorf("got %q, want %q", c, want)
	}
	if d := c.FencingDelay(); d != "priority-fencing-delay=2s" {
		t.Errorf("fencing delay %q, want 2s", d)
	}
	if d := c[2:].FencingDelay(); d != "none" {
		t.Errorf("fencing delay %q where none is set", d)
	}
	if got := c.Except(want[:3]); !slices.Equal(got, want[3:]) {
		t.Errorf("differs in %q, want %q", got, want[3:])
	}
}

func TestReadConfigurationBad(t *testing.T) {
	for _, text := range []string{"", "no XML", "<configuration/>", "<configuration><resources>"} {
		if c, err := ReadConfiguration(text); err == nil {
			t.Errorf("%q: no error, but %q", text, c)
		}
	}
}

func TestFencingDelay(t *testing.T) {
	const device = "nvpair fence-n%-instance_attributes-unpromoted_delay: name=unpromoted_delay value=2s"
	for _, tt := range []struct {
		c    Configuration
		want string
	}{
		{nil, "none"},
		{Configuration{"nvpair x: name=priority-fencing-delay value=0s"}, "none"},
		{Configuration{"nvpair x: name=priority-fencing-delay value=0"}, "none"},
		{Configuration{"nvpair x: name=priority-fencing-delay value=10s", device}, "priority-fencing-delay=10s unpromoted_delay=2s"},
		{Configuration{device, device}, "unpromoted_delay=2s"},
		{Configuration{"nvpair x: name=pcmk_delay_max value=5", "op delay: name=monitor"}, "pcmk_delay_max=5"},
	} {
		if got := tt.c.FencingDelay(); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.c, got, tt.want)
		}
	}
}
