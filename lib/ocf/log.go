package ocf

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// logger builds the logger of one action. Every line goes to stderr (Pacemaker collects it), to the
// system log, and to the cluster's own log file where the environment names one.
func newLogger(p Process, tag string, secrets []string) (*slog.Logger, *sinks) {
	env := func(name string) string {
		s, _ := p.LookupEnv(name)
		return s
	}
	s := &sinks{stderr: p.Stderr, now: p.Now, secrets: redactor(secrets), tag: fmt.Sprintf("%s[%d]", tag, p.PID)}
	facility := first(env("HA_LOGFACILITY"), env("HA_logfacility"), env("PCMK_logfacility"), "daemon")
	if facility != "none" && p.Syslog != "" {
		s.syslog, s.facility = p.Syslog, facilities[facility]
	}
	if f := first(env("PCMK_logfile"), env("HA_logfile"), env("HA_LOGFILE")); f != "none" {
		s.file = f
	}
	level := slog.LevelInfo
	if d := first(env("HA_debug"), env("PCMK_debug")); d != "" && d != "0" && d != "no" && d != "off" {
		level = slog.LevelDebug
	}
	return slog.New(&handler{out: s, level: level}), s
}

func first(ss ...string) string {
	for _, s := range ss {
		if s != "" {
			return s
		}
	}
	return ""
}

// facilities are the syslog facilities an administrator may have chosen for the cluster; an unknown
// name falls to 0 (kern), which no program may use, and is then corrected to daemon.
var facilities = map[string]int{
	"user": 1, "daemon": 3, "local0": 16, "local1": 17, "local2": 18, "local3": 19,
	"local4": 20, "local5": 21, "local6": 22, "local7": 23,
}

// handler formats records in the way cluster logs are read: one line, level first, key=value last.
type handler struct {
	out   *sinks
	level slog.Level
	// prefix holds attributes given by With, already formatted; group is the open group's prefix.
	prefix, group string
}

func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	b.WriteString(h.prefix)
	r.Attrs(func(a slog.Attr) bool {
		writeAttr(&b, h.group, a)
		return true
	})
	h.out.line(r.Level, b.String())
	return nil
}

func (h *handler) WithAttrs(as []slog.Attr) slog.Handler {
	var b strings.Builder
	for _, a := range as {
		writeAttr(&b, h.group, a)
	}
	return &handler{out: h.out, level: h.level, prefix: h.prefix + b.String(), group: h.group}
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{out: h.out, level: h.level, prefix: h.prefix, group: h.group + name + "."}
}

func writeAttr(b *strings.Builder, group string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		for _, g := range v.Group() {
			writeAttr(b, group+a.Key+".", g)
		}
		return
	}
	s := v.String()
	if s == "" || strings.ContainsAny(s, " \t\n\"=") {
		s = fmt.Sprintf("%q", s)
	}
	fmt.Fprintf(b, " %s%s=%s", group, a.Key, s)
}

// sinks are the places a line goes to. None of them may fail or delay an action: errors are dropped
// and the system log gets a short write deadline, because its socket blocks when journald hangs.
type sinks struct {
	mu       sync.Mutex
	stderr   io.Writer
	now      func() time.Time
	tag      string
	secrets  *strings.Replacer
	syslog   string
	facility int
	file     string
	conn     net.Conn
	dialled  bool
}

const syslogPatience = 20 * time.Millisecond

func (s *sinks) line(level slog.Level, msg string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	msg = oneLine(s.secrets.Replace(msg))
	name := levelName(level)
	stamp := s.now().Format("Jan _2 15:04:05.000")
	_, _ = fmt.Fprintf(s.stderr, "%s %s: %s\n", stamp, name, msg)
	s.toSyslog(level, name, msg)
	s.toFile(fmt.Sprintf("%s %s: %s: %s\n", stamp, s.tag, name, msg))
}

// reason prints the line that Pacemaker stores as the exit reason and shows in crm_mon.
func (s *sinks) reason(prefix, msg string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprintf(s.stderr, "%s%s\n", prefix, oneLine(s.secrets.Replace(msg)))
}

// toSyslog speaks the local protocol by hand: log/syslog knows no deadline.
func (s *sinks) toSyslog(level slog.Level, name, msg string) {
	if s.syslog == "" {
		return
	}
	if !s.dialled {
		s.dialled = true
		s.conn, _ = net.DialTimeout("unixgram", s.syslog, syslogPatience)
	}
	if s.conn == nil {
		return
	}
	facility := s.facility
	if facility == 0 {
		facility = facilities["daemon"]
	}
	now := s.now()
	_ = s.conn.SetWriteDeadline(time.Now().Add(syslogPatience))
	// The protocol's own stamp has no fraction of a second, so the milliseconds go into the text.
	_, err := fmt.Fprintf(s.conn, "<%d>%s %s: %s: %s (at %s)", facility*8+severity(level),
		now.Format(time.Stamp), s.tag, name, msg, now.Format("05.000"))
	if err != nil {
		// One lost line costs at most one deadline; a hanging logger gets no second chance.
		_ = s.conn.Close()
		s.conn = nil
	}
}

// toFile appends to the cluster's log. O_NONBLOCK keeps a FIFO without a reader from blocking.
func (s *sinks) toFile(line string) {
	if s.file == "" || s.file == os.DevNull {
		return
	}
	f, err := os.OpenFile(s.file, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o640)
	if err != nil {
		return
	}
	_, _ = io.WriteString(f, line)
	_ = f.Close()
}

func levelName(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "ERROR"
	case l >= slog.LevelWarn:
		return "WARNING"
	case l >= slog.LevelInfo:
		return "INFO"
	}
	return "DEBUG"
}

func severity(l slog.Level) int {
	switch {
	case l >= slog.LevelError:
		return 3
	case l >= slog.LevelWarn:
		return 4
	case l >= slog.LevelInfo:
		return 6
	}
	return 7
}

// oneLine joins the lines of a message: Pacemaker stores what stands behind the reason's prefix up
// to the end of the line, and a second line would be lost.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' || r == 0 }), "; ")
}

// redactor masks secrets, longest first, so that one that contains another leaves no rest behind.
func redactor(secrets []string) *strings.Replacer {
	kept := slices.DeleteFunc(slices.Clone(secrets), func(s string) bool { return s == "" })
	slices.SortFunc(kept, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, s := range kept {
		pairs = append(pairs, s, "***")
	}
	return strings.NewReplacer(pairs...)
}
