// Command copyright prints what the licences of the modules in a program want to be passed on with it:
// our own licence, Go's, and those of all modules that the program links.
//
// What is linked is said twice, by the list beside tests/layout (packages) and by the program itself
// (modules and their versions); the texts are in Go's module cache. A linked package without any
// licence is an error.
package main

import (
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
)

func main() {
	s := sources{}
	flag.StringVar(&s.modules, "modcache", "", "what `go env GOMODCACHE` says")
	flag.StringVar(&s.goroot, "goroot", "", "what `go env GOROOT` says")
	flag.StringVar(&s.lists, "lists", "tests/layout", "directory of the lists of linked packages")
	flag.StringVar(&s.own, "own", "LICENSE", "our own licence")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "copyright: name one program, for example bin/pgsql")
		os.Exit(2)
	}
	if err := s.write(os.Stdout, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "copyright:", err)
		os.Exit(1)
	}
}

// sources are the places where licences and lists are looked for.
type sources struct{ modules, goroot, lists, own string }

func (s sources) write(w io.Writer, program string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return err
	}
	packages, err := s.linked(filepath.Base(program))
	if err != nil {
		return err
	}
	found := licences{}
	if err := found.add(s.goroot, s.goroot, "the Go standard library, "+info.GoVersion); err != nil {
		return err
	}
	for _, p := range packages {
		m := owner(info.Deps, p)
		if m == nil {
			return fmt.Errorf("%s links %s, which is in no module of it: build it anew, or `make metadata`", program, p)
		}
		root := filepath.Join(s.modules, escape(m.Path)+"@"+escape(m.Version))
		if err := found.add(root, filepath.Join(root, strings.TrimPrefix(p, m.Path)), m.Path+" "+m.Version); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	own, err := os.ReadFile(s.own)
	if err != nil {
		return err
	}
	b := new(strings.Builder)
	fmt.Fprintf(b, "This program is part of pgrex, under the Apache License, Version 2.0. It contains the Go modules named\nbelow, under their own licences; their texts follow.\n\n%s", own)
	for _, title := range slices.Sorted(maps.Keys(found)) {
		text, err := os.ReadFile(found[title])
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "\n%[1]s\n%[2]s\n%[1]s\n\n%[3]s", strings.Repeat("=", 78), title, text)
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// linked reads the list of packages that a program links, without the standard library and our own.
func (s sources) linked(program string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(s.lists, program+".packages"))
	if err != nil {
		return nil, err
	}
	var packages []string
	for _, p := range strings.Fields(string(b)) {
		if first, _, _ := strings.Cut(p, "/"); strings.Contains(first, ".") {
			packages = append(packages, p)
		}
	}
	return packages, nil
}

// owner is the module that a package is in: the one with the longest path.
func owner(modules []*debug.Module, pkg string) *debug.Module {
	var best *debug.Module
	for _, m := range modules {
		if (pkg == m.Path || strings.HasPrefix(pkg, m.Path+"/")) && (best == nil || len(m.Path) > len(best.Path)) {
			best = m
		}
	}
	if best != nil && best.Replace != nil {
		return best.Replace
	}
	return best
}

// escape is how the module cache writes a path or a version: capital letters are "!" and a small one.
func escape(s string) string {
	return regexp.MustCompile(`[A-Z]`).ReplaceAllStringFunc(s, func(c string) string { return "!" + strings.ToLower(c) })
}

// licences maps headings to files.
type licences map[string]string

// name matches files that hold licences or what licences want to be kept.
var name = regexp.MustCompile(`(?i)^(licen[cs]e|copying|copyright|notice|patents)([.-].*)?$`)

// add collects the licences that hold for a directory: its own and those above it, up to the root of its
// module.
func (l licences) add(root, dir, title string) error {
	any := false
	for {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Type().IsRegular() && name.MatchString(e.Name()) && path.Ext(e.Name()) != ".go" {
				file := filepath.Join(dir, e.Name())
				rel, err := filepath.Rel(root, file)
				if err != nil {
					return err
				}
				l[title+": "+rel] = file
				any = true
			}
		}
		if dir == root {
			break
		}
		dir = filepath.Dir(dir)
	}
	if !any {
		return errors.New("there is no licence in " + root)
	}
	return nil
}
