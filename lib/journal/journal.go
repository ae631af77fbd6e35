package journal

import (
	"errors"
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

// Config says where lines go.
type Config struct {
	// Stderr gets the lines of at least StderrLevel; nil means none.
	Stderr      io.Writer
	StderrLevel slog.Level
	// Layout is the form of the time on standard error and in the debug file; "" means FenceLayout.
	Layout string
	// Tag names the program and what it works on, "fence_ipmi"; PID stands behind it.
	Tag string
	PID int
	// Syslog is the socket of the system log; "" means none.
	Syslog string
	// Level is the least severity for the system log and the cluster's log file.
	Level slog.Level
	// LookupEnv finds the variables by which Pacemaker names facility and log file.
	LookupEnv func(string) (string, bool)
	// Now stamps the lines.
	Now func() time.Time
}

// The forms of a time. Both have milliseconds; the fence agents' has a comma before them, which log
// searches know.
const (
	ClusterLayout = "Jan _2 15:04:05.000"
	FenceLayout   = "2006-01-02 15:04:05,000"
)

// Journal writes lines to all its destinations. It may be used by several goroutines.
type Journal struct {
	mu       sync.Mutex
	cfg      Config
	tag      string
	secrets  []string
	mask     *strings.Replacer
	facility int
	file     string
	debug    io.WriteCloser
	conn     net.Conn
	muted    time.Time // no attempt at the system logger before
}

// syslogPatience bounds what a hanging system logger can cost: its socket blocks when it is full.
const syslogPatience = 20 * time.Millisecond

// syslogRetry is how long one that was missing or hung is left alone. An action has
// ended by then; a program that lives for months outlives many restarts of its logger.
const syslogRetry = time.Minute

// facilities are those an administrator may have chosen for the cluster.
var facilities = map[string]int{
	"user": 1, "daemon": 3, "local0": 16, "local1": 17, "local2": 18, "local3": 19,
	"local4": 20, "local5": 21, "local6": 22, "local7": 23,
}

// New returns a journal. Nothing is opened before the first line.
func New(cfg Config) *Journal {
	env := func(names ...string) string {
		for _, name := range names {
			if s, _ := cfg.LookupEnv(name); s != "" {
				return s
			}
		}
		return ""
	}
	j := &Journal{cfg: cfg, tag: fmt.Sprintf("%s[%d]", cfg.Tag, cfg.PID), mask: strings.NewReplacer()}
	if cfg.Layout == "" {
		j.cfg.Layout = FenceLayout
	}
	facility := env("HA_LOGFACILITY", "HA_logfacility", "PCMK_logfacility")
	if facility == "none" {
		j.cfg.Syslog = ""
	}
	j.facility = facilities["daemon"]
	if n, ok := facilities[facility]; ok {
		j.facility = n
	}
	if f := env("PCMK_logfile", "HA_logfile", "HA_LOGFILE"); f != "none" && f != os.DevNull {
		j.file = f
	}
	return j
}

// Logger returns a logger whose records become lines.
func (j *Journal) Logger() *slog.Logger { return slog.New(&handler{out: j}) }

// Hide masks a secret in every line from now on.
func (j *Journal) Hide(secrets ...string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range secrets {
		if s != "" {
			j.secrets = append(j.secrets, s)
		}
	}
	// The longest first, so that a secret that contains another leaves no rest behind.
	slices.SortFunc(j.secrets, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, s := range j.secrets {
		pairs = append(pairs, s, "***")
	}
	j.mask = strings.NewReplacer(pairs...)
}

// Debug appends every line, of whatever severity, to a file. The error says why it cannot be opened.
func (j *Journal) Debug(path string) error {
	// O_NONBLOCK keeps a FIFO without a reader from blocking.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.debug = f
	return nil
}

// Close closes what was opened.
func (j *Journal) Close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.conn != nil {
		_ = j.conn.Close()
		j.conn = nil
	}
	if j.debug != nil {
		_ = j.debug.Close()
		j.debug = nil
	}
}

// Fixed writes an error whose text is one of the program's own constants, without masking: a
// password that happens to be an ordinary word must not change the words that others search for.
func (j *Journal) Fixed(text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.write(slog.LevelError, text)
}

// Reason writes a line that somebody reads from standard error alone, such as the exit reason that
// Pacemaker shows, behind the prefix by which it is found.
func (j *Journal) Reason(prefix, msg string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.cfg.Stderr != nil {
		_, _ = io.WriteString(j.cfg.Stderr, prefix+OneLine(j.mask.Replace(msg))+"\n")
	}
}

func (j *Journal) line(level slog.Level, msg string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.write(level, OneLine(j.mask.Replace(msg)))
}

func (j *Journal) write(level slog.Level, msg string) {
	now := j.cfg.Now()
	full := fmt.Sprintf("%s %s: %s\n", now.Format(j.cfg.Layout), levelName(level), msg)
	if j.cfg.Stderr != nil && level >= j.cfg.StderrLevel {
		_, _ = io.WriteString(j.cfg.Stderr, full)
	}
	if j.debug != nil {
		_, _ = io.WriteString(j.debug, full)
	}
	if level < j.cfg.Level {
		return
	}
	j.toSyslog(now, level, msg)
	j.toFile(fmt.Sprintf("%s %s: %s: %s\n", now.Format(ClusterLayout), j.tag, levelName(level), msg))
}

// toSyslog speaks the local protocol by hand: log/syslog knows no deadline.
func (j *Journal) toSyslog(now time.Time, level slog.Level, msg string) {
	if j.cfg.Syslog == "" {
		return
	}
	// The protocol's own stamp has no fraction of a second, so the milliseconds go into the text.
	text := fmt.Sprintf("<%d>%s %s: %s: %s (at %s)", j.facility*8+severity(level),
		now.Format(time.Stamp), j.tag, levelName(level), msg, now.Format("05.000"))
	// The second attempt is for a logger that was restarted since the last line.
	for range 2 {
		if !j.dial() {
			return
		}
		_ = j.conn.SetWriteDeadline(time.Now().Add(syslogPatience))
		_, err := io.WriteString(j.conn, text)
		if err == nil {
			return
		}
		_ = j.conn.Close()
		j.conn = nil
		if errors.Is(err, os.ErrDeadlineExceeded) {
			j.muted = time.Now().Add(syslogRetry) // one lost line costs at most one deadline
		}
	}
}

// dial reports whether there is a connection to the system logger.
func (j *Journal) dial() bool {
	if j.conn != nil {
		return true
	}
	if time.Now().Before(j.muted) {
		return false
	}
	conn, err := net.DialTimeout("unixgram", j.cfg.Syslog, syslogPatience)
	if err != nil {
		j.muted = time.Now().Add(syslogRetry)
		return false
	}
	j.conn = conn
	return true
}

func (j *Journal) toFile(line string) {
	if j.file == "" {
		return
	}
	f, err := os.OpenFile(j.file, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o640)
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

// oneLine joins the lines of a message, so that no part of it can pass for a line of its own.
func OneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' || r == 0 }), "; ")
}
