package proc

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// Detach starts a program that outlives us and returns its process id: in a session of its own, with
// /dev/null as its input and outputs and no other descriptor. Only Path, Args, Env and Dir of cmd
// count. Nobody waits for it; it has to be short-lived or to be found again by its id and start time.
func (OS) Detach(cmd Cmd) (pid int, err error) {
	path, err := lookPath(cmd.Path)
	if err != nil {
		return 0, err
	}
	if err := closeOnExec(); err != nil {
		return 0, fmt.Errorf("%s: cannot mark descriptors close-on-exec: %w", cmd, err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, fmt.Errorf("cannot start %s: %w", cmd, err)
	}
	defer func() { _ = null.Close() }()
	c := &exec.Cmd{
		Path: path, Args: append([]string{cmd.Path}, cmd.Args...), Env: environment(cmd), Dir: cmd.Dir,
		Stdin: null, Stdout: null, Stderr: null,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if c.Dir == "" {
		c.Dir = "/"
	}
	if err := c.Start(); err != nil {
		return 0, fmt.Errorf("cannot start %s: %w", cmd, err)
	}
	pid = c.Process.Pid
	return pid, c.Process.Release()
}
