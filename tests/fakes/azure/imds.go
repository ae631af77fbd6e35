package azure

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// metadata answers the instance metadata service of one machine.
func (c *Cloud) metadata(r *http.Request, group, vm string) answer {
	if !strings.EqualFold(r.Header.Get("Metadata"), "true") {
		return imdsError("Bad request. Required metadata header not specified")
	}
	if r.Header.Get("X-Forwarded-For") != "" {
		return imdsError("Bad request. The request came through a proxy")
	}
	if r.URL.Query().Get("api-version") == "" {
		return imdsError("Bad request. api-version was not specified in the request")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.vms[vmKey(group, vm)]
	if m == nil {
		return answer{code: http.StatusGone, body: map[string]any{"error": "the machine is no more"}}
	}
	switch path := strings.ToLower(strings.TrimSuffix(r.URL.Path, "/")); path {
	case "/metadata/identity/oauth2/token":
		return c.identityToken(r, m)
	case "/metadata/instance":
		return answer{code: http.StatusOK, body: map[string]any{"compute": c.instanceCompute(m), "network": c.instanceNetwork(m)}}
	case "/metadata/instance/compute":
		return answer{code: http.StatusOK, body: c.instanceCompute(m)}
	case "/metadata/instance/network":
		return answer{code: http.StatusOK, body: c.instanceNetwork(m)}
	}
	return answer{code: http.StatusNotFound, body: map[string]any{"error": "Not found"}}
}

func imdsError(description string) answer {
	return answer{code: http.StatusBadRequest, body: map[string]any{"error": "invalid_request", "error_description": description}}
}

// identityToken hands out a token of the machine's own identity, or of one of
// those assigned to it that the query names.
func (c *Cloud) identityToken(r *http.Request, m *machine) answer {
	q := r.URL.Query()
	named := func(p Principal) bool {
		switch {
		case q.Get("client_id") != "":
			return strings.EqualFold(p.ClientID, q.Get("client_id"))
		case q.Get("object_id") != "":
			return strings.EqualFold(p.ObjectID, q.Get("object_id"))
		case q.Get("principal_id") != "":
			return strings.EqualFold(p.ObjectID, q.Get("principal_id"))
		case q.Get("msi_res_id") != "":
			return strings.EqualFold(p.ResourceID, q.Get("msi_res_id"))
		case q.Get("mi_res_id") != "":
			return strings.EqualFold(p.ResourceID, q.Get("mi_res_id"))
		}
		return p.SystemOf == m.Name
	}
	i := slices.IndexFunc(c.principals, func(p Principal) bool {
		return (p.SystemOf == m.Name || slices.Contains(p.AssignedTo, m.Name)) && named(p)
	})
	if i < 0 {
		return imdsError("Identity not found")
	}
	p := c.principals[i]
	resource := q.Get("resource")
	if resource == "" {
		return imdsError("resource is missing")
	}
	now := time.Now()
	life := time.Duration(c.cfg.TokenLife)
	return answer{code: http.StatusOK, principal: p.Name, body: map[string]any{
		"access_token": c.issue(p, resource), "client_id": p.ClientID, "resource": resource, "token_type": "Bearer",
		"expires_in": strconv.Itoa(int(life.Seconds())), "ext_expires_in": strconv.Itoa(int(life.Seconds())),
		"expires_on": fmt.Sprint(now.Add(life).Unix()), "not_before": fmt.Sprint(now.Unix()),
	}}
}

func (c *Cloud) instanceCompute(m *machine) map[string]any {
	return map[string]any{
		"azEnvironment": "AzurePublicCloud", "location": c.cfg.Location, "name": m.Name, "osType": "Linux",
		"resourceGroupName": m.Group, "resourceId": c.VMID(m.Group, m.Name), "subscriptionId": c.cfg.Subscription,
		"vmId": m.ID, "vmScaleSetName": "", "vmSize": "Standard_D2s_v5", "zone": "1",
	}
}

// instanceNetwork tells of the addresses that had been in the data plane some time
// ago.
func (c *Cloud) instanceNetwork(m *machine) map[string]any {
	list := []any{}
	for _, id := range m.NICs {
		n := c.network[strings.ToLower(id)]
		if n == nil {
			continue
		}
		v4, v6, subnets := []any{}, []any{}, []any{}
		for _, s := range n.seen {
			entry := map[string]any{"privateIpAddress": s.address.String(), "publicIpAddress": ""}
			if s.address.Is6() {
				v6 = append(v6, entry)
				continue
			}
			v4 = append(v4, entry)
			if len(subnets) == 0 && s.subnet.IsValid() {
				subnets = append(subnets, map[string]any{"address": s.subnet.Addr().String(), "prefix": strconv.Itoa(s.subnet.Bits())})
			}
		}
		list = append(list, map[string]any{
			"macAddress": strings.ReplaceAll(text(props(n.body), "macAddress"), "-", ""),
			"ipv4":       map[string]any{"ipAddress": v4, "subnet": subnets},
			"ipv6":       map[string]any{"ipAddress": v6},
		})
	}
	return map[string]any{"interface": list}
}
