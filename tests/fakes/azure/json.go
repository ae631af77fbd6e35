package azure

import (
	"encoding/json"
)

// props is the object "properties" of a body; it is made if missing.
func props(body map[string]any) map[string]any {
	p, ok := body["properties"].(map[string]any)
	if !ok {
		p = map[string]any{}
		body["properties"] = p
	}
	return p
}

func object(v any) map[string]any {
	o, ok := v.(map[string]any)
	if !ok {
		return map[string]any{}
	}
	return o
}

func list(v any) []map[string]any {
	items, ok := v.([]any)
	if !ok {
		return nil
	}
	var all []map[string]any
	for _, i := range items {
		if o, ok := i.(map[string]any); ok {
			all = append(all, o)
		}
	}
	return all
}

func text(o map[string]any, key string) string {
	s, ok := o[key].(string)
	if !ok {
		return ""
	}
	return s
}

// clone copies a body through JSON, so that Go literals become what a client
// would have sent.
func clone(body map[string]any) map[string]any {
	b, err := json.Marshal(body)
	if err != nil {
		return map[string]any{}
	}
	c, err := decode(b)
	if err != nil || c == nil {
		return map[string]any{}
	}
	return c
}
