package ocf

import "strings"

// Notify is what Pacemaker tells about a transition. It is attached to the notify action, and also
// to start, stop, promote and demote, of a clone with the meta attribute notify=true. The lists
// hold node names and describe the state before the action. A list is nil when the manager did not
// send it and empty but not nil when it sent an empty one (a single blank), because "nobody" and
// "not told" call for different answers.
type Notify struct {
	// Type is pre or post, Operation is start, stop, promote or demote.
	Type, Operation string

	Start, Stop, Promote, Demote []string
	// Active nodes run an instance. Promoted and Unpromoted carry the lists that older clusters
	// call master and slave. Available are the nodes that could run one.
	Active, Promoted, Unpromoted, Available []string
	// Inactive holds resource instances, not nodes: an instance that runs nowhere has no node.
	Inactive []string
}

const notifyPrefix = "OCF_RESKEY_CRM_meta_notify_"

// Event returns type and operation as one word, such as "pre-promote"; "" outside a notification.
func (n Notify) Event() string {
	if n.Type == "" && n.Operation == "" {
		return ""
	}
	return n.Type + "-" + n.Operation
}

func readNotify(lookup func(string) (string, bool)) Notify {
	word := func(name string) string {
		s, _ := lookup(notifyPrefix + name)
		return strings.TrimSpace(s)
	}
	// The first name that is set wins: the OCF 1.1 word before the older one.
	list := func(names ...string) []string {
		for _, name := range names {
			if s, ok := lookup(notifyPrefix + name); ok {
				return append([]string{}, strings.Fields(s)...)
			}
		}
		return nil
	}
	return Notify{
		Type: word("type"), Operation: word("operation"),
		Start: list("start_uname"), Stop: list("stop_uname"),
		Promote: list("promote_uname"), Demote: list("demote_uname"),
		Active:     list("active_uname"),
		Promoted:   list("promoted_uname", "master_uname"),
		Unpromoted: list("unpromoted_uname", "slave_uname"),
		Available:  list("available_uname"),
		Inactive:   list("inactive_resource"),
	}
}
