package proc

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// stdio are the three standard streams of a child. The pipes are ours and not
// os/exec's, because that one waits for the end of file, which a daemon left
// behind by the child never gives.
type stdio struct {
	childIn, childOut, childErr *os.File
	in                          *os.File // our end of the child's input, or nil
	source                      io.Reader
	out, err                    *sink // nil when discarded
}

// newStdio makes the streams cmd asks for.
func newStdio(cmd Cmd) (_ *stdio, err error) {
	s := &stdio{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	switch in := cmd.Stdin.(type) {
	case nil:
		if s.childIn, err = os.Open(os.DevNull); err != nil {
			return nil, err
		}
	case *os.File:
		// A copy, since ours is closed once the child has it.
		fd, err := unix.FcntlInt(in.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return nil, err
		}
		s.childIn = os.NewFile(uintptr(fd), in.Name())
	default:
		if s.childIn, s.in, err = os.Pipe(); err != nil {
			return nil, err
		}
		s.source = in
	}
	if cmd.Discard {
		if s.childOut, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
			return nil, err
		}
		s.childErr = s.childOut
		return s, nil
	}
	limit := cmd.MaxOutput
	if limit == 0 {
		limit = DefaultMaxOutput
	}
	if s.out, s.childOut, err = newSink(limit); err != nil {
		return nil, err
	}
	if s.err, s.childErr, err = newSink(limit); err != nil {
		return nil, err
	}
	s.err.follow = cmd.Follow
	return s, nil
}

// begin closes the child's ends and starts moving data.
func (s *stdio) begin() {
	s.closeChild()
	if s.in != nil {
		in := s.in
		go func() {
			// A child that does not read all of it is within its rights.
			_, _ = io.Copy(in, s.source)
			_ = in.Close()
		}()
	}
	if s.out != nil {
		go s.out.read()
		go s.err.read()
	}
}

// result collects the outputs of a child that has ended.
func (s *stdio) result(cmd Cmd) Result {
	if s.out == nil {
		return Result{}
	}
	var r Result
	var more bool
	r.Stdout, r.Truncated = s.out.finish()
	r.Stderr, more = s.err.finish()
	r.Truncated = r.Truncated || more
	if len(cmd.Secrets) > 0 {
		r.Stderr = []byte(Redact(string(r.Stderr), cmd.Secrets))
	}
	return r
}

func (s *stdio) closeChild() {
	for _, f := range []*os.File{s.childIn, s.childOut, s.childErr} {
		if f != nil {
			_ = f.Close() // closing twice is harmless
		}
	}
}

func (s *stdio) close() {
	s.closeChild()
	if s.in != nil {
		_ = s.in.Close()
	}
	for _, k := range []*sink{s.out, s.err} {
		if k != nil {
			_ = k.r.Close()
		}
	}
}

// sink reads a pipe and keeps the beginning of what came.
type sink struct {
	r     *os.File
	limit int
	done  chan struct{} // closed when read has ended
	buf   []byte
	more  bool
	// follow, if not nil, sees all that comes.
	follow func([]byte)
}

func newSink(limit int) (*sink, *os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	return &sink{r: r, limit: limit, done: make(chan struct{})}, w, nil
}

func (k *sink) keep(p []byte) {
	if k.follow != nil && len(p) > 0 {
		k.follow(p)
	}
	if room := k.limit - len(k.buf); len(p) > room {
		p, k.more = p[:room], true
	}
	k.buf = append(k.buf, p...)
}

func (k *sink) read() {
	defer close(k.done)
	p := make([]byte, 32<<10)
	for {
		n, err := k.r.Read(p)
		k.keep(p[:n])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			k.drain(p)
			return
		}
		if err != nil {
			return
		}
	}
}

// drain takes what is in the pipe and does not wait for more: the child has
// ended, so all it wrote is there. The bound keeps a chatty daemon from holding
// us: a pipe never holds more than what it could when the child ended.
func (k *sink) drain(p []byte) {
	if err := k.r.SetReadDeadline(time.Time{}); err != nil {
		return
	}
	raw, err := k.r.SyscallConn()
	if err != nil {
		return
	}
	const pipeMax = 1 << 20
	_ = raw.Read(func(fd uintptr) bool {
		for total := 0; total < pipeMax; {
			n, err := unix.Read(int(fd), p)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if n <= 0 {
				break
			}
			k.keep(p[:n])
			total += n
		}
		return true
	})
}

// finish is called after the child has ended.
func (k *sink) finish() ([]byte, bool) {
	// Wakes up a Read that waits for a daemon which will not write.
	if err := k.r.SetReadDeadline(time.Unix(1, 0)); err != nil {
		_ = k.r.Close()
	}
	<-k.done
	return k.buf, k.more
}
