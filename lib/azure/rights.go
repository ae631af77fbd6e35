package azure

import (
	"context"
	"net/http"
	"slices"
	"strings"
)

const permissionsVersion = "2015-07-01"

// maxPages bounds a list that never ends.
const maxPages = 100

// permission is one role's part in what the caller may do at a scope.
type permission struct {
	Actions    []string `json:"actions"`
	NotActions []string `json:"notActions"`
}

// Missing asks which of some rights the caller lacks at a scope; known is false if it may not ask. The
// error is that of a request, for Explain.
func (c *Client) Missing(ctx context.Context, scope string, rights []string) (known bool, missing []string, err error) {
	var all []permission
	next, version := scope+"/providers/Microsoft.Authorization/permissions", permissionsVersion
	for range maxPages {
		var page struct {
			Value    []permission `json:"value"`
			NextLink string       `json:"nextLink"`
		}
		if err := c.Fetch(ctx, next, version, &page); err != nil {
			if f := AsRefusal(err); f != nil && f.Status == http.StatusForbidden {
				return false, nil, nil
			}
			return false, nil, err
		}
		all = append(all, page.Value...)
		if page.NextLink == "" || !c.Ours(page.NextLink) {
			break
		}
		next, version = page.NextLink, ""
	}
	for _, r := range rights {
		if !slices.ContainsFunc(all, func(p permission) bool { return p.allows(r) }) {
			missing = append(missing, r)
		}
	}
	return true, missing, nil
}

func (p permission) allows(right string) bool {
	match := func(pattern string) bool { return covers(strings.ToLower(pattern), strings.ToLower(right)) }
	return slices.ContainsFunc(p.Actions, match) && !slices.ContainsFunc(p.NotActions, match)
}

// covers reports whether a pattern with any number of * covers a right. Parts are
// searched from the left; the last one has to stand at the end.
func covers(pattern, right string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == right
	}
	if !strings.HasPrefix(right, parts[0]) {
		return false
	}
	right = right[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(right, p)
		if i < 0 {
			return false
		}
		right = right[i+len(p):]
	}
	return strings.HasSuffix(right, parts[len(parts)-1])
}
