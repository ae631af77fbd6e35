package crm

import (
	"strings"
	"testing"
)

// crm_mon's answer, as Pacemaker 2.1.5 gives it, shortened.
const monitored = `<pacemaker-result api-version="2.25" request="crm_mon"><resources>
<clone id="pgsql-clone" multi_state="true" unique="false" managed="true" disabled="false" failed="false" failure_ignored="false">
 <resource id="pgsql" resource_agent="ocf:pgrex:pgsql" role="Unpromoted" active="true" orphaned="false" blocked="false" managed="true" failed="false" failure_ignored="false" nodes_running_on="1"><node name="n2" id="2" cached="true"/></resource>
 <resource id="pgsql" resource_agent="ocf:pgrex:pgsql" role="Promoted" target_role="Started" active="true" orphaned="false" blocked="true" managed="false" failed="true" failure_ignored="false" nodes_running_on="1"><node name="N1" id="1" cached="true"/></resource>
 <resource id="pgsql" resource_agent="ocf:pgrex:pgsql" role="Stopped" active="false" orphaned="false" blocked="false" managed="true" failed="false" failure_ignored="false" nodes_running_on="0"/>
</clone>
<group id="g"><resource id="ip" resource_agent="ocf::heartbeat:IPaddr2" role="Started" active="true" orphaned="false" blocked="false" managed="true" maintenance="true" failed="false" nodes_running_on="1"><node name="n2" id="2" cached="true"/></resource></group>
<resource id="old" resource_agent="ocf:pgrex:pgsql" role="Started" active="true" orphaned="true" managed="true" failed="false" nodes_running_on="1"><node name="n2" id="2" cached="true"/></resource>
<resource id="going" resource_agent="ocf:pgrex:pgsql" role="Demoting" active="true" managed="true" failed="false" nodes_running_on="1"><node name="n1" id="1" cached="true"/></resource>
<resource id="beside" resource_agent="ocf:pgrex:pgsql" role="Promoted" pending="Stopping" active="true" managed="true" failed="false" nodes_running_on="1"><node name="n1" id="1" cached="true"/></resource>
<resource id="looked-at" resource_agent="ocf:pgrex:pgsql" role="Promoted" pending="Monitoring" active="true" managed="true" failed="false" nodes_running_on="1"><node name="n1" id="1" cached="true"/></resource>
</resources><node_history><node name="n1"><resource_history id="pgsql" orphan="false" migration-threshold="1000000"/></node>
<node name="n2"><resource_history id="pgsql" orphan="false" migration-threshold="3"/></node></node_history><status code="0" message="OK"/></pacemaker-result>`

func TestParseInstance(t *testing.T) {
	for _, tt := range []struct {
		resource, node string
		want           Instance
	}{
		{"pgsql", "n1", Instance{Agent: "ocf:pgrex:pgsql", Active: true, Promoted: true, Failed: true, Blocked: true, TargetRole: "Started", Threshold: Infinity}},
		{"pgsql", "n2", Instance{Agent: "ocf:pgrex:pgsql", Active: true, Managed: true, Threshold: 3}},
		{"pgsql", "n3", Instance{}},
		{"ip", "n2", Instance{Agent: "ocf:heartbeat:IPaddr2", Active: true}},
		{"old", "n2", Instance{}},
		{"nosuch", "n1", Instance{}},
		{"going", "n1", Instance{Agent: "ocf:pgrex:pgsql", Active: true, Managed: true, Pending: "Demoting"}},
		{"beside", "n1", Instance{Agent: "ocf:pgrex:pgsql", Active: true, Promoted: true, Managed: true, Pending: "Stopping"}},
		{"looked-at", "n1", Instance{Agent: "ocf:pgrex:pgsql", Active: true, Promoted: true, Managed: true}},
	} {
		got, err := parseInstance([]byte(monitored), tt.resource, tt.node)
		if err != nil || got != tt.want {
			t.Errorf("%s on %s: %+v, %v", tt.resource, tt.node, got, err)
		}
	}
	for _, bad := range []string{"", "crm_mon: error", `<pacemaker-result><resources>`} {
		if _, err := parseInstance([]byte(bad), "pgsql", "n1"); err == nil {
			t.Errorf("%q is understood", bad)
		}
	}
}

func TestParseTarget(t *testing.T) {
	const stopped = `<pacemaker-result><resources><clone id="pgsql-clone" target_role="Stopped">
<resource id="pgsql" role="Stopped" target_role="Stopped" active="false" orphaned="false" nodes_running_on="0"/></clone></resources></pacemaker-result>`
	for _, tt := range []struct{ text, resource, want string }{
		{monitored, "pgsql", "Started"}, {monitored, "ip", ""}, {monitored, "nosuch", ""}, {stopped, "pgsql", "Stopped"},
	} {
		if got, err := parseTarget([]byte(tt.text), tt.resource); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v", tt.resource, got, err)
		}
	}
	if _, err := parseTarget([]byte("crm_mon: error"), "pgsql"); err == nil {
		t.Error("nonsense is understood")
	}
}

func TestMonitorsRestart(t *testing.T) {
	cib := func(config ...string) string {
		return "<cib><configuration>" + strings.Join(config, "") + "</configuration><status/></cib>"
	}
	of := func(attrs string, ops ...string) string {
		return `<resources><clone id="c"><primitive id="pgsql"` + attrs + `><operations id="o">` + strings.Join(ops, "") + `</operations></primitive></clone>` +
			`<primitive id="other"><operations id="p"><op name="monitor" on-fail="block"/></operations></primitive>` +
			`<template id="t"><operations id="q"><op name="monitor" on-fail="fence"/></operations></template></resources>`
	}
	for text, want := range map[string]bool{
		of(""): true,
		of("", `<op name="monitor" interval="1s" on-fail="restart"/>`, `<op name="stop" on-fail="fence"/>`):                                     true,
		of("", `<op name="monitor" interval="1s"/>`, `<op name="monitor" interval="2s" on-fail="fence"/>`):                                      false,
		of("", `<op name="monitor" interval="1s" on-fail="ignore"/>`):                                                                           false,
		of("", `<op name="monitor" interval="1s"><meta_attributes id="m"><nvpair id="n" name="on-fail" value="block"/></meta_attributes></op>`): false,
		of("", `<op name="monitor" interval="1s"><meta_attributes id-ref="m"/></op>`):                                                           false,
		of("", `<op id-ref="x"/>`): false,
		of(` template="t"`):        false,
		of(` template="nosuch"`):   true,
		`<resources><primitive id="pgsql"><operations id-ref="p"/></primitive></resources>`:                                                         false,
		of("") + `<op_defaults><meta_attributes id="d"><nvpair id="n" name="timeout" value="60s"/></meta_attributes></op_defaults>`:                 true,
		of("") + `<op_defaults><meta_attributes id="d"><rule id="r"/><nvpair id="n" name="on-fail" value="fence"/></meta_attributes></op_defaults>`: false,
	} {
		if got, err := monitorsRestart([]byte(cib(text)), "pgsql"); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	if _, err := monitorsRestart([]byte("nothing"), "pgsql"); err == nil {
		t.Error("no XML is understood")
	}
}
