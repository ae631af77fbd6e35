package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pgrex/lib/proc"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/guide"
	"pgrex/tests/lab/host"
)

// needsTag is the block of install.md that is run when the root file system of the
// machines is made.
const needsTag = "install-needs"

// project is the checkout that the lab belongs to: where it was called, or above
// its programs.
func project(bin string) (string, error) {
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for _, dir := range []string{here, filepath.Dir(bin)} {
		if _, err := os.Stat(filepath.Join(dir, "rpm", "build.sh")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("neither %s nor %s is a checkout: call the lab in one, its scripts make packages and root file systems", here, filepath.Dir(bin))
}

// inCheckout runs a program in a checkout, in the caller's environment: it knows
// where Go is. It gives what the program writes.
func inCheckout(ctx context.Context, dir, program string, args ...string) (string, error) {
	res, err := proc.OS{}.Run(ctx, proc.Cmd{Path: program, Args: args, Dir: dir})
	if err == nil && res.ExitCode != 0 {
		err = &host.ExitError{Cmd: program, Code: res.ExitCode, Message: res.Message()}
	}
	return string(res.Stdout), err
}

// fresh says how a lab of fresh machines is built.
func fresh(ctx context.Context, o *cluster.Options, log func(string, ...any)) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute) // a root file system comes over the network
	defer cancel()
	dir, err := project(o.Bin)
	if err != nil {
		return err
	}
	if o.Carried, err = carried(ctx, dir); err != nil {
		return err
	}
	if o.Lower, err = freshRoot(ctx, dir, o.Lower); err != nil {
		return err
	}
	log("machines of %s with %d packages", o.Lower, len(o.Carried))
	return nil
}

// packagesCache keeps packages by the commit they are made of: the same commit
// gives the same bytes.
const packagesCache = "/var/cache/pgrex-lab/packages-"

// olderVersion is that of the packages which an upgrade begins with, of the same
// commit, and olderDir where they are on each machine and beside the others.
const (
	olderVersion = "0.0.1"
	olderDir     = "older"
)

// carried are the packages of the checked-out commit, as an operator has carried
// them to each machine, and older ones.
func carried(ctx context.Context, project string) (map[string]string, error) {
	commit, err := host.Output(ctx, "git", "-C", project, "rev-parse", "HEAD")
	if err != nil {
		return nil, fmt.Errorf("packages are made of a commit: %w", err)
	}
	dir := packagesCache + strings.TrimSpace(commit)
	debs, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	if len(debs) == 0 {
		if debs, err = makePackages(ctx, project, dir); err != nil {
			return nil, err
		}
	}
	older, err := filepath.Glob(filepath.Join(dir, olderDir, "*.deb"))
	if err == nil && len(older) == 0 {
		err = errors.New("no older packages in " + dir)
	}
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, deb := range append(older, debs...) {
		b, err := os.ReadFile(deb)
		if err != nil {
			return nil, err
		}
		files["/root"+strings.TrimPrefix(deb, dir)] = string(b)
	}
	return files, nil
}

func makePackages(ctx context.Context, project, dir string) ([]string, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "packages-new-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	build := filepath.Join(project, "rpm/build.sh")
	_, err = inCheckout(ctx, project, build, tmp)
	if err == nil {
		_, err = inCheckout(ctx, project, "env", "VERSION="+olderVersion, build, filepath.Join(tmp, olderDir))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make the packages: %w", err)
	}
	// Those of other commits are not asked for again.
	old, _ := filepath.Glob(packagesCache + "*")
	for _, o := range old {
		if st, err := os.Stat(o); err == nil && time.Since(st.ModTime()) > time.Hour {
			_ = os.RemoveAll(o)
		}
	}
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	return filepath.Glob(filepath.Join(dir, "*.deb"))
}

// freshRoot is a system as Debian's installer leaves it, in which the first block
// of install.md was run: the nodes have no way to Debian's mirrors.
func freshRoot(ctx context.Context, project, lower string) (string, error) {
	blocks, err := page("install.md")
	if err != nil {
		return "", err
	}
	needs, err := guide.Tagged(blocks, needsTag)
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp("", "pgrex-commands-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.WriteString(needs[0].Text)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	out, err := inCheckout(ctx, project, filepath.Join(project, "tests/debian/root.sh"), Release(lower), f.Name())
	return strings.TrimSpace(out), err
}

// Release is the name of the Debian whose root file system is below a directory, as
// etc/os-release there has it (VERSION_CODENAME), that of Debian 12 where there is none.
func Release(lower string) string {
	b, _ := os.ReadFile(filepath.Join(lower, "etc/os-release"))
	for _, line := range strings.Split(string(b), "\n") {
		if name, ok := strings.CutPrefix(line, "VERSION_CODENAME="); ok && strings.Contains(string(b), "\nID=debian") {
			return strings.Trim(name, `"`)
		}
	}
	return "bookworm"
}
