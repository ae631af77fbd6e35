package azure

import (
	"fmt"
	"net/http"
	"strings"
)

// nicRequest answers for network interfaces; c.mu is held.
func (c *Cloud) nicRequest(r *http.Request, q request, p Principal, n *resource, body []byte, fault *Fault) answer {
	switch r.Method {
	case http.MethodGet:
		return getResource(q, n)
	case http.MethodPut:
		return c.putNIC(r, q, p, n, body, fault)
	case http.MethodDelete:
		return c.deleteNIC(r, n, fault)
	case http.MethodPatch:
		return c.tagNIC(q, n, body)
	}
	return notAllowed(r)
}

// putNIC replaces a network interface whole: what the body leaves out is gone or
// back at its default, as in the real one.
func (c *Cloud) putNIC(r *http.Request, q request, p Principal, old *resource, raw []byte, fault *Fault) answer {
	body, refused := c.readPut(r, old, raw)
	if refused != nil {
		return *refused
	}
	configs := list(props(body)["ipConfigurations"])
	if len(configs) == 1 {
		choosePrimary(configs)
	}
	id := q.resource()
	if refused := c.checkNIC(id, p, old, body); refused != nil {
		return *refused
	}
	code := http.StatusCreated
	var before map[string]any
	if old != nil {
		code, before = http.StatusOK, old.body
	}
	n := c.store(id, q, body, "Updating")
	var undo func()
	if before != nil && fault != nil && fault.Operation != nil && fault.Operation.Rollback {
		undo = func() {
			n.body = before
			n.settle("Succeeded")
		}
	}
	op := c.beginChange("PutNicOperation", fault, c.cfg.Latency.Update, undo, n)
	return c.accepted(r, op, code, clone(n.body))
}

// deleteNIC deletes an interface that no machine has.
func (c *Cloud) deleteNIC(r *http.Request, n *resource, fault *Fault) answer {
	if n == nil {
		return answer{code: http.StatusNoContent}
	}
	if vm := text(object(props(n.body)["virtualMachine"]), "id"); vm != "" {
		return fail(http.StatusBadRequest, "NicInUse", fmt.Sprintf(
			"Network Interface %s is used by existing resource %s. In order to delete the network interface, it must be dissociated from the resource. To learn more, see aka.ms/deletenic.", n.id, vm))
	}
	if a := c.busy(r, n); a != nil {
		return *a
	}
	op := c.beginChange("DeleteNicOperation", fault, c.cfg.Latency.Update, nil, n)
	n.settle("Deleting")
	if fault == nil || fault.Operation == nil || fault.Operation.Effect {
		// Gone for the data plane when that is programmed.
		delete(c.network, strings.ToLower(n.id))
	}
	return c.accepted(r, op, http.StatusAccepted, nil)
}

// tagNIC changes the tags of an interface, which is all that PATCH can do.
func (c *Cloud) tagNIC(q request, n *resource, raw []byte) answer {
	if n == nil {
		return notFound(q)
	}
	body, err := decode(raw)
	if err != nil || body == nil {
		return badContent()
	}
	for k := range body {
		if k != "tags" {
			return fail(http.StatusBadRequest, "InvalidPatch", "Only tags can be changed by PATCH.")
		}
	}
	n.body["tags"] = body["tags"]
	n.touch()
	return getResource(q, n)
}
