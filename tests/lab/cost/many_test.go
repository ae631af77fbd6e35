package cost

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/site"
)

// Each resource has its own data, port and files, both agents the same operations,
// and no two elements one id.
func TestResources(t *testing.T) {
	for _, agents := range []cluster.Agents{cluster.Ours, cluster.Reference} {
		c := &cluster.Cluster{Agents: agents, Site: &site.Site{State: site.State{Plan: site.Plan{Lower: "/"}}}}
		m := &Many{Cluster: c, Count: 3, Interval: 10, node: "n1"}
		text := m.resources()
		ids := map[string]bool{}
		for d := xml.NewDecoder(strings.NewReader(text)); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			e, ok := token.(xml.StartElement)
			if !ok {
				continue
			}
			for _, a := range e.Attr {
				if a.Name.Local == "id" && ids[a.Value] {
					t.Errorf("%s: two elements have the id %s", agents, a.Value)
				}
				ids[a.Value] = ids[a.Value] || a.Name.Local == "id"
			}
		}
		for i := 1; i <= 3; i++ {
			for _, part := range []string{fmt.Sprintf(`value="/dbfp/many/%d"`, i), fmt.Sprintf(`value="%d"`, 6000+i), fmt.Sprintf(`value="/var/lib/pgsql/tmp%d"`, i),
				fmt.Sprintf(`id="pg%d" class="ocf" provider="%s"`, i, agents.Provider())} {
				if strings.Count(text, part) != 1 {
					t.Errorf("%s: %s is there %d times", agents, part, strings.Count(text, part))
				}
			}
		}
		if n := strings.Count(text, `interval="10s" timeout="60s" role="Promoted"`); n != 3 {
			t.Errorf("%s: %d monitors of primaries", agents, n)
		}
	}
}
