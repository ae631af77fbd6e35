package azure

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// arm answers the Resource Manager.
func (c *Cloud) arm(r *http.Request, body []byte, fault *Fault) answer {
	path := strings.TrimSuffix(r.URL.Path, "/")
	if strings.EqualFold(path, "/metadata/endpoints") {
		return c.endpoints(r)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p, refused := c.authenticate(r)
	if refused != nil {
		return *refused
	}
	q := parse(path)
	a := c.route(r, q, p, body, fault)
	a.principal = p.Name
	if a.right == "" {
		a.right = q.right(r.Method)
	}
	return a
}

// endpoints is what a private cloud tells of itself before anyone signs in.
func (c *Cloud) endpoints(r *http.Request) answer {
	host := "https://" + r.Host
	return answer{code: http.StatusOK, body: map[string]any{
		"galleryEndpoint": host + "/gallery/", "graphEndpoint": host + "/graph/", "portalEndpoint": host + "/portal/",
		"authentication": map[string]any{"loginEndpoint": host + "/", "audiences": []string{c.Audience()}},
	}}
}

// Audience is what tokens for ARM are issued for, as in a private cloud. It is
// another one for every Cloud: the SDK keeps the tokens of managed identities
// for the whole process and would otherwise bring those of an earlier Cloud.
func (c *Cloud) Audience() string { return "https://management.stand-in.example/" + c.id }

// authenticate finds out who asks; c.mu is held.
func (c *Cloud) authenticate(r *http.Request) (Principal, *answer) {
	refuse := func(code, message string) (Principal, *answer) {
		a := fail(http.StatusUnauthorized, code, message)
		a.header = http.Header{"Www-Authenticate": {fmt.Sprintf(`Bearer authorization_uri="https://%s/%s", error="invalid_token", error_description="%s"`, r.Host, c.cfg.Tenant, message)}}
		return Principal{}, &a
	}
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || value == "" {
		return refuse("AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
	}
	t, ok := c.tokens[value]
	if !ok {
		return refuse("InvalidAuthenticationToken", "The access token is invalid.")
	}
	if time.Since(t.issued) > t.life {
		return refuse("ExpiredAuthenticationToken", "The access token expiry is earlier than the current time.")
	}
	if !slices.Contains([]string{c.Audience(), "https://management.azure.com", "https://management.core.windows.net",
		"https://management.usgovcloudapi.net", "https://management.core.usgovcloudapi.net",
		"https://management.chinacloudapi.cn", "https://management.core.chinacloudapi.cn"}, t.audience) {
		return refuse("InvalidAuthenticationTokenAudience", "The access token has been obtained for wrong audience or resource '"+t.audience+"'.")
	}
	for _, p := range c.principals {
		if p.ObjectID == t.object {
			return p, nil
		}
	}
	return refuse("InvalidAuthenticationToken", "The identity of the access token is no more.")
}

// request is a path of ARM taken apart.
type request struct {
	// scope is the resource id that rights are checked at.
	scope string
	// above is the id of the resource group or whatever else stands before the provider.
	above                            string
	subscription, group              string
	provider, kind, name, sub, inner string
}

// parse takes /subscriptions/S[/resourceGroups/G][/providers/P/KIND[/NAME[/SUB[/INNER]]]]
// apart. The permissions of a resource are a KIND of another provider behind it.
func parse(path string) request {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	// The last /providers/ is the request's own; what stands before is its scope.
	cut := -1
	for i, p := range parts {
		if strings.EqualFold(p, "providers") {
			cut = i
		}
	}
	var q request
	head := parts
	if cut >= 0 {
		head = parts[:cut]
		tail := append(slices.Clone(parts[cut+1:]), "", "", "", "", "")
		q.provider, q.kind, q.name, q.sub, q.inner = tail[0], tail[1], tail[2], tail[3], tail[4]
	}
	for i := 0; i+1 < len(head); i += 2 {
		switch strings.ToLower(head[i]) {
		case "subscriptions":
			q.subscription = head[i+1]
		case "resourcegroups":
			q.group = head[i+1]
		}
	}
	q.scope = "/" + strings.Join(head, "/")
	q.above = q.scope
	if q.name != "" && !strings.EqualFold(q.provider, "Microsoft.Authorization") {
		q.scope = q.resource()
		if q.inner != "" && (strings.EqualFold(q.sub, "subnets") || strings.EqualFold(q.sub, "ipConfigurations")) {
			q.scope += "/" + q.sub + "/" + q.inner
		}
	}
	return q
}

// resource is the id of the resource that the request is for or below.
func (q request) resource() string {
	return q.above + "/providers/" + q.provider + "/" + q.kind + "/" + q.name
}

// right is the name of what the request does, as roles spell it.
func (q request) right(method string) string {
	t := q.provider + "/" + q.kind
	if q.sub != "" {
		t += "/" + q.sub
	}
	switch method {
	case http.MethodGet, http.MethodHead:
		return t + "/read"
	case http.MethodPost:
		return t + "/action"
	case http.MethodDelete:
		return t + "/delete"
	}
	return t + "/write"
}

func (q request) is(provider, kind string) bool {
	return strings.EqualFold(q.provider, provider) && strings.EqualFold(q.kind, kind)
}

// route answers an authenticated request; c.mu is held.
func (c *Cloud) route(r *http.Request, q request, p Principal, body []byte, fault *Fault) answer {
	if !strings.EqualFold(q.subscription, c.cfg.Subscription) {
		return fail(http.StatusNotFound, "SubscriptionNotFound", fmt.Sprintf("The subscription '%s' could not be found.", q.subscription))
	}
	if r.URL.Query().Get("api-version") == "" {
		return fail(http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	}
	// An operation is read by whoever was given its URL, unless configured otherwise.
	if strings.EqualFold(q.kind, "locations") && strings.EqualFold(q.sub, "operations") {
		return c.operationStatus(r, q, p)
	}
	if right := q.right(r.Method); !p.allowed(right, q.scope) {
		return denied(p, right, q.scope)
	}
	if q.group != "" {
		if _, ok := c.groups[strings.ToLower(q.group)]; !ok {
			return fail(http.StatusNotFound, "ResourceGroupNotFound", fmt.Sprintf("Resource group '%s' could not be found.", q.group))
		}
	}
	switch {
	case q.is("Microsoft.Authorization", "permissions") && r.Method == http.MethodGet:
		return c.permissions(p, q.scope)
	case q.is("Microsoft.Compute", "virtualMachines"):
		return c.compute(r, q, fault)
	case strings.EqualFold(q.provider, "Microsoft.Network"):
		return c.networkRequest(r, q, p, body, fault)
	}
	return fail(http.StatusNotFound, "InvalidResourceType", fmt.Sprintf("The stand-in has no %s/%s.", q.provider, q.kind))
}

func denied(p Principal, right, scope string) answer {
	return fail(http.StatusForbidden, "AuthorizationFailed", fmt.Sprintf(
		"The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. If access was recently granted, please refresh your credentials.",
		p.ClientID, p.ObjectID, right, scope))
}

// permissions lists what the caller's roles allow at a scope.
func (c *Cloud) permissions(p Principal, scope string) answer {
	list := []any{}
	for _, g := range p.Grants {
		if !within(scope, g.Scope) {
			continue
		}
		list = append(list, map[string]any{
			"actions": slices.Concat([]string{}, g.Actions), "notActions": slices.Concat([]string{}, g.NotActions),
			"dataActions": []string{}, "notDataActions": []string{},
		})
	}
	return answer{code: http.StatusOK, body: map[string]any{"value": list}}
}

// compute answers for virtual machines.
func (c *Cloud) compute(r *http.Request, q request, fault *Fault) answer {
	if q.name == "" {
		if r.Method != http.MethodGet {
			return notAllowed(r)
		}
		return c.listVMs(r, q.group)
	}
	m := c.vms[vmKey(q.group, q.name)]
	if m == nil {
		return fail(http.StatusNotFound, "ResourceNotFound", fmt.Sprintf(
			"The Resource 'Microsoft.Compute/virtualMachines/%s' under resource group '%s' was not found.", q.name, q.group))
	}
	sub := strings.ToLower(q.sub)
	switch {
	case r.Method == http.MethodGet && sub == "":
		expand := r.URL.Query().Get("$expand")
		return answer{code: http.StatusOK, body: c.vmBody(m, strings.EqualFold(expand, "instanceView"))}
	case r.Method == http.MethodGet && sub == "instanceview":
		return answer{code: http.StatusOK, body: m.view()}
	case r.Method == http.MethodPost:
		skip, err := strconv.ParseBool(r.URL.Query().Get("skipShutdown"))
		if err != nil {
			skip = false
		}
		if _, ok := c.order(sub, skip); ok {
			var of *OperationFault
			if fault != nil {
				of = fault.Operation
			}
			return c.accepted(r, c.act(m, sub, skip, of), http.StatusAccepted, nil)
		}
	}
	return notAllowed(r)
}

func notAllowed(r *http.Request) answer {
	return fail(http.StatusMethodNotAllowed, "MethodNotAllowed", "The stand-in does not know "+r.Method+" "+r.URL.Path+".")
}

// listVMs gives one page of the machines of a group, or of all groups.
func (c *Cloud) listVMs(r *http.Request, group string) answer {
	var items []any
	for _, k := range slices.Sorted(maps.Keys(c.vms)) {
		if m := c.vms[k]; group == "" || strings.EqualFold(m.Group, group) {
			items = append(items, c.vmBody(m, false))
		}
	}
	return c.page(r, items)
}

// decode reads a JSON object, numbers as they are written.
func decode(body []byte) (map[string]any, error) {
	var v map[string]any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return v, nil
}
