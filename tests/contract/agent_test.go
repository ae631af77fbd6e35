package contract

import "pgrex/tests/contract/resource"

// node is what the cluster calls the node that the agent runs on.
const node = "n1"

// pgsql is the agent under test, as the instance of a promotable clone.
var pgsql = resource.Agent{
	Path: "/usr/lib/ocf/resource.d/pgrex/pgsql",
	Node: node,
	Cluster: []string{
		"OCF_RESKEY_CRM_meta_promotable=true", "OCF_RESKEY_CRM_meta_promoted_max=1", "OCF_RESKEY_CRM_meta_master_max=1",
		"OCF_RESKEY_CRM_meta_clone=0", "OCF_RESKEY_CRM_meta_clone_max=1", "OCF_RESKEY_CRM_meta_clone_node_max=1",
		"OCF_RESKEY_CRM_meta_notify=true", "OCF_RESKEY_CRM_meta_globally_unique=false",
	},
	Secrets: []string{"monitor_password"},
}

// The words of these tests.
type (
	params  = resource.Params
	call    = resource.Call
	outcome = resource.Outcome
)

const (
	ok             = resource.OK
	generic        = resource.Generic
	unimplemented  = resource.Unimplemented
	noPermission   = resource.NoPermission
	notInstalled   = resource.NotInstalled
	notConfigured  = resource.NotConfigured
	notRunning     = resource.NotRunning
	promoted       = resource.Promoted
	failedPromoted = resource.FailedPromoted
)

func action(name string, p params) call { return pgsql.Action(name, p) }
func monitor(p params) call             { return pgsql.Monitor(p) }
func probe(p params) call               { return pgsql.Probe(p) }
