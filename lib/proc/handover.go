package proc

import (
	"fmt"
	"os"
	"syscall"
)

// HandOver makes this process run the program at path, with our own arguments, environment and standard files
// (execve(2)). It returns only if that cannot be done, with the reason, and nothing has changed then.
func (OS) HandOver(path string) error {
	return fmt.Errorf("%s: %w", path, syscall.Exec(path, os.Args, os.Environ()))
}
