package stonith

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"

	"pgrex/lib/proc"
)

// maxPassword bounds what is read from a password file or script.
const maxPassword = 4096

// findPassword settles Call.Password: password_script wins over password_file, that over password.
func (c *Call) findPassword(ctx context.Context) error {
	var err error
	switch {
	case c.IsSet("password_script"):
		c.Password, err = c.fromScript(ctx, c.Values.String("password_script"))
	case c.IsSet("password_file"):
		c.Password, err = fromFile(c.Values.String("password_file"))
	default:
		return nil
	}
	c.HasPassword = err == nil
	c.Hide(c.Password)
	return err
}

// fromScript runs the command line as it always was run: through a shell, white space at the end of
// its output cut off. What it prints is shown nowhere, not even after a failure.
func (c *Call) fromScript(ctx context.Context, script string) (string, error) {
	res, err := c.Run.Run(ctx, proc.Cmd{Path: "/bin/sh", Args: []string{"-c", script}, MaxOutput: maxPassword})
	switch {
	case ctx.Err() != nil:
		return "", Errorf(Generic, "password_script did not end: %w", context.Cause(ctx))
	case err != nil:
		return "", Errorf(NoPassword, "password_script could not be run: /bin/sh: %w", errors.Unwrap(err))
	case res.ExitCode != 0:
		return "", Errorf(NoPassword, "password_script failed with exit status %d; run it by hand as root to see why", res.ExitCode)
	case res.Truncated:
		return "", Errorf(NoPassword, "password_script printed more than %d bytes, which is no password", maxPassword)
	}
	return strings.TrimRight(string(res.Stdout), " \t\r\n\v\f"), nil
}

func fromFile(path string) (string, error) {
	// O_NONBLOCK: a FIFO that nobody writes must not hang the action.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", Errorf(NoPassword, "password_file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPassword))
	if err != nil {
		return "", Errorf(NoPassword, "password_file: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	line = strings.TrimRight(line, "\r")
	if line == "" {
		return "", Errorf(NoPassword, "password_file %s has an empty first line", path)
	}
	return line, nil
}
