// Package docs holds the documentation's examples and procedures as files, so
// that tests run what the documentation says.
package docs

import (
	"bufio"
	"bytes"
	"embed"
	"fmt"
	"strings"
)

//go:embed examples *.md
var files embed.FS

// File gives a file below docs/, for example "examples/pgrex.pcs".
func File(name string) ([]byte, error) { return files.ReadFile(name) }

// Commands gives the shell commands of a page: its code blocks that are tagged
// "sh tag", in order.
func Commands(page, tag string) ([]string, error) {
	b, err := files.ReadFile(page)
	if err != nil {
		return nil, err
	}
	var blocks []string
	var block strings.Builder
	in := false
	s := bufio.NewScanner(bytes.NewReader(b))
	for s.Scan() {
		line := strings.TrimSpace(s.Text()) // blocks in lists are indented
		switch {
		case !in && line == "```sh "+tag:
			in = true
			block.Reset()
		case in && line == "```":
			in = false
			blocks = append(blocks, block.String())
		case in:
			block.WriteString(line + "\n")
		}
	}
	if len(blocks) == 0 {
		return nil, fmt.Errorf("%s has no commands tagged %q", page, tag)
	}
	return blocks, s.Err()
}
