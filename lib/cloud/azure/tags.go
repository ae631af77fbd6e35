package azure

import (
	"net/netip"
	"strconv"
	"strings"

	"pgrex/lib/azure"
)

// What an address is tied to (security groups, a public address) is lost when its ipConfiguration is removed.
// If whoever removed it is killed before the address has its new place, the next holder, on whichever machine,
// has to know. So the same request that removes it leaves the ties in tags of that NIC; the one that adds it
// leaves them on the new NIC. Each carries a number, one more than on both NICs before, and the highest is valid.

const (
	tagPrefix = "pgrex-ties-"
	// maxTag is ARM's limit for the value of a tag, maxTags how many of ours there may be for one address: a
	// NIC can have 50 in all.
	maxTag  = 256
	maxTags = 8
)

// ties is what an address is tied to.
type ties struct {
	number int
	// asg, pools and public are ids.
	asg, pools []string
	public     string
}

func tagName(address netip.Addr, i int) string {
	name := tagPrefix + strings.NewReplacer(".", "-", ":", "-").Replace(address.String())
	if i > 0 {
		name += "-part" + strconv.Itoa(i+1)
	}
	return name
}

// The kinds of ids in a tag: a letter, and the way to an id from group and names.
var tieKinds = []struct{ letter, kind, child string }{
	{"a", "/providers/Microsoft.Network/applicationSecurityGroups/", ""},
	{"p", "/providers/Microsoft.Network/publicIPAddresses/", ""},
	{"l", "/providers/Microsoft.Network/loadBalancers/", "/backendAddressPools/"},
}

// shorten writes an id of our own subscription by group and names: whole ids would not fit into tags.
func shorten(letter, id, subscription string) string {
	for _, k := range tieKinds {
		head, rest, ok := cutFold(id, k.kind)
		group, found := cutPrefixFold(head, "/subscriptions/"+subscription+"/resourceGroups/")
		if k.letter != letter || !ok || !found {
			continue
		}
		name, child, nested := rest, "", true
		if k.child != "" {
			name, child, nested = cutFold(rest, k.child)
			child = "/" + child
		}
		if nested && !strings.ContainsAny(group+name+strings.TrimPrefix(child, "/"), "/ ") {
			return letter + ":" + group + "/" + name + child
		}
	}
	return letter + ":" + id
}

// lengthen is the id in a word of a tag.
func lengthen(letter, word, subscription string) string {
	if strings.HasPrefix(word, "/") {
		return word
	}
	parts := strings.Split(word, "/")
	for _, k := range tieKinds {
		switch {
		case k.letter != letter:
		case k.child == "" && len(parts) == 2:
			return "/subscriptions/" + subscription + "/resourceGroups/" + parts[0] + k.kind + parts[1]
		case k.child != "" && len(parts) == 3:
			return "/subscriptions/" + subscription + "/resourceGroups/" + parts[0] + k.kind + parts[1] + k.child + parts[2]
		}
	}
	return ""
}

func cutFold(s, sep string) (before, after string, ok bool) {
	i := strings.Index(strings.ToLower(s), strings.ToLower(sep))
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// ties are those in the tags of a NIC; ok is false if it has none for the address.
func (n nic) ties(address netip.Addr) (t ties, ok bool) {
	tags := azure.Object(n.body["tags"])
	subscription, _ := azure.GroupOf(n.id)
	for i := range maxTags {
		value, found := tags[tagName(address, i)].(string)
		if !found {
			break
		}
		for word := range strings.FieldsSeq(value) {
			letter, rest, _ := strings.Cut(word, ":")
			switch letter {
			case "n":
				if v, err := strconv.Atoi(rest); err == nil && v > 0 {
					t.number, ok = v, true
				}
			case "a":
				t.asg = appendID(t.asg, lengthen(letter, rest, subscription))
			case "l":
				t.pools = appendID(t.pools, lengthen(letter, rest, subscription))
			case "p":
				t.public = lengthen(letter, rest, subscription)
			}
		}
	}
	return t, ok
}

func appendID(all []string, id string) []string {
	if id == "" {
		return all
	}
	return append(all, id)
}

// tie writes the ties of an ipConfiguration into the tags of the NIC, in place of those that are there. An
// address that is tied to nothing leaves no tags. It reports whether everything found room.
func (n nic) tie(address netip.Addr, c config, number int) bool {
	tags := azure.Object(n.body["tags"])
	for i := range maxTags {
		delete(tags, tagName(address, i))
	}
	complete := true
	if c.tied() {
		subscription, _ := azure.GroupOf(n.id)
		words := []string{"n:" + strconv.Itoa(number)}
		for _, id := range c.ids(fieldASG) {
			words = append(words, shorten("a", id, subscription))
		}
		if id := c.public(); id != "" {
			words = append(words, shorten("p", id, subscription))
		}
		for _, id := range c.ids(fieldPools) {
			words = append(words, shorten("l", id, subscription))
		}
		values, fits := chunks(words)
		complete = fits
		for i, v := range values {
			tags[tagName(address, i)] = v
		}
	}
	if len(tags) > 0 {
		n.body["tags"] = tags
	} else if n.body["tags"] != nil {
		n.body["tags"] = map[string]any{}
	}
	return complete
}

// chunks puts words into as many values as needed and allowed.
func chunks(words []string) (values []string, fits bool) {
	fits = true
	line := ""
	for _, w := range words {
		switch {
		case len(w) > maxTag:
			fits = false
		case line == "":
			line = w
		case len(line)+1+len(w) <= maxTag:
			line += " " + w
		default:
			values, line = append(values, line), w
		}
	}
	values = append(values, line)
	if len(values) > maxTags {
		values, fits = values[:maxTags], false
	}
	return values, fits
}

// config is a template with these ties, as far as they are to follow.
func (t ties) config(subnet string, keep Preserve) config {
	c := plain(subnet)
	refs := func(ids []string) []any {
		var all []any
		for _, id := range ids {
			all = append(all, map[string]any{"id": id})
		}
		return all
	}
	if keep.ASG && len(t.asg) > 0 {
		c.props()[fieldASG] = refs(t.asg)
	}
	if keep.PublicIP && t.public != "" {
		c.props()[fieldPublic] = map[string]any{"id": t.public}
	}
	if keep.LB && len(t.pools) > 0 {
		c.props()[fieldPools] = refs(t.pools)
	}
	return c
}
