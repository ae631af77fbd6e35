package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// screen writes lines, and a status that is redrawn in place on a terminal and
// is one line each second elsewhere.
type screen struct {
	w        io.Writer
	terminal bool
	shown    bool
	last     time.Time
}

func newScreen(f *os.File) *screen {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return &screen{w: f, terminal: err == nil}
}

func (s *screen) line(format string, args ...any) {
	s.end()
	_, _ = fmt.Fprintf(s.w, format+"\n", args...)
}

func (s *screen) status(text string) {
	if s.terminal {
		_, _ = fmt.Fprintf(s.w, "\r\x1b[K%s", text)
		s.shown = true
		return
	}
	if time.Since(s.last) >= time.Second {
		s.last = time.Now()
		_, _ = fmt.Fprintln(s.w, text)
	}
}

// end leaves the status where it is.
func (s *screen) end() {
	if s.shown {
		_, _ = fmt.Fprintln(s.w)
		s.shown = false
	}
}
