package azure

import (
	"encoding/json"
	"strings"
)

// Exact is a JSON object whose numbers keep their digits: a float would change a large one. What is read
// into it and sent back is what came, fields included that nobody here knows of.
type Exact map[string]any

// UnmarshalJSON reads the object.
func (e *Exact) UnmarshalJSON(data []byte) error {
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.UseNumber()
	return dec.Decode((*map[string]any)(e))
}

// Object is v as a JSON object, an empty one if it is none.
func Object(v any) map[string]any {
	o, ok := v.(map[string]any)
	if !ok {
		return map[string]any{}
	}
	return o
}

// Text is a string in an object, "" if there is none.
func Text(o map[string]any, key string) string {
	s, ok := o[key].(string)
	if !ok {
		return ""
	}
	return s
}

// Last is the name at the end of an id, for sentences.
func Last(id string) string { return Quotable(id[strings.LastIndex(id, "/")+1:]) }
